"""Moves an alias of a model in the tracking backend and in MLflow's registry, together or not.

The two are different databases, so no transaction holds both. What is to be done is written down
first (`moving.<backend>.json` beside the store), then the alias and its event move in the backend,
then the registry follows, then the note is deleted. An error on the way undoes all. A killed
process leaves the note, and `finish_interrupted_move` completes the move: whatever the backend has
counts, and the registry and the history are made to agree with it. Whoever is about to use the
alias calls it.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from serving.aliases import history
from util_lib import safe_files, tracking
from util_lib.errors import UserError
from util_lib.tracking import choice, databases, mlflow_mirror, mlflow_registry
from util_lib.tracking.store.database import open_store
from util_lib.tracking.store.places import store_directory
from util_lib.tracking.store.records import PROMOTIONS


class Move(NamedTuple):
    """What is to be done: `alias` of `project/name` goes from `source`, if any, to `target`."""

    project: str
    name: str
    type: str
    alias: str
    source: str | None
    target: str
    event: dict[str, Any]
    service: str | None  # the address of W&B; None = the embedded store


def holder(project: str, name: str, alias: str) -> Any | None:
    """Return the artifact that has an alias at this moment, None if none has."""
    api, reference = tracking.Api(), f"{project}/{name}:{alias}"
    return api.artifact(reference) if api.artifact_exists(reference) else None


def move(target: Any, alias: str, event: dict[str, Any], expected: str | None) -> None:
    """Give `alias` to the artifact `target` and note `event` in its history.

    `expected` is the version that has the alias as far as the caller knows. Raises `UserError`,
    and leaves everything as it was, if another one has it by now or if either side refuses.
    """
    project, name = target.project, target.source_name.partition(":")[0]
    check_alias(alias)
    with _alone(wait=True):
        _settle()
        source = _full_name(holder(project, name, alias))
        if source != expected:
            raise UserError(
                f"{alias} of {name} moved from {expected or 'no version'} to "
                f"{source or 'no version'} while this was under way: run it again"
            )
        _make_sure_it_is_registered(target)
        past = history.history(project, name, target.type, alias)
        number = 1 + max((event["number"] for _, event in past), default=0)
        event = {"alias": alias, "number": number, "from": source, **event}
        service = choice.base_url() if _on_wandb() else None
        to = history.full_name(target)
        plan = Move(project, name, target.type, alias, source, to, event, service)
        _write_note(plan)
        try:
            _give(tracking.Api().artifact(to), alias, event)
            _follow(plan)
        except BaseException as error:
            left = _undo(plan)
            if not isinstance(error, Exception):
                raise
            raise UserError(
                f"{alias} stays on {source or 'no version'}, because it could not be moved to "
                f"{to}: {_sentence(error)}{left}; correct that and run it again"
            ) from error
        _note().unlink()


def finish_interrupted_move() -> None:
    """Complete a move that was broken off; costs one look at the disk where there is none.

    While another process moves an alias nothing is done: it will end that itself. What hinders is
    said on stderr: a reader goes by the backend, which is right already.
    """
    if not _note().exists():
        return
    with _alone(wait=False) as alone:
        try:
            if alone:
                _settle()
        except UserError as error:
            print(f"tracking: {error}", file=sys.stderr)


def check_alias(alias: str) -> None:
    """Refuse aliases that no model can be promoted to."""
    if not mlflow_registry.is_registry_alias(alias):
        raise UserError(
            f"alias {alias!r} cannot be moved: expected letters, digits, - and _ such as prod; "
            "latest and v0, v1, ... belong to the versions as they are logged"
        )


def _settle() -> None:
    try:
        plan = Move(**json.loads(_note().read_text(encoding="utf-8")))
    except FileNotFoundError:
        return
    if plan.service != (choice.base_url() if _on_wandb() else None):
        return  # another account's or service's: it is completed there
    try:
        _agree(plan)
    except Exception as error:
        raise UserError(
            f"moving {plan.alias} of {plan.name} to {plan.target} was broken off and cannot be "
            f"completed: {_sentence(error)}; correct that and run it again"
        ) from error
    _note().unlink()


def _agree(plan: Move) -> None:
    """Make history and registry say what the backend says."""
    arrived = _full_name(holder(plan.project, plan.name, plan.alias)) == plan.target
    if tracking.Api().artifact_exists(plan.target):
        target = tracking.Api().artifact(plan.target)
        noted = plan.event in history.events_of(target)
        if arrived and not noted:
            _change(target, set(), set(), [*history.events_of(target), plan.event])
        if noted and not arrived:
            _change(target, set(), set(), _without(plan.event, target))
    _follow(plan)


def _give(target: Any, alias: str, event: dict[str, Any]) -> None:
    _change(target, {alias}, set(), [*history.events_of(target), event])


def _undo(plan: Move) -> str:
    """Put the alias back; say what could not be: `finish_interrupted_move` sees to it later."""
    try:
        api = tracking.Api()
        if _full_name(holder(plan.project, plan.name, plan.alias)) == plan.target:
            if plan.source is not None:
                _change(api.artifact(plan.source), {plan.alias}, set(), None)
            else:
                _change(api.artifact(plan.target), set(), {plan.alias}, None)
        target = api.artifact(plan.target)
        if plan.event in history.events_of(target):
            _change(target, set(), set(), _without(plan.event, target))
        _follow(plan)
        _note().unlink()
    except Exception as error:
        return f" (what was done is taken back by the next command; now not: {_sentence(error)})"
    return ""


def _without(event: dict[str, Any], target: Any) -> list[dict[str, Any]]:
    return [other for other in history.events_of(target) if other != event]


def _change(
    artifact: Any, add: set[str], remove: set[str], events: list[dict[str, Any]] | None
) -> None:
    """Change aliases and events of a version; in the embedded store in one transaction."""
    metadata = dict(artifact.metadata or {})
    if events is not None:
        metadata[PROMOTIONS] = events
        if not events:
            del metadata[PROMOTIONS]
    if _on_wandb():
        artifact.metadata = metadata
        artifact.aliases = sorted({*artifact.aliases} - remove | add)
        artifact.save()
    else:
        # Not by `save`: it has the registry follow, which here is a step of its own.
        record = artifact._record
        open_store().update_version(record, add, remove, record.description, metadata)


def _make_sure_it_is_registered(target: Any) -> None:
    if _on_wandb():
        return  # models there are not registered in MLflow
    store = open_store()
    with mlflow_mirror.connect(store.directory) as client:
        if _number(client, target) is not None:
            return
    # What its run has not shown in MLflow yet, for example because MLflow could not be reached.
    mlflow_mirror.publish_own(store.runs(id=target._record.logged_by)[0])
    with mlflow_mirror.connect(store.directory) as client:
        if _number(client, target) is None:
            raise UserError(
                f"{history.full_name(target)} is no model that MLflow could register: expected "
                f"an artifact of type {mlflow_registry.MODEL_TYPE} with a file "
                f"{mlflow_registry.MODEL_FILE}"
            )


def _follow(plan: Move) -> None:
    """Give the registered model's alias to what has it in the backend; else take it away."""
    directory = store_directory()
    database = databases.path_of(mlflow_mirror.tracking_uri(directory))
    if _on_wandb() and database is not None and not database.exists():
        return
    found = holder(plan.project, plan.name, plan.alias)
    with mlflow_mirror.connect(directory) as client:
        model = f"{plan.project}.{plan.name}"
        wanted = None if found is None else _number(client, found)
        now = _aliases(client, model).get(plan.alias)
        if wanted is not None and str(now) != str(wanted):
            client.set_registered_model_alias(model, plan.alias, str(wanted))
        elif wanted is None and now is not None:
            client.delete_registered_model_alias(model, plan.alias)


def _number(client: Any, artifact: Any) -> str | None:
    """Return the number of the registered version that was made from an artifact.

    A version at W&B is known by its content: its number may be another one there.
    """
    tag, value = mlflow_registry.VERSION_TAG, history.full_name(artifact)
    if _on_wandb():
        tag, value = mlflow_registry.DIGEST_TAG, artifact.digest
    model = f"{artifact.project}.{artifact.source_name.partition(':')[0]}"
    for version in mlflow_registry.registered_versions(client, model):
        if version.tags.get(tag) == value:
            return version.version
    return None


def _aliases(client: Any, model: str) -> dict[str, str]:
    found = client.search_registered_models(f"name = '{model}'")
    # A search may leave the aliases out.
    return dict(client.get_registered_model(model).aliases) if found else {}


def _on_wandb() -> bool:
    return choice.choose().backend == "wandb"


def _full_name(artifact: Any | None) -> str | None:
    return None if artifact is None else history.full_name(artifact)


def _note() -> Path:
    return store_directory() / f"moving.{choice.choose().backend}.json"


def _write_note(plan: Move) -> None:
    partial = _note().with_suffix(".partial")
    with safe_files.writing(partial), partial.open("w", encoding="utf-8") as file:
        json.dump(plan._asdict(), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, _note())
    safe_files.sync_directory(_note().parent)


@contextlib.contextmanager
def _alone(wait: bool) -> Iterator[bool]:
    """Hold the lock of all moves; give False where it is taken and `wait` is not asked for."""
    with safe_files.locked(store_directory() / "moving.lock", None if wait else 0) as is_ours:
        yield is_ours


def _sentence(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
