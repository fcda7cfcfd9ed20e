"""Counts what a whole column of texts holds: how many are empty, numbers, dates, words."""

import re
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

MOST_SHAPES = 5_000  # a column with more is one of texts
# What people, R, Excel, databases and pandas write where a value is missing, in small letters.
MARKS = frozenset(["?", "??", "-", "--", "---", ".", "..", "*", "**", "_", "–", "—", "/", "#"])
WORDS = frozenset(
    ["na", "n/a", "n.a.", "n.a", "#n/a", "#na", "#n/a n/a", "<na>", "nan", "-nan", "null", "(null)"]
    + ["none", "nil", "missing", "unknown", "not available", "-1.#ind", "1.#ind", "-1.#qnan"]
    + ["1.#qnan", "s/d", "k.a.", "k. a.", "s.o.", "nd", "n.d.", "n/d", "tbd", "(blank)", "nat"]
    + ["not applicable", "#div/0!", "#value!", "#ref!", "#name?", "#num!", "#null!", "\\n"]
)
# Nan, Nat and Na are people: programs write such words in one case, but for these.
NAMES = ("Na", "Nan", "Nat", "Nd", "Nil")
SPELLED = frozenset(
    {spelled for word in WORDS for spelled in (word, word.upper(), word.capitalize())} - {*NAMES}
) | {"NaN", "NaT", "-NaN", "N.a.", "Not Available", "Not Applicable"}
MISSING = MARKS | SPELLED
# What makes a shape of a value: a zero before a decimal mark stays, for 0.968 is less than one.
MASKS = ((r"(^|[^0-9])0([.,])", r"\1§\2"), ("[0-9]", "9"), ("9{5,}", "9999"), ("§", "0"))


class Kind(NamedTuple):
    """Values that look alike: how many, one of them, and the first row with one."""

    times: int
    example: str
    row: int


class Census(NamedTuple):
    """What a column holds: `shapes` with each digit as 9 (four and more as 9999), `words` of old.

    `words` are those that often stand for a missing value, as they are written; they are in
    `shapes` no more. `shapes` is None where there are more than any number has.
    """

    n_rows: int
    n_empty: int
    words: dict[str, Kind]
    shapes: dict[str, Kind] | None

    @property
    def n_values(self) -> int:
        """Return how many are neither empty nor such a word."""
        return self.n_rows - self.n_empty - sum(word.times for word in self.words.values())


def take(column: pa.Array) -> Census:
    """Count the values of a column of texts; an empty one is a missing one."""
    n_empty = column.null_count
    words: dict[str, Kind] = {}
    shapes: dict[str, Kind] = {}
    trimmed = pc.utf8_trim_whitespace(column)
    empty = pc.fill_null(pc.equal(trimmed, ""), False)
    n_empty += pc.sum(empty).as_py() or 0
    is_word = pc.fill_null(pc.is_in(trimmed, value_set=pa.array(sorted(MISSING))), False)
    _count(words, trimmed, trimmed, pc.and_not(is_word, empty))
    others = pc.and_(pc.is_valid(trimmed), pc.invert(pc.or_(is_word, empty)))
    masked = trimmed
    for pattern, mark in MASKS:
        masked = pc.replace_substring_regex(masked, pattern, mark)
    _count(shapes, masked, trimmed, others)
    n_rows = len(column)
    return Census(n_rows, n_empty, words, shapes if len(shapes) <= MOST_SHAPES else None)


def _count(found: dict[str, Kind], keys: pa.Array, values: pa.Array, chosen: pa.Array) -> None:
    """Count the `chosen` rows by key, up to one key more than `MOST_SHAPES`."""
    rows = np.flatnonzero(chosen.to_numpy(zero_copy_only=False))
    if not len(rows):
        return
    encoded = keys.take(pa.array(rows)).dictionary_encode()
    codes, first, counts = np.unique(
        encoded.indices.to_numpy(), return_index=True, return_counts=True
    )
    for code, at, times in zip(codes, first, counts[: MOST_SHAPES + 1], strict=False):
        row = int(rows[at])
        found[encoded.dictionary[int(code)].as_py()] = Kind(int(times), values[row].as_py(), row)


def shape_of(text: str) -> str:
    """Return the shape that a census counts a value under."""
    for pattern, mark in MASKS:
        text = re.sub(pattern, mark, text)
    return text


def different(column: pa.Array) -> pd.Series:
    """Return the different values of a column of texts, without blanks around them."""
    values = pc.unique(pc.utf8_trim_whitespace(column)).drop_null()
    return pd.Series(values.to_pylist(), dtype=object)


def first_match(column: pa.Array, pattern: str) -> Kind | None:
    """Return how many values match `pattern` of RE2, one of them and its row; None if none does."""
    matches = pc.fill_null(pc.match_substring_regex(column, pattern), False)
    count = pc.sum(matches).as_py() or 0
    if not count:
        return None
    row = pc.index(matches, True).as_py()
    return Kind(count, column[row].as_py().strip(), row)


def shown(kinds: list[Kind], most: int = 3) -> str:
    """Name values and where they stand: "'n.a.' (row 7), 'x' (12 times, first in row 40)"."""
    parts = [
        f"{kind.example!r} (row {kind.row:,})"
        if kind.times == 1
        else f"{kind.example!r} ({kind.times:,} times, first in row {kind.row:,})"
        for kind in sorted(kinds, key=lambda kind: kind.row)[:most]
    ]
    return ", ".join(parts) + (f" and {len(kinds) - most:,} more" if len(kinds) > most else "")
