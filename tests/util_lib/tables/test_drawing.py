import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from util_lib.tables import drawing


def hash_in_plain_python(row, seed):
    """splitmix64 as it is published, of the row after the seed."""

    def mixed(value):
        value = (value + 0x9E3779B97F4A7C15) % 2**64
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
        return value ^ (value >> 31)

    return mixed((row + mixed(seed)) % 2**64)


@pytest.mark.parametrize("seed", [0, 42, 2**32 - 1])
def test_a_row_has_the_hash_that_is_published(seed):
    found = drawing.hashes(5, 9, seed)
    assert found.tolist() == [hash_in_plain_python(row, seed) for row in range(5, 9)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=400), st.data(), st.integers(0, 99))
def test_the_rows_drawn_are_those_with_the_smallest_hashes_of_each_class(codes, data, seed):
    codes, n = np.array(codes), data.draw(st.integers(0, len(codes)))
    found = drawing.drawn(len(codes), n, seed, codes)
    values = drawing.hashes(0, len(codes), seed)
    for code, size in enumerate(drawing.shared_out(n, np.bincount(codes))):
        rows = np.flatnonzero(codes == code)
        assert {*rows[found[rows]]} == {*rows[np.argsort(values[rows])[:size]]}
        assert abs(size - n * len(rows) / len(codes)) < 1
    assert found.sum() == n


def test_pieces_do_not_show(monkeypatch):
    codes = np.random.default_rng(0).integers(0, 300, 10_000)
    whole = drawing.drawn(10_000, 3_000, 7, codes)
    monkeypatch.setattr(drawing, "PIECE_ROWS", 999)
    assert (drawing.drawn(10_000, 3_000, 7, codes) == whole).all()
    assert (drawing.drawn(10_000, 3_000, 8, codes) != whole).any()


@pytest.mark.parametrize("bits", [0, 1, 3, 9])
def test_into_how_many_bins_rows_are_sorted_does_not_show(monkeypatch, bits):
    codes = np.random.default_rng(0).integers(0, 3, 500)
    expected = [drawing.drawn(500, n, 7, codes) for n in (1, 3, 5, 100, 499)]
    monkeypatch.setattr(drawing, "BIN_BITS", bits + 2)
    for marks in expected:
        assert (drawing.drawn(500, marks.sum(), 7, codes) == marks).all()


def codes_of(*pieces):
    values, codes = drawing.codes_of(pieces)
    assert [values[code] for code in codes] == [
        None if value is None or value != value else value
        for piece in pieces
        for value in piece.to_pylist()
    ]
    return values, codes


def test_classes_are_the_different_values_in_their_order_whatever_comes_first():
    texts = pa.array(["b", None, "a"]), pa.array(["c", "a"]), pa.array([], pa.string())
    assert codes_of(*texts)[0] == [None, "a", "b", "c"]
    assert codes_of(pa.array(["b", None, "a", "b"]).dictionary_encode())[0] == [None, "a", "b"]
    gaps = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, None]), pa.array(["b", None, "a"]))
    assert codes_of(gaps)[0] == [None, "a", "b"]
    assert codes_of(pa.array([1.5, math.nan, None, -2.0]))[0] == [None, -2.0, 1.5]
    assert codes_of(pa.array([3, 1]), pa.array([2, 10]))[0] == [1, 2, 3, 10]
    assert codes_of(pa.array([True, None, False]))[0] == [None, False, True]
    assert codes_of()[0] == []


@pytest.mark.parametrize(("n", "bytes_each"), [(2, 1), (127, 1), (128, 2), (300, 2), (40_000, 4)])
def test_classes_take_little_room_and_none_is_another(n, bytes_each):
    numbers = np.arange(n)[::-1]
    values, codes = codes_of(pa.array(numbers[: n // 2]), pa.array(numbers[n // 2 :]))
    assert values == [*range(n)] and codes.dtype.itemsize == bytes_each
    assert drawing.sizes(codes).tolist() == [1] * n


def test_classes_are_counted_and_rows_without_them_are_one(monkeypatch):
    monkeypatch.setattr(drawing, "PIECE_ROWS", 3)
    assert drawing.sizes(np.array([0, 2, 2, 0, 0, 3, 2], np.int8)).tolist() == [3, 0, 3, 1]
    assert drawing.sizes(np.array([], np.int8)).tolist() == []
    found = drawing.drawn(10, 4, 1)
    assert found.sum() == 4 and (found == drawing.drawn(10, 4, 1, np.zeros(10, np.int8))).all()
    assert found.dtype == bool and not drawing.drawn(10, 0, 1).any()
    assert len(drawing.drawn(10, 0, 1)) == 10 and drawing.drawn(10, 10, 1).all()


def test_shares_are_exact_and_the_largest_remainders_are_rounded_up():
    assert drawing.shared_out(10, np.array([50, 30, 20])) == [5, 3, 2]
    assert drawing.shared_out(2, np.array([1, 1, 1])) == [1, 1, 0]
    assert drawing.shared_out(7, np.array([1, 5, 6])) == [1, 3, 3]
    assert drawing.shared_out(5, np.array([0, 10**17 + 1, 10**17])) == [0, 3, 2]
