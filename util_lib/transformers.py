"""Transformers of inference pipelines, after scikit-learn's conventions.

This module travels inside every exported model (see `model_export`), so it imports nothing else
of this project.
"""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data


class _ColumnImputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """What `MeanImputer` and `ModeImputer` share: all but the choice of the fill value."""

    def __init__(self, variables: list[str] | None = None):
        self.variables = variables

    def fit(self, X: Any, y: Any = None) -> "_ColumnImputer":
        """Learn a fill value for each column of `variables`."""
        frame = self._as_frame(X, reset=True)
        filled = list(frame.columns) if self.variables is None else list(self.variables)
        if unknown := [name for name in filled if name not in frame.columns]:
            raise ValueError(
                f"{type(self).__name__}: variables names columns that X does not have: {unknown}; "
                f"X has {list(frame.columns)}"
            )
        if empty := [name for name in filled if frame[name].isna().all()]:
            raise ValueError(
                f"{type(self).__name__}: columns without any observed value have no {self._kind}: "
                f"{empty}"
            )
        self.imputer_dict_ = {name: self._fill_value(frame[name].dropna()) for name in filled}
        return self

    def transform(self, X: Any) -> Any:
        """Return a copy of `X` with the missing values filled: a table for a table."""
        check_is_fitted(self)
        frame = self._as_frame(X, reset=False)
        filled = frame.fillna(self.imputer_dict_)
        return filled if isinstance(X, pd.DataFrame) else filled.to_numpy()

    def _as_frame(self, X: Any, reset: bool) -> pd.DataFrame:
        rules = {"dtype": self._dtype, "ensure_all_finite": "allow-nan"}
        if not isinstance(X, pd.DataFrame):
            checked = validate_data(self, X, reset=reset, **rules)
            return pd.DataFrame(checked, columns=[f"x{i}" for i in range(checked.shape[1])])
        validate_data(self, X, reset=reset, skip_check_array=True)
        filled = X if self.variables is None else X[[n for n in X.columns if n in self.variables]]
        if filled.shape[1]:
            check_array(filled, estimator=self, **rules)
        return X

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class MeanImputer(_ColumnImputer):
    """Fill missing values of `variables` with each column's mean.

    Parameters
    ----------
    variables : list of str, default None
        Columns to fill; all others pass through. None = all columns. The columns of an array are
        called x0, x1, ... `X` is never modified.

    Attributes
    ----------
    imputer_dict_ : dict, column name to fill value
        Set by `fit`.

    Raises
    ------
    ValueError
        If a column is entirely missing at `fit`, or is not in `X`.
    """

    _kind = "mean"
    _dtype = "numeric"

    @staticmethod
    def _fill_value(values: pd.Series) -> Any:
        return float(values.mean())


class ModeImputer(_ColumnImputer):
    """Fill missing values of `variables` with each column's most frequent value.

    Parameters
    ----------
    variables : list of str, default None
        Columns to fill; all others pass through. None = all columns. The columns of an array are
        called x0, x1, ... `X` is never modified.

    Attributes
    ----------
    imputer_dict_ : dict, column name to fill value
        Set by `fit`; the smallest value where several are equally frequent.

    Raises
    ------
    ValueError
        If a column is entirely missing at `fit`: it has no mode. Or if it is not in `X`.
    """

    _kind = "mode"
    _dtype = None

    @staticmethod
    def _fill_value(values: pd.Series) -> Any:
        counts = values.value_counts()
        tied = list(counts.index[counts == counts.iloc[0]])
        try:
            smallest = min(tied)
        except TypeError:  # a column of mixed types has no order of its own
            smallest = min(tied, key=lambda value: (type(value).__name__, str(value)))
        return smallest.item() if isinstance(smallest, np.generic) else smallest

    def __sklearn_tags__(self) -> Any:
        """Say that texts are welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags


def to_texts(X: Any) -> np.ndarray:
    """Return one column as a flat array of texts, as TF-IDF wants it; missing becomes ''.

    A null in a JSON request arrives as None, which SimpleImputer does not take as missing.
    """
    column = np.asarray(X, dtype=object).ravel()
    texts = [str(value) for value in np.where(pd.isna(column), "", column)]
    return np.array(texts, dtype=object)


class DaysBeforeNewest(TransformerMixin, BaseEstimator):
    """Turn columns of dates into days before the newest date of training.

    The newest date is kept from `fit`, so that a row gets the same number alone and in a batch; a
    later date gives a negative number. A missing date counts as one day older than the oldest of
    training: it is like a long time ago, and a tree can still tell it from every date.

    Attributes
    ----------
    newest_, oldest_ : list of texts (ISO 8601), one for each column
        Set by `fit`.

    Raises
    ------
    ValueError
        If a column holds something else than dates, or at `fit` no date at all.
    """

    def fit(self, X: pd.DataFrame, y: Any = None) -> "DaysBeforeNewest":
        """Learn the newest and the oldest date of each column."""
        self.feature_names_in_ = np.array(X.columns, dtype=object)
        dates = [as_dates(X[name]) for name in X]
        if empty := [str(column.name) for column in dates if column.isna().all()]:
            raise ValueError(f"DaysBeforeNewest: columns without any date: {empty}")
        self.newest_ = [column.max().isoformat() for column in dates]
        self.oldest_ = [column.min().isoformat() for column in dates]
        return self

    def transform(self, X: pd.DataFrame) -> np.ndarray:
        """Return the days, whole and parts of them, one column for each of `X`."""
        check_is_fitted(self)
        day = pd.Timedelta(days=1)
        columns = [
            (pd.Timestamp(newest) - as_dates(X[name]).fillna(pd.Timestamp(oldest) - day)) / day
            for name, newest, oldest in zip(X, self.newest_, self.oldest_, strict=True)
        ]
        return np.column_stack(columns)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns, which stay as they are."""
        return self.feature_names_in_


class FeatureColumns(TransformerMixin, BaseEstimator):
    """Take a model's columns out of a table, in the types that the model was fitted with.

    A request is not the table a model was fitted with: JSON has null for a missing number, which
    arrives as None; an integer column with a null comes as floats; a date comes as text; a key may
    be left out. All of it becomes a table with every column: numbers as doubles, texts and dates
    (ISO 8601) as objects, missing as NaN.

    Parameters
    ----------
    numerical, categorical, dates, nlp : list of str
        Names of the columns, by what they hold. Other columns of `X` are ignored.

    Attributes
    ----------
    number_columns_ : list of str
        The columns that hold numbers: all numerical ones, and the categorical ones that held
        numbers at `fit`.

    Raises
    ------
    ValueError
        If a column of numbers or dates holds something else, if a column is not in `X` at `fit`,
        or if none of them is in `X` later.
    """

    def __init__(
        self, numerical: list[str], categorical: list[str], dates: list[str], nlp: list[str]
    ):
        """Store the names; nothing else, as scikit-learn wants it."""
        self.numerical = numerical
        self.categorical = categorical
        self.dates = dates
        self.nlp = nlp

    def fit(self, X: pd.DataFrame, y: Any = None) -> "FeatureColumns":
        """Learn which categorical columns hold numbers."""
        if missing := [name for name in self._names() if name not in X.columns]:
            raise ValueError(f"columns {missing} are missing; X has {list(X.columns)}")
        numbers = [name for name in self.categorical if pd.api.types.is_numeric_dtype(X[name])]
        self.number_columns_ = [*self.numerical, *numbers]
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return the columns, in the order numerical, categorical, dates, nlp."""
        check_is_fitted(self)
        names = self._names()
        if not any(name in X.columns for name in names):
            raise ValueError(f"X has none of the model's columns {names}")
        columns = {}
        for name in names:
            if name not in X.columns:
                kind = "float64" if name in self.number_columns_ else object
                columns[name] = pd.Series(np.nan, index=X.index, dtype=kind)
            elif name in self.number_columns_:
                columns[name] = as_numbers(X[name])
            elif name in self.dates:
                columns[name] = as_iso(X[name])
            else:
                columns[name] = as_texts(X[name])
        return pd.DataFrame(columns, index=X.index)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns."""
        return np.array(self._names(), dtype=object)

    def _names(self) -> list[str]:
        return [*self.numerical, *self.categorical, *self.dates, *self.nlp]


def as_dates(column: pd.Series) -> "pd.Series[pd.Timestamp]":
    """Return a column as dates without time zone (those with one, in UTC); missing as NaT.

    Raises `ValueError` for a value that is neither a date nor an ISO 8601 text.
    """
    if not pd.api.types.is_datetime64_any_dtype(column):
        texts = column.astype(object)
        is_number = texts.map(
            lambda value: isinstance(value, bool | int | float) and value == value
        )
        texts = texts.where(column.notna() & ~is_number, None)
        read = pd.to_datetime(texts, errors="coerce", format="ISO8601", utc=True)
        wrong = read.isna() & column.notna()
        if wrong.any():
            example = column[wrong].tolist()[0]
            raise ValueError(
                f"column {column.name!r} must hold dates as in 2019-05-26, found {example!r}"
            )
        column = read
    return column.dt.tz_convert(None) if column.dt.tz is not None else column


def as_texts(column: pd.Series) -> pd.Series:
    """Return a column as texts, missing as NaN."""
    values = zip(column.tolist(), column.isna().tolist(), strict=True)
    texts = [np.nan if is_missing else str(value) for value, is_missing in values]
    return pd.Series(texts, index=column.index, dtype=object)


def as_iso(column: pd.Series) -> pd.Series:
    """Return a column of dates as ISO 8601 texts, without a time where it is midnight."""
    dates = as_dates(column)
    texts = [np.nan if pd.isna(d) else d.isoformat().removesuffix("T00:00:00") for d in dates]
    return pd.Series(texts, index=column.index, dtype=object)


def as_numbers(column: pd.Series) -> pd.Series:
    """Return a column as doubles. Raises `ValueError` for a value that is no number."""
    try:
        return pd.to_numeric(column).astype("float64")
    except (ValueError, TypeError):
        numbers = pd.to_numeric(column, errors="coerce")
        example = next(iter(column[numbers.isna() & column.notna()]), column.dtype)
        raise ValueError(f"column {column.name!r} must hold numbers, found {example!r}") from None
