"""A sweep on the genuine W&B client, against the test double of the service."""

import pytest
from sweep_support import DEPTH, PROJECT, WORDS, Place, said

wandb = pytest.importorskip("wandb", reason="the genuine W&B client is not installed")


@pytest.fixture
def place(tmp_path, wandb_account):
    ours = {**wandb_account.environment, "HOME": wandb_account.environment["WANDB_DIR"]}
    del ours["WANDB_DIR"]  # main.py has to choose it
    place = Place(tmp_path, ours)
    place.declare()
    return place


@pytest.mark.slow
def test_trials_are_runs_of_one_group_and_a_repeated_sweep_takes_them_from_the_service(
    place, wandb_api
):
    given = (f"{DEPTH}=2,0", f"{WORDS}=3,5", "hydra/launcher=joblib")
    done = place.sweep("grid", *given)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 of 4 trials of the sweep grid did not finish" in done.stderr.splitlines()[-1]
    runs = wandb_api.runs(PROJECT, filters={"group": "grid"})
    states = {run.name: run.state for run in runs}
    assert sorted(states) == [
        *("grid-1", "grid-2", "grid-3", "grid-4", "grid-leaderboard", "grid-winner"),
    ]
    assert (states["grid-1"], states["grid-3"]) == ("finished", "failed")
    first = next(run for run in runs if run.name == "grid-1")
    assert first.config["sweep"]["overrides"] == {DEPTH: 2, WORDS: 3}
    assert first.summary["objective"] == first.summary["val_roc_auc_ovo_macro"]

    exported = wandb_api.artifact(f"{PROJECT}/model_export:best")
    assert set(exported.aliases) >= {"best", "latest"}
    assert not wandb_api.artifact_exists(f"{PROJECT}/model_export_trials:latest")

    again = place.sweep("grid", *given)
    assert sum("recorded earlier" in line for line in said(again)) == 2, again.stdout
