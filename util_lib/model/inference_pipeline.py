"""The inference pipeline: how a row becomes features, the estimator on top, and fitting both."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from util_lib.errors import UserError
from util_lib.model.config import AnyPipeline, GradientBoostingPipeline, RandomForestPipeline
from util_lib.transformers import (
    DaysBeforeNewest,
    FeatureColumns,
    MeanImputer,
    ModeImputer,
    to_texts,
)

RandomForest: TypeAlias = RandomForestClassifier | RandomForestRegressor
Booster: TypeAlias = HistGradientBoostingClassifier | HistGradientBoostingRegressor
Treatments = list[tuple[str, Any, list[str]]]
UNKNOWN_CATEGORY = -1  # what a category that training never saw is encoded as
FOLDS = 5  # of the validation rows, where a calibration is measured; each class has a row in each
FEW_ROWS = 20_000  # boosted trees fit them in one thread as quickly as in two
NODE_BYTES = 64  # of a tree's node in scikit-learn, without its value


def make_forest(parameters: dict[str, Any], task: str) -> RandomForest:
    """Return an unfitted forest; `parameters` are checked (`util_lib.model.hyperparameters`).

    A regressor has no class_weight: null there, as the shared configuration writes it, is left out.
    """
    if task == "classification":
        return RandomForestClassifier(**parameters)
    return RandomForestRegressor(**_without_class_weight(parameters))


def make_booster(parameters: dict[str, Any], task: str, n_categories: int) -> Booster:
    """Return unfitted boosted trees; the first `n_categories` of their features are categories."""
    parameters = parameters | {"categorical_features": [*range(n_categories)] or None}
    if task == "classification":
        return HistGradientBoostingClassifier(**parameters)
    return HistGradientBoostingRegressor(**_without_class_weight(parameters))


def _without_class_weight(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name != "class_weight"}


def make_inference_pipeline(config: AnyPipeline) -> Pipeline:
    """Return the unfitted pipeline columns -> processor -> estimator.

    The last stage is called classifier or regressor.
    """
    features = config.features
    estimator: RandomForest | Booster
    if isinstance(config, RandomForestPipeline):
        treatments = _for_a_forest(config)
        estimator = make_forest(config.random_forest, config.task)
        processor = ColumnTransformer(treatments, remainder="drop")
    else:
        treatments = _for_a_booster(config)
        n_categories = len(treatments[0][2]) if treatments[0][0] == "categorical" else 0
        estimator = make_booster(config.gradient_boosting, config.task, n_categories)
        # it takes no sparse features
        processor = ColumnTransformer(treatments, remainder="drop", sparse_threshold=0)
    columns = FeatureColumns(
        features.numerical,
        [*features.categorical, *features.one_hot],
        features.dates,
        features.nlp,
    )
    last = "regressor" if config.task == "regression" else "classifier"
    return Pipeline([("columns", columns), ("processor", processor), (last, estimator)])


def _for_a_forest(config: RandomForestPipeline) -> Treatments:
    """Fill what is missing; scale numbers, number the categories."""
    features, orders = config.features, config.category_orders
    ordered = [name for name in features.categorical if name in orders]
    sorted_ = [name for name in features.categorical if name not in orders]
    numbers = make_pipeline(_numerical_imputer(config), StandardScaler())
    treatments: Treatments = [
        ("numerical", numbers, features.numerical),
        ("categorical", make_pipeline(ModeImputer(), _ordinal()), sorted_),
    ]
    if ordered:
        encoder = _ordinal(categories=[_order(name, orders[name]) for name in ordered])
        treatments.append(("ordered", make_pipeline(ModeImputer(), encoder), ordered))
    if features.one_hot:
        encoder = OneHotEncoder(handle_unknown="ignore")
        treatments.append(("one_hot", make_pipeline(ModeImputer(), encoder), features.one_hot))
    return [*treatments, *_dates_and_words(config)]


def _for_a_booster(config: GradientBoostingPipeline) -> Treatments:
    """Leave missing values missing, and categories without an order categories.

    These come first (`make_booster`). One that training never saw counts as missing; of more
    categories than there are bins the rarest are one.
    """
    features, orders = config.features, config.category_orders
    given = [*features.categorical, *features.one_hot]
    ordered = [name for name in given if name in orders]
    unordered = [name for name in given if name not in orders]
    treatments: Treatments = []
    if unordered:
        n_bins = config.gradient_boosting.get("max_bins", 255)
        encoder = _ordinal(unknown_value=np.nan, max_categories=n_bins)
        treatments.append(("categorical", make_pipeline(encoder), unordered))
    treatments.append(("numerical", "passthrough", features.numerical))
    if ordered:
        listed = [_order(name, orders[name]) for name in ordered]
        encoder = _ordinal(categories=listed, unknown_value=np.nan)
        treatments.append(("ordered", make_pipeline(encoder), ordered))
    return [*treatments, *_dates_and_words(config)]


def _dates_and_words(config: AnyPipeline) -> Treatments:
    features = config.features
    treatments: Treatments = []
    if features.dates:
        treatments.append(("dates", DaysBeforeNewest(), features.dates))
    for column in features.nlp:
        words = make_pipeline(
            SimpleImputer(strategy="constant", fill_value=""),
            FunctionTransformer(to_texts, feature_names_out="one-to-one"),
            TfidfVectorizer(**config.tfidf.model_dump()),
        )
        treatments.append((f"nlp_{column}", words, [column]))
    return treatments


def _numerical_imputer(config: RandomForestPipeline) -> Any:
    if config.numerical_imputer == "mean":
        return MeanImputer()
    if config.numerical_imputer == "zero":
        return SimpleImputer(strategy="constant", fill_value=0)
    return SimpleImputer(strategy="median")


def _ordinal(unknown_value: float = UNKNOWN_CATEGORY, **settings: Any) -> OrdinalEncoder:
    return OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=unknown_value, **settings
    )


def _order(name: str, categories: list[Any]) -> list[Any]:
    """Return the categories of an ordered feature as `FeatureColumns` hands them over."""
    if not all(isinstance(value, int | float) for value in categories):
        return [str(value) for value in categories]
    numbers = [float(value) for value in categories]
    if numbers != sorted(set(numbers)):
        raise UserError(
            f"category_orders.{name}: numbers are ordered from low to high, found {categories}"
        )
    return numbers


def fit(pipeline: Pipeline, frame: pd.DataFrame, config: AnyPipeline) -> None:
    """Fit `pipeline`; what scikit-learn refuses, and why, becomes a `UserError`."""
    fit_estimator(pipeline, fit_processor(pipeline, frame, config), frame, config)


def fit_processor(pipeline: Pipeline, frame: pd.DataFrame, config: AnyPipeline) -> Any:
    """Fit all of `pipeline` but the estimator; return the features as the estimator takes them.

    Of the hyperparameters it depends on those of `processor_settings` alone: estimators that do not
    differ in them can be fitted on the same features.
    """
    for name in config.features.names():
        if frame[name].isna().all():
            raise UserError(
                f"feature {name!r} has no value in any of the {len(frame):,} rows to fit on: "
                "remove it from features, or correct the data"
            )
    with _refusals():
        features = pipeline[:-1].fit_transform(frame, frame[config.target].to_numpy())
    for treatment, words, _ in pipeline["processor"].transformers_:
        if treatment.startswith("nlp_"):
            # A memory address: with it the same model would be another file in every process.
            vars(words[-1]).pop("_stop_words_id", None)
    return features


def processor_settings(config: AnyPipeline) -> dict[str, Any]:
    """Return what the fitted processor depends on, beside the rows."""
    settings = config.model_dump(exclude={config.ESTIMATOR, "export_artifact", "calibrate"})
    return settings | {"max_bins": config.estimator.get("max_bins")}


def fit_estimator(
    pipeline: Pipeline,
    features: Any,
    frame: pd.DataFrame,
    config: AnyPipeline,
    threads: int | None = None,
) -> None:
    """Fit the estimator of `pipeline` on what `fit_processor` made of `frame`.

    `threads` is how many it may use at most; its files are the same whatever their number.
    """
    estimator = pipeline[-1]
    has_jobs = isinstance(estimator, RandomForest)
    if threads and has_jobs and (wanted := estimator.n_jobs) not in (None, 1):
        estimator.set_params(n_jobs=threads if wanted < 0 else min(wanted, threads))
    if not has_jobs and len(frame) < FEW_ROWS:
        # OpenMP's threads wait for each other by running in circles, thousands of times in a fit:
        # on a busy machine a second thread took 20 times the seconds of one alone.
        threads = 1
    with _refusals(), nullcontext() if has_jobs else _at_most(threads):
        _fit(estimator, features, frame[config.target].to_numpy())
    if has_jobs:
        # Threads add up the trees' answers in any order, and their sums differ in the last digit:
        # what is measured and exported predicts in one, however many have made it.
        estimator.set_params(n_jobs=None)
    else:
        _forget_encoder_and_threads(estimator)


def _fit(estimator: RandomForest | Booster, features: Any, target: np.ndarray) -> None:
    """Fit on numbers for classes, and answer with the classes as they are.

    scikit-learn mistakes texts such as "1" for numbers where it weighs classes.
    """
    if isinstance(estimator, RandomForestRegressor | HistGradientBoostingRegressor):
        estimator.fit(features, target)
        return
    classes, codes = np.unique(target, return_inverse=True)
    weights = estimator.class_weight
    if isinstance(weights, dict):
        estimator.set_params(class_weight=_weights_of_codes(weights, classes.tolist()))
    estimator.fit(features, codes)
    estimator.set_params(class_weight=weights)
    estimator.classes_ = classes


def _weights_of_codes(weights: dict[Any, float], classes: list[Any]) -> dict[int, float]:
    for label in weights:
        if label not in classes:
            listed = ", ".join(map(repr, classes[:20]))
            raise UserError(f"class_weight: {label!r} is none of the classes {listed}")
    return {code: weights[name] for code, name in enumerate(classes) if name in weights}


def trees_of(pipeline: Pipeline) -> RandomForest | Booster:
    """Return the fitted trees: beneath the calibration, where there is one."""
    last = pipeline[-1]
    if is_calibrated(pipeline):
        return last.calibrated_classifiers_[0].estimator.estimator
    return last


def is_calibrated(pipeline: Pipeline) -> bool:
    """Say whether the probabilities of a fitted pipeline are other than its trees give."""
    return isinstance(pipeline[-1], CalibratedClassifierCV)


def uncalibrated(pipeline: Pipeline) -> Pipeline:
    """Return the same pipeline with the probabilities that its trees give."""
    return Pipeline([*pipeline.steps[:-1], (pipeline.steps[-1][0], trees_of(pipeline))])


def calibrated(pipeline: Pipeline, rows: pd.DataFrame, config: AnyPipeline) -> Pipeline:
    """Return `pipeline` with its probabilities set right by `rows`, which it was not fitted on.

    As `config.calibrate` says: for each class the rising steps nearest to its shares (isotonic), or
    one number that makes all probabilities bolder or more timid (temperature).
    """
    if config.calibrate is None:
        return pipeline
    trees, features = trees_of(pipeline), pipeline[:-1].transform(rows)
    with predicting(pipeline, rows):
        calibration = _calibration(trees, features, _codes(rows, trees, config), config)
    return Pipeline([*pipeline.steps[:-1], (pipeline.steps[-1][0], calibration)])


def answers_of_calibrations(
    pipeline: Pipeline, rows: pd.DataFrame, config: AnyPipeline, seed: int, groups: Any = None
) -> np.ndarray:
    """Return probabilities for the `rows` that calibrate, each by a calibration without that row.

    `FOLDS` parts of them, by `groups` if given, are answered by what the others calibrate: what
    `calibrated` answers to them has seen them.
    """
    trees, features = trees_of(pipeline), pipeline[:-1].transform(rows)
    codes = _codes(rows, trees, config)
    if groups is not None and (n_groups := len(np.unique(groups))) < FOLDS:
        raise UserError(
            f"calibrate: {config.calibrate} needs {FOLDS} groups of validation rows, and the "
            f"{len(rows):,} validation rows are of {n_groups}: take a larger val_size, or "
            "calibrate: null"
        )
    if groups is None:
        parts = StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(codes, codes)
    else:
        parts = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(
            codes, codes, groups
        )
    answers = np.zeros((len(rows), len(trees.classes_)))
    with predicting(pipeline, rows), _refusals():
        for others, part in parts:
            _codes(rows.iloc[others], trees, config, least=1)
            calibration = _calibration(trees, features[others], codes[others], config)
            answers[part] = calibration.predict_proba(features[part])
    return answers


def _codes(rows: pd.DataFrame, trees: Any, config: AnyPipeline, least: int = FOLDS) -> np.ndarray:
    """Return the places of the rows' classes; raise `UserError` where a class has too few rows."""
    codes = pd.Index(trees.classes_).get_indexer(rows[config.target])
    counts = np.bincount(codes[codes >= 0], minlength=len(trees.classes_))
    if counts.min() < least or (codes < 0).any():
        name = trees.classes_[counts.argmin()]
        found = f"class {str(name)!r} has {counts.min()} of the {len(rows):,} validation rows"
        if (codes < 0).any():
            name = rows[config.target].iloc[int((codes < 0).argmax())]
            found = f"class {str(name)!r} is in the validation rows only"
        raise UserError(
            f"calibrate: {config.calibrate} needs {FOLDS} validation rows of every class that the "
            f"model knows, and {found}: take a larger val_size, or calibrate: null"
        )
    return codes


def _calibration(
    trees: Any, features: Any, codes: np.ndarray, config: AnyPipeline
) -> CalibratedClassifierCV:
    """Fit a calibration on numbers for classes, as the trees were (`_fit`)."""
    rows, classes = np.arange(len(codes)), trees.classes_
    fitted = CalibratedClassifierCV(
        FrozenEstimator(trees), method=config.calibrate, cv=[(rows, rows)]
    )
    try:
        trees.classes_ = np.arange(len(classes))
        fitted.fit(features, codes)
    finally:
        trees.classes_ = classes
    fitted.classes_ = fitted.calibrated_classifiers_[0].classes = classes
    # A file would hold the trees twice, and the numbers of the rows.
    fitted.estimator = fitted.cv = None
    return fitted


def predicting(pipeline: Pipeline, rows: pd.DataFrame) -> AbstractContextManager[Any]:
    """Return what to ask `pipeline` about `rows` in: few are one thread's work, as in a fit."""
    few = isinstance(trees_of(pipeline), Booster) and len(rows) < FEW_ROWS
    return _at_most(1 if few else None)


def _at_most(threads: int | None) -> AbstractContextManager[Any]:
    return _libraries().limit(limits=threads, user_api="openmp") if threads else nullcontext()


@cache
def _libraries() -> Any:
    """Return the libraries that compute in threads: looking for them takes as long as a row."""
    from threadpoolctl import ThreadpoolController  # a forest needs none of it

    return ThreadpoolController()


def _forget_encoder_and_threads(booster: Booster) -> None:
    """Remove the second encoder of the categories, and how many threads there were.

    The processor has numbered the categories from 0 and put them first, so that the encoder changes
    nothing; and its parts are of types that reading a model must not trust. Both are private:
    `_preprocessor` and `_bin_mapper`.
    """
    booster._preprocessor = None
    booster._bin_mapper.n_threads = 1


def megabytes(pipeline: Pipeline) -> float:
    """Return how large the trees of a fitted pipeline are: nearly all of its export."""
    estimator = trees_of(pipeline)
    if isinstance(estimator, Booster):
        return sum(tree.nodes.nbytes for tree in _trees(estimator)) / 1e6
    trees = [tree.tree_ for tree in estimator.estimators_]
    return sum(tree.node_count * NODE_BYTES + tree.value.nbytes for tree in trees) / 1e6


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError) as error:
        raise UserError(f"scikit-learn refuses to fit: {' '.join(str(error).split())}") from error


def feature_importances(pipeline: Pipeline) -> dict[str, float]:
    """Return each feature's share; that of a text or one-hot feature is the sum over its parts."""
    processor, estimator = pipeline["processor"], trees_of(pipeline)
    values = _gains(estimator) if isinstance(estimator, Booster) else estimator.feature_importances_
    importances: dict[str, float] = {}
    for treatment, fitted, columns in processor.transformers_:
        if not len(columns):
            continue
        part = values[processor.output_indices_[treatment]]
        widths = [1] * len(columns)
        if treatment.startswith("nlp_"):
            widths = [len(part)]
        elif treatment == "one_hot":
            widths = [len(categories) for categories in fitted[-1].categories_]
        parts = np.split(part, np.cumsum(widths)[:-1])
        importances |= {n: float(p.sum()) for n, p in zip(columns, parts, strict=True)}
    return importances


def _gains(booster: Booster) -> np.ndarray:
    """Return each feature's share of what the splits gain.

    The categories come first in the trees, as in the features (`make_booster`).
    """
    gains = np.zeros(booster.n_features_in_)
    for tree in _trees(booster):
        splits = tree.nodes[tree.nodes["is_leaf"] == 0]
        np.add.at(gains, splits["feature_idx"], splits["gain"])
    return gains / gains.sum() if gains.any() else gains


def _trees(booster: Booster) -> list[Any]:
    """Return the trees, which scikit-learn keeps in `_predictors`, one for each class."""
    return [tree for iteration in booster._predictors for tree in iteration]
