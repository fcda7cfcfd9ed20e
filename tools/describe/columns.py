"""Proposes, for each column of a table, its type, role and limits, from its values alone."""

import datetime
import decimal
import math
import re
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tools.describe.readings import Reading
from util_lib.dataset.declaration import Csv

MARGIN = 0.1  # of the span between smallest and largest value, added on both sides
FEW_CODES = 12  # whole numbers of at most so many values may be codes of categories
FEW = 10  # categories that get a column each; with more, one number each
MOST_CATEGORIES = 50
ROWS_PER_CATEGORY = 5  # on average; with fewer, the values are names rather than categories
FEWEST_VALUES = 10  # a column with fewer cannot be learnt from once the rows are split
WORDS_OF_TEXT = 2.5  # on average; with fewer, the values are names
ID_NAME = re.compile(
    r"(.*[\s_.-])?(id|ids|uuid|guid|index|idx|row|rownum|rownames|row_names|#)"
    r"|unnamed: ?\d+|nr|no\.?"
)
CAMEL_ID = re.compile(r".*[a-z](Id|ID|Uuid|UUID)")
SMALL_ID = re.compile(r"[a-z]{2,}id")  # passengerid, orderid
NO_IDS = re.compile(
    r"aid|arid|bid|candid|grid|humid|hybrid|kid|laid|lipid|liquid|maid|mid|plaid|raid|rapid|rid|said|"
    r"solid|stupid|vivid|.*(acid|covid|fluid|oid|paid|valid)"
)
# What counts the rows of a file, whatever a program calls it.
ROW_NAMES = (
    "",
    "x",
    "unnamed",
    "rownames",
    "row",
    "obs",
    "observation",
    "case",
    "number",
    "nr",
    "seqn",
)
TIMES = re.compile(r"(.*[\s_.-])?(year|date|time|day|week|month|quarter|hour|age|period|t|yr)s?")
MOST_INFINITE = 0.2  # share of rows; with more the column is left out, not the rows
NO_YEAR = 1900  # what strptime makes of a time without a date
EXACT = 2**53  # whole numbers beyond it are not exact as a double
ASK = "Which is it?"  # begins a note that asks what only the user can know


class Proposal(NamedTuple):
    """What a draft says of one column: the keys of its declaration, and a comment.

    Without keys the column is to be left out of the table (`clean.drop_columns`). `notes` say how
    its values are read, and `infinite` that rows with an infinite value are to be left out.
    """

    keys: dict[str, Any]
    comment: str = ""
    notes: list[str] = []
    infinite: bool = False

    @property
    def role(self) -> str:
        """Return its role; empty where the column is left out."""
        return self.keys.get("role", "")


def propose(
    name: str, values: pd.Series, reading: Reading | None = None, csv: Csv | None = None
) -> Proposal:
    """Return the declaration of a feature, or of a column that cannot be one, and why."""
    filled = values.dropna()
    if filled.empty:
        return Proposal({}, "no value in any row")
    kind = dtype_of(values, filled)
    if kind is None:
        return Proposal({}, f"holds {_kind_of_cell(filled)}, which no feature takes")
    infinite = 0.0
    if kind == "float":
        finite = np.isfinite(filled.astype("float64"))
        infinite = 1 - float(finite.mean())
        if infinite > MOST_INFINITE:
            return Proposal({}, f"{infinite:.0%} of its values are infinite")
        filled = filled[finite]
    keys: dict[str, Any] = {"dtype": kind, "role": ""}
    if values.isna().any():
        keys |= {"nullable": True, "max_null_rate": _null_limit(values)}
    notes = list(reading.notes) if reading else []
    if reading and reading.asked:
        keys["role"] = "ignore"
        return Proposal(keys, "", [*notes, f"{ASK} {reading.asked}"])
    if kind == "int" and max(abs(int(filled.min())), abs(int(filled.max()))) > EXACT:
        more, comment = _long_numbers(filled)
    else:
        measured = bool(reading and reading.numbers and reading.numbers.around)
        more, comment = _role(name, kind, filled, len(values), measured)
    keys |= more
    if keys["dtype"] in ("int", "float") and keys["role"] != "ignore" and "allowed" not in keys:
        keys |= _range(filled, kind, exact=keys["role"] == "categorical")
    if kind == "datetime" and keys["role"] == "date":
        keys |= _first_date(filled)
    if reading:
        read = reading.keys(csv)
        numbers = () if keys["dtype"] in ("int", "float") else ("decimal", "thousands", "strip")
        keys |= {key: value for key, value in read.items() if key not in numbers}
    return Proposal(keys, comment, notes, infinite > 0)


def asks(proposal: Proposal) -> bool:
    """Say whether a column waits for an answer of the user."""
    return any(note.startswith(ASK) for note in proposal.notes)


def _long_numbers(filled: pd.Series) -> tuple[dict[str, Any], str]:
    """Return the role of whole numbers that a double cannot hold: names, not quantities."""
    n_different = filled.nunique()
    if n_different <= MOST_CATEGORIES and len(filled) >= ROWS_PER_CATEGORY * max(n_different, 2):
        if n_different > 1:
            allowed = sorted(str(value) for value in filled.unique())
            encoding = {"encoding": "one_hot"} if n_different <= FEW else {}
            return (
                {"dtype": "string", "role": "categorical", **encoding, "allowed": allowed},
                "codes: as numbers they are beyond 2^53, where a double merges neighbours",
            )
    unique = {"unique": True} if n_different == len(filled) else {}
    return _ignored(
        f"an id: whole numbers beyond 2^53, {n_different:,} different in {len(filled):,}", **unique
    )


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
        return "string"
    if kinds <= {bool, np.bool_}:
        return "bool"
    if all(issubclass(kind, datetime.date) for kind in kinds):
        return "datetime"
    return "float" if kinds == {decimal.Decimal} else None


def _kind_of_cell(filled: pd.Series) -> str:
    first = filled.iloc[0]
    kinds = {dict: "records", list: "lists", np.ndarray: "lists", bytes: "bytes"}
    return next(
        (word for kind, word in kinds.items() if isinstance(first, kind)), type(first).__name__
    )


def _role(
    name: str, kind: str, filled: pd.Series, n_rows: int, measured: bool
) -> tuple[dict[str, Any], str]:
    """Return role and what goes with it, and a comment; `measured` numbers have a unit."""
    n_different = filled.nunique()
    if n_different == 1:
        return _ignored(f"the same value in every row: {_shown(filled.iloc[0])}")
    is_id = looks_like_id(name)
    everywhere = n_different == n_rows
    if kind in ("int", "string") and everywhere and n_rows > FEW:
        if is_id or (kind == "string" and _are_codes(filled)):
            return _ignored("another value in every row: it names the row", unique=True)
        if kind == "int" and not measured and _counts_rows(name, filled):
            return _ignored("it counts the rows", unique=True)
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
    small = name.strip().lower()
    if SMALL_ID.fullmatch(small) and not NO_IDS.fullmatch(small):
        return True
    return bool(ID_NAME.fullmatch(small) or CAMEL_ID.fullmatch(name.strip()))


def counts_rows(name: str) -> bool:
    """Say whether a column is called as programs call the numbers of rows: X, rownames, ..."""
    return name.strip().lower() in ROW_NAMES or bool(re.match(r"unnamed:? ?\d*$", name.lower()))


def _ignored(why: str, **keys: Any) -> tuple[dict[str, Any], str]:
    return {"role": "ignore", **keys}, why


def _counts_rows(name: str, filled: pd.Series) -> bool:
    """Say whether whole numbers, another in every row, count them: without gaps, or up from 0 or 1.

    Rows that were left out since leave gaps. Years and the like count up too, and are values.
    """
    if TIMES.fullmatch(name.strip().lower()):
        return False
    low, high = int(filled.min()), int(filled.max())
    if high - low == len(filled) - 1:
        return True
    if counts_rows(name):
        return True
    return low in (0, 1) and high < 2 * len(filled) and bool(filled.is_monotonic_increasing)


def _are_codes(filled: pd.Series) -> bool:
    """Say whether all are single words."""
    return all(len(value.split()) <= 1 for value in filled.unique())


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
    if (dates.dt.year == NO_YEAR).all():  # times of a day
        return {}
    earliest = dates.min() - MARGIN * (dates.max() - dates.min())
    return {"min": str(earliest.date())}


def _shown(value: Any) -> str:
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 40 else f"{text[:37]}..."
