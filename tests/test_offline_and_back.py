"""The six steps run offline and synced are, at W&B, the six steps run with W&B."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.util_lib.tracking.sync_support import snapshot

pytest.importorskip("wandb", reason="the genuine W&B client is not installed")

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


def run(folder, account, *command):
    """Run a command as a user of this account would, standing in `folder`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("WANDB_", "MLFLOW_", "TRACKING_", "PIPELINE_"))
    }
    environment = {**kept, **account.environment, "PATH": f"{BIN}:{kept['PATH']}"}
    del environment["WANDB_DIR"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def by_step(found):
    """Return the snapshot's runs by step, without what differs from run to run.

    A figure is drawn as PNG by the backend that a step logs to, the client or the store, each with
    its own settings; so figures are compared by name, and by content elsewhere (test_sync.py).
    """
    found = json.loads(
        re.sub(r"/pipeline_\w+/", "/", json.dumps(found)),  # a temporary folder
        object_hook=lambda item: "figure" if item.get("_type") == "image-file" else item,
    )
    return {
        run["job_type"]: {
            **{key: run[key] for key in ("state", "group", "config", "summary", "history")},
            **{key: run[key] for key in ("logged", "used", "tags", "notes", "commit")},
            "figures": [re.sub(r"_\d+_\w+\.png", "", path) for path in run["figures"]],
        }
        for run in found["runs"].values()
    }


@pytest.mark.slow
def test_the_pipeline_offline_then_synced_equals_the_pipeline_on_wandb(tmp_path, wandb_service):
    accounts, folders = {}, {}
    for name in ("direct", "offline", "plane"):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        (tmp_path / f"client-{name}").mkdir()
        accounts[name] = wandb_service.account(tmp_path / f"client-{name}")
    main = [sys.executable, str(ROOT / "main.py"), "main.env_manager=local"]
    run(folders["direct"], accounts["direct"], *main, "main.tracking=wandb")
    run(folders["offline"], accounts["offline"], *main, "main.tracking=local")
    sync = ["mlflow", "run", str(ROOT), "--env-manager", "local", "-e", "sync"]
    said = run(folders["offline"], accounts["offline"], *sync)
    print(said)
    direct, synced = (
        snapshot(accounts[name].environment, ["songs_demo"]) for name in ("direct", "offline")
    )
    expected, found = by_step(direct), by_step(synced)
    # The two receipts hold where their runs were recorded.
    assert expected.pop("pipeline")["logged"] == found.pop("pipeline")["logged"]
    for one in (direct, synced):
        [receipt] = [name for name in one["artifacts"] if "receipt:v0" in name]
        del one["artifacts"][receipt]
    assert [*found] == [*expected] and len(found) == 6
    assert [
        (step, key, value, found[step][key])
        for step, one in expected.items()
        for key, value in one.items()
        if found[step][key] != value
    ] == []
    assert [*synced["artifacts"]] == [*direct["artifacts"]]
    compared = ("digest", "type", "size", "files", "aliases", "description", "metadata")
    assert [
        (name, key, one[key], synced["artifacts"][name][key])
        for name, one in direct["artifacts"].items()
        for key in compared
        if synced["artifacts"][name][key] != one[key]
    ] == []

    # And back: what is at W&B is enough to go on elsewhere, without it.
    pull = ["mlflow", "run", str(ROOT), "--env-manager", "local", "-e", "pull"]
    for name in ("model_export", "data_test.parquet"):
        run(
            folders["plane"], accounts["offline"], *pull, "-P", f"artifact=songs_demo/{name}:latest"
        )
    said = run(
        folders["plane"],
        *(accounts["plane"], *main, "main.tracking=local", "main.execute_steps=evaluate"),
    )
    accuracy = found["evaluate"]["summary"]["test_accuracy"]
    assert "done" in said and not [*folders["plane"].glob("wandb*")]
    from util_lib.tracking.store.database import Store

    [evaluated] = Store(folders["plane"] / "tracking_store").runs(job_type="evaluate")
    assert evaluated.summary["test_accuracy"] == accuracy
