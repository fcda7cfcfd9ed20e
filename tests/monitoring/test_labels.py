"""Labels that come later: whatever table they are in, joined, counted and judged by."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from log_support import DECLARATION, MONDAY, WEEK, export, record, songs, verdict

from monitoring import labels, run
from monitoring.records import given_labels, rows
from util_lib import monitoring_log
from util_lib.errors import UserError


@pytest.fixture
def answered(watched):
    """400 answered rows of one week; `answered.rows` are they."""
    watched.rows = songs(400, 1)
    record(watched.rows)
    return watched


def given(table, name="labels.csv", **changes):
    """Write labels of some rows into a file; return the arguments that load it."""
    frame = pd.DataFrame(
        {"request_id": table["request"], "row": 0, "genre": table["genre"]} | changes
    )
    if name.endswith("csv"):
        frame.to_csv(name, index=False)
    elif name.endswith("jsonl"):
        frame.to_json(name, orient="records", lines=True)
    else:
        frame.to_parquet(name, index=False)
    return ["--labels", name]


def joined():
    log = monitoring_log.folder()
    found = given_labels.of_window(log, "tests", rows.files(log, "tests"), *given_labels.EVER)
    return found.set_index("request")["label"].to_dict()


@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet", "labels.jsonl"])
def test_the_newest_label_of_a_row_wins_in_every_format(answered, name, caplog):
    first = answered.rows[:200]
    labels.main(given(first, name, genre="Pop"))
    labels.main(given(pd.concat([first.assign(genre="Emo"), first]), name))
    assert joined() == dict(zip(first["request"], first["genre"], strict=True))
    assert "200 rows have the key of a later row, which counts" in caplog.text
    labels.main(given(pd.concat([first.assign(genre="Emo"), first]), name))
    assert "these labels are there already" in caplog.text


def test_labels_that_fit_nothing_are_counted_and_said(answered, caplog):
    table = answered.rows[:50].copy()
    table.loc[:9, "genre"] = None
    table.loc[10:12, "genre"] = "Folk"
    table.loc[20:39, "request"] = [f"unknown{n}" for n in range(20)]
    labels.main(given(table))
    assert "40 labels kept of 50 rows" in caplog.text
    assert "10 rows are without a label or a key and are left out" in caplog.text
    assert "20 labels belong to no recorded row" in caplog.text
    assert "1 classes are none that the model knows ('Folk')" in caplog.text
    assert len(joined()) == 20


def test_a_window_gets_its_score_when_its_labels_come_and_keeps_it(answered, capsys):
    assert run.main([]) == 0
    assert verdict(capsys.readouterr().out)["labelled"] == {
        "window": "2026-W10",
        "score": None,
        "n": 0,
        "coverage": 0,
        "others": [],
    }
    labels.main(given(answered.rows[:60]))
    run.main([])
    assert verdict(capsys.readouterr().out)["labelled"]["score"] is None  # 100 are needed
    wrong = answered.rows.assign(
        genre=answered.rows["prediction"].map({"Pop": "Emo"}).fillna("Pop")
    )
    labels.main(given(wrong[:300]))
    assert run.main([]) == 3
    found = verdict(capsys.readouterr().out)
    scored = {"window": "2026-W10", "score": 0.0, "n": 300, "coverage": 0.75, "others": []}
    assert found["labelled"] == scored
    assert [alarm["test"] for alarm in found["alarms"]] == ["score"]
    assert "accuracy 0 is worse than" in found["alarms"][0]["reason"]
    labels.main(given(answered.rows))
    assert run.main([]) == 3
    assert verdict(capsys.readouterr().out) == found


def test_the_verdict_on_a_week_without_labels_has_the_score_of_the_newest_week_with_some(
    answered, capsys
):
    later = songs(400, 2)
    record(later, MONDAY + WEEK)
    labels.main(given(answered.rows))
    assert run.main([]) == 0
    found = verdict(capsys.readouterr().out)
    right = (answered.rows["prediction"] == answered.rows["genre"]).mean()
    assert (found["window"], found["labelled"]["window"]) == ("2026-W11", "2026-W10")
    assert found["labelled"]["score"] == pytest.approx(right) and found["labelled"]["n"] == 400


def test_a_label_of_rows_that_share_an_id_is_nobodys(answered, capsys):
    again = songs(400, 2)
    again.loc[:9, "request"] = answered.rows.loc[:9, "request"]
    record(again)
    labels.main(given(pd.concat([answered.rows, again[10:]])))
    run.main([])
    said = capsys.readouterr().out
    assert verdict(said)["labelled"]["n"] == 780
    assert "20 share request and row number and are left out" in said


@pytest.mark.parametrize(
    ("classes", "values", "meant"),
    [
        (["0", "1"], [1.0, 0.0, None], ["1", "0"]),  # gaps make doubles of whole numbers
        (["1.0", "2.0"], [1, 2, 1], ["1.0", "2.0", "1.0"]),
        (["04", "4"], ["4", "04", "4.0"], ["4", "04", "4.0"]),
        (["Pop", "nan"], ["Pop", "pop", "1"], ["Pop", "pop", "1"]),
    ],
)
@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
def test_a_label_means_the_class_of_the_same_text_or_number(steps, classes, values, meant, name):
    rows = songs(3, 1)
    record(rows, classes=classes)
    labels.main(given(rows, name, genre=values))
    assert joined() == dict(zip(rows["request"], meant, strict=False))


def test_labels_are_joined_by_an_input_that_is_recorded_as_its_hash(steps, caplog):
    columns = {name: dict(about) for name, about in DECLARATION["columns"].items()}
    columns["key"]["monitor"] = "hash"
    declaration = {**DECLARATION, "columns": columns}
    export(steps, declaration)
    table = songs(400, 1)
    record(table, declaration=declaration)
    pd.DataFrame({"key": range(12), "label": "Pop"}).to_csv("labels.csv", index=False)
    labels.main(["--labels", "labels.csv", "--key", "key"])
    assert joined() == dict.fromkeys(table["request"], "Pop")
    assert "recorded row" not in caplog.text
    kept = [path.read_bytes() for path in (monitoring_log.folder() / "labels").rglob("*.parquet")]
    assert len(kept) == 1 and len(pd.read_parquet(monitoring_log.folder() / "labels")) == 12


@pytest.mark.parametrize(
    ("changes", "more", "expected"),
    [
        ({"genre": [1, 2] * 200}, [], "no label in 'genre' is a class of model_export:v0: expec"),
        ({"genre": None}, [], "no row has both a key and a label: nothing was loaded"),
        ({"sure": 1}, [], "has the columns genre, sure besides the key: name the one of labels"),
        ({}, ["--label", "gnre"], "labels.csv: unknown column 'gnre'"),
        ({}, ["--key", "request_id,rows"], "labels.csv: unknown column 'rows'"),
        ({}, ["--key", "text_feature"], "'text_feature' is recorded as its length alone: declare"),
        ({}, ["--key", "customer"], "key: unknown recorded column 'customer'"),
        ({}, ["--key", "a,b,c"], "key must be two columns, request_id,row, or one; found 'a,b,c'"),
        ({}, ["--project", "others"], "project: unknown project 'others'"),
        ({"row": "first"}, [], "labels.csv: 'row' must be row numbers from 0, found none"),
        ({"row": 1.5}, [], "labels.csv: 'row' must be row numbers from 0, found none"),
        ({"row": "inf"}, [], "labels.csv: 'row' must be row numbers from 0, found none"),
        ({"row": "9" * 20}, [], "labels.csv: 'row' must be row numbers from 0, found none"),
    ],
)
def test_a_file_that_cannot_be_joined_is_one_sentence(answered, changes, more, expected):
    with pytest.raises(UserError, match=expected):
        labels.main([*given(answered.rows, **changes), *more])
    assert not (monitoring_log.folder() / "labels").exists()


def test_an_empty_file_and_one_that_is_not_there_are_one_sentence(answered):
    (answered.folder / "labels.csv").write_text("request_id,row,genre\n")
    with pytest.raises(UserError, match="has columns but no rows"):
        labels.main(["--labels", "labels.csv"])
    with pytest.raises(UserError, match="gone.csv does not exist: expected a file in"):
        labels.main(["--labels", "gone.csv"])


def test_a_label_belongs_to_the_window_of_its_row(answered, capsys):
    later = songs(400, 2)
    record(later, MONDAY + WEEK)
    labels.main(given(pd.concat([answered.rows[:100], later[:300]])))
    assert run.main(["--until", "2026-W10"]) == 0
    assert verdict(capsys.readouterr().out)["labelled"]["n"] == 100
    assert run.main([]) == 0
    assert verdict(capsys.readouterr().out)["labelled"]["n"] == 300


def test_labels_of_rows_that_are_removed_by_now_hinder_nothing(answered, capsys):
    record(songs(400, 2), MONDAY + WEEK)
    assert run.main([]) == 0
    for path in (monitoring_log.folder() / "rows" / "project=tests").glob("day=2026-03-0[2-8]"):
        shutil.rmtree(path)
    labels.main(given(answered.rows))
    assert run.main([]) == 0
    assert verdict(capsys.readouterr().out)["labelled"]["n"] == 0


def test_what_is_said_of_an_odd_file_of_labels_names_no_key_of_a_dataset(answered):
    Path("odd.csv").write_bytes("request_id,row,genre\na,0,Stra\u00dfe\n".encode("latin-1"))
    with pytest.raises(UserError) as refused:
        labels.main(["--labels", "odd.csv"])
    assert "odd.csv is not UTF-8 text" in str(refused.value)
    assert "save it as UTF-8; labels are read from" in str(refused.value)
    assert "data." not in str(refused.value)


def test_a_log_that_is_a_file_and_an_address_nothing_can_be_sent_to_are_one_sentence(
    answered, monkeypatch
):
    with pytest.raises(UserError, match="command or an http.s. address, found .* ftp://"):
        run.main(["--notify", "ftp://example.org/alarms"])
    monkeypatch.setenv("MONITORING_LOG", __file__)
    with pytest.raises(UserError, match="MONITORING_LOG=.* is a file: name a folder"):
        run.main([])
