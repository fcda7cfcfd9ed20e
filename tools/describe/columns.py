"""Proposes, for each column of a table, its type, role and limits, from its values alone."""

import datetime
import math
import re
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

MARGIN = 0.1  # of the span between smallest and largest value, added on both sides
FEW_CODES = 12  # whole numbers of at most so many values may be codes of categories
FEW = 10  # categories that get a column each; with more, one number each
MOST_CATEGORIES = 50
ROWS_PER_CATEGORY = 5  # on average; with fewer, the values are names rather than categories
FEWEST_VALUES = 10  # a column with fewer cannot be learnt from once the rows are split
WORDS_OF_TEXT = 2.5  # on average; with fewer, the values are names
ID_NAME = re.compile(r"(.*[\s_.-])?(id|ids|uuid|guid|index|idx|row|rownum|#)|unnamed: \d+|nr|no\.?")
CAMEL_ID = re.compile(r".*[a-z](Id|ID|Uuid|UUID)")
ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}.*)?")
# Numbers as people write them: with a currency, a per cent sign or marks between thousands.
SIGNED = re.compile(r"[-+]?\s*[€$£¥]?\s*[-+]?\d{1,3}([,.' ]?\d{3})*([.,]\d+)?\s*[€$£¥%]?")
OTHER_DATE = re.compile(r"\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}( .*)?|\d{4}/\d{1,2}/\d{1,2}( .*)?")


class Proposal(NamedTuple):
    """What a draft says of one column: the keys of its declaration, and a comment.

    Without keys the column is to be left out of the table (`clean.drop_columns`).
    """

    keys: dict[str, Any]
    comment: str = ""

    @property
    def role(self) -> str:
        """Return its role; empty where the column is left out."""
        return self.keys.get("role", "")


def propose(name: str, values: pd.Series) -> Proposal:
    """Return the declaration of a feature, or of a column that cannot be one, and why."""
    filled = values.dropna()
    if filled.empty:
        return Proposal({}, "no value in any row")
    kind = dtype_of(values, filled)
    if kind is None:
        return Proposal({}, f"holds {_kind_of_cell(filled)}, which no feature takes")
    if kind == "float" and not np.isfinite(filled.astype("float64")).all():
        return Proposal({}, "holds infinite values, which no feature takes")
    keys: dict[str, Any] = {"dtype": kind, "role": ""}
    if len(filled) < len(values):
        keys |= {"nullable": True, "max_null_rate": _null_limit(values)}
    role, comment = _role(name, kind, filled, len(values))
    keys |= role
    if kind in ("int", "float") and keys["role"] != "ignore" and "allowed" not in keys:
        keys |= _range(filled, kind, exact=keys["role"] == "categorical")
    if kind == "datetime" and keys["role"] == "date":
        keys |= _first_date(filled)
    return Proposal(keys, comment)


def dtype_of(values: pd.Series, filled: pd.Series) -> str | None:
    """Return the dtype of the declaration, or None where there is none for such values.

    Whole numbers with gaps arrive as floats, and are declared so.
    """
    types = pd.api.types
    if isinstance(values.dtype, pd.CategoricalDtype):
        filled = filled.astype(values.cat.categories.dtype)
    if types.is_bool_dtype(filled):
        return "bool"
    if types.is_integer_dtype(filled):
        return "int"
    if types.is_float_dtype(filled):
        return "float"
    if types.is_datetime64_any_dtype(filled):
        return "datetime"
    kinds = {str} if isinstance(filled.dtype, pd.StringDtype) else set(map(type, filled))
    if kinds == {str}:
        return "datetime" if _are_dates(filled) else "string"
    if kinds <= {bool, np.bool_}:
        return "bool"
    if all(issubclass(kind, datetime.date) for kind in kinds):
        return "datetime"
    return None


def _all_match(pattern: re.Pattern, filled: pd.Series) -> bool:
    return all(pattern.fullmatch(value.strip()) for value in filled.unique())


def _are_dates(filled: pd.Series) -> bool:
    if not _all_match(ISO_DATE, filled):
        return False
    try:
        dates = pd.to_datetime(pd.Series(filled.unique()), format="ISO8601", errors="coerce")
    except (ValueError, TypeError):  # times of several time zones
        return False
    return bool(dates.notna().all())


def _kind_of_cell(filled: pd.Series) -> str:
    first = filled.iloc[0]
    kinds = {dict: "records", list: "lists", np.ndarray: "lists", bytes: "bytes"}
    return next(
        (word for kind, word in kinds.items() if isinstance(first, kind)), type(first).__name__
    )


def _role(name: str, kind: str, filled: pd.Series, n_rows: int) -> tuple[dict[str, Any], str]:
    """Return role and what goes with it, and a comment."""
    n_different = filled.nunique()
    if n_different == 1:
        return _ignored(f"the same value in every row: {_shown(filled.iloc[0])}")
    is_id = looks_like_id(name)
    everywhere = n_different == n_rows
    if kind in ("int", "string") and everywhere and n_rows > FEW:
        if (
            is_id
            or (kind == "int" and _counts_up(filled))
            or (kind == "string" and _are_codes(filled))
        ):
            return _ignored("another value in every row: it names the row", unique=True)
    if is_id and kind in ("int", "string") and n_different > FEW_CODES:
        return _ignored(f"an id by its name, with {n_different:,} different values")
    if len(filled) < FEWEST_VALUES:
        return _ignored(f"only {len(filled)} values: too few to learn from")
    if kind == "datetime":
        return {"role": "date"}, ""
    if kind == "bool":
        return {"role": "categorical"}, ""
    if kind == "int":
        return _whole_numbers(filled, n_different)
    if kind == "float":
        return {"role": "numerical"}, ""
    return _texts(filled, n_different)


def looks_like_id(name: str) -> bool:
    """Say whether a column is called like one that names rows: id, host_id, uuid, #, ..."""
    return bool(ID_NAME.fullmatch(name.strip().lower()) or CAMEL_ID.fullmatch(name.strip()))


def _ignored(why: str, **keys: Any) -> tuple[dict[str, Any], str]:
    return {"role": "ignore", **keys}, why


def _counts_up(filled: pd.Series) -> bool:
    return int(filled.max()) - int(filled.min()) == len(filled) - 1


def _are_codes(filled: pd.Series) -> bool:
    """Say whether all are single words, and not numbers written as text."""
    return all(len(value.split()) <= 1 for value in filled.unique()) and not _are_signed(filled)


def _are_signed(filled: pd.Series) -> bool:
    """Say whether all are numbers, and some of them with something between or around the digits."""
    return _all_match(SIGNED, filled) and not _all_match(re.compile(r"\d*"), filled)


def _whole_numbers(filled: pd.Series, n_different: int) -> tuple[dict[str, Any], str]:
    low, high = int(filled.min()), int(filled.max())
    if n_different == 2:
        allowed = sorted(int(value) for value in filled.unique())
        return {"role": "categorical", "allowed": allowed}, ""
    dense = 0 <= low and high - low < 2 * n_different
    if n_different <= FEW_CODES and dense and len(filled) >= ROWS_PER_CATEGORY * n_different:
        return (
            {"role": "categorical"},
            f"{n_different} different values: codes, or a count (then role numerical)",
        )
    return {"role": "numerical"}, ""


def _texts(filled: pd.Series, n_different: int) -> tuple[dict[str, Any], str]:
    if _are_signed(filled):
        return _ignored(f"numbers written as text, such as {_shown(filled.iloc[0])}")
    if _all_match(OTHER_DATE, filled):
        return _ignored("dates in another form than 2024-12-31: as such they are no feature")
    many_each = len(filled) >= ROWS_PER_CATEGORY * n_different
    if n_different <= MOST_CATEGORIES and many_each:
        allowed = sorted(filled.unique())
        if any("${" in value for value in allowed):
            return _ignored("values with ${, which the configuration would take for its own")
        encoding = {"encoding": "one_hot"} if n_different <= FEW else {}
        return {"role": "categorical", **encoding, "allowed": allowed}, ""
    if filled.map(lambda value: len(value.split())).mean() >= WORDS_OF_TEXT:
        return {"role": "text"}, ""
    return _ignored(f"{n_different:,} different values, too many for categories")


def _null_limit(values: pd.Series) -> float:
    """Return half as much again as is missing now, and 5 % of the rows, in whole per cent."""
    return min(1.0, math.ceil((1.5 * float(values.isna().mean()) + 0.05) * 100 - 1e-9) / 100)


def _range(filled: pd.Series, kind: str, exact: bool) -> dict[str, int | float]:
    """Return min and max with a margin, rounded outwards.

    A bound that the values respect by nature is kept: 0, and 1 for shares.
    """
    low, high = filled.min().item(), filled.max().item()
    if exact:
        return {"min": low, "max": high}
    margin = MARGIN * ((high - low) or abs(high) or 1.0)
    step = 10.0 ** math.floor(math.log10(margin))
    minimum = math.floor((low - margin) / step) * step
    maximum = math.ceil((high + margin) / step) * step
    if low >= 0:
        minimum = max(minimum, 0.0)
    if high <= 0:
        maximum = min(maximum, 0.0)
    if kind == "float" and 0 <= low and 0.9 <= high <= 1:
        maximum = 1.0
    # beyond 2^53 the sums above are not exact any more
    minimum, maximum = min(minimum, low), max(maximum, high)
    digits = max(0, -math.floor(math.log10(step)))
    return {"min": _plain(minimum, digits, kind), "max": _plain(maximum, digits, kind)}


def _plain(value: float, digits: int, kind: str) -> int | float:
    value = round(value, digits)
    return int(value) if kind == "int" or value == int(value) else value


def _first_date(filled: pd.Series) -> dict[str, str]:
    """Return the earliest day, less a margin; none for the latest, for new rows are later."""
    dates = pd.to_datetime(filled, utc=True)
    earliest = dates.min() - MARGIN * (dates.max() - dates.min())
    return {"min": str(earliest.date())}


def _shown(value: Any) -> str:
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 40 else f"{text[:37]}..."
