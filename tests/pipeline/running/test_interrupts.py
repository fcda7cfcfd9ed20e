"""Ctrl-C at any moment: the run ends with 130, and nothing is recorded as running."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.running import parent_run
from tests.pipeline.caching.test_reuse import Place, make_place
from tests.pipeline.trivial_steps import ROOT

BOUND_S = 60  # the machine may be busy; the slow test prints how long it took
SWALLOWED = """
import signal, sys, threading, time, weakref
from util_lib.processes import signals
from pipeline.running.stopping import stoppable
class Thing: pass
def callback(_):
    signal.raise_signal(signal.SIGINT)
    for _ in range(10):
        pass  # the handler runs here, and what it raises is swallowed
with stoppable():
    thing = Thing()
    held = weakref.ref(thing, callback)
    del thing
    print("lost", flush=True)
    time.sleep(60)
"""
HELD = """
import signal, time
from util_lib.processes import signals
from pipeline.running.stopping import Stopped, stoppable
try:
    with stoppable():
        with signals.held():
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.5)
            print("whole", flush=True)
        time.sleep(60)
except Stopped as stop:
    print(stop)
"""


IN_A_DATABASE = """
import signal, time
import sqlalchemy
from pipeline.running.stopping import Stopped, stoppable
from util_lib.tracking import databases
databases.keep_whole()
engine = sqlalchemy.create_engine("sqlite:///:memory:")
try:
    with stoppable():
        with engine.connect() as connection:
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.5)
            print(connection.execute(sqlalchemy.text("SELECT 'whole'")).scalar(), flush=True)
        time.sleep(60)
except Stopped as stop:
    print(stop)
"""
HALF_A_HANDLER = """
import logging, signal, sys
from pipeline.running.exit_code import stoppable_exit_code
kept = []
class Handler(logging.StreamHandler):
    def createLock(self):
        kept.append(self)
        signal.raise_signal(signal.SIGINT)
sys.exit(stoppable_exit_code(Handler))
"""


def answer_sigint() -> None:
    """Background jobs of a shell ignore SIGINT, and what they start inherits that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        preexec_fn=answer_sigint,
    )


def test_an_interrupt_that_a_weak_references_callback_swallows_is_raised_again():
    done = python(SWALLOWED)
    assert done.stdout == "lost\n" and "Exception ignored in" not in done.stderr
    assert done.stderr.rstrip().endswith("stopped by SIGINT")


def test_a_block_that_must_stay_whole_is_interrupted_at_its_end():
    assert python(HELD).stdout == "whole\nstopped by SIGINT\n"


def test_a_block_that_must_stay_whole_and_does_not_end_is_interrupted_after_all():
    code = HELD.replace("sleep(0.5)", "sleep(60)").replace("try:", "signals.LONGEST_S = 0.5\ntry:")
    assert python(code).stdout == "stopped by SIGINT\n"


def test_a_query_of_mlflows_database_is_interrupted_at_its_end():
    assert python(IN_A_DATABASE).stdout == "whole\nstopped by SIGINT\n"


def test_an_interrupt_while_logging_is_set_up_shows_no_traceback():
    done = python(HALF_A_HANDLER)
    assert (done.returncode, done.stderr) == (130, "error: stopped by SIGINT\n")


def test_a_step_in_which_an_interrupt_is_swallowed_ends_too():
    code = SWALLOWED.replace("with stoppable():", "def main():") + (
        "\nfrom util_lib import cli\n__file__ = '/x/step/run.py'\nsys.exit(cli.exit_code(main))"
    )
    for number, code_of_exit in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        done = python(code.replace("SIGINT", number.name))
        assert done.stdout == "lost\n" and done.returncode == code_of_exit, done.stderr


RUN_OF_A_STEP = """
import signal, sys, time
from util_lib import cli, tracking
from util_lib.tracking.store.database import Store
__file__ = "/x/step/run.py"
recorded = Store.start_run
def start_run(*args, **columns):
    begun = recorded(*args, **columns)
    {in_start}
    return begun
Store.start_run = start_run
def main():
    run = tracking.init()
    {before_with}
    with run:
        time.sleep(60)
sys.exit(cli.exit_code(main))
"""
TERM = "signal.raise_signal(signal.SIGTERM)"


@pytest.mark.parametrize(
    "places",
    [{"in_start": TERM, "before_with": "pass"}, {"in_start": "pass", "before_with": TERM}],
    ids=["as it is recorded", "before its with statement"],
)
def test_a_step_that_is_stopped_while_its_run_begins_records_that_it_was(
    places, tmp_path, monkeypatch
):
    monkeypatch.setenv("TRACKING_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("TRACKING_BACKEND", "local")
    done = python(RUN_OF_A_STEP.format(**places))
    assert done.returncode == 143, done.stderr
    with sqlite3.connect(tmp_path / "store" / "tracking.db") as database:
        states = database.execute("SELECT state, exit_code FROM runs").fetchall()
    assert states == [("killed", 143)]


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    done = make_place(folder).run()  # the database, and a duration
    assert done.returncode == 0, done.stderr
    return folder


def interrupt(place: Place, after: float | Path) -> tuple[int, float, str]:
    """Start a run of all steps, press Ctrl-C `after` seconds, or once that file is there.

    Returns the code, seconds, and what it said.
    """
    process = subprocess.Popen(
        [sys.executable, str(place.project / "main.py"), "main.env_manager=local"]
        + ["data.file_url=table.csv", "data.sha256=null", "main.cache=false"],
        cwd=place.home,
        env=place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # the signal reaches main.py and its steps, and nobody else
        preexec_fn=answer_sigint,
    )
    if isinstance(after, Path):
        waits_until = time.monotonic() + BOUND_S
        while not after.exists() and time.monotonic() < waits_until:
            time.sleep(0.02)
    else:
        time.sleep(after)
    os.killpg(process.pid, signal.SIGINT)
    pressed = time.monotonic()
    try:
        said, _ = process.communicate(timeout=BOUND_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, time.monotonic() - pressed, said


def test_an_interrupt_while_a_step_imports_shows_no_traceback(template, tmp_path):
    shutil.copytree(template, tmp_path / "place")
    place, begun = Place(tmp_path / "place"), tmp_path / "begun"
    pressed = f"import signal, time; signal.raise_signal(signal.SIGINT); open({str(begun)!r}, 'w')"
    place.edit("get_data/run.py", "import hashlib", f"{pressed}; time.sleep(30)\nimport hashlib")
    code, _, said = interrupt(place, begun)
    assert code == 130 and said.endswith("error: stopped by SIGINT\n"), said
    assert "Traceback" not in said and not running(place), said


def running(place: Place) -> list[tuple]:
    """Return what MLflow and the store hold for running."""
    asked = {
        "mlflow.db": "SELECT name FROM runs WHERE status = 'RUNNING'",
        "tracking_store/tracking.db": "SELECT name FROM runs WHERE state = 'running'",
    }
    found = []
    for name, question in asked.items():
        with sqlite3.connect(place.home / name) as database:
            found += database.execute(question).fetchall()
    return found


def check(place: Place, times: int, seed: int, longest: float) -> None:
    moments, took, ended = random.Random(seed), [], 0
    for _ in range(times):
        after = moments.uniform(0.05, longest)
        code, seconds, said = interrupt(place, after)
        # Before Python has begun, and when it has done all, it is the signal itself that ends it.
        assert code in (130, 0, -signal.SIGINT), (after, said)
        if code == -signal.SIGINT:
            assert "receipt:" in said or (after < 0.5 and "project" not in said), said
        # Before main.py's first lines the traceback is Python's own.
        assert "Traceback" not in said or (code == -signal.SIGINT and after < 0.5), (after, said)
        assert not running(place), (after, said)
        ended += code != 0
        took.append(seconds)
    took.sort()
    print(
        f"{times} interrupts, {ended} before the end: half within {took[times // 2]:.2f} s, "
        f"99 of 100 within {took[times * 99 // 100]:.2f} s, the last {took[-1]:.2f} s"
    )
    assert ended  # a run on a quick machine is over before many of them


def test_interrupts_at_random_moments_leave_nothing_running(template):
    check(Place(template), times=4, seed=random.randrange(10**6), longest=3)


@pytest.mark.slow
def test_many_interrupts_at_random_moments_leave_nothing_running(template):
    check(
        Place(template),
        times=int(os.environ.get("INTERRUPTS", "500")),
        seed=int(os.environ.get("INTERRUPTS_SEED", "1")),
        longest=10,
    )


def test_a_run_whose_end_mlflow_could_not_write_is_ended_by_another_process(tmp_path, monkeypatch):
    import mlflow

    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", address)

    def broken_off(_status: str) -> None:
        mlflow.tracking.fluent._active_run_stack.get().pop()
        raise OSError("the connection was closed")

    with pytest.raises(ValueError, match="of the pipeline"):
        with monkeypatch.context() as patched, parent_run.run(run_name="x"):
            begun = mlflow.active_run().info.run_id
            patched.setattr(mlflow, "end_run", broken_off)
            raise ValueError("of the pipeline")
    assert mlflow.get_run(begun).info.status == "FAILED"
