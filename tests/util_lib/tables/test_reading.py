"""A table is read in pieces, as it is declared or of our own, and marked rows alone."""

import datetime
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from excel_support import write_sheets
from pyarrow import feather

from util_lib import tracking
from util_lib.dataset.columns import Column
from util_lib.dataset.declaration import Csv
from util_lib.errors import UserError
from util_lib.tables import reading


def declared(**keys):
    return Column.model_validate({"role": "ignore", "nullable": True} | keys)


def plain(values):
    return [None if pd.isna(value) else value for value in values]


@pytest.fixture
def lines(tmp_path):
    def make(*rows, name="t.jsonl"):
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
        return tmp_path / name

    return make


@pytest.fixture
def artifact(tmp_path, monkeypatch):
    """Log files as one artifact; return it as a step gets it."""
    monkeypatch.setenv("TRACKING_PUBLISH", "parent")
    monkeypatch.setenv("TRACKING_BACKEND", "local")
    monkeypatch.chdir(tmp_path)

    def make(**contents):
        with tracking.init(project="p") as run:
            made = tracking.Artifact("raw", type="raw_data")
            for name, content in contents.items():
                with made.new_file(f"{name}.csv") as file:
                    file.write(content)
            return run.use_artifact(run.log_artifact(made))

    return make


def test_a_table_is_the_one_file_of_its_artifact_or_the_folder_of_several(artifact, tmp_path):
    one = artifact(a="x\n1\n")
    for several in (False, True):
        path = reading.fetch(one, tmp_path / f"one{several}", several=several)
        assert path == str(tmp_path / f"one{several}" / "a.csv")
        assert reading.read(path)["x"].tolist() == [1]
    two = artifact(a="x\n1\n", b="x\n2\n")
    path = reading.fetch(two, tmp_path / "two", several=True)
    assert path == str(tmp_path / "two") and reading.read(path)["x"].tolist() == [1, 2]
    with pytest.raises(
        UserError, match="^artifact 'raw:v1' .type raw_data. holds 2 files, and a ta"
    ):
        reading.fetch(two, tmp_path / "three")


def test_a_file_without_suffix_is_known_by_what_it_is(tmp_path):
    table, path = pa.table({"x": [1]}), tmp_path / "download"
    feather.write_feather(table, path)
    assert reading.format_of(path) == "arrow" and reading.read(path)["x"].tolist() == [1]
    pq.write_table(table, path)
    assert reading.format_of(str(path)) == "parquet" and reading.is_parquet(path)
    write_sheets(path, Data=[["x"], [1]])
    assert reading.format_of(path) == "excel"
    path.write_text("ARROW2")
    assert reading.format_of(path) == "csv" and not reading.is_parquet(path)
    assert reading.format_of(path, "json") == "json" and reading.is_parquet(path, "parquet")
    for suffix, kind in (("pq", "parquet"), ("TSV.gz", "csv"), ("ndjson", "json"), ("txt", "csv")):
        assert reading.format_of(tmp_path / f"t.{suffix}") == kind


def test_a_folder_is_of_the_format_of_its_files_and_an_empty_one_is_no_table(tmp_path):
    for name in "ba":
        pq.write_table(pa.table({name: [1], "x": [1]}), tmp_path / f"{name}.parquet")
    assert reading.is_parquet(tmp_path)
    assert [path.name for path in reading.files_of(tmp_path)] == ["a.parquet", "b.parquet"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        UserError, match="empty is a directory: expected a file in parquet, CSV, JSON"
    ):
        reading.read(tmp_path / "empty")
    (tmp_path / "b.parquet").write_bytes(b"")
    with pytest.raises(
        UserError, match="^b.parquet is empty .0 bytes.: expected a file in parquet"
    ):
        reading.read(tmp_path)


def test_as_many_rows_and_values_as_allowed_are_no_more(tmp_path):
    frame = pd.DataFrame({f"c{place}": range(5) for place in range(20)})
    for name in ("t.parquet", "t.jsonl"):
        path = tmp_path / name
        if name == "t.parquet":
            frame.to_parquet(path)
        else:
            frame.to_json(path, orient="records", lines=True)
        assert reading.read(path, max_rows=5).shape == (5, 20)
        assert reading.read(path, max_rows=None).shape == (5, 20)
        sentence = (
            f"^{name} has 5 rows or more of 20 columns: expected at most 4 rows, and 20 times as "
            "many values; raise data.max_rows if it is the right file and the memory is there$"
        )
        with pytest.raises(UserError, match=sentence):
            reading.read(path, max_rows=4)


def test_the_files_of_a_folder_are_bounded_together(tmp_path):
    for place in range(3):
        pq.write_table(pa.table({"x": [1, 2]}), tmp_path / f"{place}.parquet")
    assert len(reading.read(tmp_path, max_rows=6)) == 6
    with pytest.raises(UserError, match="has 6 rows or more of 1 columns"):
        reading.read(tmp_path, max_rows=5)


def test_a_record_that_cannot_be_read_is_named(lines):
    with pytest.raises(
        UserError, match="^t.jsonl cannot be read: record 1, from 0: no JSON object$"
    ):
        reading.read(lines({"a": 1}, 5, {"a": 2}))


def test_columns_that_come_late_or_stay_away_have_gaps(lines, tmp_path):
    (tmp_path / "in").mkdir()
    lines({"a": 1}, {"a": 2}, name="in/1.jsonl")
    lines({"b": "x"}, {"a": 3, "b": "y", "c": None}, name="in/2.jsonl")
    lines({"c": [1]}, name="in/3.jsonl")
    frame = reading.read(tmp_path / "in")
    assert plain(frame["a"]) == [1, 2, None, 3, None]
    assert plain(frame["b"]) == [None, None, "x", "y", None]
    assert frame["c"].tolist()[4] == [1] and frame["c"].isna().tolist()[:4] == [True] * 4
    lines({"a": "z"}, name="in/4.jsonl")
    found, written = reading.columns_of(tmp_path / "in")
    assert found["a"] == [1, 2, None, 3, None, "z"] and not written
    assert reading.read(tmp_path / "in")["a"].tolist()[-1] == "z"


def test_a_column_without_values_in_one_file_has_the_type_of_the_others(tmp_path):
    for place, values in enumerate((pa.nulls(1), pa.array([5, None]), pa.nulls(1))):
        pq.write_table(
            pa.table({"a": values, "b": pa.nulls(len(values))}), tmp_path / f"{place}.pq"
        )
    found, _ = reading.columns_of(tmp_path)
    assert found["a"].type == pa.int64() and found["a"].to_pylist() == [None, 5, None, None]
    assert found["b"].type == pa.null() and found["b"].to_pylist() == [None] * 4
    pq.write_table(pa.table({"a": [0.5], "b": ["x"]}), tmp_path / "3.pq")
    found, _ = reading.columns_of(tmp_path)
    assert found["a"] == [None, 5, None, None, 0.5]
    assert found["b"].to_pylist() == [None] * 4 + ["x"]


def test_marked_rows_are_those_of_the_whole_table(tmp_path):
    n = reading.PIECE_ROWS + 1000
    frame = pd.DataFrame({"n": np.arange(n), "t": [f"t{i % 7}" for i in range(n)]})
    frame.loc[5, "t"] = None
    marks = np.arange(n) % 1000 == 5
    for name in ("t.parquet", "t.csv"):
        reading.write(frame, tmp_path / name)
        found = reading.read(tmp_path / name, rows=marks)
        assert found["n"].tolist() == frame["n"][marks].tolist()
        assert plain(found["t"]) == plain(frame["t"][marks])
        assert len(reading.read(tmp_path / name, rows=marks.astype(int), max_rows=n)) == marks.sum()
        with pytest.raises(UserError, match=f"^{name} has columns but no rows"):
            reading.read(tmp_path / name, rows=np.zeros(n, bool))
    own = reading.read_own(
        tmp_path / "t.parquet", {"t": declared(dtype="string", role="text")}, marks
    )
    assert own["t"].tolist()[0] == "" and own["t"].tolist()[1:] == found["t"].tolist()[1:]


def test_the_pipelines_own_tables_are_read_in_the_usual_way(tmp_path):
    columns = {
        "x": declared(dtype="float", decimal=",", thousands=".", strip=["EUR"], missing=["7"]),
        "day": declared(dtype="datetime", date_format="%d.%m.%Y"),
        "t": declared(dtype="string", role="text"),
        "code": declared(dtype="string"),
    }
    (tmp_path / "t.csv").write_text("x,day,t,code\n7.5,2024-01-02,,\n7,2024-12-31,a,007\n")
    frame = reading.read_own(tmp_path / "t.csv", columns)
    assert frame["x"].tolist() == [7.5, 7] and frame["day"].dt.month.tolist() == [1, 12]
    assert frame["t"].tolist() == ["", "a"] and plain(frame["code"]) == [None, "007"]
    usual = reading.ordinary(columns)
    assert usual["x"] == declared(dtype="float", strip=["EUR"], missing=["7"])
    assert usual["day"] == declared(dtype="datetime")
    numbers = tmp_path / "n.parquet"
    pq.write_table(pa.table({"t": [1, None], "x": [1.5, 2]}), numbers)
    assert plain(reading.read_own(numbers, columns)["t"]) == [1, None]
    assert "day" not in reading.read_own(numbers, columns)


def test_the_pipelines_own_tables_are_read_however_many_rows_they_have(tmp_path):
    table = pa.table({"x": pa.array(np.zeros(reading.MOST_ROWS + 1, np.int8))})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(UserError, match="raise data.max_rows"):
        reading.read(tmp_path / "t.parquet")
    assert len(reading.read_own(tmp_path / "t.parquet", {})) == len(table)


def test_values_of_another_type_stay_as_the_file_has_them_each_for_itself():
    number = declared(dtype="int")
    texts = pa.array(["1", "x", None, "3"])
    assert reading.row_values(texts, number, written=True).tolist() == [1, "x", None, 3]
    assert reading.row_values([1, "x", None, [2]], number).tolist() == [1, "x", None, [2]]
    assert reading.row_values(pa.array(["1", "2"]), number).tolist() == ["1", "2"]
    assert reading.as_declared(pa.array(["1", None]), number).wrong.tolist() == [True, False]
    assert reading.row_values(["x"], number).dtype == object
    good = reading.row_values(pa.array(["1", None]), number, written=True)
    assert good.dtype == "Int64" and plain(good) == [1, None]
    percent, comma = declared(dtype="float", strip=["%"]), Csv(separator=";", decimal=",")
    assert reading.row_values(pa.array(["1,5", "x"]), percent, comma, True).tolist() == [1.5, "x"]
    assert reading.row_values(["1,5 %"], percent, comma).tolist() == [1.5]


def test_undeclared_columns_are_what_the_file_has(lines, tmp_path):
    frame = reading.read(
        lines({"a": [1], "b": {"x": 1}, "c": True}, {"a": "x", "b": None, "c": False})
    )
    assert frame["a"].tolist() == [[1], "x"] and frame["a"].dtype == object
    assert frame["b"][0] == {"x": 1} and frame["c"].dtype == "bool"
    odd = [{"x": 1}, {"x": "s"}, {"y": 2}]
    frame = reading.read(lines(*({"a": each, "b": [*each.values()]} for each in odd)))
    assert frame["a"].tolist() == odd and frame["b"].tolist() == [[1], ["s"], [2]]
    odd = [{"x": 1}, {"y": 2}]
    found, _ = reading.columns_of(lines(*({"a": each} for each in odd)))
    assert found["a"] == odd
    exact = 2**60 + 1
    big = reading.read(lines({"n": 2**70, "m": 1, "k": exact}, {"n": 1, "m": 2.5, "k": 0.5}))
    assert big["n"].tolist() == [2**70, 1] and big["m"].tolist() == [1, 2.5]
    assert big["k"].tolist() == [exact, 0.5]
    (tmp_path / "t.csv").write_text("n,x\n1;5,yes\n2;5,no\n")
    frame = reading.read(tmp_path / "t.csv", csv=Csv(decimal=";"))
    assert frame["n"].tolist() == [1.5, 2.5] and frame["x"].tolist() == ["yes", "no"]


def test_pieces_are_as_small_as_asked_and_their_rows_numbered(tmp_path, lines):
    frame = pd.DataFrame({"a": range(5), "b": list("vwxyz")})
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_feather(tmp_path / "t.arrow")
    frame.to_csv(tmp_path / "t.csv", index=False)
    write_sheets(tmp_path / "t.xlsx", Data=[["a", "b"], *frame.to_numpy().tolist()])
    lines(*frame.to_dict("records"))
    for suffix in ("parquet", "arrow", "csv", "xlsx", "jsonl"):
        parts = [*reading.pieces(tmp_path / f"t.{suffix}", n_rows=2)]
        assert [[*part.numbers] for part in parts] == [[], [0, 1], [2, 3], [4]], suffix
        assert all([*part.columns] == ["a", "b"] for part in parts if len(part.numbers))
        values = [v for part in parts[1:] for v in pa.array(part.columns["b"]).to_pylist()]
        assert values == list("vwxyz")
        assert [*parts[0].columns] == ([] if suffix == "jsonl" else ["a", "b"])
        assert {part.written for part in parts} == {suffix == "csv"}
    for suffix in ("parquet", "arrow"):
        parts = reading.pieces(tmp_path / f"t.{suffix}", wanted={"b"})
        assert [[*part.columns] for part in parts] == [["a", "b"], ["b"]]


def test_a_damaged_row_is_told_once_however_small_the_pieces_are(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3\n4,5\n6,7\n")
    parts = [*reading.pieces(tmp_path / "t.csv", n_rows=1, skip_damaged=True)]
    assert [n for part in parts for n in part.numbers] == [0, 2, 3]
    assert [number for part in parts for number, _ in part.unread] == [1]


def test_records_may_differ_in_few_keys_or_many_up_to_a_bound(lines, monkeypatch):
    monkeypatch.setattr(reading, "MOST_GAPS", 6)
    rows = [{"a": 1}, {"b": 1}, {"c": 1}]
    assert reading.read(lines(*rows)).shape == (3, 3)
    sentence = (
        "^t.jsonl has 3 keys in 4 records, which have few in common .8 gaps.: expected records of "
        "one table$"
    )
    with pytest.raises(UserError, match=sentence):
        reading.read(lines(*rows, {"c": 2}))


def test_what_is_written_is_quoted_where_a_text_has_a_carriage_return_alone(tmp_path):
    path = tmp_path / "t.csv"
    reading.write(pd.DataFrame({"n": [1], "t": ["a"], "u": ["b"]}), path)
    assert path.read_bytes() == b"n,t,u\n1,a,b\n"
    reading.write(pd.DataFrame({"n": [1], "t": ["a"], "u": ["b\r"]}), str(path))
    assert path.read_bytes() == b'"n","t","u"\n1,"a","b\r"\n'
    reading.write(pd.DataFrame({"t": ["a", "b\rc"]}, dtype=object), tmp_path / "t.CSV")
    assert reading.read(tmp_path / "t.CSV")["t"].tolist() == ["a", "b\rc"]
    reading.write(pd.DataFrame({"é": ["ü"]}), path)
    assert path.read_bytes() == "é\nü\n".encode()


def test_values_without_a_type_in_common_are_one_sentence(tmp_path):
    frame = pd.DataFrame({"x": [1, "a", datetime.date(2024, 1, 1)]})
    sentence = (
        "^the values of a column have no type in common .*: declare the column with its dtype, or "
        "leave it out .clean.drop_columns.$"
    )
    with pytest.raises(UserError, match=sentence) as refused:
        reading.write(frame, tmp_path / "t.parquet")
    assert "'x'" in str(refused.value) or "column x" in str(refused.value)


def test_the_index_is_never_written(tmp_path):
    frame = pd.DataFrame({"x": [1]}, index=pd.Index(["i"], name="name"))
    for name in ("t.parquet", "t.csv"):
        reading.write(frame, tmp_path / name)
        assert list(reading.read(tmp_path / name)) == ["x"]
