"""CSV files as the world writes them, and the one sentence for those that cannot be read."""

import gzip

import pytest
from pandas._libs.parsers import STR_NA_VALUES

from util_lib.dataset.columns import Column
from util_lib.dataset.declaration import Csv
from util_lib.errors import UserError
from util_lib.tables import reading, typed

CODE = Column(dtype="string", role="ignore")


@pytest.fixture
def read(tmp_path):
    def go(content, names=None, texts=(), format="auto", file="table.csv", **options):
        path = tmp_path / file
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return reading.read(path, dict.fromkeys(texts, CODE), Csv(**options), format, names)

    return go


def test_separator_decimal_mark_and_missing_words_are_as_declared(read):
    frame = read(
        "n;name;code\n1,5;a,b;007\n-;-;-\n",
        separator=";",
        decimal=",",
        missing=["-"],
        texts=["code"],
    )
    assert frame["n"].tolist()[0] == 1.5 and frame["name"][0] == "a,b" and frame["code"][0] == "007"
    assert frame.isna().sum().tolist() == [1, 1, 1]


def test_the_words_for_missing_are_those_of_pandas():
    assert typed.MISSING == STR_NA_VALUES


def test_words_for_missing_of_other_files_stay_values(read):
    frame = read("country,n\nNA,1\n-,NA\n", missing=["-"])
    assert frame["country"][0] == "NA" and frame["country"].isna()[1] and frame["n"].isna()[1]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252", "utf-8"])
def test_any_encoding_that_is_declared_is_read(read, encoding):
    assert read("city,n\nZürich,1\n".encode(encoding), encoding=encoding)["city"][0] == "Zürich"


def test_lines_before_the_table_are_passed_over_quotes_in_them_too(read):
    content = 'made by "us\n150,4,setosa\nlength,kind\n5.1,0\n'
    assert read(content, skip_lines=2).to_dict("list") == {"length": [5.1], "kind": [0]}


def test_without_a_header_the_declared_names_are_the_columns(read):
    frame = read("150,4\n5.1,0\n4.9,1\n", names=["length", "kind"], header=False, skip_lines=1)
    assert frame.to_dict("list") == {"length": [5.1, 4.9], "kind": [0, 1]}


def test_where_there_is_a_header_it_names_the_columns(read):
    frame = read("kind,length\n0,5.1\n", names=["length", "kind"])
    assert frame.to_dict("list") == {"kind": [0], "length": [5.1]}


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        ("1,2,\n3,,\n", {"trailing_separator": True}, [[1, 3], [2, None]]),
        ("1,\n3,4\n", {}, [[1, 3], [None, 4]]),
        ('1,"2"\n', {}, [[1], [2]]),
        ('"1",2,\n3,4,\n', {"trailing_separator": True}, [[1, 3], [2, 4]]),
    ],
)
def test_rows_without_a_header_may_end_in_a_separator(read, content, options, expected):
    frame = read(content, names=["a", "b"], header=False, **options)
    assert [
        frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in ("a", "b")
    ] == expected


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        ("one\nx\n", {}, {"one": ["x"]}),
        ("a  b, c\nx,y\n", {}, {"a  b": ["x"], " c": ["y"]}),
        ('a,b\n"x",y,\n', {"trailing_separator": True}, {"a": ["x"], "b": ["y"]}),
        ("a,b\rx,y\rz,\rnote", {"footer_lines": 1}, {"a": ["x", "z"], "b": ["y", None]}),
        ("top\na\nx\nnote", {"footer_lines": 1, "skip_lines": 1}, {"a": ["x"]}),
        (" # c\na\nx\n  # y\n", {"comment": "#"}, {"a": ["x"]}),
    ],
)
def test_lines_are_rows_as_they_are_declared_to_be(read, content, options, expected):
    frame = read(content, **options)
    found = frame.astype(object).where(frame.notna(), None)
    assert found.to_dict("list") == expected


@pytest.mark.parametrize(
    ("rows", "options", "texts"),
    [
        ('"x\ny \\" z"\n# c\nw\n', {"escape": "\\"}, ['x\ny " z', "w"]),
        ('5" long,"x\n# y"\n# c\nw,\n', {}, ['5" long', "w"]),
        ('"x\ny ""q"" z"\n# c\nw\n', {}, ['x\ny "q" z', "w"]),
        ('"x\n""y\n# z"\n# c\nw\n', {}, ['x\n"y\n# z', "w"]),
        ('"v","x\n# y"\n# c\nw,\n', {}, ["v", "w"]),
        (' "x\n# c\nw\n', {}, [' "x', "w"]),
        (' "x\n# y" \n# c\nw', {"trim": True}, ["x\n# y", "w"]),
    ],
)
def test_a_comment_is_none_within_quotes_and_one_behind_them(read, rows, options, texts):
    names = "t,u" if "," in rows else "t"
    assert read(f"{names}\n{rows}", comment="#", **options)["t"].tolist() == texts


@pytest.mark.parametrize(
    ("rows", "texts"),
    [('X "q" \n', ['X "q"']), ('"x" ', ["x"]), ('"x" \n "y"', ["x", "y"])],
)
def test_blanks_beside_quotes_go_also_in_the_last_line(read, rows, texts):
    assert read(f"t\n{rows}", trim=True)["t"].tolist() == texts


def test_fields_of_several_lines_are_whole_wherever_a_large_file_is_divided(read):
    texts = [f"{place}\n" + "x,\n" * 30_000 for place in range(200)]  # 18 MB
    frame = read("t,n\n" + "".join(f'"{text}",1\n' for text in texts))
    assert frame["t"].tolist() == texts and frame["n"].sum() == 200


@pytest.mark.parametrize(
    ("content", "options", "numbers", "unread"),
    [
        (
            "a,b\n1,2\n3\n\n4,5\n6,7,8\n",
            {},
            [0, 2],
            [(1, "1 fields, its header has 2"), (3, "3 fields, its header has 2")],
        ),
        ('a,b\n1\n1\n"1",2\n', {}, [2], [(n, "1 fields, its header has 2") for n in (0, 1)]),
        ("a,b\n1\n", {}, [], [(0, "1 fields, its header has 2")]),
        ("a,b\n1,2\n3,4\n5\n", {}, [0, 1], [(2, "1 fields, its header has 2")]),
        ("1,2\n3\n4,5\n", {"header": False}, [0, 2], [(1, "1 fields, its first row has 2")]),
        (
            "a,b\n1,2,\n3,4\n5,6,\n",
            {"trailing_separator": True},
            [0, 2],
            [(1, "2 fields, its header has 2 and trailing_separator asks for an empty one more")],
        ),
    ],
)
def test_damaged_rows_may_be_passed_over_and_are_told(tmp_path, content, options, numbers, unread):
    path = tmp_path / "t.csv"
    path.write_text(content)
    parts = [*reading.pieces(path, Csv(**options), names=["a", "b"], skip_damaged=True)]
    assert [n for part in parts for n in part.numbers] == numbers
    assert [each for part in parts for each in part.unread] == unread


def test_what_is_no_text_is_said_behind_damaged_rows_too(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n1\n" + b"1,2\n" * 9000 + b"3,\xe9\n")
    with pytest.raises(UserError, match="^t.csv is not UTF-8 text .byte 0xe9.: save it as UTF-8"):
        [*reading.pieces(path, skip_damaged=True)]


def test_the_declared_format_wins_over_the_name_of_the_file(read):
    assert list(read("a,b\n1,2\n", file="download.parquet", format="csv")) == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "given", "sentence"),
    [
        ("a;b\n1;2\n", {}, "separated by semicolons: set data.csv.separator to ';'"),
        ("a,b\n1,2\n", {"separator": ";"}, "separated by commas: set data.csv.separator to ','"),
        (b"a\n\xe9\n", {}, "not UTF-8 text .byte 0xe9.*data.csv.encoding"),
        (b"a\n\xe9\n", {"encoding": "ascii"}, "not ascii text .byte 0xe9"),
        ("a,b\n1,2\n", {"encoding": "utf-16"}, "not utf-16 text: save it"),
        ('a,b\n"1",2\n' + "1,2\n" * 9000 + "1\n", {}, "line 9003 has 1 fields"),
        (b"a,b\n" + b"1,2\n" * 9000 + b"\xe9,1\n", {}, "^table.csv is not UTF-8 text .byte 0xe9"),
        (gzip.compress(b"", mtime=0), {}, "has no columns: its first line is empty$"),
        ('"a,b\n', {}, "^table.csv is no complete CSV file .line 1: unexpected end of data"),
        ('x\n"a,b\n', {"skip_lines": 1}, "CSV file .line 2: unexpected end"),
        ('x\na,b\n1,2\n3,"4\n', {"skip_lines": 1}, "CSV file .line 4: unexpected end"),
        ("a\n" + "x" * 2**25 + "\n1\n", {}, "^table.csv is no readable CSV file: .*straddl"),
        (
            "a,b\n1,2,\n3,4,5\n",
            {"trailing_separator": True},
            "^data.csv.trailing_separator: some rows have a value behind the last column: set it "
            "to false and give that column a name$",
        ),
        ('a,b\n1,"2",\n3,4,5\n', {"trailing_separator": True}, "have a value behind the last"),
        (
            "a,b\n1,2\n",
            {"trailing_separator": True},
            "line 2 has 2 fields, its header has 2 and "
            "trailing_separator asks for an empty one more: the file is truncated or not CSV$",
        ),
        ("a,b,c\n1,2\n", {}, "has 2 fields, its header has 3: the file is truncated or not CSV$"),
        ("a\n1,2,\n", {}, "not CSV$"),
        ("a\n1,2\n", {}, "not CSV$"),
        ("a,b\n1\n", {}, "not CSV; if it is a footnote, set data.csv.footer_lines$"),
        (
            "a,b\n1,2,\n",
            {},
            "not CSV; if every row ends in a separator, set data.csv.trailing_separator to true$",
        ),
        ("-5,-5\n1,2\n", {}, "set data.csv.header to false"),
        ("5.1,5.1\n1,2\n", {}, "set data.csv.header to false"),
        ("1.2.3,1.2.3\n1,2\n", {}, "column names must differ$"),
        ("X5,X5\n1,2\n", {}, "column names must differ$"),
        ("a,b\n1,2\n", {"skip_lines": 9}, "its first line after skip_lines 9 is empty"),
        ("x\na,b\n1,2\n3\n", {"skip_lines": 1}, "line 4 has 1 fields, its header has 2"),
        ("1,2\n3\n", {"header": False, "names": ["a", "b"]}, "line 2 has 1 fields, its first row"),
        (
            "1,2,3\n",
            {"header": False, "names": ["a", "b"]},
            "3 fields in its first row and `columns` declares 2",
        ),
        (
            "a,b\n1,2\n",
            {"header": False, "names": ["a", "b"]},
            "names in its first row: set data.csv.header to true",
        ),
        (
            "5.1,5.1,0\n4.9,3.0,0\n",
            {},
            "called '5.1'.*if its first line holds values, set data.csv.header to false",
        ),
        (b"PAR1rest", {"format": "csv"}, "is a parquet file"),
        ("a,b\n1,2\n", {"file": "raw.parquet"}, "if it is CSV, set data.format to csv"),
    ],
)
def test_a_file_that_is_not_as_declared_is_one_sentence(read, content, given, sentence):
    with pytest.raises(UserError, match=sentence) as refused:
        read(content, **given)
    assert "\n" not in str(refused.value)
