"""Versions are brought from W&B into the embedded store, to be used without a network."""

import signal
from pathlib import Path

import pytest

from tests.util_lib.tracking.sync_support import Plane, command
from util_lib.tracking import local
from util_lib.tracking.store.database import Store

pytest.importorskip("wandb", reason="the genuine W&B client is not installed")

LOG = """
for number, text in enumerate({texts!r}):
    with tracking.init(
        project="p", name=f"run-{{text}}", job_type="train", config={{"a": {{"b": number}}}}
    ) as run:
        artifact = tracking.Artifact(
            "model", type="model_export", description=text, metadata={{"n": number}}
        )
        with artifact.new_file("code/a.py") as file:
            file.write("same")
        with artifact.new_file("data.txt") as file:
            file.write(text)
        run.summary["score"] = number
        run.log_artifact(artifact, aliases=[text]).wait()
"""


@pytest.fixture
def plane(tmp_path, wandb_account, monkeypatch):
    (tmp_path / "plane").mkdir()
    plane = Plane(tmp_path / "plane", wandb_account)
    monkeypatch.setenv("TRACKING_STORE", plane.environment["TRACKING_STORE"])
    plane.elsewhere(LOG.format(texts=["one", "two", "three"]))
    return plane


def held(plane, project="p"):
    versions = Store(plane.folder / "store").versions(project, "model")
    return {version.number: version.aliases for version in versions}


def test_a_version_comes_with_all_that_is_known_of_it_and_can_be_used_offline(
    plane, wandb_service, log_text
):
    assert "p/model:v1 is now in the store" in plane.pull("p/model:two")
    assert {path.name for path in plane.folder.iterdir()} == {"store", ".tracking_stores"}
    with local.init(project="p") as run:
        used = run.use_artifact("model:two", type="model_export")
        folder = Path(used.download())
        assert log_text(local, run, "model", "four", type="model_export").version == "v2"
    assert (folder / "data.txt").read_text() == "two"
    assert (folder / "code" / "a.py").read_text() == "same"
    assert (used.version, used.description, used.metadata) == ("v1", "two", {"n": 1})
    maker = used.logged_by()
    assert (maker.name, maker.job_type, maker.state) == ("run-two", "train", "finished")
    assert maker.config == {"a": {"b": 1}} and maker.summary == {"score": 1}

    wandb_service.order()
    assert "p/model:v1 was in the store already" in plane.pull("p/model:two")
    assert "download" not in wandb_service.requests()

    said = plane.sync()  # back: only what is new goes, under the next number there
    assert "v1 -> v1, v2 -> v3" in said and "sending run 1 of 1" in said
    found = plane.snapshot("p")
    assert found["artifacts"]["p/model:v3"]["aliases"] == ["latest"]
    assert len(found["runs"]) == 4


@pytest.mark.slow
def test_all_versions_come_with_their_aliases_and_follow_them_later(plane, wandb_service):
    plane.pull("p/model", "--versions=all")
    assert held(plane) == {0: ["one"], 1: ["two"], 2: ["latest", "three"]}
    mine = local.Api().artifact("p/model:v0")
    mine.aliases.append("mine")
    mine.save()
    plane.elsewhere(
        "artifact = tracking.Api().artifact('p/model:v0')\n"
        "artifact.aliases = ['prod', 'two']\nartifact.save()"
    )
    wandb_service.order()
    plane.pull("p/model:latest", "--versions", "all")
    assert "download" not in wandb_service.requests()
    assert held(plane) == {0: ["mine", "prod", "two"], 1: [], 2: ["latest", "three"]}


@pytest.mark.slow
def test_another_content_under_the_number_can_be_kept_apart(plane, log_text):
    with local.init(project="p") as run:
        log_text(local, run, "model", "mine", type="model_export")
    said = plane.refused("pull", "p/model:one")
    assert "p/model:v0 in the store has another content than p/model:v0 at W&B" in said
    assert "-P project=other_name" in said
    said = plane.pull("p/model:one", "--project=other_name")
    assert "other_name/model:v0 is now in the store" in said
    assert held(plane) == {0: ["latest"]} and held(plane, "other_name") == {0: ["one"]}
    plane.pull("p/model:two")
    said = plane.pull("p/model:latest")
    assert "latest stays on a version that W&B does not have; there it is on v2" in said
    assert held(plane) == {0: ["latest"], 1: ["two"], 2: ["three"]}


def test_a_damaged_download_is_noticed_and_nothing_is_kept(plane, wandb_service):
    manifest = {"match": "download", "times": 1}  # comes first, and unharmed
    damaged = {"match": "download", "status": 200, "message": "not the file"}
    wandb_service.order(manifest, damaged)
    said = plane.refused("pull", "p/model:one")
    assert "arrived damaged from W&B" in said and "pull again later" in said
    assert held(plane) == {}
    wandb_service.order()
    plane.pull("p/model:one")
    assert held(plane) == {0: ["one"]}


@pytest.mark.slow
def test_a_killed_pull_leaves_nothing_that_is_seen(plane, wandb_service):
    wandb_service.order({"match": "download", "seconds": 1})
    process = command(
        "pull", "p/model", "--versions=all", environment=plane.environment, folder=plane.folder
    )
    while process.stdout.readline() != "fetching p/model:v1\n":
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wandb_service.order()
    assert held(plane) == {} and Store(plane.folder / "store").runs() == []
    assert [*(plane.folder / "store" / "tmp").iterdir()] == []
    plane.pull("p/model", "--versions=all")
    assert [*held(plane)] == [2, 1, 0]


@pytest.mark.parametrize(
    ("name", "environment", "said"),
    [
        ("p/model:nope", {}, "has no artifact model:nope in "),
        ("q/model:v0", {}, "has no project q"),
        pytest.param(
            *("p/model:v0", {"WANDB_BASE_URL": "http://127.0.0.1:9"}, "cannot be reached"),
            marks=pytest.mark.slow,
        ),
        ("p/model", {}, "without alias"),
        ("p/model:v0", {"WANDB_API_KEY": ""}, "there are no credentials for W&B"),
    ],
)
def test_what_cannot_be_brought_is_one_sentence(plane, name, environment, said):
    assert said in plane.refused("pull", name, **environment)
