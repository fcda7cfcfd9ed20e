"""Files written whole or not at all, read with their digests, held by locks; errors explained."""

import base64
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from util_lib.errors import UserError

CHUNK_BYTES = 2**20  # memory stays near 1 MiB however large the file
LOOK_S = 0.1  # between two looks at a lock that another process has
DRAFT = ".making-"  # in the name of a database that is not whole yet; the id of its process follows
_held: set[int] = set()


def _forget_held() -> None:
    # A lock belongs to the open file, which a forked child shares: without this a child would
    # keep the lock of a parent that has died.
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


class Content(NamedTuple):
    """What was read from a file; `md5` is in base64, as W&B writes it."""

    sha256: str
    md5: str
    size: int


STORE_WAY_OUT = (
    "nothing was recorded; free space there, correct its permissions, or set TRACKING_STORE to "
    "another directory"
)


@contextmanager
def writing(path: str | os.PathLike, way_out: str = STORE_WAY_OUT) -> Iterator[None]:
    """Turn a full disk, a read-only directory and the like into a `UserError` with the path."""
    try:
        yield
    except OSError as error:
        place = error.filename or path
        raise UserError(
            f"cannot read or write {place}: {error.strerror or error}; {way_out}"
        ) from error


def make_database(path: Path, build: Callable[[Path], object]) -> None:
    """Let `build` make an SQLite database that is not there; broken off, none is there.

    It is built under another name and linked into place.
    """
    if path.exists():
        return
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f"{path.name}{DRAFT}*"):  # of a process that was killed
            left.unlink()
        draft = path.with_name(f"{path.name}{DRAFT}{os.getpid()}")
        try:
            build(draft)
            with suppress(FileExistsError):  # another program was faster: `mlflow ui`
                os.link(draft, path)
        finally:
            for left in path.parent.glob(f"{draft.name}*"):
                left.unlink()


def read_content(source: str | os.PathLike, target: str | os.PathLike | None = None) -> Content:
    """Read `source` once and return its digests; copy it to the new file `target` if given."""
    # MD5 names a version here as it does at W&B; what guards the bytes is the SHA-256.
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    with open(source, "rb") as reader:
        writer = open(target, "xb") if target is not None else None
        try:
            while chunk := reader.read(CHUNK_BYTES):
                md5.update(chunk)
                sha256.update(chunk)
                size += len(chunk)
                if writer:
                    writer.write(chunk)
            if writer:
                writer.flush()
                os.fsync(writer.fileno())
        finally:
            if writer:
                writer.close()
    return Content(sha256.hexdigest(), base64.b64encode(md5.digest()).decode(), size)


def sync_directory(path: str | os.PathLike) -> None:
    """Flush the names in a directory to disk: a rename alone may not survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(
    path: Path, wait_s: float | None = None, way_out: str = STORE_WAY_OUT, mode: int = 0o666
) -> Iterator[bool]:
    """Hold the lock file `path`, which is made and stays; with this process the lock ends, too.

    Give False where another one has it for longer than `wait_s` seconds; None waits without end.
    """
    with writing(path, way_out):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, mode)
    _held.add(descriptor)
    try:
        yield _is_taken(descriptor, wait_s)
    finally:
        release(descriptor)


def _is_taken(descriptor: int, wait_s: float | None) -> bool:
    if wait_s is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return True
    until = time.monotonic() + wait_s
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(LOOK_S)


def hold(path: Path, directory: bool = False) -> int:
    """Make `path` and lock it until `release` or the end of this process."""
    while True:
        if directory:
            path.mkdir()
        # A sweep may take it for a left-over as long as it is not locked: then once more.
        try:
            flags = os.O_RDONLY if directory else os.O_RDWR | os.O_CREAT | os.O_EXCL
            descriptor = os.open(path, flags, 0o666)
        except FileNotFoundError:
            if path.parent.is_dir():
                continue
            raise
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink and path.exists():
            _held.add(descriptor)
            return descriptor
        os.close(descriptor)


def release(descriptor: int) -> None:
    """Drop the lock that `hold` took."""
    if descriptor in _held:  # not so in a forked child, where it is closed already
        _held.discard(descriptor)
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Say whether a living process holds `path`."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def flocked(directory: Path, kind: int) -> Iterator[None]:
    """Hold a lock of a `kind` of flock on a directory; raises `BlockingIOError` as flock does."""
    descriptor = os.open(directory, os.O_RDONLY)
    _held.add(descriptor)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        release(descriptor)
