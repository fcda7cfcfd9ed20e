"""What a pipeline that is killed leaves: the next one, or gc, ends and removes it."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.commands import gc
from pipeline.settings import temporary
from tests.pipeline.caching.test_reuse import Place
from tests.pipeline.running.test_interrupts import template  # noqa: F401 - a fixture
from util_lib.processes import living
from util_lib.tracking import mlflow_runs

WAITS = "import time; Path(os.environ['TMPDIR'], 'copy').write_text('of a model'); time.sleep(60)"


@pytest.fixture
def place(template, tmp_path) -> Place:  # noqa: F811
    shutil.copytree(template, tmp_path / "place", symlinks=True)
    place = Place(tmp_path / "place")
    (tmp_path / "temporary").mkdir()
    place.environment["TMPDIR"] = str(tmp_path / "temporary")
    return place


def kill(place: Place, also_the_step: bool = True) -> None:
    """Start a run whose fourth step waits, and kill it as nobody can catch it."""
    place.edit("segregate/run.py", 'salt = "plain"', f'salt = "plain"\n{WAITS}')
    process = subprocess.Popen(
        [sys.executable, str(place.project / "main.py"), "main.env_manager=local"]
        + ["data.file_url=table.csv", "data.sha256=null"],
        cwd=place.home,
        env=place.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    copies = Path(place.environment["TMPDIR"])
    while not [*copies.glob("*/copy")] or "segregate" not in left(place)[0]:
        assert process.poll() is None
        time.sleep(0.05)
    if also_the_step:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    place.edit("segregate/run.py", WAITS, 'salt = "rock"')


def left(place: Place) -> tuple[list[str], list[str]]:
    """Return the names of runs that MLflow has for running, and of the temporary folders."""
    with sqlite3.connect(place.home / "mlflow.db") as database:
        rows = database.execute("SELECT name FROM runs WHERE status = 'RUNNING' ORDER BY name")
        running = [name for (name,) in rows]
    folders = Path(place.environment["TMPDIR"]).glob(f"{temporary.PREFIX}*")
    return running, [path.name for path in folders]


def test_the_next_run_ends_the_runs_and_removes_the_folders_of_a_killed_one(place):
    kill(place)
    running, folders = left(place)
    assert running == ["segregate", "songs_demo · all steps"] and len(folders) == 1
    place.edit("segregate/run.py", '\nsalt = "rock"', "")
    assert place.ran() == []  # also where every step is reused
    assert left(place) == ([], [])
    kill(place)
    assert place.ran() == ["segregate", "train_random_forest", "evaluate"]
    assert left(place) == ([], [])


def test_gc_lists_them_and_removes_them_when_told_to(place, monkeypatch, capsys):
    kill(place)
    for name in ("TRACKING_STORE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRACKING_STORE", str(place.store))
    monkeypatch.setattr("tempfile.tempdir", place.environment["TMPDIR"])
    before = left(place)
    gc.go([])
    said = capsys.readouterr().out
    assert (
        "MLflow run songs_demo · all steps, RUNNING" in said
        and "MLflow run segregate, RUNNING" in said
    )
    assert before[1][0] in said and left(place) == before
    gc.go(["--delete=true"])
    assert left(place) == ([], [])


@pytest.mark.slow
def test_what_a_step_still_uses_that_outlived_main_stays_until_it_ends(place):
    kill(place, also_the_step=False)
    running, folders = left(place)
    assert place.run().returncode == 0
    assert left(place) == (["segregate"], folders) and "segregate" in running
    for environ in Path("/proc").glob("[0-9]*/environ"):
        if f"/{folders[0]}\0".encode() in read(environ):
            os.kill(int(environ.parent.name), signal.SIGKILL)
    assert place.run("main.cache=false").returncode == 0
    assert left(place) == ([], [])


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("whose", ["another machine's", "a living process's", "another store's"])
def test_what_belongs_to_others_stays(place, whose):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place.home / 'mlflow.db'}")
    ended = subprocess.run(
        [sys.executable, "-c", "from util_lib.processes import living; print(living.mine())"],
        cwd=place.project,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    process, store = ended, str(place.store)
    if whose == "another machine's":
        process = f"elsewhere/1 {ended.split(' ', 1)[1]}"
    elif whose == "a living process's":
        process = living.mine()
    else:
        store += "2"
    tags = {mlflow_runs.PROCESS_TAG: process, mlflow_runs.STORE_TAG: store}
    client.create_run("0", tags=tags, run_name="theirs")
    folder = Path(place.environment["TMPDIR"], f"{temporary.PREFIX}theirs")
    folder.mkdir()
    (folder / ".owner").write_text(f"{process}\n{store}")
    assert place.run("main.cache=false").returncode == 0
    assert left(place) == (["theirs"], [folder.name])
    client.set_terminated(client.search_runs(["0"])[0].info.run_id)


def test_a_process_that_got_the_number_of_a_dead_one_is_another():
    machine, pid, start = living.mine().split(" ")
    assert not living.has_ended(f"{machine} {pid} {start}")
    assert living.has_ended(f"{machine} {pid} {int(start) - 1}")
