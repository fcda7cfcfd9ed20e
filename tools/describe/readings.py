"""Tells what the texts of each column are, and reads them: numbers, dates, words, what is missing.

What one column cannot say, the file does: the decimal mark, and which words are no values.
"""

import re
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tools.describe import census, date_forms, number_forms, sentinels
from tools.describe.census import Census, Kind, shown
from tools.describe.date_forms import Dates
from tools.describe.number_forms import Numbers
from util_lib.dataset.columns import Column
from util_lib.dataset.declaration import Csv
from util_lib.tables import typed
from util_lib.tables.reading import HOW_WRITTEN, as_declared

FEW_VALUES = 50  # different ones, which may be categories; 1.1 and 1.10 among them are two
SELDOM = 0.01  # share of rows: a word that is seldom among many different texts is one of them
CODE_NAME = re.compile(
    r"(.*[\s_.-])?(zip|zip_?code|post_?code|postal_?code|plz|cap|phone|tel|telephone|mobile|fax|ssn|"
    r"isbn|ean|upc|gtin|barcode|fips|iban|version|sku)",
    re.IGNORECASE,
)
OFTEN_CLASSES = ("none", "unknown", "nil", "not applicable", "tbd", "nd")  # words with a meaning
CODES = re.compile(r"[A-Z]{2}")  # of countries and states: NA is Namibia


class Reading(NamedTuple):
    """How the texts of one column are read: `kind` is the dtype of its declaration.

    `missing` are texts that stand for a missing value, `sentinels` numbers and dates that do.
    `asked` is what only the user can know: the column is no feature before that.
    """

    kind: str
    numbers: Numbers | None = None
    dates: Dates | None = None
    missing: dict[str, Kind] = {}
    sentinels: list[Any] = []
    notes: list[str] = []
    asked: str = ""

    def keys(self, csv: Csv | None) -> dict[str, Any]:
        """Return what the column's declaration says of its reading, beside what `csv` says."""
        keys: dict[str, Any] = {}
        known = csv.missing if csv else []
        words = [word for word in self.missing if word not in known]
        if words or self.sentinels:
            keys["missing"] = [*words, *self.sentinels]
        if self.numbers and self.kind in ("int", "float"):
            usual = csv.decimal if csv else "."
            if csv is None:  # a text is a number only where its column says how it is written
                keys["decimal"] = self.numbers.decimal
            decimal, thousands = self.numbers.decimal, self.numbers.thousands
            if thousands and thousands == usual and self.numbers.whole:
                decimal = "," if thousands == "." else "."
            if (not self.numbers.whole or thousands == usual) and decimal != usual:
                keys["decimal"] = decimal
            if thousands:
                keys["thousands"] = thousands
            if self.numbers.around:
                keys["strip"] = self.numbers.around
                keys["unit"] = " ".join(self.numbers.around)
        if self.dates and self.kind == "datetime" and self.dates.format != date_forms.ISO:
            keys["date_format"] = self.dates.format
        return keys


class Meant(NamedTuple):
    """A table with its values as they are meant, how its texts were read, and its CSV form."""

    frame: pd.DataFrame
    readings: dict[str, Reading]
    csv: Csv | None


def read(columns: dict[str, Any], csv: Csv | None = None) -> Meant:
    """Return the values of columns, texts of which may be numbers and dates.

    A CSV file is written as `csv` says, and all its columns are texts; other tables have some.
    """
    texts = {name: text for name, column in columns.items() if (text := _texts(column)) is not None}
    counted = {name: census.take(column) for name, column in texts.items()}
    usual = _usual_decimal(counted, csv)
    if csv and usual == "," != csv.separator:
        csv = csv.model_copy(update={"decimal": ","})
    readings = {name: _reading(name, texts[name], counted[name], usual) for name in texts}
    if csv is None:  # whoever wrote texts into a file with types meant texts
        readings |= {n: _as_meant(r, texts[n]) for n, r in readings.items() if r.kind == "int"}
    readings = _missing(readings, counted, texts)
    if csv:
        csv = csv.model_copy(update={"missing": _everywhere(readings, counted)})
    frame = {}
    for name, column in columns.items():
        reading = readings.get(name)
        frame[name] = values(column, reading, csv)
        if found := sentinels.find(frame[name]):
            frame[name] = sentinels.without(frame[name], found)
            readings[name] = _with_sentinels(reading or Reading(""), column, found)
    return Meant(pd.DataFrame(frame), readings, csv)


def _texts(column: Any) -> pa.Array | None:
    """Return a column of texts, or of single values of several types as texts; None for others."""
    if isinstance(column, list):
        kinds = {type(value) for value in column} - {type(None)}
        if kinds == {str} or (str in kinds and kinds <= {str, int, float, bool}):
            return pa.array(
                [None if value is None else str(value) for value in column], pa.string()
            )
        return None
    kind = column.type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    types = pa.types
    is_text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return column.cast(pa.string()) if is_text else None


def _with_sentinels(reading: Reading, column: Any, found: list[Any]) -> Reading:
    """Add values that stand for a missing one; a date is said as in ISO 8601."""
    counts = " and ".join(f"{value} ({times:,} rows)" for value, times in found)
    note = f"{counts}, far from all other values, is taken as missing"
    listed = [value for value, _ in found]
    return reading._replace(sentinels=listed, notes=[*reading.notes, note])


def habit_of_blanks(columns: dict[str, pa.Array]) -> bool:
    """Say whether blanks stand around values by habit: around most, or they make two of one."""
    return any(map(_has_blanks, columns.values()))


def _has_blanks(column: pa.Array) -> bool:
    trimmed = pc.utf8_trim_whitespace(column)
    padded = pc.fill_null(pc.and_(pc.not_equal(column, trimmed), pc.not_equal(trimmed, "")), False)
    n_padded = pc.sum(padded).as_py() or 0
    if not n_padded:
        return False
    if n_padded > 0.5 * len(column):
        return True
    if pc.count_distinct(column).as_py() > 2 * FEW_VALUES:
        return False
    bare = pc.unique(column.filter(pc.invert(padded)))
    twice = pc.is_in(pc.unique(trimmed.filter(padded)), value_set=bare)
    return bool(pc.any(twice).as_py())


def _usual_decimal(counted: dict[str, Census], csv: Csv | None) -> str | None:
    """Return the mark that stands in numbers where it can only be a decimal mark; None: in none."""
    found = {".": 0, ",": 0}
    for column in counted.values():
        for shape, kind in (column.shapes or {}).items():
            if match := re.fullmatch(r"\D*[09]+([.,])(9+)\D*", shape):
                if len(match[2]) != 3 or shape[match.start(1) - 1] == "0":
                    found[match[1]] += kind.times
    if not any(found.values()):
        return "." if csv is None or csv.separator == "," else None
    return "," if found[","] > found["."] else "."


def _reading(name: str, column: pa.Array, counted: Census, usual: str | None) -> Reading:
    shapes = counted.shapes
    if not counted.n_values:
        return Reading("string", missing=dict(_as_written(counted)))
    if shapes is None:
        return Reading("string")
    if {kind.example.lower() for kind in shapes.values()} <= {"true", "false"}:
        return Reading("bool", missing=dict(_as_written(counted)))
    if found := number_forms.read(shapes, usual):
        return _of_numbers(name, column, counted, found)
    if found_dates := date_forms.read(census.different(column.filter(_among(column)))):
        return _of_dates(column, counted, found_dates)
    if forms := date_forms.mixed(census.different(column.filter(_among(column)))):
        listed = ", ".join(map(repr, forms))
        return Reading("string", notes=[f"dates in forms that no one format reads: {listed}"])
    return Reading("string", notes=_nearly(shapes, usual))


def _among(column: pa.Array) -> pa.Array:
    """Mark the values that are neither empty nor words for a missing value."""
    trimmed = pc.utf8_trim_whitespace(column)
    word = pc.is_in(trimmed, value_set=pa.array(sorted({*census.MISSING, ""})))
    return pc.fill_null(pc.invert(word), False)


def _of_numbers(name: str, column: pa.Array, counted: Census, found: Numbers) -> Reading:
    if codes := _as_codes(name, column, found):
        return Reading("string", notes=[codes])
    if found.other:
        mark = found.decimal
        marked = census.first_match(column, r"[0-9][.,][0-9]{3}")
        example = marked.example if marked else ""
        other = "." if mark == "," else ","
        return Reading(
            "string",
            asked=f"{example!r} may be {example.replace(mark, '')} or "
            f"{example.replace(mark, '.')}: for the first write {{dtype: int, role: numerical, "
            f"thousands: {mark!r}, decimal: {other!r}}}, for the second {{dtype: float, role: "
            f"numerical, decimal: {mark!r}}}; till then it is left alone",
        )
    notes = []
    missing = dict(_as_written(counted))
    if found.odd:
        odd = values_like(column, [kind for kind in found.odd], counted)
        missing |= odd
        notes.append(
            f"{found.n_numbers:,} of {counted.n_values:,} are numbers; others: "
            f"{shown(list(odd.values()))}, taken as missing: correct them, or take them out of "
            "`missing` and check_data stops there"
        )
    elif missing:
        total = counted.n_rows - counted.n_empty
        notes.append(
            f"{found.n_numbers:,} of {total:,} are numbers; others: {shown(list(missing.values()))}"
        )
    if found.around:
        notes.append(_with_units(column, found))
    kind = "int" if found.whole else "float"
    return Reading(kind, numbers=found, missing=missing, notes=notes)


def _as_meant(reading: Reading, column: pa.Array) -> Reading:
    """Return a reading of whole numbers as texts, where they are few and nothing is around them."""
    found = reading.numbers
    if not found or found.odd or found.around or found.thousands:
        return reading
    if len(census.different(column)) > FEW_VALUES:
        return reading
    return Reading("string", notes=["digits, but texts in the file: as numbers write dtype: int"])


def _with_units(column: pa.Array, found: Numbers) -> str:
    pattern = "|".join(re.escape(word) for word in found.around)
    kind = census.first_match(column, pattern)
    words = " and ".join(map(repr, found.around))
    if kind and kind.times < found.n_numbers:
        return f"{shown([kind])} has {words} around it, which is no part of the number"
    return f"numbers with {words}"


def _as_codes(name: str, column: pa.Array, found: Numbers) -> str:
    """Say why digits are names rather than numbers; empty where they are numbers."""
    if found.around or found.thousands:
        return ""
    if CODE_NAME.fullmatch(name.strip()):
        return "codes by their name, though all are numbers"
    for pattern, what in (
        (r"^\s*0[0-9]+\s*$", "begins with a zero"),
        (r"^\s*[0-9]+[eE][0-9]+\s*$", "is no number as programs write it"),
    ):
        if kind := census.first_match(column, pattern):
            return f"codes: {kind.example!r} (row {kind.row:,}) {what}"
    if found.whole:
        longest = pc.max(pc.utf8_length(pc.utf8_trim_whitespace(column))).as_py()
        if longest > 18 and not _fits_64_bits(column):
            return "more digits than 64 bits hold"
        return ""
    different = census.different(column)
    if len(different) <= FEW_VALUES:
        by_number: dict[str, list[str]] = {}
        for text in different:
            by_number.setdefault(text.rstrip("0") if "." in text else text, []).append(text)
        twice = next((texts for texts in by_number.values() if len(texts) > 1), None)
        if twice:
            return (
                f"{' and '.join(sorted(twice)[:2])} are two values, as of versions: as numbers "
                "(dtype: float) they would be one"
            )
    return ""


def _fits_64_bits(column: pa.Array) -> bool:
    whole = r"^\s*[-+]?[0-9]{19,}\s*$"
    long = column.filter(pc.fill_null(pc.match_substring_regex(column, whole), False))
    return all(-(2**63) <= int(text) < 2**63 for text in pc.unique(long).to_pylist())


def _of_dates(column: pa.Array, counted: Census, found: Dates) -> Reading:
    if found.other:
        different = census.different(column)
        first, second = (date_forms.parse(different, way) for way in (found.format, found.other))
        example = different[first.notna() & (first != second)].iloc[0]
        return Reading(
            "string",
            asked=f"{example!r} may be {_spelled(example, found.format)} or "
            f"{_spelled(example, found.other)}: write {{dtype: datetime, role: date, date_format: "
            f"{found.format!r}}} or {found.other!r}; till then it is left alone",
        )
    missing = dict(_as_written(counted))
    notes = []
    if found.odd:
        odd = {text: _place(column, text) for text in found.odd}
        missing |= odd
        n_odd = sum(kind.times for kind in odd.values())
        notes.append(
            f"{counted.n_values - n_odd:,} of {counted.n_values:,} are dates; others: "
            f"{shown(list(odd.values()))}, taken as missing"
        )
    return Reading("datetime", dates=found, missing=missing, notes=notes)


def _spelled(text: str, written: str) -> str:
    return str(date_forms.parse(pd.Series([text]), written).iloc[0].date())


def _place(column: pa.Array, text: str) -> Kind:
    same = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), text), False)
    return Kind(pc.sum(same).as_py(), text, pc.index(same, True).as_py())


def values_like(column: pa.Array, kinds: list[Kind], counted: Census) -> dict[str, Kind]:
    """Return the different values that look like one of `kinds`, and where they stand."""
    shapes = {shape for shape, kind in (counted.shapes or {}).items() if kind in kinds}
    masked = {}
    for text in census.different(column):
        if census.shape_of(text) in shapes:
            masked[text] = _place(column, text)
    return masked


def _as_written(counted: Census) -> list[tuple[str, Kind]]:
    return sorted(counted.words.items())


def _nearly(shapes: dict[str, Kind], usual: str | None) -> list[str]:
    """Say of texts that many of them are numbers, though too few to be a column of numbers."""
    total = sum(kind.times for kind in shapes.values())
    found = number_forms.read(shapes, usual, most_odd=0.5)
    if found is None:
        return []
    return [f"{found.n_numbers:,} of {total:,} are numbers; others: {shown(found.odd)}"]


def _missing(
    readings: dict[str, Reading], counted: dict[str, Census], texts: dict[str, pa.Array]
) -> dict[str, Reading]:
    """Decide which words of text columns stand for a missing value, by what the file says."""
    among = {
        word.lower(): name
        for name, reading in readings.items()
        if reading.kind in ("int", "float", "datetime")
        for word in reading.missing
        if word in counted[name].words
    }
    decided = {}
    for name, reading in readings.items():
        column = counted[name]
        if reading.kind != "string" or reading.asked or not column.n_values:
            decided[name] = reading
            continue
        missing, notes = {}, list(reading.notes)
        different: list[str] = []
        if pc.count_distinct(texts[name]).as_py() <= FEW_VALUES:
            different = census.different(texts[name].filter(_among(texts[name]))).tolist()
        for word, kind in _as_written(column):
            why = _is_value(word, kind, column, different, among)
            if why is not None:
                notes += [f"{shown([kind])} is a value here: {why}"] if why else []
                continue
            missing[word] = kind
            other = among.get(word.lower())
            beside = f", as among the numbers of {other}" if other else ""
            notes.append(f"{shown([kind])} is taken as missing{beside}")
        decided[name] = reading._replace(missing=missing, notes=notes)
    return decided


def _is_value(
    word: str, kind: Kind, column: Census, different: list[str], among: dict[str, str]
) -> str | None:
    """Say why a word is a value of a text column; None where it stands for a missing one.

    `different` are the other values where they are few; a word that is seldom among many is one of
    them, and nothing is said of it.
    """
    small = word.lower()
    if not different and small not in among and kind.times < SELDOM * column.n_rows:
        return ""
    if different and small in census.MARKS and not any(map(str.isalnum, "".join(different))):
        return "the others are such marks too"
    if different and small == "na" and all(map(CODES.fullmatch, different)):
        if column.n_empty:
            return "the others are codes of two letters too, and empty fields are there"
        if small not in among:
            return "the others are codes of two letters too"
    if small in among:
        return None
    if small == "na" and column.n_empty:
        return "empty fields are there besides"
    return f"if it is a missing one, write missing: [{word!r}]" if small in OFTEN_CLASSES else None


def _everywhere(readings: dict[str, Reading], counted: dict[str, Census]) -> list[str]:
    """Return the words that are missing values in every column that has them."""
    words = {word for column in counted.values() for word in column.words}
    return sorted(
        word
        for word in words
        if all(
            word in readings[name].missing
            for name, column in counted.items()
            if word in column.words
        )
    )


def values(column: Any, reading: Reading | None, csv: Csv | None) -> pd.Series:
    """Return the values of a column as the declaration that `reading` proposes has them read."""
    if reading is None:
        if isinstance(column, list):
            try:
                column = pa.array(column)
            except (pa.ArrowException, TypeError, ValueError, OverflowError):
                return pd.Series(column, dtype=object)
        if not pa.types.is_decimal(column.type) and not pa.types.is_date(column.type):
            return typed.for_pandas(column)
        reading = Reading("float" if pa.types.is_decimal(column.type) else "datetime")
    keys = {key: value for key, value in reading.keys(csv).items() if key in HOW_WRITTEN}
    whole = {"dtype": reading.kind, "role": "ignore", "nullable": True, **keys}
    declared = Column.model_validate(whole)
    found = as_declared(column, declared, csv or Csv(), written=csv is not None)
    return typed.for_pandas(found.values)
