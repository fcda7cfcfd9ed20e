"""Opens files as they are packed: gzip, bzip2, zstandard, or a zip archive of one file."""

import bz2
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from util_lib.errors import UserError

PACKED = {".gz": "gzip", ".bz2": "bzip2", ".zip": "zip", ".zst": "zstd"}
MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd"}


def suffix_of(path: str | Path) -> str:
    """Return what a file's name says of its format, in lower case: `.csv` of `x.CSV.gz`."""
    path = Path(path)
    return Path(path.stem if path.suffix.lower() in PACKED else path.name).suffix.lower()


def kind_of(path: Path) -> str | None:
    """Return how a file is packed by its first bytes; None where it is not."""
    with path.open("rb") as file:
        return _kind(file.read(4))


def _kind(start: bytes) -> str | None:
    return next((kind for magic, kind in MAGIC.items() if start.startswith(magic)), None)


@contextmanager
def opened(path: Path | bytes) -> Iterator[BinaryIO]:
    """Open a file to read its content, unpacked where it is packed; `UserError` if it is damaged.

    How it is packed is known by its first bytes, whatever its name. Bytes are content as they are.
    """
    if isinstance(path, bytes):
        yield io.BytesIO(path)
        return
    with ExitStack() as stack:
        kind = kind_of(path)
        file: BinaryIO = stack.enter_context(path.open("rb"))
        try:
            if kind == "gzip":
                file = cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=file)))
            elif kind == "bzip2":
                file = cast(BinaryIO, stack.enter_context(bz2.BZ2File(file)))
            elif kind == "zstd":
                import pyarrow as pa

                file = cast(BinaryIO, stack.enter_context(pa.CompressedInputStream(file, "zstd")))
            elif kind == "zip":
                file = stack.enter_context(_only_member(zipfile.ZipFile(file), path))
            if kind:
                file = whole = io.BufferedReader(cast(Any, file))
                if within := _kind(whole.peek(4)):
                    raise UserError(f"{path.name} is packed twice, {within} in {kind}: unpack it")
            yield file
        except (EOFError, OSError, zlib.error, zipfile.BadZipFile) as error:
            if isinstance(error, OSError) and error.errno is not None:  # of the disk, not the file
                raise
            raise UserError(
                f"{path.name} is no complete {kind} file ({error}): make or download it again"
            ) from error


def _only_member(archive: zipfile.ZipFile, path: Path) -> BinaryIO:
    names = [name for name in archive.namelist() if not name.endswith("/")]
    if len(names) != 1:
        raise UserError(
            f"{path.name} is a zip archive of {len(names)} files, and a table is one file: unpack "
            "it and name the file that holds the table"
        )
    return cast(BinaryIO, archive.open(names[0]))


def is_excel(path: Path) -> bool:
    """Say whether a file is an Excel workbook, which is a zip archive with a list of sheets."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False


class Pieces(io.RawIOBase):
    """A file to read whose content comes in pieces."""

    def __init__(self, pieces: Iterator[bytes]):
        """Read `pieces` one after the other."""
        self._pieces, self._rest = pieces, b""

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the front of `buffer`."""
        while not self._rest:
            try:
                self._rest = next(self._pieces)
            except StopIteration:
                return 0
        n_bytes = min(len(buffer), len(self._rest))
        buffer[:n_bytes] = self._rest[:n_bytes]
        self._rest = self._rest[n_bytes:]
        return n_bytes
