"""The monitor as a user runs it: windows judged, told, and judged once."""

import http.server
import json
import os
import threading

import pandas as pd
import pytest
import requests
from log_support import DECLARATION, MONDAY, WEEK, begun, export, record, songs, verdict
from prometheus_client.parser import text_string_to_metric_families

from monitoring import labels, page, run
from monitoring.records import compaction
from util_lib import monitoring_log, tracking
from util_lib.errors import UserError

SHIFTED = ["--until", "2026-W13"]


@pytest.fixture
def drifted(watched):
    """Two usual weeks, and two in which energy is higher."""
    for week in range(4):
        record(songs(600, week, shift=0.2 * (week > 1)), MONDAY + week * WEEK)
    return watched


def files():
    return {path.name: path.read_bytes() for path in monitoring_log.folder().glob("*.*")}


def test_a_column_that_moves_is_an_alarm_that_is_told_everywhere(drifted, capsys):
    assert run.main(["--until", "2026-W11"]) == 0
    assert verdict(capsys.readouterr().out)["state"] == "quiet"
    assert run.main(SHIFTED) == 3
    said = capsys.readouterr().out
    found = verdict(said)
    assert (found["window"], found["state"], found["project"]) == ("2026-W13", "alarm", "tests")
    assert [(alarm["test"], alarm["column"]) for alarm in found["alarms"]] == [("drift", "energy")]
    assert "energy: drift" in said and "2026-W13" in said
    logged = drifted.run("monitoring")
    steps = [row["_step"] for row in logged.history(pandas=False) if row.get("inputs/drift/energy")]
    assert steps == [202610, 202611, 202612, 202613]
    assert logged.name == "monitoring: model_export, 2026-W13"
    assert logged.notes.startswith("2026-W13: **alarm**") and "'energy' drifts" in logged.notes
    folder = tracking.Api().artifact("monitoring_report:latest").download(str(drifted.folder / "r"))
    assert json.loads((drifted.folder / "r" / "verdict.json").read_text()) == found
    assert "energy" in (drifted.folder / "r" / "monitoring.html").read_text(), folder
    metrics = text_string_to_metric_families(files()["monitoring.prom"].decode())
    states = [s for m in metrics for s in m.samples if s.name == "monitoring_state"]
    assert [sample.value for sample in states] == [2]
    assert all(path.stat().st_mode & 0o077 == 0 for path in monitoring_log.folder().rglob("*"))


def test_a_window_is_judged_once_and_to_the_same_bytes(drifted, capsys):
    assert run.main(SHIFTED) == 3
    first, before = verdict(capsys.readouterr().out), files()
    n_runs = len(tracking.Api().runs())
    assert run.main(SHIFTED) == 3
    assert verdict(capsys.readouterr().out) == first
    assert files() == before and len(tracking.Api().runs()) == n_runs
    (monitoring_log.folder() / "windows.parquet").unlink()
    assert run.main(SHIFTED) == 3
    assert files() == before
    assert tracking.Api().artifact("monitoring_report:latest").version == "v0"


def test_without_a_reference_nothing_is_called_quiet(steps, capsys):
    record(songs(400, 1), version="tests/model_export:v7")
    assert run.main([]) == 0
    found = verdict(capsys.readouterr().out)
    assert found["state"] == "not judged" and found["not_judged"] > 5


def test_the_first_window_of_another_version_raises_no_alarm_and_is_marked(watched, capsys):
    export(watched, target="genre_of_song")
    record(songs(400, 1))
    for week in (1, 2):
        moved = songs(400, 1 + week, shift=0.3)
        record(moved, MONDAY + week * WEEK, version="tests/model_export:v1")
    assert run.main(["--until", "2026-W11"]) == 0
    assert verdict(capsys.readouterr().out)["state"] == "not judged"
    assert run.main([]) == 3
    page.main(["--output", "page.html"])
    written = (watched.folder / "page.html").read_text()
    assert 'class="promoted"' in written and "tests/model_export:v1 (new)" in written


def test_rows_that_come_after_their_week_was_judged_are_said(watched, caplog):
    record(songs(400, 1))
    run.main(["--until", "2026-W10"])
    assert "came after it was judged" not in caplog.text
    record(songs(50, 2))
    run.main(["--until", "2026-W10"])
    assert "50 rows of 2026-W10 came after it was judged, and are not judged" in caplog.text


def test_a_challenger_is_compared_on_the_same_rows(watched, capsys):
    rows = songs(400, 1)
    record(rows)
    better = rows.assign(prediction=rows["genre"])
    record(better, version="tests/other:v3", role="shadow")
    given = rows[["request", "genre"]].assign(row=0)
    given.to_csv("given.csv", index=False)
    labels.main(["--labels", "given.csv", "--key", "request,row"])
    assert run.main([]) == 0
    labelled = verdict(capsys.readouterr().out)["labelled"]
    assert labelled["coverage"] == 1
    (other,) = labelled["others"]  # by which `update` takes a promotion back
    assert other["version"] == "tests/other:v3" and 0 < other["low"] < other["gain"] < other["high"]
    lines = pd.read_parquet(monitoring_log.folder() / "windows.parquet").set_index("test")
    challenger = lines.loc["challenger"]
    assert challenger["column"] == "tests/other:v3" and challenger["statistic"] > 0.2


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--project", "test"], "unknown project 'test'.*tests"),
        (["--model", "model_exprot"], "unknown model 'model_exprot'.*model_export"),
        (["--until", "2026-14"], "'2026-14' is no name of a week: expected one such as 2026-W14"),
        (["--until", "2026-W09"], "no week can be judged yet: 400 rows from 2026-03-02"),
        (["--window", "month"], "argument --window: invalid choice: 'month'"),
    ],
)
def test_what_is_asked_for_wrongly_is_one_sentence(watched, given, expected):
    record(songs(400, 1))
    with pytest.raises(UserError, match=expected):
        run.main(given)


def test_an_empty_log_says_how_rows_come_into_it(steps):
    with pytest.raises(UserError, match="has no rows: serve with -P capture"):
        run.main([])


def test_several_projects_and_models_must_be_named(watched, capsys):
    record(songs(400, 1))
    record(songs(400, 2), version="tests/other:v0")
    with pytest.raises(UserError, match="several models are recorded, model_export, other: choose"):
        run.main([])
    assert run.main(["--model", "model_export"]) == 0
    assert verdict(capsys.readouterr().out)["rows"] == 400
    record(songs(400, 3), version="elsewhere/model_export:v0")
    with pytest.raises(UserError, match="rows of elsewhere, tests: choose one, -P project=NAME"):
        run.main([])
    with pytest.raises(UserError, match="there are pages of|no judged window"):
        page.main(["--model", "other"])


def test_two_monitors_do_not_work_on_one_log(drifted):
    with compaction.alone(monitoring_log.folder()):
        with pytest.raises(UserError, match="another monitor works on"):
            run.main([])
    assert run.main([]) == 3


HOSTILE = "<script>alert('1')</script>\"\n|`"
CLASS = '"><img src=x onerror=alert(2)>'


def test_hostile_names_and_classes_are_only_shown(steps, capsys):
    declared = {**DECLARATION["columns"], "key": {**DECLARATION["columns"]["key"]}}
    declared[HOSTILE] = {"dtype": "string", "role": "categorical"}
    declaration = {"columns": declared, "text_feature": DECLARATION["text_feature"]}
    features = {
        "numerical": ["energy", "loudness", "tempo"],
        "categorical": ["key", HOSTILE],
        "nlp": ["text_feature"],
    }
    rows = songs(400, 1).assign(**{HOSTILE: CLASS})
    export(steps, declaration, features=features, rows=songs(900, 100).assign(**{HOSTILE: "a"}))
    record(rows, declaration=declaration, names=[*declared, "text_feature"])
    assert run.main([]) == 3
    said = capsys.readouterr().out
    assert verdict(said)["alarms"][0]["column"] == HOSTILE
    page.main(["--output", "page.html"])
    written = (steps.folder / "page.html").read_text()
    assert "<script" not in written and "<img" not in written and "onerror=alert(2)&gt;" in written
    samples = [
        sample
        for metric in text_string_to_metric_families(files()["monitoring.prom"].decode())
        for sample in metric.samples
    ]
    assert HOSTILE in {sample.labels.get("column") for sample in samples}


def test_a_command_is_told_of_an_alarm_and_of_no_quiet_window(drifted):
    told = drifted.folder / "told.json"
    command = "sh -c 'cat > told.json'"
    run.main(["--until", "2026-W11", "--notify", command])
    assert not told.exists()
    assert run.main(["--notify", command]) == 3
    assert json.loads(told.read_text())["alarms"][0]["column"] == "energy"
    told.unlink()
    assert run.main(["--notify", command]) == 3  # judged and told before
    assert not told.exists()


class _Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):  # noqa: N802 - http.server's name
        self.server.asked_by.append(self.headers["Authorization"])
        self.server.got.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("status", [204, 500])
def test_a_webhook_is_asked_and_its_failure_hides_neither_verdict_nor_secret(
    drifted, status, capsys, caplog, monkeypatch
):
    server = http.server.HTTPServer(("127.0.0.1", 0), _Hook)
    server.got, server.asked_by, server.status = [], [], status
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://user:swordfish1@127.0.0.1:{server.server_port}/hooks/T0PSECRET?key=hidden99"
    try:
        monkeypatch.setenv("MONITORING_NOTIFY", address)
        assert run.main([]) == 3
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert json.loads(server.got[0])["state"] == "alarm"
    assert server.asked_by == [requests.auth._basic_auth_str("user", "swordfish1")]
    assert verdict(capsys.readouterr().out)["state"] == "alarm"
    assert ("nobody was notified: http://127.0.0.1/***" in caplog.text) == (status == 500)
    kept = caplog.text + json.dumps(dict(drifted.run("monitoring").config))
    assert not any(secret in kept for secret in ("swordfish1", "T0PSECRET", "hidden99"))
    if status == 500:
        assert (monitoring_log.folder() / "windows.parquet").exists()


def test_rows_that_are_being_written_wait_for_the_next_time(watched, capsys):
    record(songs(400, 1))
    spool = begun(songs(300, 2))
    assert run.main(["--until", "2026-W10"]) == 0
    assert verdict(capsys.readouterr().out)["rows"] == 400
    assert spool.path.exists()
    spool.close()
    assert os.listdir(spool.path.parent) == [spool.path.name]
