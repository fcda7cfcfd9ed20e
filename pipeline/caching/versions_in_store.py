"""The artifact versions of the embedded store."""

from pathlib import Path
from typing import Literal

from pipeline.caching.version import Version
from util_lib.errors import UserError
from util_lib.tracking.names import Reference, parse_reference
from util_lib.tracking.store.database import Store


class Local:
    """What the embedded store has."""

    is_local: Literal[True] = True
    place = "the embedded store"  # part of a step's fingerprint

    def __init__(self, store: Store) -> None:
        """Look into `store`; the record of finished steps lies in its `directory`."""
        self._store = store
        self.directory: Path = store.directory

    def find(self, reference: str, project: str) -> Version | None:
        """Return the version that a reference names, None where there is none."""
        found = self._store.version(parse_reference(reference, project))
        return found and Version(found.name, found.number, found.digest)

    def n_rows(self, reference: str, project: str) -> int | None:
        """Return how many rows the table of a version has, None where it does not say."""
        found = self._store.version(parse_reference(reference, project))
        return found.metadata.get("rows") if found else None

    def damage(self, project: str, wanted: Version) -> str | None:
        """Say why a version cannot be used any more, in words that follow its name; None if it can.

        Every byte is read, and others that use the store's bucket find it there.
        A cache that trusts its outputs hands on what nobody can use.
        """
        reference = Reference(project, wanted.name, f"v{wanted.number}")
        version = self._store.version(reference, removed=True)
        if version is None or version.digest != wanted.digest:
            return " is gone"
        damage = self._store.damage(version)
        for file in () if damage else self._store.version_files(version.id):
            self._store.files.share(file.sha256)
        return f": {damage[0]}" if damage else None

    def make_latest(self, project: str, wanted: Version) -> bool:
        """Move `latest`, as logging the same content would; False if it was removed meanwhile."""
        reference = Reference(project, wanted.name, f"v{wanted.number}")
        version = self._store.version(reference)
        try:
            if version and "latest" not in version.aliases:
                latest = {"latest"}
                self._store.update_version(
                    version, latest, set(), version.description, version.metadata
                )
        except UserError:
            if self._store.version(reference):
                raise
            return False
        return version is not None
