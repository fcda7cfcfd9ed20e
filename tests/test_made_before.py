"""What earlier versions made stays of use: a store, an exported model, a receipt."""

import importlib.util
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from step_support import ROOT

from serving import predict, promote
from tests import warm
from util_lib import tracking
from util_lib.tracking.store.database import open_store

MADE_BEFORE = ROOT / "tests" / "made_before" / "rooms.tar.gz"
COMMIT = "b224b8bb7d5fa725237562674279c6bde0fbf543"


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A folder with all that an earlier version left behind."""
    with tarfile.open(MADE_BEFORE) as archive:
        archive.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRACKING_STORE", str(tmp_path / "tracking_store"))
    monkeypatch.setenv("TRACKING_PUBLISH", "parent")
    monkeypatch.setenv("WANDB_PROJECT", "leaves")
    return tmp_path


def test_a_store_is_read_and_every_content_is_whole(home):
    store = open_store()
    versions = store.all_versions()
    assert {version.name for version in versions} >= {"raw_data.csv", "model_export", "receipt"}
    assert [damage for version in versions for damage in store.damage(version)] == []
    assert tracking.Api().artifact("model_export:prod").version == "v0"


def test_a_model_gives_the_same_answers(home):
    predict.main(["--input", "rows.csv", "--output", "now.csv"])
    assert Path("now.csv").read_bytes() == Path("answers.csv").read_bytes()


def test_a_model_is_the_predecessor_of_new_ones(home):
    promote.main([])  # it has the alias already, which is no error
    assert tracking.Api().artifact("model_export:prod").version == "v0"


def test_a_run_goes_on_in_the_store_and_makes_the_same_artifacts(home):
    main = [warm.python(), ROOT / "main.py", "dataset=leaves", "main.env_manager=local"]
    steps = "main.execute_steps='get_data,preprocess,segregate'"
    done = subprocess.run([*main, steps], cwd=home, env=_surroundings(), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"data_train.parquet:v0" in done.stdout and b".parquet:v1" not in done.stdout


@pytest.mark.slow
def test_a_receipt_is_reproduced_from_its_commit(home):
    known = subprocess.run(["git", "cat-file", "-e", COMMIT], cwd=ROOT, capture_output=True)
    if known.returncode:
        pytest.skip(f"this checkout has no commit {COMMIT[:8]}: fetch the whole history")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pipeline.commands.reproduce"),
            *("--receipt=leaves/receipt:latest", f"--file_url={home / 'leaves.csv'}"),
            *("--env_manager=local", f"--repository={ROOT}"),
        ],
        cwd=home,
        env=_surroundings(),
        capture_output=True,
        text=True,
    )
    if importlib.util.find_spec("filelock") is None:  # which the code of then imports
        said = done.stderr.splitlines()[-1]
        assert done.returncode == 1 and "its launch needs the package filelock" in said
        assert f"uv pip install --python {sys.executable} filelock" in said
        return
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same" in done.stdout


def _surroundings() -> dict[str, str]:
    return warm.first_on_path({**os.environ, "PYTHONPATH": str(ROOT)})
