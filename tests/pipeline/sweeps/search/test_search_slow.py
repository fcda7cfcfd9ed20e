"""A Bayesian search through the whole pipeline: killed at random moments, no trial is lost."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest

from pipeline.sweeps.search import search
from util_lib import tracking

ROOT = Path(__file__).resolve().parents[4]
N_TRIALS, N_KILLS = 24, 10
SEARCH = (
    *("-m", "hydra/sweeper=optuna", f"hydra.sweeper.n_trials={N_TRIALS}"),
    *("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    *("main.execute_steps=train_random_forest", "sweep.name=night"),
    "random_forest_pipeline.random_forest.n_estimators=5",
    "random_forest_pipeline.random_forest.max_depth=range(2,30)",
    "random_forest_pipeline.random_forest.max_features=interval(0.1,1)",
)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A folder in which the steps before training have run."""
    for name in [name for name in os.environ if name.startswith(("TRACKING_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    steps = "main.execute_steps=[get_data,preprocess,segregate]"
    done = subprocess.run(command(steps), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.setenv("TRACKING_STORE", str(tmp_path / "tracking_store"))
    monkeypatch.setenv("TRACKING_BACKEND", "local")
    return tmp_path


def command(*given: str) -> list[str]:
    return [sys.executable, str(ROOT / "main.py"), "main.env_manager=local", *given]


def run(home: Path, *given: str) -> str:
    done = subprocess.run(command(*given), cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def killed(home: Path, early: bool, after_s: float) -> bool:
    """Start the search and kill it: `after_s` after its start, or after its first trial.

    Return False where it had ended before.
    """
    with (home / "out.txt").open("w") as out:
        process = subprocess.Popen(
            command(*SEARCH), cwd=home, stdout=out, stderr=out, start_new_session=True
        )
        while not early and process.poll() is None:
            if "\ntrial " in (home / "out.txt").read_text():
                break
            time.sleep(0.05)
        time.sleep(after_s)
        ended = process.poll() is not None
        if not ended:
            os.kill(process.pid, signal.SIGKILL)  # its jobs and workers have to notice
        process.wait()
    return not ended


def finished(sweep: str) -> Counter:
    runs = tracking.Api().runs("songs_demo", filters={"group": sweep, "state": "finished"})
    trials = [run.config["sweep"] for run in runs if run.job_type == "train_random_forest"]
    return Counter(tuple(trial["arguments"]) for trial in trials)


@pytest.mark.slow
def test_killed_at_ten_random_moments_no_trial_is_lost_and_none_is_run_twice(home):
    moments = random.Random(5)
    kills = 0
    for number in range(N_KILLS):
        early = number % 4 == 0
        kills += killed(home, early, moments.uniform(0, 8 if early else 1.5))
    assert kills == N_KILLS, "the search ended before it was killed so often"
    before = finished("night")
    said = run(home, *SEARCH)
    assert 0 < sum(before.values()) < N_TRIALS
    study = optuna.load_study(
        study_name="songs_demo/night", storage=f"sqlite:///{home / search.DATABASE}"
    )
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * N_TRIALS
    after = finished("night")
    assert set(after.values()) == {1} and len(after) == N_TRIALS
    assert before.keys() <= after.keys()
    assert "best" in said
    # what an uninterrupted search chooses, whose trials are all known by now
    again = run(home, *SEARCH, "sweep.name=whole")
    assert again.count("recorded earlier") == N_TRIALS
    assert finished("whole").keys() == after.keys()


@pytest.mark.slow
def test_the_leaderboard_of_a_search_is_made_again_by_its_entry_point(home):
    said = run(home, *SEARCH, "hydra.sweeper.n_trials=4")
    board = said[said.index("sweep night, project") : said.index("Look next")]
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.commands.leaderboard", "--sweep=night"],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TRACKING_PUBLISH": "parent"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert board in done.stdout
    assert "page: songs_demo/sweep_report:v0" in done.stdout  # the same page
