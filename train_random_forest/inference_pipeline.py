"""The inference pipeline: how a row becomes features, the forest on top, and fitting both."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from util_lib.errors import UserError
from util_lib.model.config import RandomForestPipeline
from util_lib.transformers import (
    DaysBeforeNewest,
    FeatureColumns,
    MeanImputer,
    ModeImputer,
    to_texts,
)

RandomForest: TypeAlias = RandomForestClassifier | RandomForestRegressor
UNKNOWN_CATEGORY = -1  # what a category that training never saw is encoded as
NODE_BYTES = 64  # of a tree's node in scikit-learn, without its value


def make_forest(parameters: dict[str, Any], task: str) -> RandomForest:
    """Return an unfitted forest; `parameters` are checked (`util_lib.model.hyperparameters`).

    A regressor has no class_weight: null there, as the shared configuration writes it, is left out.
    """
    if task == "classification":
        return RandomForestClassifier(**parameters)
    given = {name: value for name, value in parameters.items() if name != "class_weight"}
    return RandomForestRegressor(**given)


def make_inference_pipeline(config: RandomForestPipeline) -> Pipeline:
    """Return the unfitted pipeline columns -> processor -> forest.

    The last stage is called classifier or regressor.
    """
    features, orders = config.features, config.category_orders
    ordered = [name for name in features.categorical if name in orders]
    sorted_ = [name for name in features.categorical if name not in orders]
    numbers = make_pipeline(_numerical_imputer(config), StandardScaler())
    treatments = [
        ("numerical", numbers, features.numerical),
        ("categorical", make_pipeline(ModeImputer(), _ordinal()), sorted_),
    ]
    if ordered:
        encoder = _ordinal([_order(name, orders[name]) for name in ordered])
        treatments.append(("ordered", make_pipeline(ModeImputer(), encoder), ordered))
    if features.one_hot:
        encoder = OneHotEncoder(handle_unknown="ignore")
        treatments.append(("one_hot", make_pipeline(ModeImputer(), encoder), features.one_hot))
    if features.dates:
        treatments.append(("dates", DaysBeforeNewest(), features.dates))
    for column in features.nlp:
        words = make_pipeline(
            SimpleImputer(strategy="constant", fill_value=""),
            FunctionTransformer(to_texts, feature_names_out="one-to-one"),
            TfidfVectorizer(**config.tfidf.model_dump()),
        )
        treatments.append((f"nlp_{column}", words, [column]))
    columns = FeatureColumns(
        features.numerical,
        [*features.categorical, *features.one_hot],
        features.dates,
        features.nlp,
    )
    last = "regressor" if config.task == "regression" else "classifier"
    return Pipeline(
        [
            ("columns", columns),
            ("processor", ColumnTransformer(treatments, remainder="drop")),
            (last, make_forest(config.random_forest, config.task)),
        ]
    )


def _numerical_imputer(config: RandomForestPipeline) -> Any:
    if config.numerical_imputer == "mean":
        return MeanImputer()
    if config.numerical_imputer == "zero":
        return SimpleImputer(strategy="constant", fill_value=0)
    return SimpleImputer(strategy="median")


def _ordinal(categories: list[list[Any]] | str = "auto") -> OrdinalEncoder:
    return OrdinalEncoder(
        categories=categories, handle_unknown="use_encoded_value", unknown_value=UNKNOWN_CATEGORY
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


def fit(pipeline: Pipeline, frame: pd.DataFrame, config: RandomForestPipeline) -> None:
    """Fit `pipeline`; what scikit-learn refuses, and why, becomes a `UserError`."""
    fit_forest(pipeline, fit_processor(pipeline, frame, config), frame, config)


def fit_processor(pipeline: Pipeline, frame: pd.DataFrame, config: RandomForestPipeline) -> Any:
    """Fit all of `pipeline` but the forest; return the features as the forest takes them.

    Nothing of it depends on `random_forest`: other forests can be fitted on the same features.
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


def fit_forest(
    pipeline: Pipeline, features: Any, frame: pd.DataFrame, config: RandomForestPipeline
) -> None:
    """Fit the forest of `pipeline` on what `fit_processor` made of `frame`."""
    with _refusals():
        pipeline[-1].fit(features, frame[config.target].to_numpy())
    # Threads add up the trees' answers in any order, and their sums differ in the last digit: what
    # is measured and exported predicts in one, however many have made it.
    pipeline[-1].set_params(n_jobs=None)


def megabytes(pipeline: Pipeline) -> float:
    """Return how large the trees of a fitted pipeline are: nearly all of its export."""
    trees = [tree.tree_ for tree in pipeline[-1].estimators_]
    return sum(tree.node_count * NODE_BYTES + tree.value.nbytes for tree in trees) / 1e6


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError) as error:
        raise UserError(f"scikit-learn refuses to fit: {' '.join(str(error).split())}") from error


def feature_importances(pipeline: Pipeline) -> dict[str, float]:
    """Return each feature's share; that of a text or one-hot feature is the sum over its parts."""
    processor, values = pipeline["processor"], pipeline[-1].feature_importances_
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
