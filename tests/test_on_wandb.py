"""The whole pipeline with the genuine W&B client, against the test double of the service."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from on_wandb import ROOT, OnWandb

from tests import warm
from tests.pipeline.caching.test_reuse import make_place

pytest.importorskip("wandb", reason="the genuine W&B client is not installed")

PROJECT = "songs_demo"


@pytest.fixture(scope="module")
def finished(tmp_path_factory, _wandb_double):
    folder = tmp_path_factory.mktemp("on_wandb")
    client = tmp_path_factory.mktemp("client")
    _wandb_double.start()
    finished = OnWandb(folder, _wandb_double.account(client))
    _wandb_double.order()
    finished.done = finished.run(
        *("main.env_manager=local", "main.tracking=wandb", "main.experiment_name=nightly")
    )
    finished.asked = _wandb_double.requests()
    assert finished.done.returncode == 0, finished.done.stdout + finished.done.stderr
    return finished


@pytest.fixture
def api(finished, monkeypatch):
    for name, value in finished.account.environment.items():
        monkeypatch.setenv(name, value)
    import wandb

    yield wandb.Api()
    wandb.teardown()


@pytest.mark.slow
@pytest.mark.parametrize("credits_again", [False, True])
def test_a_content_that_was_logged_before_is_the_later_steps_output_too(
    wandb_account, wandb_service, tmp_path, credits_again
):
    """Whatever the service says of who logged it: a cached step has the outputs that it made."""
    wandb_service.ask("credits", credits_again)
    place = make_place(tmp_path)
    del wandb_account.environment["WANDB_DIR"]  # main.py has to choose it
    chosen = {**wandb_account.environment, "HOME": str(place.home)}
    steps = "main.execute_steps=[get_data,preprocess,segregate,train_random_forest]"
    settings = ([], ["data.test_size=0.8"], ["main.cache=false"], ["data.test_size=0.8"], [])
    for given in settings:
        done = place.run("main.tracking=wandb", steps, *given, **chosen)
        assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": cached") == 4 and "model_export:v0" in done.stdout
    with pytest.MonkeyPatch.context() as patch:
        for name, value in chosen.items():
            patch.setenv(name, value)
        import wandb

        assert wandb.Api().artifact(f"{PROJECT}/model_export:latest").version == "v0"
        wandb.teardown()
    wandb_service.ask("credits", False)


def test_the_pipeline_says_at_its_start_which_backend_it_uses_and_why(finished, wandb_service):
    first = finished.done.stdout.splitlines()
    assert (
        f"project {PROJECT}, group nightly; runs and artifacts go to W&B at {wandb_service.url} "
        "(main.tracking=wandb)"
    ) in first[:3]
    assert finished.account.api_key not in finished.done.stdout + finished.done.stderr


def test_the_table_names_what_every_step_made_and_measured(finished):
    said = finished.done.stdout
    table = said[said.index("┃ artifacts") :]
    assert table.count("done") == 6
    made = ("raw_data.parquet", "preprocessed_data.parquet", "check_data_log")
    for name in (*made, "data_train.parquet", "data_test.parquet", "model_export"):
        assert f"{name}:v0" in table
    assert re.search(r"val_roc_auc_ovo_macro 0\.9\d{3}", table)
    assert re.search(r"test_roc_auc_ovo_macro 0\.9\d{3}", table)
    assert f"On W&B: project {PROJECT} at" in table


def test_the_receipt_has_the_digests_that_the_service_told(finished, api, tmp_path):
    assert finished.done.stdout.splitlines()[-1] == f"receipt: {PROJECT}/receipt:v0"
    receipt = api.artifact(f"{PROJECT}/receipt:v0")
    assert receipt.type == "receipt" and receipt.logged_by().job_type == "pipeline"
    told = json.loads(Path(receipt.file(str(tmp_path))).read_text())
    made = {
        f"{name}:{version['version']}": version["digest"]
        for step in told["steps"]
        for name, version in step["outputs"].items()
    }
    assert len(made) == 7
    for name, digest in made.items():
        assert api.artifact(f"{PROJECT}/{name}").digest == digest
    [segregate] = [step for step in told["steps"] if step["name"] == "segregate"]
    used = {"version": "v0", "digest": made["preprocessed_data.parquet:v0"]}
    assert segregate["inputs"] == {"preprocessed_data.parquet:latest": used}
    assert finished.account.api_key not in json.dumps(told)


@pytest.mark.slow
def test_the_receipt_of_a_run_on_wandb_is_reproduced_on_the_embedded_store(finished, tmp_path):
    environment = {**finished.environment(), "PYTHONPATH": str(ROOT)}
    for command in (
        ["util_lib.tracking", "download", f"{PROJECT}/receipt:v0", str(tmp_path)],
        ["pipeline.commands.reproduce", f"--receipt={tmp_path / 'receipt.json'}"],
    ):
        done = subprocess.run(
            [warm.python(), "-m", *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "7 of 7 artifacts" in done.stdout


def test_the_service_holds_six_finished_runs_with_config_metrics_and_figures(api):
    *runs, whole = api.runs(PROJECT)
    assert (whole.job_type, whole.state) == ("pipeline", "finished")
    steps = ["get_data", "preprocess", "check_data", "segregate", "train_random_forest", "evaluate"]
    assert [run.job_type for run in runs] == steps
    assert {run.state for run in runs} == {"finished"} and {run.group for run in runs} == {
        "nightly"
    }
    train, evaluate = runs[-2:]
    assert train.config["random_forest_pipeline"]["random_forest"]["max_depth"] == 13
    assert train.summary["val_accuracy"] > 0.5 and evaluate.summary["test_accuracy"] > 0.5
    assert train.summary["feature_importance"]["_type"] == "image-file"
    figure = evaluate.summary["confusion_matrix"]["path"]
    assert figure in [file.name for file in evaluate.files()]


@pytest.mark.slow
def test_a_draft_and_its_profile_go_to_the_service_too(tmp_path, wandb_account):
    place = OnWandb(tmp_path, wandb_account)
    table = ROOT / "dataset" / "songs_demo.parquet"
    given = ["--file_url", table, "--name", "drafted", "--folder", tmp_path]
    done = place.start(warm.python(), ROOT / "tools/describe/run.py", *given)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "on W&B, project drafted, Artifacts, profile" in done.stdout
    download = ["-m", "util_lib.tracking", "download", "drafted/drafted_profile:latest", "page"]
    done = place.start(warm.python(), *download)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "page" / "drafted_profile.html").stat().st_size > 10_000


def test_a_name_that_wandb_does_not_have_is_one_sentence(finished, tmp_path):
    named = f"{PROJECT}/model_export:v9"
    done = finished.start(warm.python(), "-m", "util_lib.tracking", "download", named, tmp_path)
    assert done.returncode == 1
    assert "has no artifact model_export:v9" in done.stderr and "Traceback" not in done.stderr


def test_lineage_leads_from_the_model_back_to_the_raw_data(api):
    artifact = api.artifact(f"{PROJECT}/model_export:v0")
    seen = []
    while artifact is not None:
        made_by = artifact.logged_by()
        seen.append((artifact.source_name, made_by.job_type))
        artifact = next(iter(made_by.used_artifacts()), None)
    assert seen == [
        ("model_export:v0", "train_random_forest"),
        ("data_train.parquet:v0", "segregate"),
        ("preprocessed_data.parquet:v0", "preprocess"),
        ("raw_data.parquet:v0", "get_data"),
    ]


def test_the_first_checked_data_become_the_reference(api):
    assert api.artifact(f"{PROJECT}/preprocessed_data.parquet:reference").version == "v0"


def test_mlflow_keeps_parameters_status_and_address_and_no_metrics(finished):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{finished.folder / 'mlflow.db'}")
    parent, *children = client.search_runs(["1"], order_by=["attributes.start_time"])
    assert len(children) == 6 and {run.info.status for run in children} == {"FINISHED"}
    assert not any(run.data.metrics for run in (parent, *children))
    train = children[4]
    assert train.data.params["random_forest_pipeline.random_forest.max_depth"] == "13"
    assert f"/{PROJECT}/runs/" in train.data.tags["wandb.url"]
    assert train.data.tags["artifacts.logged"] == "model_export:v0"


def test_what_is_left_here_is_the_clients_own_copy_and_mlflow(finished):
    left = {path.name for path in finished.folder.iterdir()}
    kept = {"mlflow.db", "mlruns", "outputs", "wandb", "tracking_store", "ml_pipeline.log"}
    assert left <= kept
    assert not (finished.folder / "tracking_store" / "tracking.db").exists()
    assert not [*ROOT.glob("*/wandb/run-*")]


def test_nothing_was_asked_that_the_double_does_not_know(finished):
    assert not [name for name in finished.asked if " " in name]


@pytest.mark.slow
def test_a_second_project_and_the_command_line_reach_the_same_artifacts(finished, tmp_path):
    again = finished.run(
        *("main.env_manager=local", "main.tracking=auto", f"main.project_name={PROJECT}_prod"),
        "main.execute_steps=get_data",
    )
    assert again.returncode == 0, again.stderr
    assert "(WANDB_API_KEY is set, for 127.0.0.1:" in again.stdout

    put = tmp_path / "zen.txt"
    put.write_text("Beautiful is better than ugly.")
    name = f"{PROJECT}_prod/zen.txt"
    done = finished.command("artifact", "put", "--name", name, "--type", "raw_data", str(put))
    assert done.returncode == 0, done.stderr
    done = finished.command("artifact", "get", f"{name}:v0", "--root", str(tmp_path / "got"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "got" / "zen.txt").read_text() == put.read_text()


def test_wandb_login_with_a_key_is_enough_for_auto(finished, tmp_path, monkeypatch):
    key = finished.account.api_key
    netrc = finished.account.environment["NETRC"]
    monkeypatch.setitem(finished.account.environment, "WANDB_API_KEY", "")
    done = finished.command("login", key)
    assert done.returncode == 0, done.stderr
    try:
        again = finished.run(
            *("main.env_manager=local", "main.execute_steps=get_data", "main.tracking=auto")
        )
    finally:
        Path(netrc).unlink()
    assert again.returncode == 0, again.stderr
    assert f"(credentials in {netrc}, for 127.0.0.1:" in again.stdout
    assert "raw_data.parquet:v0" in again.stdout
