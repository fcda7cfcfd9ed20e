"""Files as people and programs really write them: the draft says how, and the table is read so."""

import bz2
import gzip
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from util_lib.errors import UserError

N = 200
RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=N)
LEFT = np.where(X > 0, "yes", "no")


def rows(*columns, separator=",", header=None):
    """Write columns as lines, each value as it is."""
    names = header or [*(f"c{number}" for number in range(len(columns) - 1)), "left"]
    lines = [separator.join(names)]
    lines += [separator.join(map(str, row)) for row in zip(*columns, strict=True)]
    return "\n".join(lines) + "\n"


def drafted(drafts, content, file="table.csv", target="left"):
    """Return the declaration, the table read by it, and the text of the draft."""
    drafts.table(content, file)
    data, frame = drafts.read(file, target)
    text = drafts.text(file.partition(".")[0])
    return data, frame, " ".join(text.replace("# ", "").split())  # comments go over several lines


# Names and codes of digits


@pytest.mark.parametrize("file", ["table.csv", "table.parquet", "table.arrow", "table.jsonl"])
def test_long_ids_with_gaps_are_exact(drafts, file):
    ids = [None if i % 50 == 0 else 1782218195625937920 + i for i in range(N)]
    table = pa.table({"order_id": pa.array(ids, pa.int64()), "x": X, "left": LEFT})
    path = drafts.folder / file
    if file.endswith(".parquet"):
        pq.write_table(table, path)
    elif file.endswith(".arrow"):
        pa.feather.write_feather(table, path)
    elif file.endswith(".jsonl"):
        records = table.to_pylist()
        lines = [pd.io.json.ujson_dumps(row) for row in records]
        path.write_text("\n".join(lines))
    else:
        pa.csv.write_csv(table, path)
    data, frame = drafts.read(file)
    column = data.columns["order_id"]
    assert (column.dtype, column.role, column.unique) == ("int", "ignore", True)
    assert [None if v is pd.NA else v for v in frame["order_id"]] == ids
    assert len(frame) == N and not data.drop_duplicates


def test_long_codes_that_repeat_are_categories_and_stay_apart(drafts):
    code = RANDOM.integers(0, 4, N)
    shop = [123456789012345670 + int(number) for number in code]
    for file in ("table.parquet", "table.csv"):
        table = pd.DataFrame({"shop": shop, "x": X, "left": LEFT})
        data, frame, text = drafted(drafts, table, file)
        column = data.columns["shop"]
        assert (column.dtype, column.role) == ("string", "categorical")
        assert column.allowed == sorted({str(value) for value in shop})
        assert list(frame["shop"]) == [str(value) for value in shop]
        assert "2^53" in text


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([*["4", "17", "1000"] * 60, *["04"] * 20], "'04' (row 180) begins with a zero"),
        ([*["1E10", "3E05", "417"] * 60, *["3E05"] * 20], "is no number as programs write it"),
        ([*["1.1", "1.10", "2.0", "1.9"] * 50], "'1.1' and '1.10' are two values"),
        ([str(2**64 + i % 3) for i in range(N)], "more digits than 64 bits hold"),
    ],
)
def test_codes_of_digits_are_texts(drafts, values, why):
    why = why.replace("'1.1' and '1.10'", "1.1 and 1.10")
    data, frame, text = drafted(drafts, rows(values, X, LEFT))
    assert (data.columns["c0"].dtype, data.columns["c0"].role) == ("string", "categorical")
    assert list(frame["c0"]) == values
    assert why in text


def test_a_zip_code_is_a_text_by_its_name(drafts):
    codes = [str(10_000 + i % 20) for i in range(N)]
    data, frame, _ = drafted(drafts, rows(codes, X, LEFT, header=["zip_code", "x", "left"]))
    assert data.columns["zip_code"].dtype == "string" and list(frame["zip_code"]) == codes


@pytest.mark.parametrize("name", ["X", "rownames", "Unnamed: 0", "passengerid"])
def test_the_numbers_of_rows_are_ids_also_with_gaps(drafts, name):
    numbers = np.sort(RANDOM.choice(5 * N, N, replace=False))
    data, *_ = drafted(drafts, rows(numbers, X, LEFT, header=[name, "x", "left"]))
    column = data.columns[name]
    assert (column.role, column.unique) == ("ignore", True)


def test_years_and_what_only_ends_like_an_id_are_values(drafts):
    years, paid = range(1800, 1800 + N), RANDOM.integers(0, 500, N)
    data, *_ = drafted(drafts, rows(years, paid, X, LEFT, header=["year", "paid", "x", "left"]))
    assert data.columns["year"].role == data.columns["paid"].role == "numerical"


# What is missing


def test_na_beside_other_codes_and_empty_fields_is_namibia(drafts):
    country = RANDOM.choice(["NA", "ZA", "BW", ""], N)
    data, frame, text = drafted(drafts, rows(country, X, LEFT))
    assert data.columns["c0"].allowed == ["BW", "NA", "ZA"] and data.csv.missing == []
    assert (frame["c0"] == "NA").sum() == (country == "NA").sum()
    assert frame["c0"].isna().sum() == (country == "").sum()
    assert "'NA' (" in text and "is a value here" in text


def test_na_among_numbers_is_missing_among_words_too(drafts):
    gap = RANDOM.random(N) < 0.1
    weight = np.where(gap, "NA", (60 + 9 * X).astype(int).astype(str))
    smokes = np.where(RANDOM.random(N) < 0.1, "NA", LEFT)
    data, frame, text = drafted(drafts, rows(weight, smokes, header=["w", "smokes"]), target=None)
    assert (data.target, data.csv.missing) == ("smokes", ["NA"])
    assert data.columns["smokes"].allowed == ["no", "yes"]
    assert len(frame) == (smokes != "NA").sum()
    assert "is taken as missing, as among the numbers of w" in text
    assert "are numbers; others: 'NA'" in text


def test_none_is_a_class_where_no_number_is_none_and_the_draft_says_so(drafts):
    kinds = RANDOM.choice(["None", "brick", "stone"], N)
    data, frame, text = drafted(drafts, rows(X, kinds, header=["x", "kind"]), target="kind")
    assert data.columns["kind"].allowed == ["None", "brick", "stone"] and len(frame) == N
    assert "'None' (" in text and "is a value here" in text and "missing: ['None']" in text


def test_none_among_numbers_of_json_is_missing_in_text_too(drafts):
    records = [
        {"x": x, "size": "None" if i % 9 == 0 else f"{i}.5", "kind": ["None", "a", "b"][i % 3]}
        for i, x in enumerate(X)
    ]
    content = "\n".join(map(pd.io.json.ujson_dumps, records))
    data, frame, _ = drafted(drafts, content, "table.jsonl", "kind")
    assert data.columns["size"].dtype == "float" and frame["size"].notna().any()
    assert data.columns["kind"].missing == ["None"]
    assert data.columns["kind"].allowed == ["a", "b"]


@pytest.mark.parametrize(
    ("odd", "keys"),
    [
        ("n.a.", {}),
        ("#DIV/0!", {}),
        ("(3.00)", {"missing": ["(3.00)"]}),
        ("12.3-", {"missing": ["12.3-"]}),
        (">2000", {"missing": [">2000"]}),
        ("5 kg", {"strip": ["kg"], "unit": "kg"}),
        ("USD 5", {"strip": ["USD"], "unit": "USD"}),
    ],
)
def test_one_odd_cell_leaves_a_column_its_numbers_and_is_named(drafts, odd, keys):
    amount = [f"{10 + 3 * x:.2f}" for x in X]
    amount[7] = odd
    data, frame, text = drafted(drafts, rows(amount, X, LEFT))
    column = data.columns["c0"]
    assert (column.dtype, column.role) == ("float", "numerical")
    assert {key: getattr(column, key) for key in keys} == keys
    assert f"'{odd}' (row 7)" in text
    if keys.get("strip"):
        assert frame["c0"][7] == 5
    else:
        assert f"{N - 1} of {N} are numbers" in text and frame["c0"].isna().sum() == 1
        assert data.csv.missing == ([] if keys else [odd])


def test_one_odd_cell_late_in_a_long_column_of_dates_is_found(drafts):
    days = [f"{1 + i % 28:02}/{1 + i % 12:02}/2024" for i in range(3_000)]
    days[2_900] = "soon"
    content = rows(days, range(3_000), ["yes", "no"] * 1_500)
    data, frame, text = drafted(drafts, content)
    assert (data.columns["c0"].dtype, data.columns["c0"].date_format) == ("datetime", "%d/%m/%Y")
    assert "'soon' (row 2,900)" in text and frame["c0"].isna().sum() == 1


def test_sentinels_are_proposed_as_missing(drafts):
    number = np.where(np.arange(N) % 7 == 0, "-999", [f"{x:.1f}".replace(".", ",") for x in X])
    days = np.where(
        np.arange(N) % 9 == 0, "01.01.1900", [f"{1 + i % 28:02}.12.2024" for i in range(N)]
    )
    content = rows(days, number, LEFT, separator=";")
    data, frame, text = drafted(drafts, content)
    assert (data.csv.separator, data.csv.decimal) == (";", ",")
    assert data.columns["c0"].date_format == "%d.%m.%Y"
    assert data.columns["c1"].missing == [-999] and frame["c1"].min() > -10
    assert data.columns["c0"].missing == ["1900-01-01"] and frame["c0"].dt.year.min() == 2024
    assert "-999 (29 rows), far from all other values" in text


def test_sentinels_of_whole_numbers_in_parquet_are_found_and_large_values_are_none(drafts):
    table = pd.DataFrame(
        {
            "days": np.where(np.arange(N) % 5 == 0, 9999, np.arange(N) % 28),
            "price": np.where(np.arange(N) % 5 == 0, 9999, np.arange(N) * 60),
            "left": LEFT,
        }
    )
    data, frame, _ = drafted(drafts, table, "table.parquet")
    assert data.columns["days"].missing == [9999] and frame["days"].max() == 27
    assert data.columns["price"].missing == [] and frame["price"].max() == 11_940


# Numbers as people write them


def test_a_dot_before_three_digits_is_asked_about_and_left_alone(drafts):
    fee = [
        f"{v // 1000}.{v % 1000:03d}" if v > 999 else str(v) for v in RANDOM.integers(100, 9000, N)
    ]
    data, frame, text = drafted(drafts, rows(fee, X, LEFT, separator=";"))
    assert (data.columns["c0"].dtype, data.columns["c0"].role) == ("string", "ignore")
    dotted = next(value for value in fee if "." in value)
    assert f"Which is it? '{dotted}' may be {dotted.replace('.', '')} or {dotted}" in text
    assert list(frame["c0"]) == fee


def test_what_is_asked_about_is_printed_and_is_no_target(drafts, capsys):
    day = [f"{1 + i % 12:02}/{1 + i % 11:02}/2024" for i in range(N)]
    path = drafts.table(rows(day, X, LEFT), "table.csv")
    drafts.describe(path)
    assert "Which is it?" in capsys.readouterr().out
    text = drafts.text("table")
    assert "'01/01/2024' may be" not in text and "%d/%m/%Y" in text and "%m/%d/%Y" in text
    fee = ["1.968" if i % 3 else "999" for i in range(N)]
    with pytest.raises(UserError, match="target 'c0' can be read in two ways"):
        drafted(drafts, rows(fee, X, LEFT, separator=";"), target="c0")


@pytest.mark.parametrize(
    ("values", "keys", "first"),
    [
        (["1.234.567", "89", "4.500"], {"thousands": ".", "decimal": ","}, 1234567),
        (["1.234,5", "89,25", "4.500,0"], {"thousands": "."}, 1234.5),
        (["0.968", "999", "1.500"], {}, 0.968),
        (["1234.500", "999", "1.500"], {}, 1234.5),
        (["$1", "-$20", "$300"], {"strip": ["$"], "unit": "$"}, 1),
        (["1 234", "89", "4 500"], {"thousands": " "}, 1234),
        (["12%", "7 %", "100%"], {"strip": ["%"], "unit": "%"}, 12),
        (["12 °C", "-7.5 °C", "30 °C"], {"strip": ["°C"], "unit": "°C"}, 12),
    ],
)
def test_numbers_with_marks_are_numbers(drafts, values, keys, first):
    written = [values[i % 3] for i in range(N)]
    other = [f"{x:.2f}".replace(".", ",") for x in X] if "," in "".join(values) else X
    data, frame, _ = drafted(drafts, rows(written, other, LEFT, separator=";"))
    column = data.columns["c0"]
    assert column.role in ("numerical", "categorical")
    for key in ("thousands", "strip", "unit"):
        assert getattr(column, key) == keys.get(key, [] if key == "strip" else None)
    assert frame["c0"][0] == first and frame["c0"].notna().all()


@pytest.mark.parametrize("values", [["5 kg", "300 g"], ["5k", "300"], ["3 days", "2 weeks"]])
def test_two_scales_in_one_column_are_no_numbers(drafts, values):
    data, *_ = drafted(drafts, rows([values[i % 2] for i in range(N)], X, LEFT))
    assert data.columns["c0"].dtype == "string"


def test_decimals_of_databases_are_numbers(drafts):
    fee = pa.array([None if i % 9 == 0 else f"{i}.25" for i in range(N)]).cast(pa.decimal128(12, 2))
    pq.write_table(pa.table({"fee": fee, "left": LEFT}), drafts.folder / "table.parquet")
    data, frame = drafts.read("table.parquet")
    column = data.columns["fee"]
    assert (column.dtype, column.role, column.nullable) == ("float", "numerical", True)
    assert frame["fee"][1] == 1.25 and frame["fee"].dtype == "float64"


def test_numbers_in_texts_of_parquet_are_numbers_but_few_digits_are_classes(drafts):
    table = pd.DataFrame(
        {
            "fee": [f"{i},5" for i in range(N)],
            "stars": [str(1 + i % 5) for i in range(N)],
            "x": X,
        }
    )
    data, frame, text = drafted(drafts, table, "table.parquet", "stars")
    assert (data.columns["fee"].dtype, data.columns["fee"].decimal) == ("float", ",")
    assert frame["fee"][3] == 3.5
    assert data.columns["stars"].allowed == ["1", "2", "3", "4", "5"]
    assert "digits, but texts in the file" in text


def test_rows_with_infinite_values_go_and_the_column_stays(drafts):
    size = [*X[:-3], np.inf, -np.inf, np.nan]
    data, frame, text = drafted(
        drafts, pd.DataFrame({"size": size, "x": X, "left": LEFT}), "table.parquet"
    )
    assert data.columns["size"].role == "numerical"
    assert len(frame) == N - 2 and frame["size"].isna().sum() == 1
    assert "rows with an infinite value are left out: 'size'" in text


@pytest.mark.parametrize(
    ("written", "format"),
    [
        ("05-Jan-2020", "%d-%b-%Y"),
        ("Jan 05 2020", "%b %d %Y"),
        ("January 05, 2020", "%B %d, %Y"),
        ("05.01.2020 12:45", "%d.%m.%Y %H:%M"),
        ("2020/01/05", "%Y/%m/%d"),
        ("12:45", "%H:%M"),
        ("01/05/2020 02:45 PM", "%m/%d/%Y %I:%M %p"),
    ],
)
def test_dates_in_one_form_are_dates(drafts, written, format):
    moments = pd.date_range("2020-01-05 12:45", periods=N, freq="31h")
    values = [moment.strftime(format) for moment in moments]
    content = rows([f'"{value}"' for value in values], X, LEFT)
    data, frame, _ = drafted(drafts, content)
    column = data.columns["c0"]
    assert (column.dtype, column.role, column.date_format) == ("datetime", "date", format)
    assert [moment.strftime(format) for moment in frame["c0"]] == values


def test_dates_of_several_forms_are_named_and_no_feature(drafts):
    values = ["05-Jan-2020" if i % 2 else "2020/01/05" for i in range(N)]
    data, _, text = drafted(drafts, rows(values, X, LEFT))
    assert data.columns["c0"].dtype == "string"
    assert "dates in forms that no one format reads: '2020/01/05', '05-Jan-2020'" in text


def test_two_offsets_are_one_instant(drafts):
    at = [f"2025-{1 + i % 12:02}-10T08:00:00+0{1 + (3 < i % 12 < 10)}:00" for i in range(N)]
    data, frame, _ = drafted(drafts, rows(at, X, LEFT))
    assert (data.columns["c0"].dtype, data.columns["c0"].role) == ("datetime", "date")
    assert set(frame["c0"].dt.hour) == {6, 7}


# How the file is written


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


# Rows that repeat


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
