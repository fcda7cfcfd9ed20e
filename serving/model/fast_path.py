"""A short way from rows to a forest's answers: over the fitted arrays, past scikit-learn's checks.

For one row scikit-learn spends some fifty times longer on checks and tables than on the trees.
`Direct` does the same arithmetic in the same order, so the answers are the same to the last bit;
`direct_trial` compares them, and whoever uses it goes by the pipeline where they are not. It knows
the parts that train_random_forest builds pipelines of; for any other, and for values that the
pipeline refuses, it raises `NoFastPath`.
"""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from util_lib import transformers
from util_lib.model import inference_pipeline
from util_lib.transformers import DaysBeforeNewest, FeatureColumns, MeanImputer, ModeImputer

BLOCK_ROWS = 2048  # for more than these another thread is worth while

Part = Callable[[pd.DataFrame], np.ndarray]


class NoFastPath(Exception):
    """A part of the pipeline, or a value, that only the pipeline itself can judge."""


def _calibration(calibrated: CalibratedClassifierCV) -> Callable[[np.ndarray], np.ndarray]:
    """Return what a calibration makes of the probabilities of the trees: by scikit-learn's rules.

    Of two classes the second one's decides.
    """
    inner = calibrated.calibrated_classifiers_[0]
    calibrators, n_classes = inner.calibrators, len(inner.classes)
    if inner.method == "temperature":
        scale = calibrators[0].predict
        if n_classes > 2:
            return scale
        return lambda raw: scale(np.column_stack([1 - raw[:, 1], raw[:, 1]]))

    def stepped(raw: np.ndarray) -> np.ndarray:
        columns = raw[:, 1:] if n_classes == 2 else raw
        steps = [
            each.f_(np.clip(column, each.X_min_, each.X_max_))
            for each, column in zip(calibrators, columns.T, strict=True)
        ]
        if n_classes == 2:
            return np.column_stack([1.0 - steps[0], steps[0]])
        made = np.column_stack(steps)
        total = made.sum(axis=1)[:, np.newaxis]
        made = np.divide(made, total, out=np.full_like(made, 1 / n_classes), where=total != 0)
        made[(made > 1.0) & (made <= 1.0 + 1e-5)] = 1.0
        return made

    return stepped


class Direct:
    """The answers of a fitted inference pipeline."""

    def __init__(self, pipeline: Pipeline):
        """Take the pipeline apart; `NoFastPath` if it holds something else than is known."""
        if [name for name, _ in pipeline.steps[:2]] != ["columns", "processor"]:
            raise NoFastPath(f"stages {[name for name, _ in pipeline.steps]}")
        columns, processor, last = (stage for _, stage in pipeline.steps)
        self._forest = inference_pipeline.trees_of(pipeline)
        self._calibrate = _calibration(last) if last is not self._forest else lambda raw: raw
        if type(columns) is not FeatureColumns or type(self._forest) not in (
            RandomForestClassifier,
            RandomForestRegressor,
        ):
            raise NoFastPath(f"{type(columns).__name__} and {type(self._forest).__name__}")
        if self._forest.n_outputs_ != 1:
            raise NoFastPath("several targets")
        self._names = columns.get_feature_names_out().tolist()
        self._numbers = frozenset(columns.number_columns_)
        self._width = self._forest.n_features_in_
        self._parts = []
        for name, fitted, listed in processor.transformers_:
            if isinstance(fitted, str) and fitted == "drop" or not len(listed):
                continue
            where = processor.output_indices_[name]
            self._parts.append((where, self._part(fitted, list(listed))))
        self._trees = [tree.tree_ for tree in self._forest.estimators_]
        is_classifier = type(self._forest) is RandomForestClassifier
        self._outputs = self._forest.n_classes_ if is_classifier else None

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the probabilities, rows by classes; of a regressor the numbers, one for a row."""
        if not any(name in frame.columns for name in self._names):
            raise NoFastPath("no column of the model")
        rows = self._matrix(frame)
        if len(rows) <= BLOCK_ROWS:
            return self._answers(rows)
        # Only the trees let other threads run meanwhile; the matrix is made before.
        n_blocks = min(os.cpu_count() or 1, -(-len(rows) // BLOCK_ROWS))
        with ThreadPoolExecutor(n_blocks) as threads:
            blocks = np.array_split(rows, n_blocks)
            return np.concatenate(list(threads.map(self._answers, blocks)))

    def _matrix(self, frame: pd.DataFrame) -> np.ndarray:
        """Return what the forest sees of the rows, all finite."""
        matrix = np.zeros((len(frame), self._width))
        for where, part in self._parts:
            matrix[:, where] = part(frame)
        with np.errstate(over="ignore"):
            rows = matrix.astype(np.float32)
        if not np.isfinite(rows).all():
            raise NoFastPath("a number that is infinite or too large")
        return rows

    def _answers(self, rows: np.ndarray) -> np.ndarray:
        """Add up the trees in the forest's order: another one could give another last digit."""
        if self._outputs is None:
            total = np.zeros(len(rows))
            for tree in self._trees:
                total += tree.predict(rows)[:, 0]
        else:
            total = np.zeros((len(rows), self._outputs))
            for tree in self._trees:
                total += tree.predict(rows)[:, : self._outputs]
        total /= len(self._trees)
        return self._calibrate(total)

    def _part(self, fitted: Any, names: list[str]) -> Part:
        """Return what makes the columns of one treatment."""
        if type(fitted) is DaysBeforeNewest:
            return lambda frame: fitted.transform(self._dates(frame, names))
        kinds = tuple(type(step) for _, step in getattr(fitted, "steps", []))
        steps = [step for _, step in getattr(fitted, "steps", [])]
        if kinds in ((SimpleImputer, StandardScaler), (MeanImputer, StandardScaler)):
            return self._scaled(steps[0], steps[1], names)
        if kinds == (ModeImputer, OrdinalEncoder):
            return self._ordinal(steps[0], steps[1], names)
        if kinds == (ModeImputer, OneHotEncoder):
            return self._one_hot(steps[0], steps[1], names)
        if kinds == (SimpleImputer, FunctionTransformer, TfidfVectorizer) and len(names) == 1:
            return self._words(steps, names[0])
        raise NoFastPath(f"treatment {kinds or type(fitted).__name__}")

    # What each treatment does

    def _scaled(self, imputer: Any, scaler: StandardScaler, names: list[str]) -> Part:
        if type(imputer) is MeanImputer:
            fill = np.array([imputer.imputer_dict_[name] for name in names])
        else:
            fill = np.asarray(imputer.statistics_, dtype="float64")
            if imputer.add_indicator or not pd.isna(imputer.missing_values):
                raise NoFastPath("an imputer with other settings")
        if np.isnan(fill).any() or scaler.mean_ is None or scaler.scale_ is None:
            raise NoFastPath("an imputer or scaler with other settings")
        mean, scale = scaler.mean_, scaler.scale_

        def part(frame: pd.DataFrame) -> np.ndarray:
            values = np.column_stack([self._number(frame, name) for name in names])
            if np.isinf(values).any():
                raise NoFastPath("an infinite number")
            values = np.where(np.isnan(values), fill, values)
            values -= mean
            values /= scale
            return values

        return part

    def _ordinal(self, imputer: ModeImputer, encoder: OrdinalEncoder, names: list[str]) -> Part:
        if encoder.handle_unknown != "use_encoded_value" or encoder._infrequent_enabled:
            raise NoFastPath("an ordinal encoder with other settings")
        codes = [{value: i for i, value in enumerate(c.tolist())} for c in encoder.categories_]
        unknown = encoder.unknown_value

        def part(frame: pd.DataFrame) -> np.ndarray:
            columns = [self._categories(frame, name, imputer) for name in names]
            return np.array(
                [
                    [known.get(value, unknown) for value in values]
                    for known, values in zip(codes, columns, strict=True)
                ],
                dtype="float64",
            ).T

        return part

    def _one_hot(self, imputer: ModeImputer, encoder: OneHotEncoder, names: list[str]) -> Part:
        if encoder.handle_unknown != "ignore" or encoder.drop is not None:
            raise NoFastPath("a one-hot encoder with other settings")
        if encoder._infrequent_enabled:
            raise NoFastPath("a one-hot encoder with other settings")
        codes, start = [], 0
        for categories in encoder.categories_:
            codes.append({value: start + i for i, value in enumerate(categories.tolist())})
            start += len(categories)
        width = start

        def part(frame: pd.DataFrame) -> np.ndarray:
            values = np.zeros((len(frame), width))
            for known, name in zip(codes, names, strict=True):
                for row, value in enumerate(self._categories(frame, name, imputer)):
                    if (place := known.get(value)) is not None:
                        values[row, place] = 1
            return values

        return part

    def _words(self, steps: list[Any], name: str) -> Part:
        imputer, to_texts, vectorizer = steps
        constant = imputer.strategy == "constant" and imputer.fill_value == ""
        plain = vectorizer.norm == "l2" and vectorizer.use_idf and not vectorizer.sublinear_tf
        if not (constant and plain and to_texts.func is transformers.to_texts):
            raise NoFastPath("text with other settings")
        analyze, known = vectorizer.build_analyzer(), vectorizer.vocabulary_
        weights, binary = vectorizer.idf_.tolist(), vectorizer.binary

        @lru_cache(maxsize=4096)
        def weighted(places: tuple[int, ...]) -> tuple[list[int], list[float]]:
            counts = {place: 1 if binary else places.count(place) for place in places}
            values = [count * weights[place] for place, count in counts.items()]
            length = 0.0
            for value in values:
                length += value * value
            length = math.sqrt(length)
            return list(counts), [value / length for value in values]

        def part(frame: pd.DataFrame) -> np.ndarray:
            values = np.zeros((len(frame), len(weights)))
            if name not in frame.columns:
                return values
            seen: dict[Any, tuple[int, ...]] = {}
            for row, text in enumerate(transformers.as_texts(frame[name]).tolist()):
                if (places := seen.get(text)) is None:
                    words = analyze(text) if isinstance(text, str) else ()
                    places = tuple(sorted([known[word] for word in words if word in known]))
                    seen[text] = places
                if places:
                    where, what = weighted(places)
                    values[row, where] = what
            return values

        return part

    # Columns as `FeatureColumns` gives them

    def _number(self, frame: pd.DataFrame, name: str) -> np.ndarray:
        if name not in frame.columns:
            return np.full(len(frame), np.nan)
        values = frame[name]
        if isinstance(values.dtype, np.dtype) and values.dtype.kind in "iuf":
            return values.to_numpy("float64")
        return transformers.as_numbers(values).to_numpy()

    def _categories(self, frame: pd.DataFrame, name: str, imputer: ModeImputer) -> list[Any]:
        """Return the values of a category, missing ones filled."""
        fill = imputer.imputer_dict_[name]
        if name not in frame.columns:
            return [fill] * len(frame)
        if name in self._numbers:
            values = self._number(frame, name)
            if np.isinf(values).any():
                raise NoFastPath("an infinite number")
            return [fill if value != value else value for value in values.tolist()]
        texts = transformers.as_texts(frame[name]).tolist()
        return [fill if value != value else value for value in texts]

    def _dates(self, frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
        empty = pd.Series(np.nan, index=frame.index, dtype=object)
        return pd.DataFrame(
            {n: transformers.as_iso(frame[n]) if n in frame.columns else empty for n in names}
        )
