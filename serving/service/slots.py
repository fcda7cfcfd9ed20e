"""The models that answer: a champion and perhaps a challenger, each replaced whole or not at all.

A slot holds one reference, for example `model_export:prod`, and the version it stands for. When the
reference moves, the new version is loaded beside the old one and put in its place by one
assignment; requests that began with the old one are answered by it.
"""

import asyncio
import dataclasses
import datetime
import logging
import time
from pathlib import Path
from typing import Any

from serving.aliases import history
from serving.model import served_model
from serving.model.loaded import Loaded
from serving.model.row_schema import RowSchema
from serving.model.rows import as_records
from serving.service import card
from util_lib.errors import UserError
from util_lib.model import export

logger = logging.getLogger("serving")

RETRY_SECONDS = 60.0  # until a version that could not be loaded is tried again


def load(reference: str, trust_pickle: bool = False) -> Loaded:
    """Load the version that `reference` stands for now; `UserError` where there is none."""
    return _ready(served_model.load(reference, trust_pickle=trust_pickle))


def _ready(model: served_model.ServedModel) -> Loaded:
    return Loaded(model, RowSchema(model), card.of(model), _examples(model))


def _examples(model: served_model.ServedModel) -> list[dict[str, Any]]:
    if model.example is None:
        return []
    return as_records(model.example)


class Slot:
    """A reference, the version that answers for it, and what became of newer ones."""

    def __init__(self, role: str, reference: str, trust_pickle: bool = False):
        """Load the first version, or the last good one before it; `role` is champion or challenger.

        `instead_of` is the version that should answer and cannot be loaded, None where all is well.
        """
        self.role = role
        self.reference = reference
        self.trust_pickle = trust_pickle
        self.refused: dict[str, str] = {}  # version: why it could not be loaded
        self.instead_of: str | None = None
        self._unreachable = False
        self._retry_at = 0.0
        self.loaded = self._first()
        self.since = _now()
        self.replaced = 0

    def _first(self) -> Loaded:
        try:
            return load(self.reference, self.trust_pickle)
        except export.PickleError:
            raise
        except UserError as error:
            if not self.follows():
                raise
            artifact = served_model.find(self.reference)  # one that is not there has no way back
            version, alias = history.full_name(artifact), self.reference.rpartition(":")[2]
            name = artifact.source_name.partition(":")[0]
            past = history.history(artifact.project, name, artifact.type, alias)
            way = history.way_back(past, version)
            if not way:
                raise
            model = served_model.first_sound(way, self.trust_pickle)
            self._refuse(version, error)
            logger.error(
                "%s cannot be loaded, %s answers instead: %s", version, model.version, error
            )
            # It is asked for by the name that it stands in for: so its card says how it came there.
            return _ready(dataclasses.replace(model, reference=self.reference))

    def _refuse(self, version: str, error: Exception) -> None:
        self.instead_of = version
        self.refused[version] = f"{type(error).__name__}: {error}"
        self._retry_at = time.monotonic() + RETRY_SECONDS

    def follows(self) -> bool:
        """Say whether the reference can move: a directory cannot."""
        return not Path(self.reference).is_dir()

    async def refresh(self) -> bool:
        """Load the version that the reference stands for now, if it is another; say whether so.

        What fails here leaves the version in place that answers: a service does not stop because
        a newer model is damaged or the store is away.
        """
        try:
            artifact = await asyncio.to_thread(served_model.find, self.reference)
            version = history.full_name(artifact)
        except Exception as error:
            if not self._unreachable:
                logger.warning("%s cannot be looked up, %s stays: %s", *self._about(error))
            self._unreachable = True
            return False
        self._unreachable = False
        if version == self.loaded.version:
            self.instead_of = None
            return False
        if version in self.refused and time.monotonic() < self._retry_at:
            return False
        try:
            loaded = await asyncio.to_thread(load, self.reference, self.trust_pickle)
        except Exception as error:
            self._refuse(version, error)
            logger.error("%s cannot be loaded, %s stays: %s", version, *self._about(error)[1:])
            return False
        before, self.loaded = self.loaded, loaded
        self.refused.pop(version, None)
        self.instead_of = None
        self.since = _now()
        self.replaced += 1
        logger.info("%s is now %s, before %s", self.reference, loaded.version, before.version)
        return True

    def _about(self, error: Exception) -> tuple[str, str, str]:
        return self.reference, self.loaded.version, f"{type(error).__name__}: {error}"


async def follow(slots: list[Slot], seconds: float, on_change: Any) -> None:
    """Look every few seconds where the references of `slots` stand; ends when it is cancelled."""
    while True:
        await asyncio.sleep(seconds)
        for slot in slots:
            if slot.follows() and await slot.refresh():
                on_change(slot)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
