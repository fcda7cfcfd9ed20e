"""What hinders a sync is said in one sentence, loses nothing, and leaves nothing running."""

import os
import signal
import socket
import time

import pytest

from tests.util_lib.tracking.sync_support import Plane, command
from util_lib.tracking import local
from util_lib.tracking.store.database import Store

pytest.importorskip("wandb", reason="the genuine W&B client is not installed")

LIMIT_S = 60


@pytest.fixture
def log(monkeypatch, tmp_path, log_text):
    """Give a function that logs one text in a run of its own, in a store of its own."""
    monkeypatch.setenv("TRACKING_STORE", str(tmp_path / "plane" / "store"))

    def log(text, name="songs", aliases=None, type="raw_data", **run):
        with local.init(**{"project": "p", **run}) as run:
            return log_text(local, run, name, text, aliases, type)

    return log


@pytest.fixture
def plane(tmp_path, wandb_account, log):
    (tmp_path / "plane").mkdir()
    return Plane(tmp_path / "plane", wandb_account)


LOG = """
with tracking.init(project="p") as run:
    for text in {texts!r}:
        artifact = tracking.Artifact("songs", type={type!r})
        with artifact.new_file("data.txt") as file:
            file.write(text)
        run.log_artifact(artifact, aliases={aliases!r}).wait()
"""


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"WANDB_API_KEY": ""}, "there are no credentials for W&B at "),
        ({"WANDB_API_KEY": "x" * 40}, "does not accept the credentials"),
        ({"WANDB_MODE": "offline"}, "the mode of W&B is offline"),
    ],
    ids=["no key", "wrong key", "offline"],
)
def test_without_a_way_to_log_in_nothing_is_begun(plane, log, environment, said):
    log("one")
    refusal = plane.refused("sync", **environment)
    assert said in refusal and "main.tracking" not in refusal


def test_a_service_that_nobody_runs_is_named_with_its_address(plane, log):
    log("one")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    said = plane.refused("sync", WANDB_BASE_URL=url)
    assert f"W&B at {url} cannot be reached or does not answer" in said
    assert "sync again later: nothing is lost" in said


def test_there_must_be_a_store_and_the_project_in_it(plane, log):
    assert "there is no store at" in plane.refused("sync", TRACKING_STORE=str(plane.folder / "no"))
    assert not (plane.folder / "no").exists()
    log("one")
    said = plane.refused("sync", "--project=q")
    assert "there is no project 'q' in" in said and "choose from p" in said


@pytest.mark.slow
def test_versions_of_others_keep_their_numbers_and_aliases(plane, log):
    plane.elsewhere(LOG.format(texts=["a", "b"], type="raw_data", aliases=["prod"]))
    log("one", aliases=["prod", "mine"])
    log("b")
    log("two")
    said = plane.sync()
    assert "v0 -> v2, v1 -> v1, v2 -> v3" in said
    assert "prod stays on v1 at W&B" not in said  # v1 is also in the store: it has its way
    found = plane.snapshot("p")["artifacts"]
    assert {name: one["aliases"] for name, one in found.items()} == {
        "p/songs:v0": [],
        "p/songs:v1": [],
        "p/songs:v2": ["mine", "prod"],
        "p/songs:v3": ["latest"],
    }


@pytest.mark.slow
def test_an_alias_of_a_version_that_the_store_does_not_have_stays_there(plane, log):
    log("one", aliases=["prod"])
    plane.elsewhere(LOG.format(texts=["a"], type="raw_data", aliases=["prod", "theirs"]))
    said = plane.sync()
    assert "prod stays on v0 at W&B, which the store does not have" in said
    found = plane.snapshot("p")["artifacts"]
    assert found["p/songs:v0"]["aliases"] == ["prod", "theirs"]
    assert found["p/songs:v1"]["aliases"] == ["latest"]


@pytest.mark.slow
def test_later_changes_of_aliases_follow_and_those_made_at_the_service_stay(plane, log):
    log("one", aliases=["prod", "old"])
    log("two", aliases=["best"])
    plane.sync()
    plane.elsewhere(
        "artifact = tracking.Api().artifact('p/songs:v0')\n"
        "artifact.aliases += ['best', 'theirs']\nartifact.save()",
    )
    one, two = (local.Api().artifact(f"p/songs:v{number}") for number in range(2))
    one.aliases.remove("old")
    one.save()
    two.aliases.append("prod")
    two.description, two.metadata = "better", {"rows": 3}
    two.save()
    log("three")
    log("one")  # `latest` goes back
    said = plane.sync()
    assert "prod -> v1 at W&B" in said and "old removed from v0 at W&B" in said
    assert "best stays on v0 at W&B: moved there since the last sync" in said
    found = plane.snapshot("p")["artifacts"]
    assert found["p/songs:v1"]["description"] == "better"
    assert found["p/songs:v1"]["metadata"] == {"rows": 3}
    assert {name: one["aliases"] for name, one in found.items()} == {
        "p/songs:v0": ["best", "latest", "theirs"],
        "p/songs:v1": ["prod"],
        "p/songs:v2": [],
    }


def test_a_name_that_has_another_type_there_is_refused_before_anything_is_sent(
    plane, log, wandb_service
):
    plane.elsewhere(LOG.format(texts=["a"], type="other", aliases=None))
    log("one")
    wandb_service.order()
    said = plane.refused("sync")
    assert "artifact p/songs has the type 'other' at W&B and 'raw_data' in the store" in said
    assert "UpsertBucket" not in wandb_service.requests()


@pytest.mark.slow
@pytest.mark.parametrize("change", ["damaged", pytest.param("missing", marks=pytest.mark.slow)])
def test_a_file_that_is_not_what_it_was_is_named_and_the_rest_can_follow(plane, log, change):
    log("one")
    log("two")
    log("three")
    store = Store(plane.folder / "store")
    [file] = store.version_files(store.versions("p", "songs")[1].id)
    path = store.files.path(file.sha256)
    path.chmod(0o644)
    path.write_text("xxx") if change == "damaged" else path.unlink()
    said = plane.refused("sync")
    assert "p/songs:v1 is not sent, its file 'data.txt'" in said and str(path) in said
    assert f"is {change}" in said
    assert [*plane.snapshot("p")["artifacts"]] == ["p/songs:v0"]
    log("two")  # that repairs it
    plane.sync()
    found = plane.snapshot("p")
    assert sorted(found["artifacts"]) == [f"p/songs:v{number}" for number in range(3)]
    assert found["artifacts"]["p/songs:v1"]["aliases"] == ["latest"]
    assert {run["state"] for run in found["runs"].values()} == {"finished"}


@pytest.mark.slow
def test_a_run_that_still_runs_is_left_out_with_what_depends_on_it(plane, log, log_text):
    log("one")
    with local.init(project="p", name="long") as running:
        log_text(local, running, "songs", "two")
        plane_says = command(
            "sync", environment=plane.environment, folder=plane.folder
        ).communicate()
        # A run of another process used what the one that runs has made, and logged after it.
        store = Store(plane.folder / "store")
        record, lock = store.start_run(
            "user", "p", config="{}", environment="{}", tags="[]", name="user"
        )
        store.use_version("user", store.versions("p", "songs")[0].id)
        store.update_run("user", state="finished", exit_code=0, finished_at=time.time())
        store.end_run("user", lock)
        said = plane.sync()
    assert "left out: run p/long" in plane_says[0] and "is still running" in plane_says[0]
    assert "used p/songs:v1, made by run long, which is left out" in said
    assert [*plane.snapshot("p")["artifacts"]] == ["p/songs:v0"]
    plane.sync()
    found = plane.snapshot("p")
    assert found["artifacts"]["p/songs:v1"]["used_by"] == ["user"]
    assert len(found["runs"]) == 3


def test_two_syncs_at_once_the_second_says_so(plane, log, wandb_service):
    log("one")
    wandb_service.order({"match": "CreateArtifact", "seconds": 5, "times": 1})
    first = command("sync", environment=plane.environment, folder=plane.folder)
    assert first.stdout.readline().startswith("sending run 1 of 1")
    said = plane.command("sync")
    first.communicate(timeout=LIMIT_S)
    assert said[0] == 1 and "another sync of" in said[2] and "is under way" in said[2]
    assert first.returncode == 0


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_a_sync_that_is_told_to_stop_cleans_up_and_goes_on_later(
    plane, log, wandb_service, number, code
):
    log("one")
    log("two")
    wandb_service.order({"match": "CreateArtifact", "seconds": 3, "times": 1})
    process = command("sync", environment=plane.environment, folder=plane.folder)
    assert process.stdout.readline().startswith("sending run 1 of 2")
    process.send_signal(number)
    _, said = process.communicate(timeout=LIMIT_S)
    assert process.returncode == code and "Traceback" not in said
    assert not plane.left_over()
    assert os.listdir(plane.folder / "store" / "tmp") == []
    plane.sync()
    found = plane.snapshot("p")
    assert sorted(found["artifacts"]) == ["p/songs:v0", "p/songs:v1"]
    assert {run["state"] for run in found["runs"].values()} == {"finished"}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"match": "upload", "status": 403}, "refused: "),
        pytest.param(
            *({"match": "CommitArtifact", "status": 403, "message": "quota"}, "refused: quota"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *({"match": "file_stream", "status": 403}, "did not arrive at W&B"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *({"match": "UpsertBucket", "status": 400, "message": "no more runs"}, "no more runs"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["upload", "commit", "stream", "run"],
)
def test_what_the_service_refuses_is_repeated_and_later_all_is_well(
    plane, log, wandb_service, fault, said
):
    log("one")
    wandb_service.order({"message": "the quota is used up", **fault})
    refusal = plane.refused("sync")
    assert said in refusal and "nothing is lost" in refusal
    wandb_service.order()
    plane.sync()
    found = plane.snapshot("p")
    assert [run["state"] for run in found["runs"].values()] == ["finished"]
    assert [*found["artifacts"]] == ["p/songs:v0"]


@pytest.mark.slow
def test_a_service_that_dies_in_the_middle_is_given_up_and_nothing_is_left_running(tmp_path, log):
    from tests.wandb_service.process import Process

    (tmp_path / "mortal").mkdir()
    double = Process(tmp_path / "mortal")
    plane = Plane(tmp_path / "plane", double.account(tmp_path))
    for number in range(3):
        log(f"text {number}")
    double.order({"match": "CreateArtifact", "seconds": 2})
    process = command("sync", environment=plane.environment, folder=plane.folder)
    assert process.stdout.readline().startswith("sending run 1 of 3")
    double.stop()
    _, said = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1 and "cannot be reached or does not answer" in said
    assert not plane.left_over()
