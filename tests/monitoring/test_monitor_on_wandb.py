"""The monitor with the genuine W&B client: reference, series and report are there."""

import pytest
from log_support import MONDAY, WEEK, export, record, songs, verdict

from monitoring import run
from util_lib import tracking

wandb = pytest.importorskip("wandb", reason="the genuine W&B client is not installed")
pytestmark = pytest.mark.slow  # the monitor itself is tested with the embedded store


def test_a_window_is_judged_by_the_reference_on_wandb_and_told_there(
    steps, wandb_account, monkeypatch, capsys
):
    monkeypatch.setenv("TRACKING_BACKEND", "wandb")
    for name, value in wandb_account.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_PROJECT", "tests")
    try:
        export(steps)
        for week in range(2):
            record(songs(400, week, shift=0.2 * week), MONDAY + week * WEEK)
        assert run.main([]) == 3
        assert verdict(capsys.readouterr().out)["alarms"][0]["column"] == "energy"
        api = tracking.Api()
        found = next(each for each in api.runs("tests") if each.job_type == "monitoring")
        rows = [row for row in found.scan_history() if row.get("inputs/drift/energy") is not None]
        assert [row["_step"] for row in rows] == [202610, 202611]
        report = api.artifact("tests/monitoring_report:latest")
        assert sorted(report.manifest.entries) == ["monitoring.html", "verdict.json"]
    finally:
        tracking.backend().close(failed=True)
