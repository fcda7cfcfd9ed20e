"""Sheets of Excel as offices write them."""

import zipfile

import pandas as pd
import pytest
from excel_support import write_sheets

from util_lib.errors import UserError
from util_lib.tables import excel_files, reading


@pytest.fixture
def read(tmp_path):
    def go(*rows):
        write_sheets(tmp_path / "t.xlsx", Data=rows)
        frame = reading.read(tmp_path / "t.xlsx")
        return {n: [None if pd.isna(v) else v for v in frame[n]] for n in frame}

    return go


def test_the_first_row_with_something_in_it_names_the_columns(read):
    rows = ["", "", ""], ["a", 2024, ""], ["", "", ""], ["x", 1, ""], ["", "", ""], ["y", "", ""]
    assert read(*rows) == {"a": ["x", "y"], "2024": [1, None]}
    assert read(["a", "", "b"], [1.5, "", 2], [2, "", 3]) == {"a": [1.5, 2], "b": [2, 3]}


def test_whole_numbers_are_whole_and_others_stay(read, tmp_path):
    read(["n", "x"], [1, 0.5], [-7, 1.0])
    frame = reading.read(tmp_path / "t.xlsx")
    assert frame["n"].dtype == "int64" and frame["x"].tolist() == [0.5, 1]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([["a", "", "b"], [1, 2, 3]], "^t.xlsx: column 2 has no name in its first row$"),
        ([["", "a"], [1, 2]], "^t.xlsx: column 1 has no name in its first row$"),
        ([["a", "b", "a"], [1, 2, 3]], "^t.xlsx has several columns called 'a'"),
        ([["", ""]], "^t.xlsx has no columns"),
        ([["a", "b"]], "^t.xlsx has columns but no rows"),
    ],
)
def test_a_sheet_that_is_no_table_is_refused(read, rows, sentence):
    with pytest.raises(UserError, match=sentence):
        read(*rows)


def test_two_columns_without_name_and_value_are_none(read):
    assert read(["a", "", ""], [1, "", ""]) == {"a": [1]}


def test_a_sheet_is_read_up_to_some_cells(read, monkeypatch):
    monkeypatch.setattr(excel_files, "MOST_CELLS", 6)
    assert read(["a", "b"], [1, 2], [3, 4]) == {"a": [1, 3], "b": [2, 4]}
    sentence = (
        "^t.xlsx has 4 rows of 2 cells, and a sheet is read whole, up to 6 cells: empty a cell "
        "that stands far from the table, or save it as CSV$"
    )
    with pytest.raises(UserError, match=sentence):
        read(["a", "b"], [1, 2], [3, 4], [5, 6])


@pytest.mark.parametrize("prefix", ["", "/xl/"])
def test_a_cell_far_from_the_table_is_refused_before_room_is_given_to_all_between(tmp_path, prefix):
    path = tmp_path / "t.xlsx"
    cells = '<c r="B2"><v>1</v></c><c s="1" r="XFD1048576"><v>2</v></c>'
    write_sheets(path, Near=[["n"], [1]], Far=[["n"]])
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name).decode() for name in book.namelist()}
    sheet, links = "xl/worksheets/s2.xml", "xl/_rels/workbook.xml.rels"
    filler = " " * 2**20  # what stands in one piece of the file is not all
    parts[sheet] = parts[sheet].replace("<row>", f"<row>{cells}{filler}<c/>")
    if prefix == "/xl/":
        parts[links] = parts[links].replace('Target="', 'Target="/xl/')
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        for name, text in parts.items():
            book.writestr(name, text)
    with pytest.raises(UserError, match="^t.xlsx has 1,048,575 rows of 16,383 cells, and a sheet"):
        reading.read(path, sheet="Far")
    assert reading.read(path, sheet="Near").to_dict("list") == {"n": [1]}


def test_an_empty_cell_far_away_is_none_and_columns_count_from_the_first(tmp_path):
    path = tmp_path / "t.xlsx"
    write_sheets(path, Data=[["n"]])
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name).decode() for name in book.namelist()}
    cells = '<c r="C2"><v>2024</v></c></row><row><c r="C3"><v>5</v></c>{}</row>'
    cells += '<row><c r="XFD1048576" s="1"/>'
    for more, columns in (("", {"2024": [5]}), ('<c r="D3"><v>6</v></c>', None)):
        with zipfile.ZipFile(path, "w") as book:
            for name, text in parts.items():
                kept = text.partition("<row>")[0] + f"<row>{cells.format(more)}</row>"
                is_sheet = name.endswith("s1.xml")
                book.writestr(name, f"{kept}</sheetData></worksheet>" if is_sheet else text)
        if columns:
            assert reading.read(path).to_dict("list") == columns
        else:
            with pytest.raises(UserError, match="^t.xlsx: column 4 has no name in its first row"):
                reading.read(path)


def test_cells_that_hold_an_error_are_missing_and_told(tmp_path, caplog):
    path = tmp_path / "t.xlsx"
    write_sheets(path, Data=[["a", "b"], [1, 2]])
    reading.read(path)
    assert not caplog.records
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name).decode() for name in book.namelist()}
    wrong = '<c r="B3" t="e"><f>1/0</f><v>#DIV/0!</v></c>'
    more = f'<row><c r="A3"><v>5</v></c>{wrong}</row></sheetData>'
    parts["xl/worksheets/s1.xml"] = parts["xl/worksheets/s1.xml"].replace("</sheetData>", more)
    with zipfile.ZipFile(path, "w") as book:
        for name, text in parts.items():
            book.writestr(name, text)
    frame = reading.read(path)
    assert frame["a"].tolist() == [1, 5] and frame["b"].isna().tolist() == [False, True]
    [record] = caplog.records
    assert record.getMessage() == (
        "t.xlsx: 1 cell holds an error of Excel such as #DIV/0! (B3 first): what is there counts "
        "as missing"
    )


def test_a_sheet_is_chosen_where_there_are_several(tmp_path):
    path = tmp_path / "t.xlsx"
    write_sheets(path, One=[["n"], [1]], Two=[["m"], [2]])
    with pytest.raises(
        UserError, match="^t.xlsx has 2 sheets: name one of One, Two as data.sheet$"
    ):
        reading.read(path)
    with pytest.raises(UserError, match="^t.xlsx: unknown sheet 'Twoo': the nearest is 'Two'"):
        reading.read(path, sheet="Twoo")
    assert reading.read(path, sheet="Two").to_dict("list") == {"m": [2]}
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(
        UserError, match="^t.xlsx is no complete Excel file .*: save or download it"
    ):
        reading.read(path)
