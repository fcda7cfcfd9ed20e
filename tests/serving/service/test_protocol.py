"""MLflow's scoring protocol, over a real connection."""

import json

import numpy as np
import pandas as pd
import pytest
from service_support import ROW, running
from step_support import make_songs, with_text

from serving.service.limits import ServiceLimits

COLUMNS = list(ROW)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    frame = with_text(make_songs(12, seed=7))[COLUMNS]
    assert frame["loudness"].isna().any()
    return frame


@pytest.fixture(scope="module")
def labels(service, rows) -> list[str]:
    return service.model.pipeline.predict(rows).tolist()


def as_null(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype(object).where(frame.notna(), None)


FORMS = {
    "dataframe_split": lambda f: {
        "dataframe_split": {"columns": COLUMNS, "data": f.to_numpy().tolist(), "index": [3, 4]}
    },
    "dataframe_records": lambda f: {"dataframe_records": f.to_dict("records")},
    "inputs as columns": lambda f: {"inputs": f.to_dict("list")},
    "inputs as rows": lambda f: {"inputs": f.to_dict("records")},
    "instances as rows": lambda f: {"instances": f.to_dict("records")},
    "instances as columns": lambda f: {"instances": f.to_dict("list"), "params": {}},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_table_gets_the_answer_of_the_pipeline(service, rows, labels, form):
    answer = service.post("/invocations", FORMS[form](as_null(rows)))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"predictions": labels}


def test_nan_and_null_and_an_absent_key_all_mean_a_missing_value(service):
    answers = {}
    for word, row in {
        "null": {**ROW, "loudness": None},
        "NaN": {**ROW, "loudness": float("nan")},
        "absent": {name: ROW[name] for name in COLUMNS if name != "loudness"},
    }.items():
        body = json.dumps({"dataframe_records": [row]})
        answers[word] = service.post("/predict", data=body).json()["predictions"]
    assert answers["null"] == answers["NaN"] == answers["absent"]


def test_csv_with_every_kind_of_column_gets_the_same_answer(service, rows, labels):
    text = rows.to_csv(index=False)
    for kind in ("text/csv", "text/csv; charset=utf-8", "Text/CSV"):
        answer = service.post("/invocations", data=text.encode(), kind=kind)
        assert answer.json() == {"predictions": labels}


def test_columns_that_the_model_does_not_know_are_ignored_and_sources_are_joined(service):
    table = with_text(make_songs(6, seed=3))
    raw = table.drop(columns="text_feature").to_csv(index=False)
    joined = table.to_csv(index=False)
    answers = [service.post("/invocations", data=text, kind="text/csv") for text in (raw, joined)]
    assert answers[0].status_code == 200, answers[0].text
    assert answers[0].json() == answers[1].json()


def test_the_clients_of_mlflow_work_unchanged(service, rows, labels):
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    host, port = service.url.removeprefix("http://").split(":")
    client = ScoringServerClient(host, int(port))
    client.wait_server_ready(timeout=120)
    assert client.get_version().count(".") == 2
    assert client.invoke(rows).get_predictions().iloc[:, 0].tolist() == labels
    assert client.invoke(rows, params={"some": 1})["predictions"] == labels


MALFORMED = {
    "no JSON": b"{",
    "nothing": b"",
    "a list": b"[1]",
    "a number": b"1",
    "no form": b'{"rows": []}',
    "two forms": b'{"inputs": [], "instances": []}',
    "no rows": b'{"dataframe_records": []}',
    "a row that is no object": b'{"dataframe_records": [[1]]}',
    "split without columns": b'{"dataframe_split": {"data": [[1]]}}',
    "split with a short row": b'{"dataframe_split": {"columns": ["a", "b"], "data": [[1]]}}',
    "split with equal names": b'{"dataframe_split": {"columns": ["a", "a"], "data": [[1, 1]]}}',
    "split of numbers": b'{"dataframe_split": 5}',
    "columns of two lengths": b'{"inputs": {"a": [1], "b": [1, 2]}}',
    "a column that is no list": b'{"inputs": {"a": [1], "b": 2}}',
    "deep nesting": b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a number too long to read": b'{"inputs": [' + b"9" * 5_000 + b"]}",
    "bytes that are no UTF-8": b'{"inputs": "\xff"}',
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_body_that_is_not_of_the_form_is_refused_in_one_sentence(service, case):
    answer = service.post("/invocations", data=MALFORMED[case])
    assert answer.status_code == 400, answer.text
    refusal = answer.json()
    assert refusal["error_code"] == "BAD_REQUEST"
    assert refusal["request_id"] == answer.headers["x-request-id"]
    assert len(refusal["message"]) < 300


CSV = {
    "a short row": b"energy,tempo\n0.5\n",
    "equal names": b"energy,energy\n1,1\n",
    "an open quote": b'energy,tempo\n"0.5,100\n',
    "a header alone": b"energy,tempo\n",
}


@pytest.mark.parametrize("case", CSV)
def test_csv_that_is_not_of_the_form_is_refused(service, case):
    assert service.post("/invocations", data=CSV[case], kind="text/csv").status_code == 400


@pytest.mark.parametrize("kind", ["", "text/plain", "application/xml", "text/csv; charset=latin-1"])
def test_another_type_of_body_is_refused(service, kind):
    answer = service.post("/invocations", data=b"{}", kind=kind)
    assert answer.status_code == 415


BROKEN = {
    "range": ({"tempo": 9_999}, "in [50, 250] BPM, found 9999"),
    "type": ({"energy": "loud"}, "found 'loud'"),
    "no nulls": ({"key": None}, "not be null"),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_is_named_with_column_row_and_value(service, rule):
    changes, words = BROKEN[rule]
    answer = service.predict(ROW, {**ROW, **changes})
    assert answer.status_code == 422
    (problem,) = answer.json()["problems"]
    column = next(iter(changes))
    assert (problem["row"], problem["column"], problem["rule"]) == (1, column, rule)
    assert words in answer.json()["message"] and f"row 1: column {column!r}" in answer.text.replace(
        '\\"', '"'
    )


def test_a_missing_column_is_named_with_the_nearest_one(service):
    row = {**ROW, "tempoo": 120}
    del row["tempo"]
    answer = service.predict(row)
    assert answer.status_code == 422
    assert "'tempo' is missing" in answer.json()["message"]
    assert "'tempoo'" in answer.json()["message"]


def test_of_many_broken_rules_the_first_are_listed_and_all_are_counted(service):
    answer = service.predict(*[{**ROW, "tempo": 0}] * 50)
    assert len(answer.json()["problems"]) == 20
    assert "(and 49 more)" in answer.json()["message"]


VALUES = [True, "1", "", "\ud800", [1], {"a": 1}, [[]], 1e308, -1e400, float("inf"), 10**400, 0.5]


@pytest.mark.parametrize("column", COLUMNS)
def test_no_value_of_any_column_is_an_error_of_the_service(service, column):
    for value in VALUES:
        body = json.dumps({"dataframe_records": [{**ROW, column: value}]})
        answer = service.post("/invocations", data=body)
        assert answer.status_code in (200, 400, 422), (value, answer.text)
        assert answer.status_code != 200 or not isinstance(value, list | dict)
    assert service.predict(ROW).status_code == 200


def test_too_many_rows_and_too_many_bytes_are_refused_before_they_are_read(model_directory):
    with running(model_directory, limits=ServiceLimits(rows=10, body_bytes=5_000)) as service:
        assert service.predict(*[ROW] * 10).status_code == 200
        refused = service.predict(*[ROW] * 11)
        assert (refused.status_code, "10 rows" in refused.text) == (413, True)
        refused = service.post("/invocations", data=b"x" * 5_001)
        assert (refused.status_code, "5,000 bytes" in refused.text) == (413, True)
        csv = "energy\n" + "1\n" * 11
        assert service.post("/invocations", data=csv, kind="text/csv").status_code == 413
        assert service.predict(ROW).status_code == 200


def test_predict_gives_the_probabilities_of_the_pipeline_and_the_top_classes(service, rows):
    answer = service.post("/predict?top=2", {"dataframe_records": as_null(rows).to_dict("records")})
    probabilities = service.model.pipeline.predict_proba(rows)
    classes = service.model.classes.tolist()
    assert answer.json()["model"] == service.model.version
    for found, expected in zip(answer.json()["predictions"], probabilities, strict=True):
        assert [found["probabilities"][name] for name in classes] == expected.tolist()
        assert found["probability"] == expected.max()
        assert [ranked["label"] for ranked in found["top"]][:1] == [found["label"]]
        assert len(found["top"]) == 2
    for top in ("0", "x", "1001"):
        refused = service.post(f"/predict?top={top}", {"dataframe_records": [ROW]})
        assert refused.status_code == 422 and "top" in refused.json()["message"]


def test_pushes_lead_from_nothing_known_to_the_prediction(service):
    found = service.post("/explain", {"dataframe_records": [ROW]}).json()
    again = service.post("/explain", {"dataframe_records": [ROW]}).json()
    assert found == again
    predicted = service.post("/predict", {"dataframe_records": [ROW]}).json()["predictions"][0]
    assert (found["label"], found["known_all"]) == (predicted["label"], predicted["probability"])
    pushes = [feature["push"] for feature in found["features"]]
    assert np.isclose(found["known_nothing"] + sum(pushes), found["known_all"])
    assert {feature["feature"] for feature in found["features"]} == set(COLUMNS)
    strongest = found["features"][0]["feature"]
    assert strongest in ("energy", "text_feature")  # what tells the genres apart in these songs
    assert service.post("/explain", {"dataframe_records": [ROW, ROW]}).status_code == 400
