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
    """Count the values of a column of texts; an empty one is a missing one.

    Each different value is looked at once.
    """
    encoded = pc.utf8_trim_whitespace(column).dictionary_encode()
    values, n_rows = encoded.dictionary, len(column)
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(codes >= 0)
    times = np.bincount(codes[rows], minlength=len(values))
    first = np.zeros(len(values), dtype=np.int64)
    first[codes[rows][::-1]] = rows[::-1]  # of several rows the first is written last
    empty = pc.equal(values, "")
    n_empty = int(n_rows - len(rows) + times[empty.to_numpy(zero_copy_only=False)].sum())
    is_word = pc.and_not(pc.is_in(values, value_set=pa.array(sorted(MISSING))), empty)
    masked = values
    for pattern, mark in MASKS:
        masked = pc.replace_substring_regex(masked, pattern, mark)
    words = _counted(values, values, is_word, times, first) or {}
    others = pc.invert(pc.or_(is_word, empty))
    return Census(n_rows, n_empty, words, _counted(masked, values, others, times, first))


def _counted(
    keys: pa.Array, values: pa.Array, chosen: pa.Array, times: np.ndarray, first: np.ndarray
) -> dict[str, Kind] | None:
    """Count rows by key, over the different values that are `chosen`; None for too many keys."""
    places = np.flatnonzero(chosen.to_numpy(zero_copy_only=False))
    places = places[np.argsort(first[places], kind="stable")]
    encoded = keys.take(pa.array(places)).dictionary_encode()
    if len(encoded.dictionary) > MOST_SHAPES:
        return None
    groups = encoded.indices.to_numpy()
    totals = np.bincount(groups, weights=times[places], minlength=len(encoded.dictionary))
    begins = np.unique(groups, return_index=True)[1]
    return {
        key: Kind(int(total), values[int(places[at])].as_py(), int(first[places[at]]))
        for key, total, at in zip(encoded.dictionary.to_pylist(), totals, begins, strict=True)
    }


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
