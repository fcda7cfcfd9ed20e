"""Parquet and Arrow files of any writer: their index, their rows in parts, what is damaged."""

import resource

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from util_lib.errors import UserError
from util_lib.tables import parquet_files, reading


@pytest.fixture(params=["parquet", "arrow"])
def written(request, tmp_path):
    def go(table):
        path = tmp_path / f"t.{request.param}"
        table = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table)
        if request.param == "parquet":
            pq.write_table(table, path, row_group_size=3)
        else:
            feather.write_feather(table, path, chunksize=3)
        return path

    return go


def columns(path, **keys):
    parts = [*reading.pieces(path, **keys)]
    assert not len(parts[0].numbers)
    assert [n for part in parts for n in part.numbers] == [*range(sum(map(len, values(parts[1:]))))]
    names = [*parts[-1].columns]
    return {n: [v for part in parts[1:] for v in part.columns[n].to_pylist()] for n in names}


def values(parts):
    return [next(iter(part.columns.values())) for part in parts]


@pytest.mark.parametrize("n_rows", [2, 100])
@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (pd.RangeIndex(10, 31, 3, name="k"), {"k": [10, 13, 16, 19, 22, 25, 28]}),
        (pd.RangeIndex(7, name="k"), {"k": [0, 1, 2, 3, 4, 5, 6]}),
        (pd.RangeIndex(3, 10), {}),
        (pd.Index(list("abcdefg"), name="k"), {"k": list("abcdefg")}),
        (pd.Index([9, 8, 7, 6, 5, 4, 3]), {}),
        (
            pd.MultiIndex.from_arrays([list("abcdefg"), list("zyxwvut")], names=["k", "l"]),
            {"k": list("abcdefg"), "l": list("zyxwvut")},
        ),
    ],
)
def test_an_index_with_a_name_is_a_column_before_the_others(written, index, expected, n_rows):
    x = [1, 2, 3, 4, 5, 6, 7]
    path = written(pd.DataFrame({"x": x, "y": x}, index=index))
    found = columns(path, n_rows=n_rows)
    assert found == expected | {"x": x, "y": x}
    assert [*found] == [*expected, "x", "y"]
    assert [*next(reading.pieces(path)).columns] == [*expected, "x", "y"]


def test_an_index_that_is_no_column_of_the_file_is_passed_over(written):
    table = pa.Table.from_pandas(pd.DataFrame({"x": [1]}, index=pd.Index([5], name="k")))
    assert columns(written(table.drop_columns("k"))) == {"x": [1]}


def test_only_the_wanted_columns_are_read_and_the_first_shows_all(written):
    path = written(pd.DataFrame({"x": [1, 2], "y": [3, 4]}, index=pd.Index([5, 6], name="k")))
    assert [*next(reading.pieces(path, wanted={"y"})).columns] == ["k", "x", "y"]
    assert columns(path, wanted={"y", "k", "other"}) == {"k": [5, 6], "y": [3, 4]}


def test_columns_of_one_name_are_refused(written):
    table = pa.table([pa.array([1]), pa.array([2])], ["x", "x"])
    with pytest.raises(UserError, match="has several columns called 'x'"):
        columns(written(table))


def test_a_file_that_breaks_off_is_named_with_the_way_out(written):
    path = written(pa.table({"x": np.arange(1000)}))
    path.write_bytes(path.read_bytes()[:-20])
    kind = {".parquet": "parquet", ".arrow": "Arrow"}[path.suffix]
    sentence = rf"^{path.name} is no complete {kind} file \((?!None).*[^.]\): make or download it"
    with pytest.raises(UserError, match=sentence) as refused:
        columns(path)
    assert "\n" not in str(refused.value)


def test_what_is_damaged_within_is_named_too(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": np.random.default_rng(1).normal(size=9000)}), path)
    content = bytearray(path.read_bytes())
    content[4:60] = bytes(56)  # where its first page says what it is
    path.write_bytes(content)
    with pytest.raises(UserError, match="^t.parquet is no complete parquet file"):
        columns(path)


@pytest.mark.parametrize(("kind", "magic"), [("gzip", b"\x1f\x8b"), ("zstd", b"\x28\xb5\x2f\xfd")])
@pytest.mark.parametrize(("suffix", "word"), [("parquet", "parquet"), ("arrow", "Arrow")])
def test_a_packed_file_is_to_be_unpacked(tmp_path, kind, magic, suffix, word):
    path = tmp_path / f"t.{suffix}"
    path.write_bytes(magic + bytes(50))
    sentence = f"^t.{suffix} is packed with {kind}: unpack it, {word} files are read as they are$"
    with pytest.raises(UserError, match=sentence):
        columns(path)


def test_rows_are_read_some_groups_at_a_time(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": range(25), "y": range(25)}), path, row_group_size=4)
    with parquet_files.opened(path) as file:
        for n_rows, lengths in ((8, [8, 8, 8, 1]), (3, None), (100, [25]), (9, [9, 3, 9, 3, 1])):
            batches = [*parquet_files.record_batches(file, n_rows, ["y"])]
            assert [v for batch in batches for v in batch.column("y").to_pylist()] == [*range(25)]
            assert all(batch.schema.names == ["y"] for batch in batches)
            assert all(batch.num_rows <= n_rows for batch in batches)
            assert lengths is None or [batch.num_rows for batch in batches] == lengths
        whole = next(parquet_files.record_batches(file, 100))
        assert whole.schema.names == ["x", "y"]


def test_numbers_and_dates_get_no_dictionary_and_texts_do(tmp_path):
    schema = pa.schema([("f", pa.float64()), ("d", pa.timestamp("us")), ("t", pa.string())])

    def encodings(schema, **keys):
        table = pa.table({n: pa.array([None, None], schema.field(n).type) for n in schema.names})
        with parquet_files.writer(tmp_path / "t.parquet", schema, **keys) as file:
            file.write_table(table)
        group = pq.ParquetFile(tmp_path / "t.parquet").metadata.row_group(0)
        return [
            (each.has_dictionary_page, each.compression)
            for each in map(group.column, range(group.num_columns))
        ]

    assert encodings(schema) == [(False, "SNAPPY"), (False, "SNAPPY"), (True, "SNAPPY")]
    assert encodings(schema, compression="zstd")[0] == (False, "ZSTD")
    assert encodings(pa.schema([("f", pa.float64())])) == [(False, "SNAPPY")]


def test_the_bound_of_memory_holds_while_a_file_is_open_and_ends_with_it(written):
    before = resource.getrlimit(resource.RLIMIT_AS)
    parts = reading.pieces(written(pa.table({"x": [1]})))
    next(parts)
    assert resource.getrlimit(resource.RLIMIT_AS) != before
    inner = reading.pieces(written(pa.table({"x": [1]})))
    next(inner)
    inner.close()
    assert resource.getrlimit(resource.RLIMIT_AS) != before
    parts.close()
    assert resource.getrlimit(resource.RLIMIT_AS) == before


MACHINE = "MemTotal: 9000 kB\nMemFree: 1 kB\nMemAvailable:    2000 kB\nCached: 7 kB\n"


@pytest.mark.parametrize(
    ("machine", "most", "now", "free"),
    [
        (MACHINE, None, None, 2_048_000),
        (MACHINE, "max\n", "400000\n", 2_048_000),
        (MACHINE, "1000000\n", "400000\n", 600_000),
        (MACHINE, "9000000\n", "400000\n", 2_048_000),
        (MACHINE, "1000000\n", "1000001\n", 0),
        (MACHINE, "1000000\n", None, 2_048_000),
        (MACHINE, None, "400000\n", 2_048_000),
        (None, "1000000\n", "400000\n", 600_000),
        ("MemTotal: 9000 kB\n", "1000000\n", "400000\n", 600_000),
        ("MemAvailable: many\n", "1000000\n", "400000\n", 600_000),
        (None, None, None, None),
    ],
)
def test_free_is_what_both_the_machine_and_its_container_can_give(
    tmp_path, machine, most, now, free
):
    told = {
        "proc/meminfo": machine,
        "sys/fs/cgroup/memory.max": most,
        "sys/fs/cgroup/memory.current": now,
    }
    for name, content in told.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            path.write_text(content)
    assert parquet_files.free_memory(tmp_path) == free
