"""Sweeps as a user runs them: real processes, real forests, a small table."""

import os
import re
import signal
import sqlite3
import sys
import time

import psutil
import pytest
import yaml
from sweep_support import DEPTH, TREES, WORDS, Place, said

JOBLIB = "hydra/launcher=joblib"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    place = Place(tmp_path_factory.mktemp("sweeps"))
    place.declare()
    return place


@pytest.fixture(scope="module")
def grid(place):
    """Four trials at once, of which two cannot be, and evaluate for the winner."""
    steps = "main.execute_steps='train_random_forest,evaluate'"
    given = ("-m", "sweep.name=grid", JOBLIB, f"{DEPTH}=2,0", f"{WORDS}=3,5", steps)
    return place.call(*place.command(sys.executable, *given))  # it says when it imports MLflow


def statuses(place: Place) -> list[tuple[str, str]]:
    database = sqlite3.connect(place.folder / "mlflow.db")
    rows = database.execute("SELECT name, status FROM runs ORDER BY start_time").fetchall()
    database.close()
    return rows


def test_a_failed_trial_is_recorded_the_others_go_on_and_the_exit_code_says_so(place, grid):
    assert grid.returncode == 1, grid.stdout + grid.stderr
    last = grid.stderr.splitlines()[-1]
    assert last.startswith(
        "error: 2 of 4 trials of the sweep grid did not finish; the first, trial"
    )
    assert "the 'max_depth' parameter of RandomForestClassifier must be" in last
    found = place.ask("[[t.state, t.overrides, t.summary.get('error')] for t in trials('grid')]")
    assert [state for state, *_ in found] == ["finished", "finished", "failed", "failed"]
    assert found[0][1] == {DEPTH: 2, WORDS: 3} and found[3][1] == {DEPTH: 0, WORDS: 5}
    assert "max_depth" in found[2][2] and found[0][2] is None
    assert len(said(grid)) == 4


def test_that_mlflow_starts_is_said_once(grid):
    assert (grid.stdout + grid.stderr).count("starting MLflow") == 1


def test_every_trial_is_a_run_with_its_values_scores_seconds_and_size(place, grid):
    run = place.ask(
        "[[r.name, r.job_type, r.config, r.summary, r.state] for r in api.runs('tiny',"
        " filters={'display_name': 'grid-1'})][0]"
    )
    name, job_type, config, summary, state = run
    assert (name, job_type, state) == ("grid-1", "train_random_forest", "finished")
    assert config["sweep"]["overrides"] == {DEPTH: 2, WORDS: 3}
    assert config["random_forest_pipeline"]["random_forest"]["max_depth"] == 2
    assert summary["objective"] == summary["val_roc_auc_ovo_macro"] > 0.5
    assert summary["fit_seconds"] > 0 and summary["model_mb"] > 0
    assert "model" not in summary


def test_the_winner_alone_has_a_model(place, grid):
    assert not place.ask("api.artifact_exists('tiny/model_export_trials:latest')")
    exported = place.ask(
        "[[a.source_name, sorted(a.aliases)] for a in"
        " api.artifacts('model_export', 'tiny/model_export')]"
    )
    assert exported == [["model_export:v0", ["best", "latest"]]]


def test_plots_are_made_of_the_winner_alone_which_is_evaluated_once(place, grid):
    runs = place.ask("[[r.name, r.job_type, sorted(r.summary), r.group] for r in api.runs('tiny')]")
    drawn = [name for name, _, summary, _ in runs if "feature_importance" in summary]
    assert drawn == ["grid-winner"]
    evaluated = [summary for _, job, summary, _ in runs if job == "evaluate"]
    assert len(evaluated) == 1 and "test_roc_auc_ovo_macro" in evaluated[0]
    winner = next(summary for name, _, summary, _ in runs if name == "grid-winner")
    assert {"confusion_matrix", "val_roc_auc_ovo_macro"} <= set(winner)


def test_mlflow_shows_every_trial_below_the_sweep_with_its_values_as_columns(place, grid):
    database = sqlite3.connect(place.folder / "mlflow.db")
    sweep, times = database.execute(
        "SELECT run_uuid, end_time - start_time FROM runs "
        "WHERE name = 'tiny · sweep grid · 4 trials'"
    ).fetchone()
    told = dict(
        database.execute("SELECT key, value FROM params WHERE run_uuid = ?", (sweep,)).fetchall()
    )
    assert told[f"best.{DEPTH}"] in ("2", "3")
    best = database.execute("SELECT max(value) FROM metrics WHERE run_uuid = ?", (sweep,))
    trials = database.execute(
        "SELECT r.end_time - r.start_time, m.value FROM runs r JOIN metrics m USING (run_uuid)"
        " WHERE r.name LIKE 'grid-_' AND m.key = 'val_roc_auc_ovo_macro'"
    ).fetchall()
    assert best.fetchone()[0] == max(value for _, value in trials)
    assert all(0 < time < times for time, _ in trials)
    rows = database.execute(
        "SELECT r.name, r.status, p.key, p.value FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid"
        " JOIN params p ON p.run_uuid = r.run_uuid"
        " WHERE t.key = 'mlflow.parentRunId' AND t.value = ? AND r.name LIKE 'grid-_'",
        (sweep,),
    ).fetchall()
    assert ("grid-1", "FINISHED", "max_depth", "2") in rows
    assert ("grid-3", "FAILED", "max_features", "3") in rows
    assert len({name for name, *_ in rows}) == 4
    metrics = database.execute(
        "SELECT count(*) FROM metrics WHERE key = 'val_roc_auc_ovo_macro'"
    ).fetchone()
    assert metrics[0] >= 2
    assert "RUNNING" not in dict(statuses(place)).values()


def test_the_table_shows_the_best_trial_first_and_what_failed_last(place, grid):
    table = grid.stdout[grid.stdout.index("sweep grid, project tiny") :]
    rows = [line for line in table.splitlines() if re.match(r" +\d ", line)]
    assert len(rows) == 4 and "best" in rows[0] and "failed" in rows[3]


def test_the_winners_file_fed_back_as_a_single_run_gives_the_same_model(place, grid):
    path = place.folder / "conf" / "best" / "grid.yaml"
    section = yaml.safe_load(path.read_text())
    assert section["random_forest"]["max_depth"] == 2 and section["target"] == "genre"
    before = place.ask("len(api.artifacts('model_export', 'tiny/model_export'))")
    done = place.main("+best=grid", "main.cache=false")
    assert done.returncode == 0, done.stderr
    assert "made model_export:v0" in done.stdout  # the same content is the same version
    assert place.ask("len(api.artifacts('model_export', 'tiny/model_export'))") == before == 1
    kept = place.ask("api.artifact('tiny/best_parameters:latest').file()")
    assert (place.folder / kept).read_text() == path.read_text()


def test_the_same_name_runs_what_is_missing_and_numbers_go_on(place, grid):
    again = place.sweep("grid", f"{DEPTH}=2,4", f"{WORDS}=3,5")
    lines = said(again)
    assert sum("recorded earlier" in line for line in lines) == 2 and len(lines) == 4
    found = place.ask("[[t.number, t.state, t.overrides] for t in trials('grid')]")
    assert [number for number, *_ in found] == sorted({number for number, *_ in found})
    assert sum(state == "finished" for _, state, _ in found) == 4
    assert again.returncode == 1  # the two that cannot be still belong to the sweep


@pytest.mark.slow
def test_a_sweep_in_a_file_needs_no_command_line(place):
    folder = place.folder / "conf" / "sweep"
    folder.mkdir()
    params = {DEPTH: "2,3", "sweep.cv": 3}
    content = {"hydra": {"mode": "MULTIRUN", "sweeper": {"params": params}}}
    text = f"# @package _global_\n{yaml.safe_dump(content)}"
    (folder / "mine.yaml").write_text(text)
    done = place.main("sweep=mine", "sweep.name=file", "sweep.export=all")
    assert done.returncode == 0, done.stdout + done.stderr
    found = place.ask("[[t.overrides, t.summary] for t in trials('file')]")
    assert [overrides for overrides, _ in found] == [{DEPTH: 2}, {DEPTH: 3}]
    summary = found[0][1]
    assert summary["cv_folds"] == 3 and summary["cv_roc_auc_ovo_macro_std"] > 0
    assert summary["objective"] == summary["cv_roc_auc_ovo_macro_mean"]
    assert "confusion_matrix" in summary  # sweep.export=all
    models = place.ask(
        "[[a.source_name, a.digest] for a in"
        " api.artifacts('model_export', 'tiny/model_export_trials')]"
    )
    assert [name for name, _ in models] == [s["model"] for _, s in found][::-1]
    exported = place.ask("api.artifact('tiny/model_export:best').digest")
    assert exported in [digest for _, digest in models]
    assert "±" in done.stdout


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["sweep.metric=val_roc_auc"], "unknown metric 'val_roc_auc': the nearest is"),
        (["data.val_size=0"], "data.val_size=0 leaves no rows to measure them on: set sweep.cv"),
        (["sweep.cv=1"], "cross-validation needs two folds or more"),
        (["sweep.name='a/b'"], "sweep.name: must be at most 100 letters"),
        (["sweep=gird"], "unknown sweep 'gird'"),
    ],
)
def test_a_wrong_key_of_the_sweep_ends_it_before_the_first_trial(place, given, sentence):
    done = place.main("-m", f"{DEPTH}=2,3", *given)
    assert done.returncode == 1 and sentence in done.stderr.splitlines()[-1], done.stderr
    assert not said(done)


def test_rows_that_are_not_there_end_the_sweep_with_the_sentence_of_a_single_run(place):
    done = place.main("-m", f"{DEPTH}=2,3", "main.project_name=elsewhere")
    assert done.returncode == 1
    assert "artifact 'data_train.parquet:latest' not found in project 'elsewhere'" in done.stderr
    assert dict(statuses(place)).get("RUNNING") is None


def until(process, count: int) -> None:
    """Wait until that many trials have ended."""
    while count:
        line = process.stdout.readline()
        assert line, "the sweep ended before"
        count -= line.startswith("trial ") and "recorded" not in line


def workers(place: Place) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command = process.info["cmdline"] or []
        mine = process.info["cwd"] == str(place.folder)
        if mine and any(word.endswith(("worker.py", "popen_loky_posix")) for word in command):
            found.append(process)
    return found


@pytest.mark.slow
def test_a_sweep_that_is_stopped_or_killed_goes_on_where_it_was(place):
    given = ("-m", "sweep.name=long", JOBLIB, f"{DEPTH}=2,3,4,5,6,7,8,9", f"{TREES}=400")
    process = place.start(*given)
    until(process, 2)
    os.killpg(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=600)
    assert process.returncode == 130 and rest.splitlines()[-1] == "error: stopped by SIGINT"
    assert "Traceback" not in rest and "sweep long, project tiny" in rest
    assert not workers(place)
    states = place.ask("[r.state for r in api.runs('tiny', filters={'group': 'long'})]")
    assert "running" not in states and "RUNNING" not in dict(statuses(place)).values()

    process = place.start(*given)
    until(process, 2)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while workers(place) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not workers(place)

    done = place.main(*given)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum("recorded earlier" in line for line in said(done)) >= 4
    finished = place.ask(
        "[r.config['sweep']['overrides'] for r in"
        " api.runs('tiny', filters={'group': 'long', 'job_type': 'train_random_forest',"
        " 'state': 'finished'})]"
    )
    depths = [overrides[DEPTH] for overrides in finished]
    assert sorted(depths) == [2, 3, 4, 5, 6, 7, 8, 9]  # none lost, none run twice
