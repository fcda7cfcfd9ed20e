import numpy as np
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
