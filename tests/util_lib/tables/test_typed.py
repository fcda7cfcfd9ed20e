"""One reading of values: whatever they came in, they are what their column declares."""

import bz2
import datetime
import gzip
import json
import math
import zipfile
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from excel_support import write_sheets
from pyarrow import feather

from util_lib.dataset.columns import Column
from util_lib.dataset.declaration import Csv
from util_lib.errors import UserError
from util_lib.tables import reading, typed

LONG = 1782218195625937920
DAY = datetime.datetime(2020, 1, 1)


def declared(**keys):
    return Column.model_validate({"role": "ignore", "nullable": True} | keys)


def from_text(texts, form=None, **keys):
    found = typed.read(pa.array(texts, pa.string()), declared(**keys), form or Csv(), written=True)
    assert found.values.type == typed.TYPES[keys["dtype"]] and found.wrong.dtype == bool
    return [
        "wrong" if wrong else v
        for v, wrong in zip(found.values.to_pylist(), found.wrong, strict=True)
    ]


@pytest.mark.parametrize(
    ("texts", "keys", "form", "expected"),
    [
        ([str(LONG), "+2", "", "NA", " 3 ", "5.0", "1e3"], {"dtype": "int"}, {}, None),
        (["5.5", "x", "9223372036854775808"], {"dtype": "int"}, {}, ["wrong"] * 3),
        (["0.1", "+2", "NaN", ".5", "1_000", "1e400"], {"dtype": "float"}, {}, None),
        (["yes", "No", "1", "x", ""], {"dtype": "bool"}, {}, [True, False, True, "wrong", None]),
        (["NA", "", " a "], {"dtype": "string"}, {}, ["NA", None, " a "]),
        (["?", " ? "], {"dtype": "string"}, {"trim": True, "missing": ["?"]}, [None, None]),
        (["-999", "3"], {"dtype": "int", "missing": [-999]}, {}, [None, 3]),
        (["-999.0", "3"], {"dtype": "float", "missing": [-999]}, {}, [None, 3.0]),
        (["1.234,5", "12", "1,5"], {"dtype": "float"}, "comma", [1234.5, 12.0, 1.5]),
        (["1.23", "1.5", "12.34.567"], {"dtype": "float"}, "comma", ["wrong"] * 3),
        (["1.968", "999"], {"dtype": "int", "thousands": "."}, {"separator": ";"}, [1968, 999]),
        (["$5", "-$5", "5 %", "5kg"], {"dtype": "float", "strip": ["$", "%"]}, {}, None),
        (["03.02.2024", "x"], {"dtype": "datetime", "date_format": "%d.%m.%Y"}, {}, None),
        (["+2", "3", None], {"dtype": "int"}, {}, [2, 3, None]),
        ([str(2**63 - 1), str(2**63), "1"], {"dtype": "int"}, {}, [2**63 - 1, "wrong", 1]),
        ([str(-(2**63)), str(-(2**63) - 1)], {"dtype": "int"}, {}, [-(2**63), "wrong"]),
        (["0e30", "0.0", "1e-30", "1e30"], {"dtype": "int"}, {}, [0, 0, "wrong", "wrong"]),
        (["x", None], {"dtype": "int"}, {}, ["wrong", None]),
        (["$5$", "$$5"], {"dtype": "float", "strip": ["$"]}, {}, ["wrong", "wrong"]),
        (["-999", "-9"], {"dtype": "float", "missing": [-999.0, -9.5]}, {}, [None, -9.0]),
        (["a", "1.5", "1"], {"dtype": "string", "missing": [1.5, 1.0]}, {}, ["a", None, None]),
        ([None, None], {"dtype": "datetime"}, {}, [None, None]),
    ],
)
def test_texts_of_csv_are_what_their_column_declares(texts, keys, form, expected):
    expected = expected or {
        "int": [LONG, 2, None, None, 3, 5, 1000],
        "float": [5.0, -5.0, 5.0, "wrong"]
        if keys.get("strip")
        else [0.1, 2.0, None, 0.5, "wrong", float("inf")],
        "datetime": [datetime.datetime(2024, 2, 3), "wrong"],
    }.get(keys["dtype"])
    if form == "comma":
        form = {"separator": ";", "decimal": ",", "thousands": "."}
    assert from_text(texts, Csv(**form), **keys) == expected


def test_dates_with_offsets_are_one_instant():
    winter, summer = "2025-01-10T08:00:00+01:00", "2025-05-10T08:00:00+02:00"
    moments = from_text([winter, summer, "2025-01-10"], dtype="datetime")
    assert [moment.hour for moment in moments] == [7, 6, 0]
    stamps = pa.array([datetime.datetime(2025, 1, 10, 8)], pa.timestamp("us", "Europe/Berlin"))
    assert typed.read(stamps, declared(dtype="datetime")).values.to_pylist()[0].hour == 8 - 0


@pytest.mark.parametrize(
    ("values", "keys", "expected"),
    [
        (pa.array([200, 7, None], pa.uint8()), {"dtype": "int"}, [200, 7, None]),
        (pa.array([2**63, 1], pa.uint64()), {"dtype": "int"}, ["wrong", 1]),
        (pa.array([2**63 - 1, None], pa.uint64()), {"dtype": "int"}, [2**63 - 1, None]),
        (pa.array([Decimal("2.5"), None]), {"dtype": "int"}, ["wrong", None]),
        (
            pa.array([3.0, 2.5, float("nan"), 2.0**60]),
            {"dtype": "int"},
            [3, "wrong", None, "wrong"],
        ),
        (pa.array([Decimal("1.50"), None]), {"dtype": "float"}, [1.5, None]),
        (pa.array([None], pa.decimal128(5, 2)), {"dtype": "float"}, [None]),
        (pa.array([Decimal("2.00"), Decimal("2.50")]), {"dtype": "int"}, [2, "wrong"]),
        (pa.array(["5", None]), {"dtype": "int"}, ["wrong", None]),
        (pa.array(["5 kg", "5"]), {"dtype": "int", "strip": ["kg"]}, [5, 5]),
        (pa.array(["5.5"]), {"dtype": "float"}, ["wrong"]),
        (pa.array(["1,5", "1.5"]), {"dtype": "float", "decimal": ","}, [1.5, "wrong"]),
        (pa.array(["1_968"]), {"dtype": "int", "thousands": "_"}, [1968]),
        (pa.array([LONG, None]), {"dtype": "string"}, [str(LONG), None]),
        (pa.array([5]), {"dtype": "string", "role": "text"}, ["wrong"]),
        (pa.array([0, 1, 2, None]), {"dtype": "bool"}, [False, True, "wrong", None]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), {"dtype": "string"}, ["a", "b", "a"]),
        (pa.array([-999, 5]), {"dtype": "int", "missing": [-999]}, [None, 5]),
        (pa.array(["n.a.", "x"]), {"dtype": "string", "missing": ["n.a."]}, [None, "x"]),
        (
            pa.array([datetime.date(1900, 1, 1), datetime.date(2020, 1, 1)]),
            {"dtype": "datetime", "missing": ["1900-01-01"]},
            [None, DAY],
        ),
        (pa.array([True, None]), {"dtype": "bool"}, [True, None]),
        (pa.array([0.0, 1.0, 0.5, None]), {"dtype": "bool"}, [False, True, "wrong", None]),
        (pa.array([2**60 + 1, 1]), {"dtype": "bool"}, ["wrong", True]),
        (pa.array(["yes", "x", None]), {"dtype": "bool"}, [True, "wrong", None]),
        (pa.array([2**60 + 1, None]), {"dtype": "float"}, [2.0**60, None]),
        (pa.array([1.5, None], pa.float32()), {"dtype": "float"}, [1.5, None]),
        (pa.array([True, None]), {"dtype": "float"}, ["wrong", None]),
        (pa.array([True, None]), {"dtype": "int"}, ["wrong", None]),
        (pa.array([True, None]), {"dtype": "string"}, ["wrong", None]),
        (pa.array([1.0, None]), {"dtype": "string"}, ["wrong", None]),
        (pa.array([5, None]), {"dtype": "datetime"}, ["wrong", None]),
        (pa.array([5.0, None]), {"dtype": "datetime"}, ["wrong", None]),
        (pa.array([DAY, None], pa.timestamp("s")), {"dtype": "datetime"}, [DAY, None]),
        (pa.array([DAY.date(), None]), {"dtype": "bool"}, ["wrong", None]),
        (pa.array([DAY, None]), {"dtype": "string"}, ["wrong", None]),
        (pa.array([Decimal(12), None]), {"dtype": "string"}, ["12", None]),
        (pa.array([Decimal("1.2"), None]), {"dtype": "string"}, ["wrong", None]),
        (pa.array([5.0, -9.0]), {"dtype": "float", "missing": ["x", -9]}, [5.0, None]),
        (
            pa.array([DAY, None]),
            {"dtype": "datetime", "missing": [5, "x", "2020-01-01"]},
            [None] * 2,
        ),
        (
            pa.array([300, 5], pa.int16()),
            {"dtype": "int", "missing": [2**40, 300.0, "x"]},
            [None, 5],
        ),
        (
            pa.array([-128, 127, 0], pa.int8()),
            {"dtype": "int", "missing": [-128, 127]},
            [None, None, 0],
        ),
        (pa.chunked_array([["a"], ["b"]], pa.large_string()), {"dtype": "string"}, ["a", "b"]),
        *((pa.nulls(2), {"dtype": dtype}, [None] * 2) for dtype in typed.TYPES),
    ],
)
def test_values_of_parquet_are_what_their_column_declares(values, keys, expected):
    found = typed.read(values, declared(**keys))
    read = zip(found.values.to_pylist(), found.wrong, strict=True)
    assert ["wrong" if wrong else value for value, wrong in read] == expected
    assert found.wrong.dtype == bool
    if keys["dtype"] != "datetime":  # which keep their unit
        assert found.values.type == typed.TYPES[keys["dtype"]]


def test_values_of_json_are_read_each_by_its_own_type():
    values = [1, "a", True, None, 2.0, float("nan"), [1], 2**70, {"x": 1}]
    found = typed.read_objects(values, declared(dtype="int"))
    assert found.values.to_pylist() == [1, None, None, None, 2, None, None, None, None]
    assert found.wrong.tolist() == [False, True, True, False, False, False, True, True, True]
    odd = [np.array([1, 2]), [1, "a"], {}, b"x", (1,), 2**63, -(2**63) - 1, {1: 2}]
    whole = [-(2**63), 2**63 - 1, -200, 200, np.int8(3), Decimal(4), DAY, pd.NA]
    found = typed.read_objects(odd + whole, declared(dtype="int"))
    assert found.values.to_pylist() == [None] * 8 + [
        -(2**63),
        2**63 - 1,
        -200,
        200,
        3,
        4,
        None,
        None,
    ]
    assert found.wrong.tolist() == [True] * 8 + [False] * 6 + [True, False]
    days = [DAY, DAY.date(), pd.Timestamp(DAY), "2020-01-01", None, 5]
    found = typed.read_objects(days, declared(dtype="datetime"))
    assert found.values.to_pylist() == [DAY] * 4 + [None] * 2 and found.wrong.sum() == 1
    nothing = typed.read_objects([None, float("nan")], declared(dtype="int"))
    assert nothing.values.type == pa.int64() and nothing.values.to_pylist() == [None] * 2
    percent, comma = declared(dtype="float", strip=["%"]), Csv(separator=";", decimal=",")
    assert typed.read_objects(["1,5 %"], percent, comma).values.to_pylist() == [1.5]


@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv.bz2", "t.csv.zip", "t.csv.zst", "download"])
def test_a_packed_file_is_read_by_what_it_is(tmp_path, name):
    content, path = b"id,x\n1,a\n,b\n", tmp_path / name
    if name.endswith("zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.mkdir("folder")
            archive.writestr("folder/t.csv", content)
    elif name.endswith("bz2"):
        path.write_bytes(packed(content, "bz2"))
    elif name.endswith("zst"):
        path.write_bytes(packed(content, "zst"))
    else:
        path.write_bytes(gzip.compress(content))
    frame = reading.read(path)
    assert frame["id"].dtype == "Int64" and frame["x"].tolist() == ["a", "b"]


def packed(content, kind):
    if kind == "zst":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as file:
            file.write(content)
        return sink.getvalue().to_pybytes()
    return {"gz": gzip.compress, "bz2": bz2.compress}[kind](content)


@pytest.mark.parametrize("kind", ["gz", "bz2", "zst"])
def test_packed_json_is_read_and_what_breaks_off_is_one_sentence(tmp_path, kind):
    contents = {"t.jsonl": b'{"a": 1}\n{"a": 2}\n', "t.json": b'[{"a": 1}, {"a": 2}]'}
    for name, content in contents.items():
        path = tmp_path / f"{name}.{kind}"
        path.write_bytes(packed(content, kind))
        assert reading.read(path)["a"].tolist() == [1, 2]
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(UserError, match=rf"{name}.{kind} is no complete (gz|bz|zst)"):
            reading.read(path)
    for name in ("t.parquet", "t.arrow"):
        path = tmp_path / f"{name}.{kind}"
        path.write_bytes(packed(b"PAR1", kind))
        with pytest.raises(UserError, match="is packed with .*: unpack it"):
            reading.read(path)


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "zip", "zstd"])
@pytest.mark.parametrize("name", ["t.csv.gz", "t.jsonl"])
def test_a_file_that_is_packed_twice_is_said_to_be(tmp_path, kind, name):
    path, once = tmp_path / name, gzip.compress(b'{"x": 1}')
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("t.gz", once)
    else:
        with pa.CompressedOutputStream(path, {"bzip2": "bz2"}.get(kind, kind)) as file:
            file.write(once)
    with pytest.raises(UserError, match=f"^{name} is packed twice, gzip in {kind}: unpack it$"):
        reading.read(path)


def test_a_damaged_archive_and_one_of_several_files_are_one_sentence(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" * 5000)[:-9])
    with pytest.raises(UserError, match="no complete gzip file"):
        reading.read(path)
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", "a\n1\n")
        archive.writestr("b.csv", "a\n1\n")
    with pytest.raises(UserError, match="an archive of 2 files|archive of 2 files"):
        reading.read(tmp_path / "two.zip")


def test_a_sheet_of_excel_is_a_table(tmp_path):
    path = tmp_path / "t.xlsx"
    write_sheets(path, Data=[["n", "x", "name"], [1, 0.5, "a"], [2, "", "b"]])
    read = reading.read(path, {"x": declared(dtype="float")})
    assert read["n"].tolist() == [1, 2] and read["x"].isna().tolist() == [False, True]
    assert read["name"].tolist() == ["a", "b"]
    unnamed = path.with_name("download")
    unnamed.write_bytes(path.read_bytes())
    assert reading.read(unnamed)["name"].tolist() == ["a", "b"]
    with pytest.raises(UserError, match="unknown sheet 'Dat': the nearest is 'Data'"):
        reading.read(path, sheet="Dat")
    write_sheets(path, Data=[["n"], [1]], Other=[["m"], [2]])
    with pytest.raises(UserError, match="has 2 sheets: name one of Data, Other"):
        reading.read(path)
    assert list(reading.read(path, sheet="Other")) == ["m"]
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match="t.xlsx is no complete Excel file"):
        reading.read(path)


@pytest.mark.parametrize(
    ("content", "form", "expected"),
    [
        ("a,b\n1,2\n\n* as of last year\n", {"footer_lines": 1}, [[1, 2]]),
        ("a,b\n1,2,\n3,4,\n", {"trailing_separator": True}, [[1, 2], [3, 4]]),
        ("# made\na,b\n# no row\n1,2\n", {"comment": "#"}, [[1, 2]]),
        ("x\na,b\n1,2\n", {"skip_lines": 1}, [[1, 2]]),
        ('a,b\n"1\\"",2\n', {"escape": "\\"}, [['1"', 2]]),
        ("a,b\n'1,5',2\n", {"quote": "'", "decimal": ";"}, [["1,5", 2]]),
        ("a, b\nx , y\n", {"trim": True}, [["x", "y"]]),
        ('a, "b"\n1, "x, y"\n', {"trim": True}, [[1, "x, y"]]),
        ('a,b\n "x" ,\t"y ""q""\nz" \n', {"trim": True}, [["x", 'y "q"\nz']]),
        ("a\tb\n'x\ty' \t z\n", {"trim": True, "quote": "'", "separator": "\t"}, [["x\ty", "z"]]),
        ('a;b\n "x\\"; y" ; 1\n', {"trim": True, "escape": "\\", "separator": ";"}, [['x"; y', 1]]),
    ],
)
def test_a_csv_file_is_read_as_it_is_declared_to_be_written(tmp_path, content, form, expected):
    path = tmp_path / "t.csv"
    path.write_text(content)
    frame = reading.read(path, csv=Csv(**form))
    assert list(frame) == ["a", "b"] and frame.to_numpy().tolist() == expected


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a,b\n1,2\n* note\n", "if it is a footnote, set data.csv.footer_lines"),
        ("a,b\n1,2,\n", "set data.csv.trailing_separator to true"),
        ('a,b\n1,"x"y\n', "no complete CSV file"),
        ('a,b\n1,"x\n', "no complete CSV file"),
        ("name   age\nAnna   34\n", "has columns of fixed width.*save it as CSV"),
    ],
)
def test_a_csv_file_that_is_not_as_declared_names_the_way_out(tmp_path, content, sentence):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(UserError, match=sentence):
        reading.read(tmp_path / "t.csv")


def test_json_lines_and_records_are_tables(tmp_path):
    rows = [{"id": LONG, "x": "a"}, {"id": None, "x": "b", "late": 1}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "t.json").write_text(json.dumps(rows))
    for name in ("t.jsonl", "t.json"):
        frame = reading.read(tmp_path / name)
        assert frame["id"].tolist() == [LONG, pd.NA] or frame["id"][0] == LONG
        assert frame["late"].isna().tolist() == [True, False]
    (tmp_path / "t.jsonl").write_text('{"a": 1, "a": 2}\n')
    with pytest.raises(UserError, match="the key 'a' occurs twice in one object"):
        reading.read(tmp_path / "t.jsonl")


def test_whole_numbers_with_gaps_are_exact_in_every_format(tmp_path):
    ids = [None if i % 50 == 0 else LONG + i for i in range(600)]
    table = pa.table({"id": pa.array(ids, pa.int64()), "x": list(range(600))})
    pq.write_table(table, tmp_path / "t.parquet")
    feather.write_feather(table, tmp_path / "t.arrow")
    lines = "".join(f"{'' if i is None else i},{x}\n" for x, i in enumerate(ids))
    (tmp_path / "t.csv").write_text(f"id,x\n{lines}")
    records = [json.dumps({"id": i, "x": x}) for x, i in enumerate(ids)]
    (tmp_path / "t.jsonl").write_text("\n".join(records))
    for name in ("t.parquet", "t.arrow", "t.csv", "t.jsonl"):
        for columns in ({}, {"id": declared(dtype="int")}):
            frame = reading.read(tmp_path / name, columns)
            assert [None if pd.isna(i) else int(i) for i in frame["id"]] == ids, name


def test_an_arrow_file_is_read_a_part_at_a_time_and_a_named_index_is_a_column(tmp_path):
    frame = pd.DataFrame({"code": [f"{i:05}" for i in range(900)], "x": range(900)})
    table = pa.Table.from_pandas(frame.set_index("code"))
    feather.write_feather(table, tmp_path / "t.feather")
    parts = [*reading.pieces(tmp_path / "t.feather", n_rows=400, wanted={"code"})]
    assert [len(part.numbers) for part in parts] == [0, 400, 400, 100]
    assert [*parts[0].columns] == ["code", "x"] and [*parts[1].columns] == ["code"]
    assert parts[2].columns["code"][0].as_py() == "00400" and parts[2].numbers[0] == 400
    pd.testing.assert_frame_equal(reading.read(tmp_path / "t.feather"), frame)


def test_what_arrow_has_read_of_a_file_is_let_go_again(tmp_path):
    table = pa.table({"x": np.arange(500_000)})
    feather.write_feather(table, tmp_path / "t.arrow", chunksize=20_000)
    del table
    before, most = pa.total_allocated_bytes(), 0
    for _ in reading.pieces(tmp_path / "t.arrow", n_rows=20_000):
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 1_000_000  # of 4 million


def test_a_number_beyond_64_bits_is_one_number_in_every_format(tmp_path):
    numbers = [str(2**63), str(2**64), str(-(10**29)), "1" + "0" * 400, "0.1", str(2**60 + 1)]
    (tmp_path / "t.csv").write_text("\n".join(["x", *numbers]))
    (tmp_path / "t.jsonl").write_text("\n".join(f'{{"x": {number}}}' for number in numbers))
    expected = [float(number) for number in numbers]
    write_sheets(tmp_path / "t.xlsx", Data=[["x"], *([x] for x in expected if x < math.inf)])
    of_excel = expected[:3] + expected[4:]
    for name, values in (("t.csv", expected), ("t.jsonl", expected), ("t.xlsx", of_excel)):
        frame = reading.read(tmp_path / name, {"x": declared(dtype="float")})
        assert frame["x"].dtype == "float64" and frame["x"].tolist() == values
    (tmp_path / "t.jsonl").write_text("\n".join(f'{{"x": {number}}}' for number in numbers[:4]))
    texts = reading.read(tmp_path / "t.jsonl", {"x": declared(dtype="string")})["x"]
    assert texts.tolist() == numbers[:4]  # as 7 is '7'
    write_sheets(tmp_path / "t.xlsx", Data=[["x"], [6.02e23], [0.5]])
    assert reading.read(tmp_path / "t.xlsx")["x"].tolist() == [6.02e23, 0.5]  # not declared
    with pytest.raises(UserError, match="have no type in common .*declare the column with its"):
        reading.write(pd.DataFrame({"x": [2**64, 2]}, dtype=object), tmp_path / "t.parquet")


def test_json_of_one_type_takes_little_room_and_of_several_stays_exact(tmp_path):
    rows = [{"n": i, "mixed": LONG if i % 2 else 0.5, "big": 2**70, "late": None} for i in range(9)]
    rows[-1]["late"] = "x"
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found, _ = reading.columns_of(tmp_path / "t.jsonl")
    assert found["n"].type == pa.int64() and found["late"].type == pa.string()
    assert found["mixed"] == [row["mixed"] for row in rows]
    assert found["big"] == [2**70] * 9


def test_lines_within_a_quoted_field_are_no_comments_and_none_is_lost(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('a,b\n# "no row\n1,"x\n# y\n\nz"\n\n2,5" long\n* "open\n', newline="")
    frame = reading.read(path, csv=Csv(comment="#", footer_lines=1))
    assert frame["b"].tolist() == ["x\n# y\n\nz", '5" long'] and frame["a"].tolist() == [1, 2]


def test_a_long_field_of_several_lines_keeps_its_blanks_where_others_lose_theirs(tmp_path):
    text = "x ,\n" * 600_000  # longer than what is read at a time
    (tmp_path / "t.csv").write_text(f'a, b\n1, "{text}" \n 2 , 3" \n', newline="")
    frame = reading.read(tmp_path / "t.csv", csv=Csv(trim=True))
    assert frame["b"].tolist() == [text.strip(), '3"'] and frame["a"].tolist() == [1, 2]


def test_a_column_that_is_not_all_as_declared_keeps_its_texts(tmp_path):
    (tmp_path / "t.csv").write_text("n,m\n1, 2\n x,NA\n?,3\n")
    columns, form = dict.fromkeys("nm", declared(dtype="int")), Csv(missing=["?"])
    frame = reading.read(tmp_path / "t.csv", columns, form)
    assert frame["n"].tolist()[:2] == ["1", " x"] and frame["n"].isna().tolist() == [False] * 2 + [
        True
    ]
    assert frame["m"].tolist() == [2, pd.NA, 3] or frame["m"].isna().tolist() == [
        False,
        True,
        False,
    ]


def test_columns_for_pandas_are_exact_also_beside_gaps():
    for values, dtype in (
        (pa.array([2**64 - 1, None], pa.uint64()), "UInt64"),
        (pa.array([-7, None], pa.int8()), "Int8"),
        (pa.array([True, None]), "boolean"),
        (pa.array([True, False]), "bool"),
        (pa.array(["a", "b", "a"]).dictionary_encode(), "str"),
        (pa.array([1, 2], pa.uint8()), "uint8"),
    ):
        series = typed.for_pandas(values)
        assert series.dtype == dtype
        assert [None if pd.isna(value) else value for value in series] == values.to_pylist()


def test_the_words_for_truth_are_truth_where_no_other_stands():
    words = pa.array(sorted(typed.TRUTH_WORDS))
    assert typed.guessed(words, Csv()).type == pa.bool_()
    assert typed.guessed(pa.array(["true", "yes"]), Csv()).type == pa.string()


def test_dates_of_json_are_iso_or_as_their_column_declares():
    written = {"dtype": "datetime", "date_format": "%d.%m.%Y"}
    last = datetime.datetime(2024, 12, 31)
    texts = pa.array(["31.12.2024", "2024-12-31T00:00:00", "31/12/2024", None, "2024-12-31"])
    found = typed.read(texts, declared(**written))
    assert found.values.to_pylist() == [last, last, None, None, last]
    assert found.wrong.tolist() == [False, False, True, False, False]
    assert typed.read(texts, declared(**written), written=True).wrong.tolist()[1]
