"""A version that house-keeping removed is no obstacle to sync, and pull brings it back."""

from pathlib import Path

import pytest

from tests.pipeline.housekeeping.test_removal import remove
from tests.util_lib.tracking.sync_support import Plane
from util_lib.tracking import local
from util_lib.tracking.store.database import open_store

pytest.importorskip("wandb", reason="the genuine W&B client is not installed")


@pytest.fixture
def plane(tmp_path, wandb_account, monkeypatch, log_text):
    """A machine where songs v0 to v2 were logged, and v0 was used."""
    monkeypatch.setenv("TRACKING_STORE", str(tmp_path / "plane" / "store"))
    (tmp_path / "plane").mkdir()
    for text in ("one", "two", "three"):
        with local.init(project="p", name=text) as run:
            log_text(local, run, "songs", text)
    with local.init(project="p", id="user") as run:
        run.use_artifact("songs:v0")
    return Plane(tmp_path / "plane", wandb_account)


@pytest.mark.slow
def test_what_was_removed_before_it_was_sent_is_told_and_the_rest_goes(plane):
    remove(open_store(make=True))
    said = plane.sync()
    for number in (0, 1):
        assert f"v{number} is not at W&B: it was removed by gc on 20" in said
    assert "v2 -> v0" in said
    found = plane.snapshot("p")
    assert [*found["artifacts"]] == ["p/songs:v0"] and len(found["runs"]) == 4
    assert "0              4" in plane.sync()


@pytest.mark.slow
def test_uses_of_what_is_at_wandb_are_sent_and_pull_brings_its_content_back(plane):
    plane.sync()
    with local.init(project="p", id="late") as run:
        run.use_artifact("songs:v0")
    store = open_store(make=True)
    assert remove(store) == ["p/songs:v0", "p/songs:v1"]
    assert "is not at W&B" not in plane.sync()
    assert plane.snapshot("p")["artifacts"]["p/songs:v0"]["used_by"] == ["late", "user"]

    assert "p/songs:v0 is now in the store" in plane.pull("p/songs:v0")
    assert [version.number for version in store.versions("p", "songs")] == [2, 0]
    with local.init(project="p") as run:
        assert Path(run.use_artifact("songs:v0").file()).read_text() == "one"
    assert "p/songs:v0 was in the store already" in plane.pull("p/songs:v0")
