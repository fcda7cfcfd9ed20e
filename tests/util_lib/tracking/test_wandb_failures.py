"""What a step says when W&B says no or nothing, how long that takes, and what it leaves running.

    pytest -m "slow or not slow" -rP tests/util_lib/tracking/test_wandb_failures.py | grep " | "

prints a table of all cases: test | seconds | message.
"""

import signal
import socket

import pytest
from small_step import LIMIT_S, Step

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
    [kept] = (tmp_path / "wandb").glob("run-*")
    assert f"what was logged is kept: `wandb sync {kept}` sends it later" in last
    assert [*kept.glob("*.wandb")]


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
    ("does", "fault", "said"),
    [
        ("log", {"match": "upload", "status": 403}, "refused: "),
        pytest.param(
            *("log", {"match": "upload", "status": 500}, "sends it later"),
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
            *("no", {"match": "file_stream", "status": 500}, "sends it later"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("no", {"match": "file_stream", "status": 429}, "sends it later"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("no", {"match": "UpsertBucket", "status": 500}, "a fault of its own (HTTP 500: "),
            marks=pytest.mark.slow,
        ),
    ],
    ids=[
        *("upload", "upload_500", "quota", "quota_as_200", "rate", "project", "project_403"),
        *("stream", "stream_500", "stream_429", "project_500"),
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
