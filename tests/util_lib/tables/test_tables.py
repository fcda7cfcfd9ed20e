import resource
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from util_lib.dataset.columns import Column
from util_lib.errors import UserError
from util_lib.tables import parquet_files, reading

CODE = Column(dtype="string", role="ignore")


@pytest.fixture
def file(tmp_path):
    def make(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


@pytest.fixture
def frame():
    return pd.DataFrame(
        {"n": [1, 2], "x": [0.1 + 0.2, np.nan], "text": ['a, "b"\nc', "é"], "flag": [True, False]}
    )


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_what_is_written_is_read_back_and_always_the_same_bytes(frame, tmp_path, suffix):
    one, two = tmp_path / f"1.{suffix}", tmp_path / f"2.{suffix}"
    reading.write(frame.set_index(pd.Index([7, 8])), one)
    reading.write(frame.copy(), two)
    pd.testing.assert_frame_equal(reading.read(one), frame)
    assert one.read_bytes() == two.read_bytes()
    assert reading.shape(one) == (["n", "x", "text", "flag"], 2)


def test_texts_over_several_lines_are_the_same_after_csv(tmp_path):
    texts = ["a\rb", "c\nd", 'e "f"', " g ", "NA", "\r\n", "04"]
    reading.write(pd.DataFrame({"t": texts, "n": [1.5, None] * 3 + [2]}), tmp_path / "t.csv")
    read = reading.read(tmp_path / "t.csv")
    assert read["t"].tolist() == texts and read["n"].isna().sum() == 3


def test_a_file_without_suffix_is_known_by_its_first_bytes(frame, file, tmp_path):
    reading.write(frame, tmp_path / "x.parquet")
    named = file((tmp_path / "x.parquet").read_bytes(), "download")
    pd.testing.assert_frame_equal(reading.read(named), frame)
    assert list(reading.read(file("a,b\n1,2\n", "data"))) == ["a", "b"]


def test_words_for_missing_are_missing_among_numbers_only(file):
    frame = reading.read(file("n,country,empty\n1,NA,\nNA,None,\n,,\n"))
    assert frame["n"].isna().tolist() == [False, True, True]
    assert frame["country"].tolist()[:2] == ["NA", "None"] and frame["country"].isna()[2]
    assert frame["empty"].isna().all()


def test_declared_text_stays_text(file):
    frame = reading.read(file("code,n\n007,007\n,1\n"), dict.fromkeys(["code", "not there"], CODE))
    assert frame["code"][0] == "007" and frame["n"][0] == 7 and frame["code"].isna()[1]


def test_an_index_column_of_an_earlier_writer_is_left_as_it_is(file):
    assert list(reading.read(file(",a\n0,1\n"))) == ["Unnamed: 0", "a"]


def test_a_byte_order_mark_is_no_part_of_the_first_name(file):
    assert list(reading.read(file(b"\xef\xbb\xbfa,b\n1,2\n"))) == ["a", "b"]


def test_a_named_index_of_parquet_becomes_a_column_again(tmp_path):
    pd.DataFrame({"a": [1]}, index=pd.Index([5], name="id")).to_parquet(tmp_path / "x.parquet")
    assert reading.read(tmp_path / "x.parquet").to_dict("list") == {"id": [5], "a": [1]}


@pytest.mark.parametrize("read", [reading.read, reading.shape])
@pytest.mark.parametrize(
    ("content", "name", "sentence"),
    [
        ("", "x.csv", "x.csv is empty"),
        ("", "x.parquet", "x.parquet is empty"),
        ("\n\n", "x.csv", "no columns"),
        ("a,b\n", "x.csv", "columns but no rows"),
        ("a,b\n1,2\n3\n", "x.csv", "line 3 has 1 fields, its header has 2: the file is truncated"),
        ("a,b\n1,2,3\n", "x.csv", "line 2 has 3 fields, its header has 2"),
        ('a,b\n1,"2\n', "x.csv", "no complete CSV file"),
        ("a,b,a\n1,2,3\n", "x.csv", "several columns called 'a'"),
        ("a;b\n1;2\n", "x.csv", "separated by semicolons"),
        (b"a\n\xe9\n", "x.csv", "not UTF-8 text .byte 0xe9"),
        (b"PAR1rest", "x.csv", "x.csv is a parquet file"),
        (b"PAR1rest", "x.parquet", "no complete parquet file"),
        ("a,b\n1,2\n", "x.parquet", "no complete parquet file"),
    ],
)
def test_a_file_that_holds_no_table_is_refused(file, read, content, name, sentence):
    with pytest.raises(UserError, match=sentence):
        read(file(content, name))


def test_a_truncated_parquet_file_is_refused(frame, tmp_path, file):
    reading.write(frame, tmp_path / "x.parquet")
    whole = (tmp_path / "x.parquet").read_bytes()
    with pytest.raises(UserError, match="no complete parquet file"):
        reading.read(file(whole[:-20], "y.parquet"))


def test_parquet_without_rows_or_columns_is_refused(tmp_path):
    pd.DataFrame({"a": []}).to_parquet(tmp_path / "rows.parquet")
    pd.DataFrame(index=range(3)).to_parquet(tmp_path / "columns.parquet")
    with pytest.raises(UserError, match="columns but no rows"):
        reading.read(tmp_path / "rows.parquet")
    with pytest.raises(UserError, match="no columns"):
        reading.read(tmp_path / "columns.parquet")
    with pytest.raises(UserError, match="no columns"):
        reading.shape(tmp_path / "columns.parquet")


def test_a_path_that_is_no_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="is a directory"):
        reading.read(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        reading.read(tmp_path / "x.csv")


def test_reading_csv_uses_nothing_that_pandas_gives_up(file):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reading.read(file("a,b\n1,\n2,x\n"))


def test_a_small_file_that_stands_for_a_large_table_is_refused_unread(tmp_path):
    path = tmp_path / "large.parquet"
    pq.write_table(pa.table({"x": pa.nulls(40_000_000, pa.float64())}), path, compression="zstd")
    assert path.stat().st_size < 1_000_000
    with pytest.raises(UserError, match="40,000,000 rows or more of 1 columns: expected at most"):
        reading.read(path)


def test_long_values_that_a_file_repeats_take_no_more_memory_than_is_free(tmp_path):
    path, once = tmp_path / "long.parquet", pa.array(["a" * 20_000_000])
    repeated = pa.DictionaryArray.from_arrays(pa.array([0] * 500_000, pa.int32()), once)
    pq.write_table(
        pa.table({"x": repeated}),
        path,
        compression="zstd",
        store_schema=False,
        dictionary_pagesize_limit=2**30,
    )
    assert path.stat().st_size < 2_000_000
    before = resource.getrlimit(resource.RLIMIT_AS)
    with parquet_files.opened(path):
        allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
        assert 2**30 < allowed < 10**13  # a limit, and less than the 10 TB that the file stands for
    addresses = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (addresses + 2**28, before[1]))  # as on a small machine
    try:
        with pytest.raises(UserError, match="long.parquet needs more memory while it is read"):
            reading.read(path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_a_row_group_of_a_parquet_file_is_read_in_pieces(tmp_path):
    path = tmp_path / "long.parquet"
    pq.write_table(pa.table({"x": np.random.default_rng(1).normal(size=2**21)}), path)
    before = pa.total_allocated_bytes()
    with parquet_files.opened(path, buffer_size=2**16) as file:
        assert file.num_row_groups <= 2
        rows = next(parquet_files.record_batches(file, 1000))
        assert rows.num_rows == 1000
        assert pa.total_allocated_bytes() - before < path.stat().st_size / 3


def test_rows_and_values_are_bounded_in_every_format(file, tmp_path):
    table = pd.DataFrame({f"c{place}": range(5) for place in range(30)})
    table.to_parquet(tmp_path / "t.parquet")
    table.to_feather(tmp_path / "t.arrow")
    table.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    table.to_csv(tmp_path / "t.csv", index=False)
    for name in ("t.parquet", "t.arrow", "t.jsonl", "t.csv"):
        assert reading.read(tmp_path / name, max_rows=8).shape == (5, 30)
        for max_rows in (4, 7):
            with pytest.raises(UserError, match="5 rows or more of 30 columns.*data.max_rows"):
                reading.read(tmp_path / name, max_rows=max_rows)


def test_records_with_few_keys_in_common_do_not_become_a_huge_table(file):
    records = "\n".join(f'{{"k{place}": 1}}' for place in range(20_000))
    with pytest.raises(UserError, match="20,000 keys in 20,000 records"):
        reading.read(file(records, "odd.jsonl"))
