"""A sweep whose trials are jobs of submitit: processes here, or jobs of a stood-in Slurm."""

import os
import re
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.pipeline.sweeps.cluster import ray_cluster, stand_in_slurm
from tests.pipeline.sweeps.cluster.ray_cluster import PYTHON, ROOT

FOREST = "random_forest_pipeline.random_forest"
STEPS = "main.execute_steps=get_data,preprocess,segregate,train_random_forest"

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _submitit():
    if not ray_cluster.has("submitit"):
        pytest.skip(
            "needs submitit: pip install -r requirements-cluster.txt, or name an interpreter that "
            "has it in PIPELINE_TEST_CLUSTER_PYTHON"
        )


def start_sweep(folder: Path, *words: str, path: str = "") -> subprocess.Popen:
    store = folder / "home" / "tracking_store"
    database = f"sqlite:///{folder}/home/mlflow.db"
    found = {"TRACKING_STORE": str(store), "MLFLOW_TRACKING_URI": database}
    found |= {"PATH": os.pathsep.join(filter(None, [path, os.environ["PATH"]]))}
    return subprocess.Popen(
        [
            *(PYTHON, str(ROOT / "main.py"), "-m", STEPS, "sweep.name=far"),
            *("main.env_manager=local", "main.tracking=local", *words),
        ],
        cwd=folder,
        env=os.environ | found,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def trials(folder: Path) -> list[tuple[str, float, float]]:
    """Return state, begin and end of every run of the training step."""
    with sqlite3.connect(folder / "home" / "tracking_store" / "tracking.db") as db:
        return db.execute(
            "SELECT state, started_at, finished_at FROM runs WHERE job_type = 'train_random_forest'"
        ).fetchall()


def jobs_of(process: subprocess.Popen) -> list[psutil.Process]:
    """Return the processes of submitit's that run a trial now, without what they have forked."""
    jobs = {
        child.pid: child
        for child in psutil.Process(process.pid).children(recursive=True)
        if child.is_running() and "submitit.core._submit" in " ".join(child.cmdline())
    }
    return [job for job in jobs.values() if job.ppid() not in jobs]


def test_no_more_local_trials_run_at_once_than_asked_and_a_killed_one_is_started_again(tmp_path):
    process = start_sweep(
        tmp_path,
        *("hydra/launcher=submitit_local", "hydra.launcher.n_jobs=2"),
        f"{FOREST}.n_estimators=20,30,40,50,60",
    )
    most, killed = 0, None
    while process.poll() is None:
        try:
            jobs = jobs_of(process)
            most = max(most, len(jobs))
            if killed is None and len(jobs) == 2:
                killed = jobs[0]
                killed.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:  # ended while we looked
            pass
        time.sleep(0.05)
    out = process.stdout.read()
    assert process.returncode == 0, out
    assert killed is not None
    assert most == 2, out
    assert re.search(r"trial \d: job \w+ ended without a result .*; it is started again", out), out
    assert len(re.findall(r"^trial \d/5 .*: val_roc_auc_ovo_macro 0\.\d+ in ", out, re.M)) == 5
    assert [state for state, _, _ in trials(tmp_path)].count("finished") == 5
    assert re.search(r"winner: trial \d", out)


def test_trials_are_one_job_array_of_slurm_and_the_store_is_made_ready_for_its_machines(tmp_path):
    commands = stand_in_slurm.make(tmp_path / "slurm")
    process = start_sweep(
        tmp_path,
        *("hydra/launcher=submitit_slurm", "hydra.launcher.partition=short"),
        *("hydra.launcher.array_parallelism=3", f"{FOREST}.n_estimators=2,3"),
        path=str(commands),
    )
    out, _ = process.communicate(timeout=400)
    assert process.returncode == 0, out
    (script,) = [path.read_text() for path in (tmp_path / "slurm").glob("*.sbatch")]
    assert "--array=0-1%" in script
    assert "--partition=short" in script
    assert "--cpus-per-task=1" in script
    assert [state for state, _, _ in trials(tmp_path)] == ["finished", "finished"]
    with sqlite3.connect(tmp_path / "home" / "tracking_store" / "tracking.db") as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_without_slurm_one_sentence_says_where_to_go(tmp_path):
    process = start_sweep(
        tmp_path, "hydra/launcher=submitit_slurm", f"{FOREST}.n_estimators=2,3", path=""
    )
    out, _ = process.communicate(timeout=400)
    assert process.returncode == 1
    assert out.splitlines()[-1].startswith("error: hydra/launcher=submitit_slurm: ")
    assert "submitit_local" in out.splitlines()[-1]
