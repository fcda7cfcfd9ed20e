"""The files of a folder are one table, and a file that does not fit is named."""

import datetime
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from util_lib.dataset.declaration import Csv
from util_lib.errors import UserError
from util_lib.tables import reading


def texts(folder, **files):
    for name, content in files.items():
        (folder / f"{name}.csv").write_text(content)


def parquet(folder, *tables):
    for place, table in enumerate(tables):
        pq.write_table(pa.table(table), folder / f"{place}.parquet")


def test_rows_are_numbered_through_and_columns_come_in_the_order_of_the_first(tmp_path):
    texts(tmp_path, a="a,b\n1,x\n2,y\n", b="b,a\n", c="b,a\nz,3\n")
    parts = [*reading.pieces(tmp_path)]
    assert [n for piece in parts for n in piece.numbers] == [0, 1, 2]
    assert all([*piece.columns] == ["a", "b"] for piece in parts)
    assert reading.read(tmp_path).to_dict("list") == {"a": [1, 2, 3], "b": ["x", "y", "z"]}


def test_rows_that_cannot_be_read_have_their_numbers_too(tmp_path):
    texts(tmp_path, a="a,b\n1\n1,2\n1\n", b="a,b\n3,4\n1,2,3\n")
    parts = [*reading.pieces(tmp_path, skip_damaged=True)]
    assert [n for piece in parts for n in piece.numbers] == [1, 3]
    unread = [each for piece in parts for each in piece.unread]
    assert [number for number, _ in unread] == [0, 2, 4]
    assert unread[-1][1] == "3 fields, its header has 2"


def test_a_row_is_numbered_however_small_the_pieces_are(tmp_path):
    texts(tmp_path, a="a\n1\n2\n3\n", b="a\n4\n5\n")
    numbers = [[*piece.numbers] for piece in reading.pieces(tmp_path, n_rows=2)]
    assert numbers == [[], [0, 1], [2], [3, 4]]


def test_some_files_are_told_with_the_columns_of_the_first(tmp_path):
    texts(tmp_path, a="a,b\n1,2\n", b="b,a\n4,3\n", c="a,b\n5,6\n", d="a,b\n7,8\n")

    def rows(only):
        parts = [*reading.pieces(tmp_path, only=only)]
        assert [*parts[0].columns] == ["a", "b"] and not len(parts[0].numbers)
        return [v for piece in parts for v in piece.columns["a"].to_pylist()]

    assert rows(range(1, 3)) == ["3", "5"]
    assert rows(range(2)) == ["1", "3"]
    assert rows(range(3, 4)) == ["7"]
    assert rows(None) == ["1", "3", "5", "7"]
    texts(tmp_path, c="x,b\n5,6\n")
    with pytest.raises(UserError, match="c.csv has no column 'a', which a.csv has"):
        rows(range(2, 3))


def test_records_of_json_have_each_their_own_columns(tmp_path):
    for name, rows in (("a", [{"x": 1}]), ("b", [{"y": 2}, {"x": 3}])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    frame = reading.read(tmp_path)
    assert frame["x"].isna().tolist() == [False, True, False] and frame["x"][2] == 3
    assert frame["y"].isna().tolist() == [True, False, True]


def test_rows_say_of_which_partition_they_are(tmp_path):
    texts(tmp_path, **{"2024-W01": "a\n1\n2\n", "2024-W02": "a\n3\n"})
    frame = reading.read(tmp_path, partition="week")
    assert frame.to_dict("list") == {"a": [1, 2, 3], "week": ["2024-W01", "2024-W01", "2024-W02"]}
    assert [*next(reading.pieces(tmp_path, partition="week")).columns] == ["a", "week"]
    alone = reading.read(tmp_path / "2024-W02.csv", partition="week")
    assert alone["week"].tolist() == ["2024-W02"]
    with pytest.raises(UserError, match="^2024-W01.csv has a column 'a' already: give it another"):
        reading.read(tmp_path, partition="a")


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (
            "a,prize\n1,2\n",
            "^b.csv has no column 'price', which a.csv has, it has 'prize': the files",
        ),
        ("a\n1\n", "^b.csv has no column 'price', which a.csv has: the files of one table have"),
        ("a,price,c\n1,2,3\n", "^a.csv has no column 'c', which b.csv has: the files of one table"),
    ],
)
def test_a_file_that_lacks_a_column_is_named(tmp_path, other, sentence):
    texts(tmp_path, a="a,price\n1,2\n", b=other)
    with pytest.raises(UserError, match=sentence):
        reading.read(tmp_path)


@pytest.mark.parametrize("name", ["b.jsonl", "b.parquet"])
def test_a_file_of_another_format_is_named(tmp_path, name):
    texts(tmp_path, a="a\n1\n")
    if name == "b.jsonl":
        (tmp_path / name).write_text('{"a": 1}\n')
    else:
        pq.write_table(pa.table({"a": ["1"]}), tmp_path / name)
    with pytest.raises(UserError, match=f"^{name} is in another format than a.csv: the files"):
        reading.read(tmp_path)


def test_a_table_and_records_of_json_are_of_other_formats(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(UserError, match="^b.jsonl is in another format than a.parquet"):
        [*reading.pieces(tmp_path)]


KINDS = {
    "number": [
        pa.array([1]),
        pa.array([1.5]),
        pa.array([Decimal("1.5")]),
        pa.array([1]).dictionary_encode(),
    ],
    "text": [
        pa.array(["a"]),
        pa.array(["a"], pa.large_string()),
        pa.array(["a"], pa.string_view()),
        pa.array(["a"]).dictionary_encode(),
    ],
    "date": [pa.array([datetime.date(2024, 1, 1)]), pa.array([datetime.datetime(2024, 1, 1)])],
    "bool": [pa.array([True])],
}


def test_a_column_is_of_one_kind_in_all_files_however_it_is_stored(tmp_path):
    for kind, arrays in KINDS.items():
        parquet(tmp_path, *({"x": array} for array in (*arrays, pa.nulls(1))))
        assert [len(piece.numbers) for piece in reading.pieces(tmp_path)][0] == 0
        assert sum(len(piece.numbers) for piece in reading.pieces(tmp_path)) == len(arrays) + 1
        for other, (array, *_) in KINDS.items():
            if other != kind:
                parquet(tmp_path, {"x": arrays[-1]}, {"x": array})
                sentence = f"^column 'x' holds a {other} in 1.parquet and a {kind} in 0.parquet: "
                with pytest.raises(UserError, match=sentence):
                    reading.read(tmp_path)
        for path in tmp_path.iterdir():
            path.unlink()


def test_a_folder_is_read_as_its_files_are_declared_to_be_written(tmp_path):
    texts(tmp_path, a="a;b\n1;2\n", b="a;b\n3;4\n")
    assert reading.read(tmp_path, csv=Csv(separator=";"))["b"].tolist() == [2, 4]
