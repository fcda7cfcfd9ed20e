"""Files as people and programs really write them: the draft says how, and the table is read so."""

import bz2
import gzip
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from excel_support import write_sheets
from odd_tables import LEFT, RANDOM, N, X, drafted, rows

from util_lib.dataset import declaration
from util_lib.errors import UserError
from util_lib.tables import cleaning


def test_blanks_around_fields_make_no_class(drafts):
    income = [">50K " if x > 0.5 else "<=50K" for x in X]
    work = RANDOM.choice(["State-gov", "?", "Private"], N)
    content = rows(
        work, (40 + 5 * X).astype(int), income, separator=", ", header=["work", "h", "income"]
    )
    data, frame, text = drafted(drafts, content, target=None)
    assert data.csv.trim and data.csv.missing == ["?"]
    assert data.columns["income"].allowed == ["<=50K", ">50K"]
    assert data.columns["work"].allowed == ["Private", "State-gov"]
    assert list(frame.columns) == ["work", "h", "income"]
    assert "blanks around a field are no part of it" in text


@pytest.mark.parametrize("every", [1, 9])
def test_quotes_after_a_blank_are_quotes(drafts, every):
    place = ['"Oslo, the ""old""" ' if i % every == 0 else "Bergen" for i in range(N)]
    content = rows(X, place, LEFT, separator=",  ")
    data, frame, text = drafted(drafts, content)
    assert data.csv.trim and text.count("blanks around a field are no part of it") == 1
    assert set(frame["c1"]) <= {'Oslo, the "old"', "Bergen"}
    assert frame["c0"].tolist() == X.tolist()


def test_a_blank_behind_some_values_only_makes_two_of_one(drafts):
    land = ["Norge " if i % 40 == 1 else "Norge" if i % 2 else "Sverige" for i in range(N)]
    data, frame, _ = drafted(drafts, rows(land, X, LEFT, separator=";"))
    assert data.csv.trim and data.columns["c0"].allowed == ["Norge", "Sverige"]
    assert set(frame["c0"]) == {"Norge", "Sverige"}


def test_a_separator_at_the_end_of_each_row_is_no_column(drafts):
    for separator in ",;":
        content = rows(range(N), LEFT, separator=separator, header=["age", "paid"])
        head, _, below = content.partition("\n")
        content = head + "\n" + below.replace("\n", separator + "\n")
        if separator == ";":
            content = content.replace("age;paid", "age;paid;fee").replace("no;\n", "no;3;\n")
            content = content.replace("yes;\n", "yes;4;\n")
        data, frame, text = drafted(drafts, content, target="paid")
        assert data.csv.trailing_separator and data.csv.header
        assert list(frame.columns)[:2] == ["age", "paid"] and len(frame) == N
        assert "rows end with a separator" in text


def test_names_of_rows_without_a_name_of_their_own_are_a_column(drafts):
    lines = rows(X, LEFT, header=["x", "left"]).splitlines()
    content = "\n".join([lines[0], *(f"r{i},{line}" for i, line in enumerate(lines[1:]))])
    data, frame, _ = drafted(drafts, content)
    assert list(frame.columns) == ["rownames", "x", "left"] and len(frame) == N
    assert data.columns["rownames"].role == "ignore"


@pytest.mark.parametrize(
    "below",
    [
        "\n* as of last year\n",
        "\nSource: the office, 2024\n",
        "Total rows: 200\n",
        "\n\n(1) made up\n",
    ],
)
def test_notes_below_the_table_are_no_rows(drafts, below):
    data, frame, text = drafted(drafts, rows(range(N), X, LEFT) + below)
    assert data.csv.footer_lines == 1 and len(frame) == N
    assert repr(below.strip()) in text


def test_comments_between_rows_are_no_rows(drafts):
    lines = rows(range(N), X, LEFT).splitlines()
    lines[50:50] = ["# the second half", "# measured anew"]
    data, frame, _ = drafted(drafts, "\n".join(lines))
    assert data.csv.comment == "#" and len(frame) == N


def test_a_backslash_before_a_quote_is_read(drafts):
    name = [f'"the \\"old\\" one, {i % 3}"' for i in range(N)]
    data, frame, _ = drafted(drafts, rows(name, X, LEFT))
    assert data.csv.escape == "\\" and set(frame["c0"]) == {f'the "old" one, {i}' for i in range(3)}


def test_a_backslash_late_in_a_long_file_is_read(drafts):
    name = ["a, b" if i % 2 else "c" for i in range(3_000)]
    name[2_500] = 'so \\"called\\"'
    content = rows([f'"{value}"' for value in name], range(3_000), ["yes", "no"] * 1_500)
    data, frame, _ = drafted(drafts, content)
    assert data.csv.escape == "\\" and frame["c0"][2_500] == 'so "called"'


def test_single_quotes_are_quotes_where_fields_need_them(drafts):
    name = [f"'one, two {i % 3}'" for i in range(N)]
    data, frame, _ = drafted(drafts, rows(name, X, LEFT))
    assert data.csv.quote == "'" and frame["c0"][0] == "one, two 0"


def packed(kind, content, path):
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inside.csv", content)
    elif kind == "zst":
        with pa.output_stream(str(path), compression="zstd") as out:
            out.write(content)
    else:
        path.write_bytes({"gz": gzip.compress, "bz2": bz2.compress}[kind](content))


@pytest.mark.parametrize("kind", ["gz", "bz2", "zip", "zst"])
def test_packed_files_are_read(drafts, kind):
    packed(
        kind,
        rows(range(18, 18 + N), X, LEFT).encode("latin-1"),
        drafts.folder / f"table.csv.{kind}",
    )
    data, frame = drafts.read(f"table.csv.{kind}", "left")
    assert data.format == "csv" and frame.shape == (N, 3)


@pytest.mark.parametrize("orient", ["lines", "records"])
def test_json_is_read(drafts, orient):
    table = pd.DataFrame({"age": range(N), "x": X, "left": LEFT})
    content = table.to_json(orient="records", lines=orient == "lines")
    data, frame, _ = drafted(drafts, content, "table.json")
    assert data.format == "json" and frame.shape == (N, 3)
    assert data.columns["age"].dtype == "int" and frame["x"].notna().all()


@pytest.mark.parametrize("file", ["table.parquet", "table.csv"])
def test_names_and_words_that_yaml_takes_for_others_are_quoted(drafts, file):
    table = pd.DataFrame(
        {
            "$cost_{1$": X,
            "a.b": RANDOM.normal(size=N),
            "land": RANDOM.choice(["NO", "SE", "DK"], N),
            "on": RANDOM.choice(["off", "y", "1e3x"], N),
            "band": np.where(X > 0, "$20% - $30%", "under $5 {incl. $1}"),
        }
    )
    data, frame, _ = drafted(drafts, table, file, "band")
    composed = drafts.composed("table").data
    assert data.columns["land"].allowed == composed.columns["land"].allowed == ["DK", "NO", "SE"]
    assert composed.columns["on"].allowed == ["1e3x", "off", "y"]
    assert list(composed.columns) == list(table.columns) == list(frame.columns)
    assert composed.columns["band"].allowed == ["$20% - $30%", "under $5 {incl. $1}"]


def test_people_who_are_alike_are_kept(drafts):
    cells = [(c, s) for c in ("1st", "2nd", "3rd") for s in ("male", "female")]
    people = [(*cells[i % 6], "yes" if RANDOM.random() < 0.3 else "no") for i in range(600)]
    table = pd.DataFrame(people, columns=["class", "sex", "survived"])
    data, frame, text = drafted(drafts, table, target=None)
    assert data.target == "survived" and not data.drop_duplicates and len(frame) == 600
    assert "of 600 rows equal an earlier one in every column. They are kept" in text


@pytest.mark.parametrize(
    ("column", "values", "why"),
    [
        ("order_id", lambda n: np.arange(n) * 7 + 3, "'order_id' is an id"),
        (
            "at",
            lambda n: pd.date_range("2024-01-01", periods=n, freq="3607s"),
            "is a time to the second",
        ),
        (
            "note",
            lambda n: [f"number {i}: a text of many words, all alike" for i in range(n)],
            "is a long text",
        ),
        ("size", lambda n: RANDOM.normal(size=n), "have"),
    ],
)
def test_repeats_go_where_a_column_says_that_they_are_the_same_thing(drafts, column, values, why):
    table = pd.DataFrame({column: values(N), "x": X, "left": LEFT})
    table = pd.concat([table, table[table["left"] == "yes"].head(50)])
    data, frame, text = drafted(drafts, table, "table.parquet")
    assert data.drop_duplicates and len(frame) == N
    assert f"50 of {N + 50} rows equal an earlier one" in text and why in text
    assert "The shares of 'left' change most for" in text


def test_a_sheet_of_excel_is_drafted(drafts):
    kept = [["age", "fee", "left"]]
    kept += [[i, "n.a." if i == 7 else f"{i},5 kg", str(LEFT[i])] for i in range(N)]
    write_sheets(drafts.folder / "book.xlsx", Notes=[["nothing"], ["here"]], Data=kept)
    with pytest.raises(UserError, match="has 2 sheets"):
        drafts.describe(drafts.folder / "book.xlsx")
    drafts.describe(drafts.folder / "book.xlsx", "--sheet", "Data")
    data = declaration.load(drafts.drafts / "book.yaml")
    frame = cleaning.clean(cleaning.read(drafts.folder / "book.xlsx", data), data)
    assert (data.format, data.sheet, data.columns["fee"].strip) == ("excel", "Data", ["kg"])
    assert frame["fee"].isna().sum() == 1 and frame["fee"][8] == 8.5
