"""A bucket that holds the contents of a store: where `TRACKING_STORE_FILES` names one.

Under its address lie `files/ab/<sha256>`, as on the disk, and `stores/<id>` for every store that
ever wrote there: contents are removed only where nobody else can need them.
"""

import hashlib
import os
import secrets
import socket
import tempfile
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from util_lib.buckets import remote
from util_lib.errors import UserError
from util_lib.urls import shown_address

VARIABLE = "TRACKING_STORE_FILES"
SCHEMES = ("s3", "gs", "az", "abfs")  # there a file appears whole or not at all
NOTE = ".bucket-"  # beside the store's database, whose inode follows: a copied store is another


class Bucket:
    """The contents at `address` that a store in `directory` keeps there."""

    def __init__(self, address: str, directory: Path):
        """Nobody is asked before a content is."""
        self.address, self._directory = address.rstrip("/"), directory
        if address.partition("://")[0] not in SCHEMES or shown_address(address) != address:
            raise UserError(
                f"{VARIABLE} is {shown_address(address)}: expected s3://BUCKET/FOLDER, or so with "
                "gs:// or az://, and secrets in the environment"
            )

    def path(self, sha256: str) -> str:
        """Return the address of a content."""
        return f"{self.address}/files/{sha256[:2]}/{sha256}"

    def put(self, sha256: str, source: Path) -> None:
        """Keep a content, in place of what is there."""
        assert self._known_there  # before its first content is
        remote.write(self.path(sha256), source)

    def keep(self, sha256: str, source: Path) -> None:
        """Keep a content if it is not there, or not as long as it should be."""
        assert self._known_there  # else another store's gc would remove it
        with suppress(remote.NotThere):
            if remote.look(self.path(sha256)).size == source.stat().st_size:
                return
        self.put(sha256, source)

    def get(self, sha256: str, target: Path) -> str | None:
        """Copy a content to the new file `target`; return its real sha256, None if it is gone."""
        hasher = hashlib.sha256()
        try:
            with remote.reading(self.path(sha256)) as (_, chunks), open(target, "xb") as writer:
                for chunk in chunks:
                    hasher.update(chunk)
                    writer.write(chunk)
                writer.flush()
                os.fsync(writer.fileno())
        except remote.NotThere:
            return None
        return hasher.hexdigest()

    def others(self) -> list[str]:
        """Name the other stores that wrote there."""
        found = remote.sizes_below(f"{self.address}/stores")
        return sorted(name for name in found if name != self._name)

    def sizes(self) -> dict[str, int]:
        """Return the digests of the contents there, with their bytes."""
        found = remote.sizes_below(f"{self.address}/files")
        return {path.rpartition("/")[2]: size for path, size in found.items()}

    def remove(self, sha256: str) -> None:
        """Remove a content."""
        remote.remove(self.path(sha256))

    @cached_property
    def _name(self) -> str:
        """What the store is called there, noted here."""
        number = (self._directory / "tracking.db").stat().st_ino
        note = self._directory / f"{NOTE}{number}"
        with (
            tempfile.NamedTemporaryFile("w", dir=self._directory) as made,
            suppress(FileExistsError),
        ):
            made.write(f"{socket.gethostname()}-{secrets.token_hex(8)}")
            made.flush()
            os.link(made.name, note)  # whole, and one for all processes
        return note.read_text(encoding="utf-8")

    @cached_property
    def _known_there(self) -> bool:
        with tempfile.NamedTemporaryFile("w") as about:
            about.write(str(self._directory))
            about.flush()
            remote.write(f"{self.address}/stores/{self._name}", Path(about.name))
        return True
