"""Fixtures of the tracking tests: an empty store, and the backends that keep the contract."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from bucket_support import _s3, bucket

__all__ = ["_s3", "bucket"]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def empty_directory(monkeypatch, tmp_path):
    """Stand in an empty directory, and leave MLflow alone unless a test says otherwise."""
    monkeypatch.setenv("TRACKING_PUBLISH", "parent")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)


@pytest.fixture(params=["local", "wandb"])
def tracking(request, monkeypatch):
    """Give each backend in turn: `util_lib.tracking` itself, led to the one or the other."""
    from util_lib import tracking

    monkeypatch.setenv("TRACKING_BACKEND", request.param)
    if request.param == "local":
        yield tracking
        return
    wandb = pytest.importorskip("wandb", reason="the genuine W&B client is not installed")
    for name, value in request.getfixturevalue("wandb_account").environment.items():
        monkeypatch.setenv(name, value)
    yield tracking
    if wandb.run is not None:
        wandb.run.finish()
    tracking.backend().close(failed=True)  # a later test in this process is another step
    assert not cores(), "the client left a service process behind"


def cores():
    """Return the client's service processes below this one."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if child.name() == "wandb-core"]


@pytest.fixture
def step(tmp_path, wandb_account):
    """Give a function that starts a small step on a new account of the double."""
    from small_step import Step

    def start(*given, **named):
        return Step(tmp_path, wandb_account, *given, **named)

    return start


@pytest.fixture
def store():
    """Give the store that this test's runs write to."""
    from util_lib.tracking.store.database import open_store

    return open_store(make=True)


@pytest.fixture
def log_text(tmp_path):
    """Give a function that logs artifacts of one text file."""

    def log(tracking, run, name, text, aliases=None, type="raw_data", **details):
        artifact = tracking.Artifact(name, type=type, **details)
        path = tmp_path / "data.txt"
        path.write_text(text)
        artifact.add_file(str(path))
        run.log_artifact(artifact, aliases=aliases)
        return artifact.wait()

    return log


@pytest.fixture
def python():
    """Give a function that starts this Python on a piece of source with the project in reach."""

    def start(source, *arguments, program=sys.executable, **environment):
        return subprocess.Popen(
            [program, "-c", source, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def answer(python):
    """Give a function that runs such a piece of source to its end: exit code, stdout, stderr."""

    def run(source, *arguments, **environment):
        process = python(source, *arguments, **environment)
        stdout, stderr = process.communicate(timeout=120)
        return process.returncode, stdout, stderr

    return run


@pytest.fixture(scope="session")
def local_history(tmp_path_factory):
    """The folder of a store in which the history of sync_support.py was played."""
    from tests.util_lib.tracking.sync_support import play

    folder = tmp_path_factory.mktemp("offline")
    play(folder, {"TRACKING_BACKEND": "local", "TRACKING_STORE": str(folder / "store")})
    return folder


@pytest.fixture(scope="session")
def direct(tmp_path_factory, _wandb_double):
    """What W&B shows of the same history, logged directly."""
    from tests.util_lib.tracking.sync_support import play, snapshot

    folder = tmp_path_factory.mktemp("online")
    environment = _wandb_double.account(folder).environment
    play(folder, {"TRACKING_BACKEND": "wandb", **environment})
    return snapshot(environment)


@pytest.fixture
def offline(local_history, wandb_account, tmp_path):
    """A machine with a copy of that store, and an account where nothing is yet."""
    from tests.util_lib.tracking.sync_support import Plane

    shutil.copytree(local_history / "store", tmp_path / "plane" / "store")
    return Plane(tmp_path / "plane", wandb_account)
