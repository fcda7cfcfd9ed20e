"""What values stand for, by the declaration of their column: one reading, whatever they came in.

Texts of CSV, the values of parquet, Excel and JSON, and the rows of a request all come through
`read`. Integers are exact to 64 bits, with or without gaps; what is missing is null; dates are
naive, in UTC where they had a time zone.
"""

import datetime
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from util_lib.cli import ANSWERS
from util_lib.dataset.columns import Column
from util_lib.dataset.declaration import Csv

# What pandas, and with it MLflow's server, takes for a missing value: of columns of text it is not,
# where NA is also Namibia.
MISSING = frozenset(
    ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"]
    + ["<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]
)
EXACT = 2**53  # whole numbers beyond are not all doubles
OURS = Csv()  # how the pipeline itself writes CSV, and what its own tables are read by
TYPES = {
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "datetime": pa.timestamp("us"),
}
GUESSES = ("bool", "int", "float", "string")
TRUTH_WORDS = {"", "True", "False", "true", "false", "TRUE", "FALSE"}
INTEGER = r"^[+-]?[0-9]+$"
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
INFINITE = r"^[+-]?(?i:inf|infinity)$"
OFFSET = re.compile(r"(Z|[+-]\d\d:?\d\d)$")


class Read(NamedTuple):
    """Values of the declared type; `wrong` marks those that are of another, which are null here."""

    values: pa.Array
    wrong: np.ndarray


def read(values: pa.Array, column: Column, form: Csv = OURS, *, written: bool = False) -> Read:
    """Return what `values` stand for in a column that is declared so.

    `written` says that they are texts because their file has nothing else (CSV): elsewhere a text
    is no number, unless the column declares how numbers are written. `form` says how.
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values.type, pa.DictionaryType):
        values = values.dictionary_decode()
    if pa.types.is_large_string(values.type) or pa.types.is_string_view(values.type):
        values = values.cast(pa.string())
    if pa.types.is_string(values.type):
        values = _without_missing_words(values, column, form)
        readers: dict[str, Callable[..., Read]] = {
            "int": _integers_in_text,
            "float": _numbers_in_text,
            "bool": _answers_in_text,
            "datetime": partial(_dates_in_text, also_iso=not written),
            "string": lambda texts, column, form: _right(texts),
        }
        is_number = column.dtype in ("int", "float")
        if is_number and not (written or column.decimal or column.thousands or column.strip):
            return _wrong(values, column)
        found = readers[column.dtype](values, column, form)
        return found._replace(values=_without_missing_values(found.values, column))
    if pa.types.is_date(values.type):
        values = values.cast(pa.timestamp("us"))
    others: dict[str, Callable[..., Read]] = {
        "int": _integers,
        "float": _numbers,
        "bool": _answers,
        "datetime": _dates,
        "string": _texts,
    }
    return others[column.dtype](_without_missing_values(values, column), column)


def read_objects(values: list[Any], column: Column, form: Csv = OURS) -> Read:
    """Return what Python values stand for, each by its own type: those of JSON, or of a cell."""
    if column.dtype == "string":  # a code may have more digits than 64 bits hold
        values = [str(value) if _is_long(value) else value for value in values]
    places: dict[pa.DataType | None, list[int]] = {}
    for place, value in enumerate(values):
        places.setdefault(_type_of(value), []).append(place)
    places.pop(pa.null(), None)
    parts, wrong, order = [], np.zeros(len(values), dtype=bool), []
    for kind, rows in places.items():
        part = [values[row] for row in rows]
        if kind is None:
            wrong[rows] = True
            continue
        if pa.types.is_floating(kind):  # pyarrow makes no double of a long whole number
            part = [float(str(v)) if _is_long(v) else v for v in part]
        found = read(pa.array(part, kind), column, form)
        parts.append(found.values)
        wrong[rows] = found.wrong
        order += rows
    whole = pa.concat_arrays(parts) if parts else pa.array([], TYPES[column.dtype])
    places_of = np.full(len(values), -1)
    places_of[order] = np.arange(len(order))
    return Read(whole.take(pa.array(places_of, mask=places_of < 0)), wrong)


def _type_of(value: Any) -> pa.DataType | None:
    """Return the Arrow type of one value, None for what no column holds."""
    try:
        if value is None or value != value:
            return pa.null()
    except (TypeError, ValueError):  # pandas' NA is neither true nor false, and so is an array
        return pa.null() if type(value).__name__ == "NAType" else None
    if isinstance(value, bool | np.bool_):
        return pa.bool_()
    if isinstance(value, int | np.integer):
        return pa.float64() if _is_long(value) else pa.int64()
    if isinstance(value, float | np.floating):
        return pa.float64()
    if isinstance(value, str):
        return pa.string()
    try:
        return pa.scalar(value).type
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None


def _is_long(value: Any) -> bool:
    """Say whether a value is a whole number that 64 bits do not hold."""
    return isinstance(value, int | np.integer) and not -(2**63) <= value < 2**63


def _right(values: pa.Array) -> Read:
    return Read(values, np.zeros(len(values), dtype=bool))


def _wrong(values: pa.Array, column: Column) -> Read:
    """Say of every value that it is of another type; what is null may be."""
    found = pc.is_valid(values).to_numpy(zero_copy_only=False)
    return Read(pa.nulls(len(values), TYPES[column.dtype]), found)


def _of(values: pa.Array, right: pa.Array | np.ndarray, convert: Callable[[Any], pa.Array]) -> Read:
    """Convert those of `values` that are `right`; the others, nulls aside, are wrong."""
    right = pa.array(right) if isinstance(right, np.ndarray) else right
    right = pc.fill_null(right, False)
    kept = pc.if_else(right, values, None)
    wrong = pc.and_not(pc.is_valid(values), right)
    return Read(convert(kept), wrong.to_numpy(zero_copy_only=False))


# What is missing


def missing_words(column: Column, form: Csv) -> set[str]:
    """Return the texts that stand for a missing value; the empty one always does."""
    words = {"", *form.missing, *map(_word, column.missing)}
    return words if column.dtype == "string" else words | MISSING


def _word(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _without_missing_words(texts: pa.Array, column: Column, form: Csv) -> pa.Array:
    if form.trim or column.dtype != "string":
        texts = pc.utf8_trim_whitespace(texts)
    words = pa.array(sorted(missing_words(column, form)))
    return pc.if_else(pc.is_in(texts, words), None, texts)


def _without_missing_values(values: pa.Array, column: Column) -> pa.Array:
    """Make NaN null, and the numbers and dates that are declared to be missing."""
    types, kind = pa.types, values.type
    if types.is_floating(kind):
        values = pc.if_else(pc.is_nan(values), None, values)
    listed: list[Any] = []
    if types.is_integer(kind):
        low, high = _limits(kind)
        whole = [_whole(_word(value)) for value in column.missing]
        listed = [number for number in whole if number is not None and low <= number <= high]
    elif types.is_floating(kind):
        listed = [float(value) for value in column.missing if isinstance(value, int | float)]
    elif types.is_timestamp(kind):
        listed = [value for value in map(_moment, column.missing) if value is not None]
    if not listed:
        return values
    return pc.if_else(pc.is_in(values, pa.array(listed, kind)), None, values)


def _limits(kind: pa.DataType) -> tuple[int, int]:
    limits = np.iinfo(kind.to_pandas_dtype())
    return int(limits.min), int(limits.max)


def _moment(written: Any) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(written) if isinstance(written, str) else None
    except ValueError:
        return None


# Texts


def _plain_numbers(texts: pa.Array, column: Column, form: Csv) -> pa.Array:
    """Write numbers as Python does: without units and marks between thousands, with a dot.

    A mark between thousands must stand before three digits each, or the text is left as it is.
    """
    for part in column.strip:
        at_end = pc.match_substring_regex(texts, rf"^[+-]?\s*{re.escape(part)}|{re.escape(part)}$")
        bare = pc.utf8_trim_whitespace(pc.replace_substring(texts, part, "", max_replacements=1))
        texts = pc.if_else(at_end, bare, texts)
    decimal = column.decimal or form.decimal
    thousands = column.thousands or form.thousands
    if thousands == decimal:  # the column has one of them, the file the other
        if column.thousands:
            decimal = "\0"
        else:
            thousands = None
    if thousands:
        mark, dot = re.escape(thousands), re.escape(decimal)
        grouped = rf"^[+-]?[0-9]{{1,3}}({mark}[0-9]{{3}})+({dot}[0-9]*)?$"
        without = pc.replace_substring(texts, thousands, "")
        texts = pc.if_else(pc.match_substring_regex(texts, grouped), without, texts)
    if decimal != ".":
        # A dot would be read as a decimal mark, which it is not here: such a text is no number.
        has_dot = pc.match_substring(texts, ".")
        texts = pc.if_else(has_dot, "?", pc.replace_substring(texts, decimal, "."))
    return texts


def _integers_in_text(texts: pa.Array, column: Column, form: Csv) -> Read:
    texts = _plain_numbers(texts, column, form)
    plain = pc.match_substring_regex(texts, INTEGER)
    short = pc.less_equal(pc.utf8_length(texts), 18)
    if pc.all(pc.and_(plain, short)).as_py() is not False:
        return _right(pc.replace_substring_regex(texts, r"^\+", "").cast(pa.int64()))
    values = [_whole(text) for text in texts.to_pylist()]
    right = np.array([value is not None for value in values])
    return _of(texts, right, lambda _: pa.array(values, pa.int64()))


def _whole(text: str | None) -> int | None:
    """Return a whole number exactly, also of 5.0 and 1e3; None for what is none, or has 64 bits."""
    if text is None or not re.fullmatch(NUMBER[1:-1], text):
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if abs(number.adjusted()) > 20 or number != number.to_integral_value():
        return None if number else 0
    value = int(number)
    return value if -(2**63) <= value < 2**63 else None


def _numbers_in_text(texts: pa.Array, column: Column, form: Csv) -> Read:
    texts = _plain_numbers(texts, column, form)
    right = pc.match_substring_regex(texts, f"{NUMBER}|{INFINITE}")
    return _of(texts, right, lambda kept: kept.cast(pa.float64()))


def _answers_in_text(texts: pa.Array, column: Column, form: Csv) -> Read:
    lower = pc.utf8_lower(texts)
    true = pa.array([word for word, answer in ANSWERS.items() if answer])
    known = pa.array([*ANSWERS])
    return _of(lower, pc.is_in(lower, known), lambda kept: _is_in(kept, true))


def _is_in(values: pa.Array, listed: pa.Array) -> pa.Array:
    """Say which values are listed; null of what is null."""
    return pc.if_else(pc.is_valid(values), pc.is_in(values, listed), None)


def _dates_in_text(texts: pa.Array, column: Column, form: Csv, *, also_iso: bool) -> Read:
    """Read dates as they are declared to be written; `also_iso` takes the others as ISO 8601."""
    import pandas as pd

    written = column.date_format or form.date_format or "ISO8601"
    series = texts.to_pandas().astype(object)
    there = pc.is_valid(texts).to_numpy(zero_copy_only=False)
    moments = pd.to_datetime(series, errors="coerce", format=written, utc=True)
    if also_iso and written != "ISO8601" and (others := moments.isna().to_numpy() & there).any():
        moments = moments.astype("datetime64[us, UTC]")
        moments[others] = pd.to_datetime(
            series[others], errors="coerce", format="ISO8601", utc=True
        )
    right = moments.notna().to_numpy() | ~there
    naive = moments.dt.tz_localize(None).dt.as_unit("us")
    return _of(texts, right, lambda _: pa.array(naive))


# Other values


def _integers(values: pa.Array, column: Column) -> Read:
    types = pa.types
    if types.is_null(values.type):
        return _right(values.cast(pa.int64()))
    if types.is_unsigned_integer(values.type) and values.type.bit_width == 64:
        right = pc.less_equal(values, pa.scalar(2**63 - 1, values.type))
        return _of(values, right, lambda kept: kept.cast(pa.int64()))
    if types.is_integer(values.type):
        return _right(values.cast(pa.int64()))
    if types.is_floating(values.type):
        doubles = values.cast(pa.float64())
        right = pc.and_(
            pc.equal(pc.floor(doubles), doubles), pc.less_equal(pc.abs(doubles), float(EXACT))
        )
        return _of(doubles, right, lambda kept: kept.cast(pa.int64()))
    if types.is_decimal(values.type):
        whole = [_whole(str(v)) for v in values.to_pylist()]
        right = np.array([v is not None for v in whole])
        return _of(values, right, lambda _: pa.array(whole, pa.int64()))
    return _wrong(values, column)


def _numbers(values: pa.Array, column: Column) -> Read:
    types = pa.types
    if types.is_decimal(values.type):
        numbers = [None if v is None else float(v) for v in values.to_pylist()]
        return _right(pa.array(numbers, pa.float64()))
    if types.is_integer(values.type):
        return _right(values.cast(pa.float64(), safe=False))
    if types.is_floating(values.type) or types.is_null(values.type):
        return _right(values.cast(pa.float64()))
    return _wrong(values, column)


def _answers(values: pa.Array, column: Column) -> Read:
    types = pa.types
    if types.is_boolean(values.type) or types.is_null(values.type):
        return _right(values.cast(pa.bool_()))
    if types.is_integer(values.type) or types.is_floating(values.type):
        doubles = values.cast(pa.float64(), safe=False)
        right = pc.is_in(doubles, pa.array([0.0, 1.0]))
        return _of(doubles, right, lambda kept: kept.cast(pa.bool_()))
    return _wrong(values, column)


def _dates(values: pa.Array, column: Column) -> Read:
    types = pa.types
    if types.is_timestamp(values.type):
        return _right(values.cast(pa.timestamp(values.type.unit)))
    if types.is_null(values.type):
        return _right(values.cast(pa.timestamp("us")))
    return _wrong(values, column)


def _texts(values: pa.Array, column: Column) -> Read:
    """Take whole numbers for texts of digits, as long codes are declared, but not for words."""
    if column.role == "text" and not pa.types.is_null(values.type):
        return _wrong(values, column)
    if pa.types.is_integer(values.type) or pa.types.is_null(values.type):
        return _right(values.cast(pa.string()))
    if pa.types.is_decimal(values.type) and values.type.scale == 0:
        return _right(pa.array([None if v is None else str(v) for v in values.to_pylist()]))
    return _wrong(values, column)


def guessed(texts: pa.Array, form: Csv) -> pa.Array:
    """Return the texts of a column that is not declared as what all of them are.

    Booleans, whole numbers, numbers; else texts. Words such as NA are missing among numbers only.
    """
    for dtype in GUESSES:
        values = guess(texts, form, dtype)
        if values is not None and (dtype == "string" or values.null_count < len(texts)):
            return values
    return texts


def guess(texts: pa.Array, form: Csv, dtype: str) -> pa.Array | None:
    """Return texts as values of a type, None where they are not all of it."""
    if dtype == "bool" and not {*texts.unique().to_pylist()} <= TRUTH_WORDS:
        return None
    column = Column.model_validate({"dtype": dtype, "role": "ignore"})
    for part in (texts[:1000], texts):  # what the first are not, a long column is not
        found = read(part, column, form, written=True)
        if found.wrong.any():
            return None
    return found.values


def texts_as_they_are(texts: pa.Array, form: Csv) -> pa.Array:
    """Return the texts of a declared column in which some are of another type."""
    column = Column.model_validate({"dtype": "string", "role": "ignore"})
    return read(texts, column, form).values


def for_pandas(values: pa.Array) -> Any:
    """Return values as a column for pandas, exactly: whole numbers with gaps stay whole."""
    import pandas as pd

    if isinstance(values.type, pa.DictionaryType):
        values = values.dictionary_decode()
    if values.null_count and pa.types.is_integer(values.type):
        unsigned = pa.types.is_unsigned_integer(values.type)
        kind = f"{'U' if unsigned else ''}Int{values.type.bit_width}"
        filled = pc.fill_null(values, 0).to_numpy(zero_copy_only=False)
        missing = pc.is_null(values).to_numpy(zero_copy_only=False)
        whole = filled.astype(kind.lower())
        return pd.Series(pd.arrays.IntegerArray(whole, missing))
    if values.null_count and pa.types.is_boolean(values.type):
        return pd.Series(values.to_pylist(), dtype="boolean")
    return values.to_pandas()
