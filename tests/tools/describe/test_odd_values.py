"""Values as people and programs write them: the draft says what they are, and they are read so."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from odd_tables import LEFT, RANDOM, N, X, drafted, rows

from util_lib.errors import UserError

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


def test_the_draft_of_an_offices_file_runs_as_it_is(drafts, monkeypatch):
    day = [f"{1 + i % 28:02}.{1 + i % 12:02}.2024" for i in range(N)]
    temperature = ["-999" if i % 9 == 0 else f"{20 + 5 * x:.1f} °C" for i, x in enumerate(X)]
    temperature = [text.replace(".", ",") for text in temperature]
    fee = [f"{1000 + i}".replace("1", "1.", 1) if i % 2 else str(100 + i) for i in range(N)]
    words = np.where(np.arange(N) % 30 == 0, "k.A.", RANDOM.choice(["NO", "SE", "DK"], N))
    content = rows(day, temperature, fee, words, LEFT, separator="; ")
    drafted(drafts, content + "\n* Stand: 2024\n")
    text = drafts.text("table")
    assert "footer_lines: 1" in text and "trim: true" in text
    assert drafts.run_pipeline("table", monkeypatch)["test_accuracy"] > 0.6
