"""What was worked out offline arrives at W&B as if it had been logged there."""

import copy

import pytest

from tests.util_lib.tracking.sync_support import same

pytest.importorskip("wandb", reason="the genuine W&B client is not installed")

WRITES = {"UpsertBucket", "CreateArtifact", "AddAliases", "UpdateArtifact", "UseArtifact", "upload"}


def counts(said):
    """Return what an end table counts: new and there already."""
    words = [line.split() for line in said.splitlines()]
    return {
        row[0]: tuple(map(int, row[-2:])) for row in words if row[:1] in (["runs"], ["versions"])
    }


def test_a_synced_history_is_one_that_was_logged_directly_and_is_sent_once(
    offline, direct, wandb_service
):
    assert counts(offline.sync()) == {"runs": (7, 0), "versions": (5, 0)}
    found = offline.snapshot()
    same(found, direct)
    assert found["ids"] == direct["ids"]  # in the order of their starts
    assert found["clocks"] == offline.clocks()
    assert [path.name for path in offline.folder.iterdir()] == ["store"]
    assert [*(offline.folder / "store" / "tmp").iterdir()] == []

    wandb_service.order()
    again = offline.sync()
    assert WRITES.isdisjoint(wandb_service.requests())
    assert counts(again) == {"runs": (0, 7), "versions": (0, 5)}
    assert "sending" not in again and "completing" not in again


def test_a_dry_run_lists_what_would_go_and_writes_nothing(offline, wandb_service):
    wandb_service.order()
    said = offline.sync("--dry-run")
    assert WRITES.isdisjoint(wandb_service.requests())
    assert counts(said) == {"runs": (7, 0), "versions": (5, 0)}
    assert "would be new" in said and "songs/table" in said and "other/model" in said
    assert not (offline.folder / "store" / "sent_aliases.json").exists()


@pytest.mark.slow
def test_projects_can_go_one_by_one_and_a_run_waits_for_what_it_used(offline, direct):
    said = offline.sync("--project=other")
    assert "left out: run other/calm-oak-1 (third) used songs/table:v0, which W&B lacks" in said
    offline.sync("--project=songs")
    expected = copy.deepcopy(
        {
            part: {name: one for name, one in direct[part].items() if name.startswith("songs/")}
            for part in ("runs", "artifacts")
        }
    )
    for one in expected["artifacts"].values():
        one["used_by"] = [user for user in one["used_by"] if user != "third"]
    same(offline.snapshot("songs"), expected)
    offline.sync("--project=other")
    same(offline.snapshot(), direct)
