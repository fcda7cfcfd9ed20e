"""Which rows of a large table are drawn: by a hash of our own, so that a seed says it for ever.

No library's hash or generator is asked, for those may change with a version. The rows are those
with the smallest hashes of seed and row number; a hash is a permutation of the 64-bit numbers
(splitmix64: Steele, Lea and Flood 2014), so no two rows tie.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

PIECE_ROWS = 2**18  # hashed at a time
BIN_BITS = 18  # of all classes together


def hashes(start: int, stop: int, seed: int) -> np.ndarray:
    """Return a 64-bit hash for each of the rows `start` to before `stop`."""
    return _mixed(np.arange(start, stop, dtype=np.uint64) + _mixed(np.array([seed], np.uint64)))


def _mixed(values: np.ndarray) -> np.ndarray:
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def codes_of(pieces: Iterable[Any]) -> tuple[list[Any], np.ndarray]:
    """Return the different values of a column that comes in pieces of Arrow, and its codes.

    The values are in their own order; a code is the place of a row's value. What is missing, NaN
    too, is None.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    known: dict[Any, int] = {}
    parts = [np.zeros(0, dtype=np.int8)]
    for values in pieces:
        if isinstance(values.type, pa.DictionaryType):
            values = values.dictionary_decode()
        if pa.types.is_floating(values.type):
            values = pc.if_else(pc.is_nan(values), None, values)
        encoded = values.dictionary_encode(null_encoding="encode")
        places = [known.setdefault(v, len(known)) for v in encoded.dictionary.to_pylist()]
        narrow = np.min_scalar_type(-len(known) - 1)  # of few classes a byte for each row
        parts.append(np.array(places, dtype=narrow)[encoded.indices.to_numpy()])
    ordered = sorted(known, key=lambda value: (type(value).__name__, value))
    place_of = np.zeros(len(known), dtype=parts[-1].dtype)
    place_of[[known[value] for value in ordered]] = np.arange(len(known))
    return ordered, np.concatenate([place_of[part] for part in parts])


def sizes(codes: np.ndarray) -> np.ndarray:
    """Return how many rows each class has."""
    pieces = (codes[start : start + PIECE_ROWS] for start in range(0, len(codes), PIECE_ROWS))
    n_classes = int(codes.max(initial=-1)) + 1
    return sum((np.bincount(p, minlength=n_classes) for p in pieces), np.zeros(n_classes, int))


def drawn(n_rows: int, n_drawn: int, seed: int, codes: np.ndarray | None = None) -> np.ndarray:
    """Mark `n_drawn` of the rows; the classes, by `codes` from 0, keep their shares, to a row.

    Hashes are made in pieces, three times: which bin of each class holds its last row, where in
    that bin it lies, and which rows come before it. So memory holds little but the marks.
    """
    if n_drawn == 0:
        return np.zeros(n_rows, dtype=bool)
    codes = np.zeros(n_rows, dtype=np.int8) if codes is None else codes
    wanted = shared_out(n_drawn, sizes(codes))
    n_bits = max(0, BIN_BITS - len(wanted).bit_length())

    def pieces() -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
        for start in range(0, n_rows, PIECE_ROWS):
            part = slice(start, min(start + PIECE_ROWS, n_rows))
            values = hashes(part.start, part.stop, seed)
            classes = codes[part].astype(np.int64)
            bins = (values >> np.uint64(63 - n_bits) >> np.uint64(1)).astype(np.int64)
            yield part, classes, values, (classes << n_bits) + bins

    counts = np.zeros(len(wanted) << n_bits, dtype=np.int64)
    for _, _, _, bins in pieces():
        counts += np.bincount(bins, minlength=len(counts))
    reached = counts.reshape(len(wanted), -1).cumsum(axis=1)
    last_bin = (reached < np.array(wanted)[:, None]).sum(axis=1)
    before = [row[place - 1] if place else 0 for row, place in zip(reached, last_bin, strict=True)]
    places = (np.arange(len(wanted)) << n_bits) + last_bin

    kept = [(c[near], v[near]) for _, c, v, b in pieces() if (near := b == places[c]).any()]
    near_class, near_hash = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    order = np.lexsort((near_hash, near_class))
    starts = np.searchsorted(near_class[order], np.arange(len(wanted)))
    last = np.zeros(len(wanted), dtype=np.uint64)
    for code, n in enumerate(wanted):
        if n:
            last[code] = near_hash[order[starts[code] + n - before[code] - 1]]

    some, marks = np.array(wanted) > 0, np.zeros(n_rows, dtype=bool)
    for part, classes, values, _ in pieces():
        marks[part] = (values <= last[classes]) & some[classes]
    return marks


def shared_out(n: int, sizes: np.ndarray) -> list[int]:
    """Return how many of `n` fall to each class: its share, the largest remainders rounded up."""
    total = int(sizes.sum())
    shares = [Fraction(n * int(size), total) for size in sizes]
    whole = [int(share) for share in shares]
    order = sorted(range(len(shares)), key=lambda code: (whole[code] - shares[code], code))
    for code in order[: n - sum(whole)]:
        whole[code] += 1
    return whole
