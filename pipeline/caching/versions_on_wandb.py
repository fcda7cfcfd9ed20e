"""The artifact versions at W&B. Importing this module imports the W&B client.

main.py starts the client once for a pipeline run and ends it on every way out. The steps start
clients of their own.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import wandb

from pipeline.caching.version import Version
from util_lib import tracking
from util_lib.tracking import choice
from util_lib.tracking.names import parse_reference
from util_lib.tracking.online import client
from util_lib.tracking.store.places import store_directory

# Whose service process to use, for the processes below: each step has one of its own, which ends
# with the step, whatever becomes of main.py.
SERVICE = "WANDB_SERVICE"


class Online:
    """What W&B has. Versions never change, so each is asked for once; aliases are always asked."""

    is_local: Literal[False] = False

    def __init__(self) -> None:
        """Ask who we are; the record of finished steps lies in the store's `directory`."""
        self._api = client.Api()
        self.entity: str = os.environ.get("WANDB_ENTITY") or self._api.default_entity or ""
        self.directory = store_directory()
        self.place = f"W&B at {choice.base_url()}, {self.entity}"
        self._seen: dict[tuple[str, str, int], wandb.Artifact] = {}

    def find(self, reference: str, project: str) -> Version | None:
        """Return the version that a reference names, None where there is none."""
        wanted = parse_reference(reference, project)
        entity = reference.partition("/")[0] if reference.count("/") == 2 else self.entity
        if entity == self.entity and re.fullmatch(r"v\d+", wanted.alias):
            seen = self._seen.get((wanted.project, wanted.name, int(wanted.alias[1:])))
            if seen is not None:
                return _version(seen)
        found = self._ask(entity, wanted.project, f"{wanted.name}:{wanted.alias}")
        return _version(found) if found else None

    def n_rows(self, reference: str, project: str) -> int | None:
        """Return how many rows the table of a version has, None where it does not say."""
        wanted = parse_reference(reference, project)
        found = self._ask(self.entity, wanted.project, f"{wanted.name}:{wanted.alias}")
        return found.metadata.get("rows") if found else None

    def damage(self, project: str, wanted: Version) -> str | None:
        """Say why a version cannot be used any more, None if it can.

        W&B is asked whether it still has the version, with the same digest. Nothing is fetched: to
        keep the bytes that belong to a digest is the service's part.
        """
        found = self._ask(self.entity, project, f"{wanted.name}:v{wanted.number}")
        return None if found and found.digest == wanted.digest else " is gone"

    def make_latest(self, project: str, wanted: Version) -> bool:
        """Move `latest`, as logging the same content would. `damage` was asked before."""
        artifact = self._seen[project, wanted.name, wanted.number]
        if "latest" not in artifact.aliases:
            artifact.aliases = [*artifact.aliases, "latest"]
            try:
                artifact.save()
            except (wandb.Error, ValueError):
                if self.damage(project, wanted):
                    return False
                raise
        return True

    def _ask(self, entity: str, project: str, name: str) -> wandb.Artifact | None:
        try:
            found: wandb.Artifact = self._api.artifact(f"{entity}/{project}/{name}")
        except (wandb.Error, ValueError) as error:
            if re.search(client.NOT_THERE, str(error)):
                return None
            raise
        if found.state != "COMMITTED":
            return None
        if entity == self.entity:
            self._seen[project, found.source_name.partition(":")[0], _version(found).number] = found
        return found


def _version(artifact: wandb.Artifact) -> Version:
    name, _, number = artifact.source_name.rpartition(":v")
    return Version(name, int(number), artifact.digest)


@contextmanager
def opened() -> Iterator[Online]:
    """Start the client and give what W&B has. Raises `UserError` for what W&B has against us."""
    with tracking.whole_step():
        client.refuse_no_credentials()
        found = Online()
        os.environ.pop(SERVICE, None)
        yield found
