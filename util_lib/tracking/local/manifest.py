"""The files of an artifact and the digest of them all, as W&B computes it."""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from util_lib import safe_files

if TYPE_CHECKING:
    from util_lib.tracking.local.artifact import Artifact

DIGEST_HEADER = b"wandb-artifact-manifest-v1\n"


class ArtifactNotLoggedError(AttributeError):
    """Something was asked of an artifact that only a logged one knows."""


def not_logged(member: str) -> str:
    """Return the W&B client's sentence for a member that a draft does not have."""
    return (
        f"{member!r} used prior to logging artifact or while in offline mode. "
        "Call Artifact.wait() before accessing logged artifact properties."
    )


class Entry(NamedTuple):
    """One file of an artifact; `digest` is its MD5 in base64, as W&B has it."""

    path: str
    digest: str
    size: int
    sha256: str
    local_path: str | None = None
    artifact: "Artifact | None" = None

    @property
    def name(self) -> str:
        """The path inside the artifact."""
        return self.path

    def download(self, root: str | os.PathLike | None = None) -> str:
        """Write the file under `root` and return its path."""
        if self.artifact is None or self.artifact.is_draft():
            raise ArtifactNotLoggedError(not_logged("ArtifactManifestEntry.download"))
        root = str(root or self.artifact._default_root())
        self.artifact._fetch([self], root)
        return os.path.join(root, self.path)


class Manifest(NamedTuple):
    """The files of an artifact by path."""

    entries: dict[str, Entry]

    def digest(self) -> str:
        """Return the digest that names the artifact's content: W&B's own algorithm."""
        hasher = hashlib.md5(DIGEST_HEADER, usedforsecurity=False)
        for path, entry in sorted(self.entries.items()):
            hasher.update(f"{path}:{entry.digest}\n".encode())
        return hasher.hexdigest()

    def size(self) -> int:
        """Return the bytes of all files together."""
        return sum(entry.size for entry in self.entries.values())


def directory_digest(directory: str | os.PathLike) -> str:
    """Return the digest that an artifact with the files of `directory` would have."""
    entries = {}
    for path in sorted(Path(directory).rglob("*")):
        if path.is_file():
            content, name = safe_files.read_content(path), path.relative_to(directory).as_posix()
            entries[name] = Entry(name, content.md5, content.size, content.sha256)
    return Manifest(entries).digest()
