"""What W&B has, asked through the client's read side; used by sync and pull."""

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import wandb

from util_lib.errors import UserError
from util_lib.tracking import choice
from util_lib.tracking.online import client
from util_lib.tracking.store.records import RunRecord, VersionRecord

IDS_PER_QUESTION = 50
# Large uploads end in an artifact's `wait`, which has no limit; this one is for the rest.
FINISH_TIMEOUT_S = "60"
# What the client would take from the environment for what a run of the store left empty.
OF_ONE_RUN = (
    "WANDB_NAME WANDB_NOTES WANDB_TAGS WANDB_RUN_GROUP WANDB_JOB_TYPE WANDB_RUN_ID WANDB_RESUME "
    "WANDB_SWEEP_ID WANDB_PROJECT WANDB_RUN_NAME WANDB_PROGRAM WANDB_HOST"
).split()


class SeenVersion(NamedTuple):
    """A version as the service has it; `artifact` is the client's own object."""

    number: int
    digest: str
    aliases: list[str]
    artifact: wandb.Artifact


class WandbService:
    """Runs and artifacts of one entity; what was asked once is remembered until `forget`."""

    def __init__(self) -> None:
        """Ask who we are."""
        self.api = client.Api()
        self.entity = os.environ.get("WANDB_ENTITY") or self.api.default_entity
        self._types: dict[str, dict[str, str]] = {}
        self._versions: dict[tuple[str, str], dict[str, SeenVersion]] = {}

    def runs(self, project: str, ids: list[str]) -> dict[str, Any]:
        """Return those of these runs that are there, by id."""
        found = {}
        self.api.flush()  # it remembers answers
        for start in range(0, len(ids), IDS_PER_QUESTION):
            wanted = {"name": {"$in": ids[start : start + IDS_PER_QUESTION]}}
            try:
                for run in self.api.runs(f"{self.entity}/{project}", filters=wanted, lazy=False):
                    found[run.id] = run
            except ValueError as error:
                if "Could not find project" not in str(error):
                    raise
                return {}
        return found

    def run(self, record: RunRecord) -> Any | None:
        """Return what the service has of a run of the store."""
        return self.runs(record.project, [record.id]).get(record.id)

    def types(self, project: str) -> dict[str, str]:
        """Return the names of the project's artifacts with their types."""
        if project not in self._types:
            self._types[project] = {}
            if self._has_project(project):
                for kind in self.api.artifact_types(f"{self.entity}/{project}"):
                    for collection in kind.collections():
                        self._types[project][collection.name] = kind.name
        return self._types[project]

    def versions(self, project: str, name: str) -> dict[str, SeenVersion]:
        """Return all versions of an artifact by digest, oldest first; {} if there is none."""
        key = (project, name)
        if key not in self._versions:
            kind = self.types(project).get(name)
            seen = {}
            if kind is not None:
                path = f"{self.entity}/{project}/{name}"
                for artifact in reversed([*self.api.artifacts(kind, path)]):
                    seen[artifact.digest] = see(artifact)
            self._versions[key] = seen
        return self._versions[key]

    def has(self, version: VersionRecord) -> bool:
        """Say whether a version of the store is there, under whichever number."""
        return version.digest in self.versions(version.project, version.name)

    def add(self, version: VersionRecord, artifact: wandb.Artifact) -> None:
        """Remember a version that has just been logged."""
        self.types(version.project)[version.name] = version.type
        self.versions(version.project, version.name)[version.digest] = see(artifact)

    def forget(self) -> None:
        """Ask again from here on: aliases have moved."""
        self._types.clear()
        self._versions.clear()

    def _has_project(self, project: str) -> bool:
        try:
            return bool(self.api.project(project, entity=self.entity).id)
        except ValueError as error:
            if "not found" not in str(error):
                raise
            return False


def see(artifact: wandb.Artifact) -> SeenVersion:
    """Note what matters of the client's object."""
    return SeenVersion(
        int(artifact.version.removeprefix("v")), artifact.digest, [*artifact.aliases], artifact
    )


def seconds(moment: str | None) -> float | None:
    """Return a time of W&B's, which may lack its zone, in seconds since the epoch."""
    if not moment:
        return None
    parsed = datetime.datetime.fromisoformat(moment)
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=datetime.UTC)
    return parsed.timestamp()


@contextmanager
def connected(folder: Path, instead: str) -> Iterator[WandbService]:
    """Give the service, and end the client in the end, however it ends.

    `folder` is for what the client writes meanwhile. What it complains of is one sentence;
    `instead` is the way out for who cannot correct it. Raises `UserError` without credentials, and
    where the client must not send anything.
    """
    if (mode := choice.current_mode()) in choice.NOT_ONLINE:
        raise UserError(
            f"the mode of W&B is {mode}, and then nothing is sent or fetched: unset WANDB_MODE or "
            "run `wandb online`"
        )
    if wandb.run is not None:
        raise UserError(f"run {wandb.run.name} of this process is active at W&B: finish it first")
    if not choice.has_credentials():
        raise UserError(
            f"there are no credentials for W&B at {choice.base_url()}: run `wandb login` or set "
            "WANDB_API_KEY"
        )
    before = dict(os.environ)
    try:
        for name in OF_ONE_RUN:
            os.environ.pop(name, None)
        for name, value in choice.as_variables().items():  # one of the files is in WANDB_DIR
            os.environ.setdefault(name, value)
        os.environ["WANDB_DIR"] = str(folder)
        os.environ.setdefault("WANDB_FINISH_TIMEOUT", FINISH_TIMEOUT_S)
        os.environ.setdefault("WANDB_SILENT", "true")
        client.prepare()
        yield WandbService()
    except BaseException as error:
        client.abandon()
        if isinstance(error, UserError) or not isinstance(error, Exception):
            raise
        if not client.is_from_client(error) and not isinstance(error, OSError | TimeoutError):
            raise
        raise UserError(client.explain(error, instead)) from error
    else:
        client.end_service()
    finally:
        for name in {*os.environ} - {*before}:
            del os.environ[name]
        os.environ.update(before)
