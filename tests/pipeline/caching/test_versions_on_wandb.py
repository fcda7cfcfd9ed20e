"""Which version at W&B a name stands for, and whether it can still be used."""

import os

import pytest

from pipeline.caching import versions
from pipeline.caching.version import Version
from util_lib.tracking.store.places import store_directory

wandb = pytest.importorskip("wandb", reason="the genuine W&B client is not installed")

PROJECT, NAME = "songs", "table.csv"


@pytest.fixture
def log(wandb_api):
    """Log contents of one artifact; return its versions."""

    def go(*contents, name=NAME, project=PROJECT, **metadata):
        with wandb.init(project=project, settings=wandb.Settings(console="off")) as run:
            for content in contents:
                artifact = wandb.Artifact(name, type="table", metadata=metadata)
                with artifact.new_file("table.csv") as file:
                    file.write(content)
                run.log_artifact(artifact).wait()
        return [*wandb_api.artifacts("table", f"{run.entity}/{project}/{name}", per_page=9)][::-1]

    return go


@pytest.fixture
def known(log, wandb_account):
    """What W&B has: two versions, of which the later one is the latest."""
    log("a", "b", rows=7)
    with versions.opened("wandb") as online:
        yield online


def test_a_name_stands_for_a_version_and_a_version_is_asked_for_once(
    known, log, wandb_api, wandb_service, wandb_account
):
    one, two = wandb_api.artifacts("table", f"{wandb_account.entity}/{PROJECT}/{NAME}")
    if one.version != "v0":
        one, two = two, one
    first, second = (Version(NAME, n, each.digest) for n, each in enumerate((one, two)))
    assert (known.is_local, known.entity) == (False, wandb_account.entity)
    assert known.directory == store_directory()
    address = os.environ["WANDB_BASE_URL"]
    assert known.place == f"W&B at {address}, {wandb_account.entity}"
    assert known.find(f"{NAME}:latest", PROJECT) == second
    wandb_service.order()
    for reference in (f"{NAME}:v1", f"{PROJECT}/{NAME}:v1"):
        assert known.find(reference, PROJECT) == second
    assert known.find(f"{wandb_account.entity}/{PROJECT}/{NAME}:v1", "other") == second
    assert not wandb_service.requests()
    assert known.find(f"{PROJECT}/{NAME}:v0", "other") == first
    assert wandb_service.requests()
    assert known.find(f"{NAME}:v9", PROJECT) is None
    assert known.find(f"{NAME}:v1", "other") is None
    assert known.find("others:v1", PROJECT) is None
    assert known.find(f"{NAME}:v1x", PROJECT) is None


def test_an_alias_is_asked_for_each_time(known, log):
    assert known.find(f"{NAME}:latest", PROJECT).number == 1
    log("c")
    assert known.find(f"{NAME}:latest", PROJECT).number == 2


def test_rows_are_those_that_a_version_says(known, log):
    log("x", name="other.csv")
    assert known.n_rows(f"{NAME}:latest", PROJECT) == 7
    assert known.n_rows(f"{PROJECT}/{NAME}:v0", "other") == 7
    assert known.n_rows("other.csv:latest", PROJECT) is None
    assert known.n_rows("nothing.csv:latest", PROJECT) is None


def test_a_version_that_is_gone_or_another_is_damaged_and_does_not_become_the_latest(
    known, wandb_api, wandb_account, wandb_service
):
    first, second = (known.find(f"{NAME}:v{n}", PROJECT) for n in (0, 1))
    assert known.damage(PROJECT, first) is None
    assert known.damage(PROJECT, first._replace(digest=second.digest)) == " is gone"
    assert known.damage("other", first) == " is gone"
    assert known.make_latest(PROJECT, first)
    assert known.find(f"{NAME}:latest", PROJECT) == first
    assert known.damage(PROJECT, second) is None
    artifact = wandb_api.artifact(f"{wandb_account.entity}/{PROJECT}/{NAME}:v1")
    artifact.delete(delete_aliases=True)
    wandb_service.order({"match": "AddAliases", "status": 404, "message": "no such artifact"})
    assert known.make_latest(PROJECT, second) is False
    assert known.damage(PROJECT, second) == " is gone"
    assert known.find(f"{NAME}:latest", PROJECT) == first


def test_what_is_the_latest_already_stays_it_and_nothing_is_sent(known, wandb_service):
    latest = known.find(f"{NAME}:latest", PROJECT)
    wandb_service.order()
    assert known.make_latest(PROJECT, latest)
    assert not wandb_service.requests()


def test_a_service_that_fails_is_no_missing_version(known, wandb_service):
    first = known.find(f"{NAME}:v0", PROJECT)
    wandb_service.order({"match": ".*", "status": 403, "message": "not allowed"})
    for ask in (
        lambda: known.find(f"{NAME}:latest", PROJECT),
        lambda: known.n_rows(f"{NAME}:latest", PROJECT),
        lambda: known.damage(PROJECT, first),
    ):
        with pytest.raises((wandb.Error, ValueError), match="not allowed|403"):
            ask()
    wandb_service.order({"match": "AddAliases", "status": 403, "message": "not allowed"})
    with pytest.raises((wandb.Error, ValueError), match="not allowed|403"):
        known.make_latest(PROJECT, first)


def test_the_entity_may_be_named_by_the_environment(log, monkeypatch, wandb_account):
    log("a")
    monkeypatch.setenv("WANDB_ENTITY", "strangers")
    with versions.opened("wandb") as known:
        assert known.entity == "strangers" and known.find(f"{NAME}:v0", PROJECT) is None
        theirs = f"{wandb_account.entity}/{PROJECT}/{NAME}:v0"
        assert known.find(theirs, PROJECT).number == 0
        assert known.find(f"{NAME}:v0", PROJECT) is None


def test_what_was_the_latest_once_becomes_it_again(known, log):
    second = known.find(f"{NAME}:latest", PROJECT)
    log("c")
    assert known.find(f"{NAME}:latest", PROJECT).number == 2
    assert known.damage(PROJECT, second) is None
    assert known.make_latest(PROJECT, second)
    assert known.find(f"{NAME}:latest", PROJECT) == second
