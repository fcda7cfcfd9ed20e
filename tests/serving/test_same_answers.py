"""A row gets one answer, however it comes: the form that the model's own file had goes with it."""

import json
from pathlib import Path

import pandas as pd
import pytest
from service_support import running
from serving_support import office_rows

from serving import predict
from serving.model import served_model
from util_lib.errors import UserError

MODEL = "office_model"
LONG = 1782218195625937920


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
def office(steps, office_directory):
    """A model that was fitted on an office's CSV file, as the folder that `MODEL` names."""
    Path(MODEL).symlink_to(office_directory)


def answers_of(file, *more):
    predict.main(["--input", file, "--output", "out.jsonl", "--model", MODEL, *more])
    lines = Path("out.jsonl").read_text().splitlines()
    return [json.loads(line)["probability_yes"] for line in lines]


def test_parquet_csv_json_and_requests_get_the_same_answers(office):
    frame = office_rows().drop(columns="left")
    records = as_records(frame)
    frame.to_parquet("rows.parquet")
    Path("rows.csv").write_text(in_the_form_of_the_office(frame), encoding="utf-8")
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    Path("usual.csv").write_text(frame.to_csv(index=False), encoding="utf-8")
    expected = answers_of("rows.parquet")
    assert len(set(expected)) > 50  # the values matter
    assert answers_of("rows.csv") == answers_of("rows.jsonl") == expected
    assert answers_of("usual.csv") == expected
    with running(MODEL) as service:

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
    frame = office_rows(30).drop(columns="left")
    frame.to_parquet("rows.parquet")
    served = served_model.load(MODEL)
    given = frame.assign(temp=frame["temp"].fillna(-999), code=frame["code"].fillna("?"))
    ready, problems = served.examine(served.read(given.to_dict("list")))
    assert not problems
    yes = list(served.classes).index("yes")
    assert served.predict(ready)[1][:, yes].tolist() == answers_of("rows.parquet")


def test_a_column_that_is_absent_is_named_with_the_nearest_that_is_there(office, caplog):
    [row] = as_records(office_rows(1).drop(columns="left"))
    misspelt = {("laand" if name == "land" else name): value for name, value in row.items()}
    sentence = "column 'land' is in no row and counts as missing; the nearest is 'laand'"
    with running(MODEL) as service:
        for path in ("/invocations", "/predict"):
            assert "warnings" not in service.post(path, {"dataframe_records": [row]}).json()
            found = service.post(path, {"dataframe_records": [misspelt]}).json()
            assert found["warnings"] == [sentence]
    Path("rows.jsonl").write_text(json.dumps(misspelt))
    answers_of("rows.jsonl")
    assert sentence in caplog.text


def test_a_key_that_is_twice_in_a_row_is_refused(office):
    with running(MODEL) as service:
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
    frame = office_rows(60).drop(columns="left")
    ids = pd.Series([None if i % 7 == 0 else LONG + i for i in range(60)], dtype="Int64")
    frame.assign(order=ids, prediction="x").to_parquet("rows.parquet")
    predict.main(
        ["--input", "rows.parquet", "--output", f"out.{suffix}", "--model", MODEL]
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
    lines = in_the_form_of_the_office(frame.assign(order=ids.astype(object)))
    Path("rows.csv").write_text(lines, encoding="utf-8")
    answers_of("rows.csv", "--keep", "order")
    kept = [json.loads(line)["order"] for line in Path("out.jsonl").read_text().splitlines()]
    assert [None if text is None else int(text) for text in kept] == [
        None if pd.isna(number) else number for number in ids
    ]
    with pytest.raises(UserError, match="'prediction' is what the output calls its answers"):
        answers_of("rows.parquet", "--keep", "prediction")


def test_a_whole_number_that_a_model_cannot_tell_from_its_neighbour_is_refused(office):
    [row] = as_records(office_rows(1).drop(columns="left"))
    served = served_model.load(MODEL)
    _, problems = served.examine(served.read({name: [v] for name, v in row.items()}))
    assert not problems
    row["fee"] = 2**53 + 1
    _, [problem] = served.examine(served.read({name: [v] for name, v in row.items()}))
    assert problem.column == "fee" and "beyond which a model confuses them" in problem.message


def test_a_spreadsheet_runs_nothing_of_what_is_kept_where_that_is_asked(office):
    frame = office_rows(3).drop(columns="left")
    texts = ["=1+1", "@x", "plain"]
    frame.assign(note=texts).to_parquet("rows.parquet")
    given = ["--input", "rows.parquet", "--output", "out.csv", "--model", MODEL]
    predict.main([*given, "--keep", "note"])
    assert pd.read_csv("out.csv")["note"].tolist() == texts
    predict.main([*given, "--keep", "note", "--spreadsheet", "true"])
    assert pd.read_csv("out.csv")["note"].tolist() == ["'=1+1", "'@x", "plain"]
