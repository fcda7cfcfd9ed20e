"""What a step says when W&B says no or nothing, how long that takes, and what it leaves running.

    pytest -m "slow or not slow" -rP tests/util_lib/tracking/test_wandb_failures.py | grep " | "

prints a table of all cases: test | seconds | message.
"""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from small_step import LIMIT_S, Step

ROOT = Path(__file__).resolve().parents[3]

pytest.importorskip("wandb", reason="the genuine W&B client is not installed")


def test_a_step_without_faults_ends_well_and_quietly(step):
    code, last, _ = step("log").end()
    assert (code, last) == (0, "")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (None, "there are no credentials for W&B at"),
        ("abc", "API key must have 40+ characters, has 3"),
        ("x" * 40, "does not accept the credentials (user is not logged in)"),
    ],
    ids=["none", "short", "wrong"],
)
def test_a_missing_or_wrong_key_is_said_with_the_way_to_log_in(step, key, said):
    code, last, seconds = step(WANDB_API_KEY=key).end()
    assert code == 1 and seconds < LIMIT_S
    assert last.startswith("small_step: ") and said in last
    assert "`wandb login" in last and "main.tracking=local" in last


def a_free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def test_a_service_that_nobody_runs_is_named_with_its_address(step):
    url = f"http://127.0.0.1:{a_free_port()}"
    code, last, seconds = step(WANDB_BASE_URL=url).end()
    assert code == 1 and seconds < LIMIT_S
    assert f"W&B at {url} cannot be reached or does not answer (connection refused)" in last
    assert "main.tracking=local" in last


@pytest.mark.slow
def test_a_service_that_takes_calls_and_never_answers_is_given_up(step):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        code, last, seconds = step(WANDB_BASE_URL=url).end()
    assert code == 1 and seconds < LIMIT_S
    assert f"W&B at {url} cannot be reached or does not answer" in last


@pytest.fixture
def mortal(tmp_path):
    """A double that a test may kill, with an account."""
    from tests.wandb_service.process import Process

    (tmp_path / "mortal").mkdir()
    double = Process(tmp_path / "mortal")
    yield double
    double.stop()


@pytest.mark.parametrize(
    "does",
    [
        pytest.param("log", marks=pytest.mark.slow),
        pytest.param("use", marks=pytest.mark.slow),
        pytest.param("nothing", marks=pytest.mark.slow),
    ],
)
def test_a_service_that_dies_in_the_middle_is_not_taken_for_a_wrong_key(tmp_path, mortal, does):
    step = Step(tmp_path, mortal.account(tmp_path), does)
    step.wait_until_started()
    mortal.stop()
    code, last, seconds = step.end()
    assert code == 1 and seconds < LIMIT_S
    assert "cannot be reached or does not answer" in last and "credentials" not in last
    assert "main.tracking=local, whose results `mlflow run . -e sync" in last


@pytest.mark.slow
def test_a_service_that_stops_answering_in_the_middle_is_given_up(tmp_path, mortal):
    step = Step(tmp_path, mortal.account(tmp_path), "log")
    step.wait_until_started()
    mortal.signal(signal.SIGSTOP)
    code, last, seconds = step.end()
    assert code == 1 and seconds < LIMIT_S
    assert "cannot be reached or does not answer" in last


@pytest.mark.slow
@pytest.mark.parametrize(
    ("match", "said"),
    [
        ("UpsertBucket", "cannot be reached or does not answer"),
        ("CreateArtifact", "cannot be reached or does not answer"),
        ("CommitArtifact", "cannot be reached or does not answer"),
        ("file_stream", "cannot be reached or does not answer"),
    ],
)
def test_one_question_that_is_never_answered_is_given_up(step, wandb_service, match, said):
    wandb_service.order({"match": match, "seconds": 60})
    code, last, seconds = step("log").end()
    assert code == 1 and seconds < LIMIT_S
    assert said in last


@pytest.mark.parametrize(
    ("status", "said"),
    [(500, "a fault of its own (HTTP 500: "), (429, "takes no more for now (")],
)
@pytest.mark.slow
def test_a_fault_while_the_key_is_looked_at_is_not_taken_for_a_wrong_key(
    step, wandb_service, status, said
):
    wandb_service.order({"match": "Viewer", "status": status, "message": "too much to do"})
    code, last, seconds = step("log").end()
    assert code == 1 and seconds < LIMIT_S
    assert said in last and "too much to do" in last and "credentials for" not in last
    assert "does not accept" not in last and "wandb login" not in last


def test_who_is_told_to_come_back_later_does(step, wandb_service):
    told = {"match": "CreateArtifact", "status": 429, "times": 3, "retry_after": 1}
    wandb_service.order(told)
    code, last, _ = step("log").end()
    assert (code, last) == (0, "")
    assert wandb_service.requests().count("CreateArtifact") == 4


@pytest.mark.slow
@pytest.mark.parametrize("match", ["CreateArtifact", "upload", "UpsertBucket", "file_stream"])
def test_who_is_told_to_come_back_after_hours_does_not_wait(step, wandb_service, match):
    wandb_service.order({"match": match, "status": 429, "message": "later", "retry_after": 9999})
    code, last, seconds = step("log").end()
    assert code == 1 and seconds < LIMIT_S
    # Whether the request or the upload was given up first is chance.
    assert "does not answer (" in last and "main.tracking=local" in last


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"status": 429, "retry_after": 9999}, "takes no more for now (Too Many Requests)"),
        pytest.param({"status": 500}, "(HTTP 500: Internal Server Error)", marks=pytest.mark.slow),
        pytest.param({"status": 403}, "refused: Forbidden;", marks=pytest.mark.slow),
        pytest.param({"seconds": 60}, "does not answer (timed out)", marks=pytest.mark.slow),
    ],
    ids=["after_hours", "fault", "forbidden", "silent"],
)
def test_a_file_that_cannot_be_fetched_is_given_up(step, wandb_service, fault, said):
    assert step("log").end()[:2] == (0, "")
    wandb_service.order({"match": "download", **fault})
    code, last, seconds = step("fetch", WANDB_CACHE_DIR="empty").end()
    assert code == 1 and seconds < LIMIT_S
    assert said in last and "main.tracking=local" in last and "/contents/" not in last


def test_the_way_out_after_a_failed_upload_brings_the_results_to_wandb(
    step, wandb_service, wandb_api, tmp_path
):
    """The very words: the step again in the embedded store, and then sync."""
    wandb_service.order({"match": "upload", "status": 403, "message": "the quota is used up"})
    code, last, _ = step("log").end()
    assert code == 1
    assert "use main.tracking=local, whose results `mlflow run . -e sync" in last
    wandb_service.order()
    assert step("log", TRACKING_BACKEND="local").end()[:2] == (0, "")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "util_lib.tracking", "sync"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    artifact = wandb_api.artifact("failures/songs:latest")
    assert Path(artifact.file(str(tmp_path / "got"))).read_text() == "one"
    assert artifact.logged_by().state == "finished"


@pytest.mark.parametrize(
    ("does", "fault", "said"),
    [
        ("log", {"match": "upload", "status": 403}, "refused: "),
        pytest.param(
            *("log", {"match": "upload", "status": 500}, "sends later"),
            marks=pytest.mark.slow,
        ),
        ("log", {"match": "CreateArtifact", "status": 403}, "refused: the quota is used up"),
        ("log", {"match": "CreateArtifact", "status": 200}, "the quota is used up"),
        pytest.param(
            *("log", {"match": "CreateArtifact", "status": 429}, "takes no more for now"),
            marks=pytest.mark.slow,
        ),
        ("no", {"match": "UpsertBucket", "status": 400}, "refused: the quota is used up"),
        ("no", {"match": "UpsertBucket", "status": 403}, "refused: the quota is used up"),
        ("no", {"match": "file_stream", "status": 403}, "did not arrive at W&B"),
        pytest.param(
            *("no", {"match": "RunInputArtifacts", "status": 429, "retry_after": 9999}),
            "does not answer (service process is busy)",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("no", {"match": "file_stream", "status": 500}, "sends later"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("no", {"match": "file_stream", "status": 429}, "sends later"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("no", {"match": "UpsertBucket", "status": 500}, "a fault of its own (HTTP 500: "),
            marks=pytest.mark.slow,
        ),
    ],
    ids=[
        *("upload", "upload_500", "quota", "quota_as_200", "rate", "project", "project_403"),
        *("stream", "lineage", "stream_500", "stream_429", "project_500"),
    ],
)
def test_what_the_service_refuses_is_repeated_in_its_own_words(
    step, wandb_service, does, fault, said
):
    wandb_service.order({"message": "the quota is used up", **fault})
    code, last, seconds = step(does).end()
    assert code == 1 and seconds < LIMIT_S
    assert last.startswith("small_step: ") and said in last and "main.tracking=local" in last


def test_an_impossible_project_name_is_refused_with_the_characters(step):
    code, last, _ = step(project="a/b").end()
    assert code == 1 and "Invalid project name 'a/b'" in last


def test_an_artifact_that_is_not_there_is_named_with_its_project(step):
    code, last, _ = step("use").end()
    assert code == 1
    assert "has no artifact songs:latest in" in last and "run the step that makes it" in last


def test_a_step_that_fails_by_itself_says_so_and_its_run_has_failed(step, wandb_account):
    code, last, _ = step("fail").end()
    assert (code, last) == (1, "small_step: column 'tempo' is missing")


def test_the_state_of_a_failed_steps_run_on_the_service_is_failed(step, wandb_api):
    step("fail").end()
    assert [run.state for run in wandb_api.runs("failures")] == ["failed"]
