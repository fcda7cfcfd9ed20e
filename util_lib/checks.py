"""Checks of a table against its declaration, and against another table.

Every check returns None, or one sentence that names the column, what was expected, how many rows
are different, and examples of them. A check takes the type of its column for granted where
`dtype` complains: one fault, one sentence.
"""

import math
from typing import Any

import numpy as np
import pandas as pd

from util_lib import validation
from util_lib.dataset import Column

N_EXAMPLES = 3


def presence(frame: pd.DataFrame, name: str) -> str | None:
    """Check that the table has the column."""
    if name in frame.columns:
        return None
    near = validation.nearest(name, list(map(str, frame.columns)))
    return f"column {name!r} is missing" + (f"; the nearest is {near!r}" if near else "")


def dtype(frame: pd.DataFrame, name: str, column: Column) -> str | None:
    """Check that every value is of the declared type.

    Integers of a column with nulls arrive as floats: whole numbers pass there, and where the
    column is nullable. Dates pass as text too, for CSV has no other.
    """
    values = frame[name].dropna()
    expected = f"column {name!r} must be of type {column.dtype}"
    if values.empty:
        return None
    types = pd.api.types
    numeric = types.is_numeric_dtype(values) and not types.is_bool_dtype(values)
    if column.dtype == "float":
        if numeric:
            return _rows(
                expected.replace("of type float", "finite"), ~np.isfinite(values), frame, name
            )
        return _rows(expected, pd.to_numeric(values, errors="coerce").isna(), frame, name) or (
            f"{expected}, found {values.dtype}"
        )
    if column.dtype == "int":
        if numeric and (types.is_integer_dtype(values) or _may_be_float(frame[name], column)):
            return _rows(expected, values.mod(1) != 0, frame, name)
        if numeric and (values.mod(1) != 0).any():
            return _rows(expected, values.mod(1) != 0, frame, name)
        numbers = pd.to_numeric(values, errors="coerce")
        return (None if numeric else _rows(expected, numbers.isna(), frame, name)) or (
            f"{expected}, found {values.dtype}"
        )
    if column.dtype == "bool":
        wrong = values.map(lambda value: not isinstance(value, bool | np.bool_))
        return _rows(expected, wrong, frame, name)
    if column.dtype == "datetime":
        return _rows(expected, _as_dates(values).isna(), frame, name)
    return _rows(expected, values.map(lambda value: not isinstance(value, str)), frame, name)


def nulls(frame: pd.DataFrame, name: str, column: Column) -> str | None:
    """Check that a column that is not nullable has a value in every row."""
    missing = int(frame[name].isna().sum())
    if column.nullable or not missing:
        return None
    return f"column {name!r} must not be null, {missing:,} of {len(frame):,} rows are"


def value_range(frame: pd.DataFrame, name: str, column: Column) -> str | None:
    """Check that every value lies in the declared range, both ends included."""
    values, low, high = _comparable(frame[name], column), column.min, column.max
    if column.dtype == "datetime":
        low, high = (None if bound is None else pd.Timestamp(bound) for bound in (low, high))
    below = pd.Series(False, index=values.index) if low is None else values < low
    above = pd.Series(False, index=values.index) if high is None else values > high
    if not (n_out := int((below | above).sum())):
        return None
    if low is None or high is None:
        bounds = f"at most {column.max}" if low is None else f"at least {column.min}"
        expected = f"be {bounds}"
    else:
        expected = f"lie in [{column.min}, {column.max}]"
    unit = f" {column.unit}" if column.unit else ""
    found = [f"min {_show(values.min())}"] if below.any() else []
    found += [f"max {_show(values.max())}"] if above.any() else []
    do = "does" if n_out == 1 else "do"
    return (
        f"column {name!r} must {expected}{unit}, {n_out:,} of {len(frame):,} rows {do} not "
        f"({', '.join(found)})"
    )


def allowed(frame: pd.DataFrame, name: str, column: Column) -> str | None:
    """Check that every value is one of those listed; of a target they are its classes."""
    listed = column.allowed or []
    values = frame[name].dropna()
    kind = "class" if column.role == "target" else "value"
    plural = f"{kind}es" if kind == "class" else f"{kind}s"
    expected = f"be one of {len(listed)} {plural}" if len(listed) > 1 else f"be {listed[0]!r}"
    return _rows(f"column {name!r} must {expected}", ~values.isin(listed), frame, name)


def unique(frame: pd.DataFrame, name: str) -> str | None:
    """Check that no value occurs twice; nulls may."""
    values = frame[name].dropna()
    return _rows(f"column {name!r} must be unique", values.duplicated(), frame, name)


def sidak(alpha: float, n_tests: int) -> float:
    """Return the level of each of `n_tests` tests so that all together err with chance `alpha`.

    Šidák's correction: 1 - (1 - alpha)^(1 / n).
    """
    return 1 - (1 - alpha) ** (1 / n_tests)


def drift(sample: pd.Series, reference: pd.Series, level: float, nullable: bool) -> str | None:
    """Check that two samples of a numerical column can come from one distribution.

    Values are compared by the two-sample Kolmogorov-Smirnov test; nulls are left out of it, as
    `ks_2samp` would answer NaN. A nullable column's share of nulls is compared on its own, by
    the two-proportion z-test. The two tests share `level`, again by Šidák.
    """
    from scipy import stats

    level = sidak(level, 2) if nullable else level
    if nullable:
        p, shares = _null_rates(sample, reference)
        if p < level:
            return (
                f"column {sample.name!r} drifts from the reference: {shares[0]:.2%} of its rows "
                f"are null, of the reference {shares[1]:.2%} (p = {p:.2g} < {level:.4g})"
            )
    values, expected = sample.dropna(), reference.dropna()
    if values.empty or expected.empty:
        return None  # nothing to compare: `nulls` or the null rates have spoken
    statistic, p = stats.ks_2samp(values.astype("float64"), expected.astype("float64"))
    if p >= level:
        return None
    return (
        f"column {sample.name!r} drifts from the reference: KS statistic {statistic:.3f}, "
        f"p = {p:.2g} < {level:.4g} (medians {values.median():.4g} and {expected.median():.4g})"
    )


def _null_rates(sample: pd.Series, reference: pd.Series) -> tuple[float, tuple[float, float]]:
    """Return the two-sided p-value of equal null rates, and the two rates."""
    n, m = len(sample), len(reference)
    ours, theirs = float(sample.isna().mean()), float(reference.isna().mean())
    pooled = (ours * n + theirs * m) / (n + m)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    z = abs(ours - theirs) / spread if spread else 0.0
    return math.erfc(z / math.sqrt(2)), (ours, theirs)


def _may_be_float(values: pd.Series, column: Column) -> bool:
    return column.nullable or bool(values.isna().any())


def _as_dates(values: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(values):
        return pd.Series(pd.NaT, index=values.index)
    return pd.to_datetime(values, errors="coerce", format="ISO8601")


def _comparable(values: pd.Series, column: Column) -> pd.Series:
    """Return the values that a range applies to; of another type, none: `dtype` names those."""
    if column.dtype == "datetime":
        return _as_dates(values.dropna()).dropna()
    if column.dtype == "string":
        return values.dropna()[values.dropna().map(lambda value: isinstance(value, str))]
    if pd.api.types.is_bool_dtype(values):
        return values.iloc[:0].astype("float64")
    return pd.to_numeric(values, errors="coerce").dropna()


def _rows(expected: str, wrong: pd.Series, frame: pd.DataFrame, name: str) -> str | None:
    """Return `expected` with the number of wrong rows and examples of them, None for none.

    `wrong` has the labels of the rows it speaks of; rows with nulls may be absent from it.
    """
    labels = wrong.index[wrong.to_numpy(dtype=bool)]
    if not len(labels):
        return None
    values = frame[name].loc[labels].drop_duplicates().head(N_EXAMPLES + 1)
    examples = [_show(value) for value in values]
    if len(examples) > N_EXAMPLES:
        examples[N_EXAMPLES:] = ["..."]
    are = "is" if len(labels) == 1 else "are"
    return f"{expected}, {len(labels):,} of {len(frame):,} rows {are} not ({', '.join(examples)})"


def _show(value: Any) -> str:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value) if isinstance(value, pd.Timestamp) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
