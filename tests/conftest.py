"""What tests of every room share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch, tmp_path):
    """No test reads or writes the user's store, MLflow database or W&B settings."""
    for name in list(os.environ):
        if name.startswith(("WANDB_", "MLFLOW_", "TRACKING_", "PIPELINE_")):
            if name != "PIPELINE_TEST_DATA":
                monkeypatch.delenv(name)
    monkeypatch.setenv("TRACKING_STORE", str(tmp_path / "store" / "tracking_store"))


@pytest.fixture
def real_data() -> Path:
    """The folder of real tables; the test is skipped where there is none."""
    folder = Path(os.environ.get("PIPELINE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set PIPELINE_TEST_DATA to its folder")
    return folder
