"""Records of JSON as the world writes them, and what is said of those that cannot be read."""

import json
import math

import pytest

from util_lib.errors import UserError
from util_lib.tables import json_files, reading


@pytest.fixture
def pieces(tmp_path):
    """Return the records of a file by their numbers, and the reasons of those unread."""

    def go(content, name="t.json"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        rows, unread = {}, {}
        for piece in reading.pieces(path, n_rows=3):
            columns = {
                n: v if isinstance(v, list) else v.to_pylist() for n, v in piece.columns.items()
            }
            for place, number in enumerate(piece.numbers):
                row = {n: values[place] for n, values in columns.items()}
                rows[number] = {n: v for n, v in row.items() if v is not None}
            unread |= dict(piece.unread)
        return rows, unread

    return go


TWO = {0: {"a": 1}, 1: {"a": 2}}


@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
@pytest.mark.parametrize(
    "content",
    [
        '[{"a": 1}, {"a": 2}]',
        ' \n[ {"a": 1}\n,\n{"a": 2} ]\n\n',
        '\ufeff[{"a": 1}, {"a": 2}]',
        '{"a": 1}\n{"a": 2}',
        '{"a": 1}\n\n{"a": 2}\n',
        '\ufeff{"a": 1}\n  \n{"a": 2}\n',
    ],
)
def test_records_are_a_list_or_one_in_each_line(pieces, name, content):
    assert pieces(content, name) == (TWO, {})


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ('{"dataframe_records": [{"a": 1}, {"a": 2}]}', TWO),
        ('{"dataframe_split": {"columns": ["a"], "data": [[1], [2]]}}', TWO),
        ('{"columns": ["a"], "data": [[1], [2]], "index": [0, 1]}', TWO),
        ('{"a": 1}', {0: {"a": 1}}),
        ('{\n "a": 1}\n', {0: {"a": 1}}),
        ('{\n "columns": 1}\n', {0: {"columns": 1}}),
    ],
)
def test_one_object_is_a_table_as_pandas_writes_it_or_one_row(pieces, content, rows):
    assert pieces(content) == (rows, {})


def test_a_line_is_a_row_whatever_keys_it_has(pieces):
    assert pieces('{"data": 1, "columns": 2}', "t.jsonl")[0] == {0: {"data": 1, "columns": 2}}
    assert pieces('{"data": 1}\n{"data": 2}\n')[0] == {0: {"data": 1}, 1: {"data": 2}}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"columns": ["a"], "data": [[1, 2]]}', "t.json has columns and data that do not fit$"),
        ('{"columns": ["a"], "data": [1]}', "t.json has columns and data that do not fit$"),
        ('{"columns": ["a"], "data": 5}', "t.json has columns and data that do not fit$"),
        ('{"columns": 5, "data": [[1]]}', "t.json has columns and data that do not fit$"),
        ('{"columns": "ab", "data": [[1, 2]]}', "t.json has columns and data that do not fit$"),
        ('{"columns": ["a", "a"], "data": [[1, 2]]}', "^t.json has several columns called 'a'"),
        ('{"dataframe_records": null}', "t.json holds no rows: expected a list of records, or"),
        ('{"dataframe_split": 5}', "t.json holds no rows: expected a list of records, or"),
        ('[{"a": 1}]\n \n[{"b": 2}]\n', r"after its JSON array, with '\[{\"b\": 2}\]': exp"),
        ('[{"a": 1}]' + " " * 2**21 + "]", r"t.json goes on after its JSON array, with '\]': exp"),
        ('{"a": "\\ud800"}', "t.json is no complete JSON file: half of a surrogate pair, which"),
        ('{"a": \n1', "t.json is no complete JSON file: Expecting"),
        ('{"a": 1}{"a": 2}', "Extra data.*; records in lines are of a file named .jsonl$"),
        ('{\n"a": 1, "a": 2}', "t.json is no complete JSON file: the key 'a' occurs twice"),
        ('[{"a": 1}, {"a": ', "t.json is no complete JSON array: it breaks off at '{\"a\": '$"),
        ('[{"a": 1}', "t.json is no complete JSON array: it breaks off at '{\"a\": 1}'$"),
        (b'[{"a": "\xe9"}]', "t.json is not UTF-8 text .byte 0xe9.: save it as UTF-8$"),
        (b'{"a": "\xe9"}\n{}', "t.json is not UTF-8 text .byte 0xe9.: save it as UTF-8$"),
        ('{"a":' + "[" * 200_000, "t.json is no complete JSON file: "),
    ],
)
def test_a_file_that_breaks_off_or_is_damaged_is_one_sentence(pieces, content, sentence):
    with pytest.raises(UserError, match=sentence):
        pieces(content)


@pytest.mark.parametrize("written", [", ".join, "\n".join])
def test_what_is_no_record_is_told_by_its_number(pieces, written):
    elements = ['{"a": 1}', "5", '{"a": 1, "b": 2, "b": 3}', '"x"', "[1]", '{"a": 2}', "null"]
    content = f"[{written(elements)}]" if written("ab") == "a, b" else written(elements)
    rows, unread = pieces(content)
    assert rows == {0: {"a": 1}, 5: {"a": 2}}
    twice = "the key 'b' occurs twice in one object"
    assert unread == {2: twice} | dict.fromkeys([1, 3, 4, 6], "no JSON object")


def test_lines_that_are_no_json_are_told_and_the_others_read(pieces):
    rows, unread = pieces('{"a": 1}\n{"a": \n' + "[" * 200_000 + '\n{"a": 2}\n', "t.jsonl")
    assert rows == {0: {"a": 1}, 3: {"a": 2}}
    assert unread == dict.fromkeys([1, 2], "no JSON object")
    long = "k" * 200
    _, unread = pieces(f'{{"{long}": 1, "{long}": 2}}', "t.jsonl")
    assert unread[0] == f"the key '{'k' * 80}' occurs twice in one object"


def test_half_of_a_letter_is_told_by_its_number(pieces):
    records = ['{"a": "\\ud83d\\ude00"}', '{"a": "x\\ud83d"}', '{"\\uDE00": 1}', '{"a": "y"}']
    for content, name in ((f"[{','.join(records)}]", "t.json"), ("\n".join(records), "t.jsonl")):
        rows, unread = pieces(content, name)
        assert rows == {0: {"a": "😀"}, 3: {"a": "y"}}
        assert unread == dict.fromkeys([1, 2], "half of a surrogate pair, which is no text")


def test_a_name_that_is_a_number_is_written_as_one(pieces):
    assert pieces('{"columns": [2023, "a"], "data": [[1, 2]]}')[0] == {0: {"2023": 1, "a": 2}}


@pytest.mark.parametrize("n_chars", [1, 2, 3, 4, 30])
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_where_a_file_is_divided_does_not_show(pieces, monkeypatch, n_chars, suffix):
    rows = [{"é": 1, "n": -1234.5e3, "t": 'é\n"]'}, {"n": 12345}, {"t": ",[}"}]
    expected = {number: row for number, row in enumerate(rows)}
    monkeypatch.setattr(json_files, "PIECE_CHARS", n_chars)
    assert pieces(json.dumps(rows, indent=2, ensure_ascii=False), f"t.{suffix}")[0] == expected
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert pieces(lines, "t.jsonl")[0] == expected
    assert pieces('[{"é": 1}]')[0] == pieces('{"é": 1}')[0] == {0: {"é": 1}}
    twice = '[{"a": 1, "a": 22222222}, 12345, {"b": 3}]'
    assert pieces(twice) == (
        {2: {"b": 3}},
        {0: "the key 'a' occurs twice in one object", 1: "no JSON object"},
    )


def test_what_is_read_whole_is_bounded(pieces, monkeypatch):
    monkeypatch.setattr(json_files, "LARGEST_OBJECT", 2**20)
    text = "x" * (2**20 - 8)
    assert pieces(f'{{"a":"{text}"}}')[0][0] == {"a": text}
    with pytest.raises(
        UserError, match="is one JSON object of more than 1 MB: write one record in"
    ):
        pieces(f'{{"a":"{text}x"}}')
    many = json.dumps([{"a": text[:1000]}] * 3000)
    assert len(pieces(many)[0]) == 3000
    monkeypatch.setattr(json_files, "PIECE_CHARS", 2**18)
    with pytest.raises(UserError, match='no complete JSON array: it breaks off at \'{"a": "xxx'):
        pieces(json.dumps([{"a": text + text}]))


def test_a_missing_number_is_none_and_an_infinite_one_stays():
    assert json_files.loads('{"a": NaN, "b": [NaN, 1]}') == {"a": None, "b": [None, 1]}
    assert json_files.loads("[Infinity, -Infinity]") == [math.inf, -math.inf]
    with pytest.raises(ValueError, match="the key 'x' occurs twice in one object"):
        json_files.loads('{"a": {"y": 1, "x": 1, "x": 2}}')
