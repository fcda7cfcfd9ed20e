"""A step on W&B: where its run goes, what MLflow is told, and how it ends when it is stopped."""

import json
import signal
import subprocess
import time

import pytest

pytest.importorskip("wandb", reason="the genuine W&B client is not installed")


def test_entity_project_and_group_of_the_environment_are_where_the_run_goes(step, wandb_api):
    names = {"WANDB_ENTITY": "our-team", "WANDB_PROJECT": "songs", "WANDB_RUN_GROUP": "nightly"}
    code, last, _ = step("log", project="", **names).end()
    assert (code, last) == (0, "")
    [run] = wandb_api.runs("our-team/songs")
    assert (run.entity, run.project, run.group) == ("our-team", "songs", "nightly")
    assert [artifact.source_name for artifact in run.logged_artifacts()] == ["songs:v0"]


def test_no_secret_of_the_command_line_or_of_gits_remote_is_sent(
    step, wandb_api, wandb_service, tmp_path
):
    remote = "https://zaphod-token:x-oauth-basic@127.0.0.1/songs.git"
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    commit = [*author, "commit", "-qm", "x", "--allow-empty"]
    for words in (["init", "-q"], ["remote", "add", "origin", remote], commit):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    words = ["https://zaphod:zaphod-password@127.0.0.1/a.csv?sig=zaphod-sig&raw=1"]
    code, last, _ = step("log", words=words).end()
    assert (code, last) == (0, "")
    [run] = wandb_api.runs("failures")
    assert run.config == {"word_0": "https://127.0.0.1/a.csv?sig=***&raw=1"}
    assert run.metadata["git"]["remote"] == "https://127.0.0.1/songs.git"
    assert len(run.metadata["git"]["commit"]) == 40 and "args" not in run.metadata
    assert not wandb_service.holds("zaphod")


@pytest.mark.parametrize("credits_again", [False, True])
def test_what_a_step_logged_is_told_by_itself_whoever_logged_that_content_first(
    step, wandb_service, tmp_path, credits_again
):
    wandb_service.ask("credits", credits_again)
    told = []
    for name in ("first", "again"):
        code, last, _ = step("log", MLFLOW_RUN_ID=name, TRACKING_RUNS=str(tmp_path)).end()
        assert (code, last) == (0, "")
        told.append(json.loads((tmp_path / name).read_text().splitlines()[-1]))
    wandb_service.ask("credits", False)
    assert [one["logged"] for one in told] == [["songs:v0"]] * 2
    assert told[0]["digests"] == told[1]["digests"] and told[0]["path"] != told[1]["path"]


def test_a_step_that_is_run_alone_tells_its_mlflow_run_the_address_of_its_run(
    step, wandb_api, tmp_path, wandb_service
):
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = mlflow.MlflowClient(uri, uri)
    shown = client.create_run(client.create_experiment("e", str(tmp_path / "mlruns")))
    alone = {"TRACKING_PUBLISH": None, "MLFLOW_TRACKING_URI": uri}
    code, last, _ = step("no", MLFLOW_RUN_ID=shown.info.run_id, **alone).end()
    assert (code, last) == (0, "")
    [run] = wandb_api.runs("failures")
    tags = client.get_run(shown.info.run_id).data.tags
    assert tags["wandb.url"] == run.url
    assert tags["wandb.url"].startswith(wandb_service.url)


def test_an_mlflow_that_does_not_know_the_run_is_named_in_one_sentence(step, tmp_path):
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    given = {"TRACKING_PUBLISH": None, "MLFLOW_TRACKING_URI": uri, "MLFLOW_RUN_ID": "f" * 32}
    code, last, _ = step("no", **given).end()
    assert code == 1 and "unexpected" not in last
    assert "could not be noted in MLflow" in last and "f" * 32 in last


def test_a_step_that_is_asked_to_stop_ends_its_run_and_its_client(step, wandb_api):
    stopped = step("log")
    stopped.wait_until_started()
    stopped.process.send_signal(signal.SIGTERM)
    code, last, _ = stopped.end()
    assert code == 143
    assert [run.state for run in wandb_api.runs("failures")] == ["failed"]


def test_the_client_notices_that_its_step_was_killed_and_ends(step, wandb_api):
    killed = step("log")
    killed.wait_until_started()
    assert "wandb-core" in [process.name() for process in killed.left()]
    killed.process.kill()
    killed.process.wait()
    patience = time.monotonic() + 60
    while killed.left() and time.monotonic() < patience:
        time.sleep(0.1)
    assert not killed.left()
    # What the real service makes of a run without heartbeats is for it to decide.
    assert [run.state for run in wandb_api.runs("failures")] == ["running"]
