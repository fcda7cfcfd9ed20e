"""A row gets one answer, however it comes: the form that the model's own file had goes with it."""

import datetime
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from service_support import running
from serving_support import export_model

from serving import predict
from serving.model import served_model
from util_lib.errors import UserError
from util_lib.tables import reading, typed

LONG = 1782218195625937920
COLUMNS = {
    "day": {"dtype": "datetime", "role": "date", "nullable": True, "date_format": "%d.%m.%Y"},
    "temp": {"dtype": "float", "role": "numerical", "nullable": True, "missing": [-999]},
    "fee": {"dtype": "int", "role": "numerical", "thousands": ".", "strip": ["EUR"]},
    "land": {"dtype": "string", "role": "categorical", "nullable": True},
    "code": {"dtype": "string", "role": "categorical", "missing": ["?"], "nullable": True},
    "flag": {"dtype": "bool", "role": "categorical", "nullable": True},
}
FORM = {"separator": ";", "decimal": ",", "trim": True, "footer_lines": 1}


def typed_rows(n_rows=120, seed=4):
    """Return rows as they are meant: missing is missing, numbers are numbers."""
    random = np.random.default_rng(seed)

    def gaps(values):
        missing = random.random(n_rows) < 0.15
        return [None if gap else value for value, gap in zip(values, missing, strict=True)]

    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 700, n_rows), "D")
    frame = pd.DataFrame(
        {
            "day": pd.Series(gaps(days), dtype="datetime64[us]"),
            "temp": pd.Series(gaps(random.normal(0, 10, n_rows).round(1)), dtype="float64"),
            "fee": random.integers(100, 9000, n_rows),
            "land": pd.Series(gaps(random.choice(["NA", "ZA", "NO"], n_rows)), dtype="str"),
            "code": pd.Series(gaps(random.choice(["4", "04", "1e3", "1000"], n_rows)), dtype="str"),
            "flag": pd.Series(gaps(random.random(n_rows) < 0.5), dtype="boolean"),
        }
    )
    left = (frame["land"] == "NA") ^ frame["code"].isin(["04", "1e3"]) ^ (frame["fee"] > 5000)
    return frame.assign(left=np.where(left, "yes", "no"))


def as_records(frame):
    """Return rows as JSON has them."""
    columns = {
        name: [None if v is pd.NA or pd.isna(v) else v for v in values.astype(object)]
        for name, values in frame.items()
    }
    columns["day"] = [day and day.isoformat() for day in columns["day"]]
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return json.loads(json.dumps(rows, default=lambda value: value.item()))


def in_the_form_of_the_office(frame):
    """Return the text of a CSV file as the declaration describes it."""

    def cell(name, value):
        if value is None:
            return {"temp": "-999", "code": "?"}.get(name, "")
        if name == "day":
            return pd.Timestamp(value).strftime("%d.%m.%Y")
        if name == "temp":
            return str(value).replace(".", ",")
        if name == "fee":
            return f"EUR {value:,}".replace(",", ".")
        return f" {value} "

    rows = [";".join(cell(n, v) for n, v in row.items()) for row in as_records(frame)]
    return "\n".join([";".join(frame), *rows, "* preliminary", ""])


@pytest.fixture
def office(steps):
    """A model that was fitted on an office's CSV file, once preprocess had read it."""
    export_model(
        steps,
        typed_rows(400, 1),
        target="left",
        features={
            "numerical": ["temp", "fee"],
            "categorical": ["land", "code", "flag"],
            "dates": ["day"],
            "nlp": [],
        },
        declaration={"columns": COLUMNS, "csv": FORM},
    )
    return steps


def answers_of(file, *more):
    predict.main(
        ["--input", file, "--output", "out.jsonl", "--model", "model_export:latest", *more]
    )
    lines = Path("out.jsonl").read_text().splitlines()
    return [json.loads(line)["probability_yes"] for line in lines]


def test_parquet_csv_json_and_requests_get_the_same_answers(office):
    frame = typed_rows().drop(columns="left")
    records = as_records(frame)
    frame.to_parquet("rows.parquet")
    Path("rows.csv").write_text(in_the_form_of_the_office(frame), encoding="utf-8")
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    Path("usual.csv").write_text(frame.to_csv(index=False), encoding="utf-8")
    expected = answers_of("rows.parquet")
    assert len(set(expected)) > 50  # the values matter
    assert answers_of("rows.csv") == answers_of("rows.jsonl") == expected
    assert answers_of("usual.csv") == expected
    with running("model_export:latest") as service:

        def asked(**request):
            found = service.post("/predict", **request).json()
            return [row["probabilities"]["yes"] for row in found["predictions"]], found

        assert asked(json={"dataframe_records": records})[0] == expected
        body = in_the_form_of_the_office(frame).encode()
        assert asked(data=body, kind="text/csv")[0] == expected
        probabilities, found = asked(data=Path("usual.csv").read_bytes(), kind="text/csv")
        assert probabilities == expected
        assert "its fields are separated by commas" in found["warnings"][0]
        # What stands for a missing value does so in every format.
        marked = [
            {k: {"temp": -999, "code": "?"}.get(k, "") if v is None else v for k, v in row.items()}
            for row in records
        ]
        marked = [{**row, "flag": None if row["flag"] == "" else row["flag"]} for row in marked]
        assert asked(json={"dataframe_records": marked})[0] == expected


def test_a_frame_in_python_gets_the_same_answers_as_a_file(office):
    frame = typed_rows(30).drop(columns="left")
    frame.to_parquet("rows.parquet")
    served = served_model.load("model_export:latest")
    given = frame.assign(temp=frame["temp"].fillna(-999), code=frame["code"].fillna("?"))
    ready, problems = served.examine(served.read(given.to_dict("list")))
    assert not problems
    yes = list(served.classes).index("yes")
    assert served.predict(ready)[1][:, yes].tolist() == answers_of("rows.parquet")


def test_a_column_that_is_absent_is_named_with_the_nearest_that_is_there(office, caplog):
    [row] = as_records(typed_rows(1).drop(columns="left"))
    misspelt = {("laand" if name == "land" else name): value for name, value in row.items()}
    sentence = "column 'land' is in no row and counts as missing; the nearest is 'laand'"
    with running("model_export:latest") as service:
        for path in ("/invocations", "/predict"):
            assert "warnings" not in service.post(path, {"dataframe_records": [row]}).json()
            found = service.post(path, {"dataframe_records": [misspelt]}).json()
            assert found["warnings"] == [sentence]
    Path("rows.jsonl").write_text(json.dumps(misspelt))
    answers_of("rows.jsonl")
    assert sentence in caplog.text


def test_a_key_that_is_twice_in_a_row_is_refused(office):
    with running("model_export:latest") as service:
        body = b'{"dataframe_records": [{"fee": 1, "fee": 2}]}'
        answer = service.post("/invocations", data=body)
        assert answer.status_code == 400
        assert answer.json()["message"] == "the key 'fee' occurs twice in one object"
    Path("rows.jsonl").write_text('{"fee": 1, "fee": 2}\n' + json.dumps({"fee": 200}))
    answers_of("rows.jsonl")
    [rejected] = Path("out.rejected.jsonl").read_text().splitlines()
    assert "the key 'fee' occurs twice" in json.loads(rejected)["reason"]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_what_is_kept_is_exact_and_overwrites_no_answer(office, suffix):
    frame = typed_rows(60).drop(columns="left")
    ids = pd.Series([None if i % 7 == 0 else LONG + i for i in range(60)], dtype="Int64")
    frame.assign(order=ids, prediction="x").to_parquet("rows.parquet")
    predict.main(
        ["--input", "rows.parquet", "--output", f"out.{suffix}", "--model", "model_export:latest"]
        + ["--keep", "order"]
    )
    if suffix == "parquet":
        kept = pd.read_parquet("out.parquet")["order"]
    elif suffix == "csv":
        kept = pd.read_csv("out.csv", dtype={"order": "Int64"})["order"]
    else:
        lines = Path("out.jsonl").read_text().splitlines()
        kept = pd.Series([json.loads(line)["order"] for line in lines], dtype="Int64")
    pd.testing.assert_series_equal(kept.astype("Int64"), ids, check_names=False)
    with pytest.raises(UserError, match="'prediction' is what the output calls its answers"):
        answers_of("rows.parquet", "--keep", "prediction")


def test_a_whole_number_that_a_model_cannot_tell_from_its_neighbour_is_refused(office):
    [row] = as_records(typed_rows(1).drop(columns="left"))
    served = served_model.load("model_export:latest")
    _, problems = served.examine(served.read({name: [v] for name, v in row.items()}))
    assert not problems
    row["fee"] = 2**53 + 1
    _, [problem] = served.examine(served.read({name: [v] for name, v in row.items()}))
    assert problem.column == "fee" and "beyond which a model confuses them" in problem.message


def test_a_spreadsheet_runs_nothing_of_what_is_kept_where_that_is_asked(office):
    frame = typed_rows(3).drop(columns="left")
    texts = ["=1+1", "@x", "plain"]
    frame.assign(note=texts).to_parquet("rows.parquet")
    given = ["--input", "rows.parquet", "--output", "out.csv", "--model", "model_export:latest"]
    predict.main([*given, "--keep", "note"])
    assert pd.read_csv("out.csv")["note"].tolist() == texts
    predict.main([*given, "--keep", "note", "--spreadsheet", "true"])
    assert pd.read_csv("out.csv")["note"].tolist() == ["'=1+1", "'@x", "plain"]


MARKS = st.sampled_from("aZ04?N\"';,\\\n\r\t =é")
TEXTS = st.text(
    MARKS | st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6
)
VALUES = {
    "day": st.dates(datetime.date(1900, 1, 1), datetime.date(2200, 1, 1)).map(
        lambda day: datetime.datetime(day.year, day.month, day.day)
    ),
    "temp": st.floats(-1e9, 1e9),
    "fee": st.integers(-(2**53), 2**53),
    "land": TEXTS | st.sampled_from(["NA", "ZA", "NO", "null"]),
    "code": TEXTS | st.sampled_from(["4", "04", "1e3", "1000"]),
    "flag": st.booleans(),
}
TABLES = st.lists(
    st.tuples(*(v if name == "fee" else st.none() | v for name, v in VALUES.items())),
    min_size=1,
    max_size=8,
)


def _written_by_the_office(rows):
    """Return rows as the office writes them, every text in quotes."""

    def cell(name, value):
        if value is None:
            return {"temp": "-999", "code": "?"}.get(name, "")
        if isinstance(value, datetime.datetime):
            return value.strftime("%d.%m.%Y")
        if isinstance(value, str):
            return ' "' + value.replace('"', '""') + '" '
        if name == "fee":
            return f"EUR {value:,}".replace(",", ".")
        return str(value).replace(".", ",")

    lines = [";".join(cell(n, v) for n, v in zip(VALUES, row, strict=True)) for row in rows]
    return "\n".join([";".join(VALUES), *lines, "* preliminary", ""])


@pytest.fixture
def ask_everywhere(office):
    """Ask the office's model for rows in each way; return the answers by way."""
    served = served_model.load("model_export:latest")

    def batch(name):
        Path("out.jsonl").unlink(missing_ok=True)
        done = predict.predict_file(served, Path(name), Path("out.jsonl"), [], 20_000)
        assert done.rejected == 0
        lines = Path("out.jsonl").read_text().splitlines()
        return [json.loads(line)["probability_yes"] for line in lines]

    with running("model_export:latest") as service:

        def http(**request):
            found = service.post("/predict", **request).json()
            return [row["probabilities"]["yes"] for row in found["predictions"]]

        def ask(rows):
            columns = dict(zip(VALUES, map(list, zip(*rows, strict=True)), strict=True))
            kinds = {name: typed.TYPES[declared["dtype"]] for name, declared in COLUMNS.items()}
            table = pa.table({n: pa.array(v, kinds[n]) for n, v in columns.items()})
            pq.write_table(table, "rows.parquet")
            named = [dict(zip(VALUES, row, strict=True)) for row in rows]
            records = [{**r, "day": r["day"] and r["day"].isoformat()} for r in named]
            Path("rows.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
            Path("rows.csv").write_bytes(_written_by_the_office(rows).encode())
            reading.write(reading.read("rows.parquet"), "usual.csv")
            return {
                **{name: batch(name) for name in ("rows.parquet", "rows.jsonl", "rows.csv")},
                "usual.csv": batch("usual.csv"),
                "json": http(json={"dataframe_records": records}),
                "csv": http(data=Path("rows.csv").read_bytes(), kind="text/csv"),
                "usual": http(data=Path("usual.csv").read_bytes(), kind="text/csv"),
            }

        yield ask


def _answers_are_the_same(ask_everywhere, rows):
    answers = ask_everywhere(rows)
    assert all(found == answers["rows.parquet"] for found in answers.values()), answers


WHILE_ONE_MODEL_SERVES = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=40, deadline=None, suppress_health_check=WHILE_ONE_MODEL_SERVES)
@given(TABLES)
def test_random_rows_get_the_same_answers_however_they_come(ask_everywhere, rows):
    _answers_are_the_same(ask_everywhere, rows)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=WHILE_ONE_MODEL_SERVES)
@given(TABLES)
def test_ten_thousand_random_tables_get_the_same_answers(ask_everywhere, rows):
    _answers_are_the_same(ask_everywhere, rows)
