"""Fixtures of the tracking tests: an empty store, and the backends that keep the contract."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def empty_directory(monkeypatch, tmp_path):
    """Stand in an empty directory, and leave MLflow alone unless a test says otherwise."""
    monkeypatch.setenv("TRACKING_PUBLISH", "parent")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)


@pytest.fixture(params=["local"])
def tracking(request):
    """Give each backend in turn; a backend is whatever has `init`, `Artifact`, `Image`, `Api`."""
    assert request.param == "local"
    from util_lib import tracking

    return tracking


@pytest.fixture
def store():
    """Give the store that this test's runs write to."""
    from util_lib.tracking.store import open_store

    return open_store()


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

    def start(source, *arguments, **environment):
        return subprocess.Popen(
            [sys.executable, "-c", source, *map(str, arguments)],
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
