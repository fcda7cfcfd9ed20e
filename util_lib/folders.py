"""A folder, or a glob, of files that are one table: which they are, and what they hold together."""

import glob
import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from util_lib.errors import UserError
from util_lib.project import ROOT
from util_lib.safe_files import read_content


def path_at(address: str) -> Path | None:
    """Return the path that an address names, from the project root; None where it names none.

    A path, or `file:///` of this machine, in which `%20` is a space.
    """
    text = address
    if "://" in address:
        parts = urlsplit(address)
        if parts.scheme.lower() != "file" or parts.netloc not in ("", "localhost"):
            return None
        text = unquote(parts.path)
    return ROOT / Path(text).expanduser()


def files_at(address: str) -> list[Path] | None:
    """Return the files that a folder or a glob names, in the order of their names.

    None for any other address. Left out are folders in it, and names that begin with `.` or `_`,
    which programs that write such folders give to their notes.
    """
    path = path_at(address)
    if path is None:
        return None
    # The checkout itself may lie in a folder whose name looks like a pattern.
    pattern = str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
    if path.is_dir():
        found = [*path.iterdir()]
    elif not path.exists() and glob.has_magic(pattern):
        found = [ROOT / name for name in glob.glob(pattern, root_dir=ROOT)]
    else:
        return None
    if nowhere := [file.name for file in found if _counts(file) and not file.exists()]:
        raise UserError(
            f"file_url {address!r} names {nowhere[0]!r}, a link that leads to no file: a part of "
            "the table is missing; mend the link, or remove it"
        )
    return one_table(address, path, [file for file in found if file.is_file()])


class Named(Protocol):
    """A file on a disk or in a bucket."""

    @property
    def name(self) -> str:
        """What it is called in its folder."""


File = TypeVar("File", bound=Named)


def one_table(address: str, path: object, files: Iterable[File]) -> list[File]:
    """Return the files that count, in the order of their names; `UserError` if they are unlike."""
    files = sorted(filter(_counts, files), key=lambda file: file.name)
    names = [file.name for file in files]
    if not files:
        raise UserError(f"file_url {address!r} names no files: looked for {path}")
    if len(kinds := {PurePath(name).suffix.lower() for name in names}) > 1:
        raise UserError(
            f"file_url {address!r} names files of several kinds ({', '.join(sorted(kinds)[:5])}): "
            "the files of a table are alike; choose them by a pattern such as incoming/*.parquet"
        )
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(
            f"file_url {address!r} names several files called {twice[0]!r}: the files of a table "
            "are told apart by their names"
        )
    return files


def _counts(file: Named) -> bool:
    return file.name[0] not in "._"


def digest(files: Iterable[Path]) -> str:
    """Return the `together` of files on the disk."""
    return together((file.name, read_content(file).sha256) for file in files)


def together(digests: Iterable[tuple[str, str]]) -> str:
    """Return the sha256 of what `sha256sum` prints of files, given their names and sha256."""
    lines = "".join(f"{sha256}  {name}\n" for name, sha256 in digests)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
