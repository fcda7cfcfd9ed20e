"""An alias of a model, its history and its alias in MLflow's registry: they never part."""

import json
import shutil

import pytest

from serving.aliases import history
from serving.aliases import move as moving
from serving.aliases.origin import promotion_of
from util_lib.errors import UserError

mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
NAME = "p.model_export"


@pytest.fixture
def registry(empty_mlflow_database, store):
    """A client of the MLflow database beside the store."""
    path = store.directory.parent / "mlflow.db"
    shutil.copy(empty_mlflow_database, path)
    return mlflow.MlflowClient(f"sqlite:///{path}", f"sqlite:///{path}")


@pytest.fixture
def models(tracking, monkeypatch):
    """The references of three versions of a model, on either backend."""
    monkeypatch.setenv("WANDB_PROJECT", "p")
    with tracking.init(project="p", job_type="train") as run:
        for number in range(3):
            artifact = tracking.Artifact("model_export", type="model_export")
            with artifact.new_file("MLmodel") as file:
                file.write(f"forest {number}")
            run.log_artifact(artifact).wait()
    return [f"p/model_export:v{number}" for number in range(3)]


def move(tracking, reference, deed=history.PROMOTED, alias="prod"):
    found = tracking.Api().artifact(reference)
    holder = moving.holder("p", "model_export", alias)
    expected = holder and history.full_name(holder)
    event = {"deed": deed, "at": "now", "by": "me", "reason": f"for {reference}"}
    moving.move(found, alias, event, expected)


def holder_of(alias="prod"):
    found = moving.holder("p", "model_export", alias)
    return found and history.full_name(found)


def registered(registry, alias="prod"):
    """The artifact that the alias stands for in the registry, None without one."""
    found = registry.search_registered_models(f"name = '{NAME}'")
    number = registry.get_registered_model(NAME).aliases.get(alias) if found else None
    return number and registry.get_model_version(NAME, str(number)).tags["artifact"]


def events(alias="prod"):
    return history.history("p", "model_export", "model_export", alias)


def test_an_alias_moves_with_its_event_and_the_version_before_is_known(tracking, models):
    assert promotion_of(models[0]) is None
    move(tracking, models[0])
    move(tracking, models[1])
    assert holder_of() == models[1]
    assert [(version, event["from"]) for version, event in events()] == [
        (models[0], None),
        (models[1], models[0]),
    ]
    assert promotion_of("p/model_export:prod")["reason"] == f"for {models[1]}"
    assert history.way_back(events(), models[1]) == [models[0]]


@pytest.mark.parametrize("tracking", ["local"], indirect=True)
def test_two_aliases_have_histories_of_their_own(tracking, models):
    move(tracking, models[0])
    move(tracking, models[0], alias="candidate")
    assert [event["alias"] for _, event in events("candidate")] == ["candidate"]
    assert promotion_of("p/model_export:prod")["alias"] == "prod"


@pytest.mark.parametrize("tracking", ["local"], indirect=True)
def test_an_alias_that_has_moved_meanwhile_is_not_moved(tracking, models):
    move(tracking, models[0])
    with pytest.raises(UserError, match="moved from p/model_export:v2 to p/model_export:v0 while"):
        moving.move(tracking.Api().artifact(models[1]), "prod", {"deed": "promoted"}, models[2])
    assert holder_of() == models[0] and len(events()) == 1


@pytest.mark.parametrize("tracking", ["local"], indirect=True)
def test_the_registry_follows_and_a_version_it_lacks_is_registered(tracking, models, registry):
    assert not registry.search_model_versions(f"name = '{NAME}'")  # no run was shown in MLflow
    for version in (models[0], models[2]):
        move(tracking, version)
        assert registered(registry) == version


@pytest.mark.parametrize("tracking", ["wandb"], indirect=True)
def test_of_models_on_wandb_the_registry_takes_those_that_it_has(
    tracking, models, registry, tmp_path
):
    registry.create_registered_model(NAME)
    known = tracking.Api().artifact(models[1])
    tags = {"digest": known.digest, "artifact": models[1]}
    registry.create_model_version(NAME, str(tmp_path), tags=tags)
    move(tracking, models[1])
    assert registered(registry) == models[1]
    move(tracking, models[2])
    assert holder_of() == models[2] and registered(registry) is None


@pytest.mark.parametrize("tracking", ["local"], indirect=True)
def test_where_the_registry_refuses_nothing_has_moved(tracking, models, registry, store):
    for version in (models[1], models[0]):
        move(tracking, version)
    with pytest.MonkeyPatch.context() as patch:
        before = moving.mlflow_mirror.connect

        def broken(directory):
            if holder_of() == models[1]:
                raise RuntimeError("database is locked")
            return before(directory)

        patch.setattr(moving.mlflow_mirror, "connect", broken)
        sentence = "prod stays on p/model_export:v0, because it could not be moved to .*:v1: data"
        with pytest.raises(UserError, match=sentence):
            move(tracking, models[1])
    assert holder_of() == registered(registry) == models[0] and len(events()) == 2
    assert not [*store.directory.glob("moving.*.json")]


@pytest.mark.parametrize("tracking", ["local"], indirect=True)
def test_a_first_promotion_that_fails_leaves_no_alias_and_no_event(tracking, models, registry):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moving, "_follow", lambda plan: 1 / 0)
        with pytest.raises(UserError, match="prod stays on no version.*taken back by the next"):
            move(tracking, models[0])
    assert holder_of() is None and events() == []


class Killed(BaseException):
    """What ends a process, as far as it can be told without ending this one."""


def killed(*given):
    raise Killed


@pytest.mark.parametrize("arrived", [True, False])
def test_a_move_that_was_broken_off_is_completed_by_whoever_comes_next(
    tracking, models, registry, store, arrived
):
    move(tracking, models[0])
    with pytest.MonkeyPatch.context() as patch:
        # Before or after the backend has moved the alias.
        patch.setattr(moving, "_follow" if arrived else "_give", killed)
        patch.setattr(moving, "_undo", killed)
        with pytest.raises(Killed):
            move(tracking, models[1])
    assert [*store.directory.glob("moving.*.json")]
    moving.finish_interrupted_move()
    expected = models[1] if arrived else models[0]
    assert holder_of() == expected and events()[-1][0] == expected
    assert not [*store.directory.glob("moving.*.json")]


@pytest.mark.parametrize("tracking", ["local"], indirect=True)
def test_a_reader_is_not_kept_from_reading_by_a_registry_that_is_away(
    tracking, models, registry, store, monkeypatch, capsys
):
    move(tracking, models[0])
    plan = moving.Move("p", "model_export", "model_export", "prod", None, models[0], {}, None)
    (store.directory / "moving.local.json").write_text(json.dumps(plan._asdict()))
    monkeypatch.setattr(moving.mlflow_mirror, "connect", lambda directory: 1 / 0)
    moving.finish_interrupted_move()
    assert "was broken off and cannot be completed: division by zero" in capsys.readouterr().err
    assert holder_of() == models[0]


@pytest.mark.parametrize("alias", ["latest", "v3", "a b", ""])
def test_an_alias_that_the_registry_cannot_have_is_refused(alias):
    with pytest.raises(UserError, match="expected letters, digits"):
        moving.check_alias(alias)


@pytest.mark.parametrize(
    ("moves", "holder", "expected"),
    [
        ([("v0", None)], "v0", None),
        ([("v0", None), ("v1", "v0")], "v1", "v0"),
        ([("v0", None), ("v1", "v0"), ("back v0", "v1")], "v0", None),
        ([("v0", None), ("v1", "v0"), ("v2", "v1"), ("back v1", "v2")], "v1", "v0"),
        ([("v0", None), ("v1", "v0"), ("back v0", "v1"), ("v2", "v0")], "v2", "v0"),
        ([("v0", None), ("v1", "v0"), ("v0", "v1")], "v0", "v1"),
        ([("v1", "v0")], "v1", "v0"),  # v0 had got it by hand
        ([("v0", None), ("v1", "v0")], "v7", "v1"),  # v7 has got it by hand
        ([], "v0", None),
    ],
)
def test_the_version_before_is_that_of_the_way_which_led_here(moves, holder, expected):
    told = [
        (to.removeprefix("back "), {"deed": "rolled back" if "back" in to else "promoted"})
        for to, _ in moves
    ]
    told = [
        (to, {**event, "from": source})
        for (to, event), (_, source) in zip(told, moves, strict=True)
    ]
    assert history.way_back(told, holder)[:1] == [expected] * (expected is not None)
