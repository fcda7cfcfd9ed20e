"""CSV files as the world writes them, and the one sentence for those that cannot be read."""

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


def test_the_declared_format_wins_over_the_name_of_the_file(read):
    assert list(read("a,b\n1,2\n", file="download.parquet", format="csv")) == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "given", "sentence"),
    [
        ("a;b\n1;2\n", {}, "separated by semicolons: set data.csv.separator to ';'"),
        ("a,b\n1,2\n", {"separator": ";"}, "separated by commas: set data.csv.separator to ','"),
        (b"a\n\xe9\n", {}, "not UTF-8 text .byte 0xe9.*data.csv.encoding"),
        (b"a\n\xe9\n", {"encoding": "ascii"}, "not ascii text .byte 0xe9"),
        ("a,b\n1,2\n", {"encoding": "utf-16"}, "not utf-16 text"),
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
