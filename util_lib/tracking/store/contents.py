"""File contents, kept once each under `files/ab/<sha256>`, and `tmp/` on the way there.

A file reaches its final name only complete and flushed to disk, by a rename. Whatever is in
`tmp/` is locked (flock) by the process that works on it: the kernel drops the lock when that
process ends, however it ends, so what nobody holds is a left-over and is removed.

With `TRACKING_STORE_FILES` contents go into that bucket first. `files/` then has what was written
or read here, and what is missing or damaged there is fetched from the bucket when it is asked for.
"""

import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from util_lib.errors import UserError
from util_lib.safe_files import (
    CHUNK_BYTES,
    Content,
    _forget_held,
    flocked,
    hold,
    is_held,
    read_content,
    release,
    sync_directory,
    writing,
)
from util_lib.tracking.store import bucket

REMOVING_TIMEOUT_S = 60
COPY = "copy"  # in `files` of a copied store: it reads a bucket, and writes nothing there
PIPELINE = "pipeline-"  # what the files begin with that show that a pipeline is running
CONTENT_NAME = re.compile("[0-9a-f]{64}")


os.register_at_fork(after_in_child=_forget_held)


class Files:
    """The contents under `directory`/files, and the work in progress under `directory`/tmp."""

    def __init__(self, directory: Path):
        """Nothing is made before `make`."""
        self.final = directory / "files"
        self.tmp = directory / "tmp"
        address = os.environ.get(bucket.VARIABLE)
        self._bucket = bucket.Bucket(address, directory) if address else None

    def make(self, sweep: bool = True) -> None:
        """Make both directories and, with `sweep`, remove what dead processes left in `tmp`."""
        self.final.mkdir(exist_ok=True)
        self.tmp.mkdir(exist_ok=True)
        if sweep:
            self._sweep()

    def path(self, sha256: str) -> Path:
        """Return where the content with this digest is kept."""
        return self.final / sha256[:2] / sha256

    def workspace(self) -> tuple[Path, int]:
        """Make a directory under `tmp` that stays as long as its lock is held."""
        self.tmp.mkdir(exist_ok=True)
        path = self.tmp / f"work-{os.urandom(8).hex()}"
        return path, hold(path, directory=True)

    @contextmanager
    def work_folder(self) -> Iterator[Path]:
        """Give a `workspace` that goes at the end."""
        with writing(self.tmp):
            path, lock = self.workspace()
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            release(lock)

    @contextmanager
    def adding(self) -> Iterator[None]:
        """Guard contents from house-keeping from before they are in place until they are recorded.

        Many may add at the same time; while contents are removed they wait.
        """
        with flocked(self.final, fcntl.LOCK_SH):
            yield

    @contextmanager
    def removing(self) -> Iterator[None]:
        """Wait until nobody is `adding`, and keep others from beginning.

        Raises `UserError` after a minute, for what is fetched from W&B may take long.
        """
        deadline = time.monotonic() + REMOVING_TIMEOUT_S
        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(flocked(self.final, fcntl.LOCK_EX | fcntl.LOCK_NB))
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise UserError(
                            f"artifacts have been written to {self.final.parent} for "
                            f"{REMOVING_TIMEOUT_S} s without a pause: nothing was removed, try "
                            "again when that has ended"
                        ) from error
                    time.sleep(0.05)
            yield

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Keep work on the whole store, which is called `what`, from being done twice at once."""
        path = self.tmp / "alone"
        with writing(self.tmp):
            if not is_held(path):
                path.unlink(missing_ok=True)
            try:
                lock = hold(path)
                os.write(lock, what.encode())
            except FileExistsError as error:
                other = path.read_text() if path.exists() else ""
                raise UserError(
                    f"{f'another {what}' if other in ('', what) else other} of "
                    f"{self.final.parent} is under way: wait until it has ended"
                ) from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            release(lock)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Show that a pipeline is running: what it has made or found is needed till it ends."""
        path = self.tmp / f"{PIPELINE}{os.urandom(8).hex()}"
        with writing(self.tmp):
            lock = hold(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            release(lock)

    def under_way_since(self) -> float | None:
        """Return when the first of the pipelines that run now began, None if there is none."""
        began = []
        for path in self.tmp.glob(f"{PIPELINE}*"):
            with suppress(FileNotFoundError):  # it has just ended
                if is_held(path):
                    began.append(path.stat().st_mtime)
        return min(began, default=None)

    def left_over(self) -> dict[Path, int]:
        """Return what dead processes left in `tmp`, with its bytes."""
        found = {}
        for path in self.tmp.iterdir() if self.tmp.is_dir() else ():
            with suppress(OSError):  # gone meanwhile
                if not is_held(path):
                    inside = path.rglob("*") if path.is_dir() else [path]
                    found[path] = sum(file.stat().st_size for file in inside if file.is_file())
        return found

    def all_contents(self) -> dict[str, int]:
        """Return the digests of the contents that are kept, with their bytes."""
        here = {
            path.name: path.stat().st_size
            for path in self.final.glob("??/*")
            if CONTENT_NAME.fullmatch(path.name) and path.parent.name == path.name[:2]
        }
        return (self._bucket.sizes() if self._bucket and not self.others() else {}) | here

    def others(self) -> list[str]:
        """Name the other stores in the bucket: what any of them may need stays there."""
        return self._bucket.others() if self._bucket else []

    def remove(self, contents: Iterable[str]) -> None:
        """Remove contents, here and from the bucket; called while `removing`."""
        there = self._bucket if not self.others() else None
        with writing(self.final, "what is left goes the next time"):
            for sha256 in contents:
                if there:
                    there.remove(sha256)
                self.path(sha256).unlink(missing_ok=True)

    def adopt(self, staged: dict[str, Path]) -> None:
        """Move complete, flushed files to their final names: digest to where it lies now.

        Called while `adding`. A content that is there already is replaced, which heals a damaged
        one.
        """
        if there := self._shared:
            for sha256, path in staged.items():
                there.put(sha256, path)
        self._adopt_here(staged)

    def _adopt_here(self, staged: dict[str, Path]) -> None:
        folders = set()
        for sha256, path in staged.items():
            target = self.path(sha256)
            if not target.parent.is_dir():
                target.parent.mkdir(exist_ok=True)
                folders.add(self.final)
            os.chmod(path, 0o444)
            os.replace(path, target)
            folders.add(target.parent)
        for folder in folders:
            sync_directory(folder)

    def put(self, source: str | os.PathLike) -> Content:
        """Keep a copy of `source`; called while `adding`."""
        with writing(self.tmp), self.work_folder() as folder:
            content = read_content(source, folder / "content")
            self.adopt({content.sha256: folder / "content"})
        return content

    def damage(self, sha256: str) -> str | None:
        """Say what is wrong with a kept content, or None; then it is whole, and here."""
        wrong = self._damage_here(sha256)
        return self._bring(self._bucket, sha256) if wrong and self._bucket else wrong

    def share(self, sha256: str) -> None:
        """Put a content that is whole here into the bucket, should that lack it."""
        if there := self._shared:
            there.keep(sha256, self.path(sha256))

    def has(self, sha256: str) -> bool:
        """Say whether a content is kept; in a bucket it is fetched for that."""
        here = self.path(sha256).exists()
        return here or (self._bucket is not None and not self._bring(self._bucket, sha256))

    @property
    def _shared(self) -> bucket.Bucket | None:
        """The bucket, unless this store only reads it."""
        return None if (self.final / COPY).exists() else self._bucket

    def _bring(self, there: bucket.Bucket, sha256: str) -> str | None:
        """Fetch a content from the bucket, or say what is wrong with it there."""
        with writing(self.tmp), self.work_folder() as folder:
            found = there.get(sha256, folder / "content")
            if found == sha256:
                self._adopt_here({sha256: folder / "content"})
                return None
        address = there.path(sha256)
        if found is None:
            return f"is missing: there is no {address}"
        return f"is damaged: the sha256 of {address} is {found}"

    def _damage_here(self, sha256: str) -> str | None:
        try:
            with open(self.path(sha256), "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return "is missing"
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        return None if found == sha256 else f"is damaged: its sha256 is {found}, not {sha256}"

    def fetch(self, sha256: str, target: Path, what: str) -> None:
        """Copy a content to the new file `target` and check it on the way.

        Raises `UserError`, which calls the content `what`, if it is missing or damaged; then
        nothing is left at `target`.
        """
        source = self.path(sha256)
        way_out = "log the same content again (that repairs it) or restore it from a backup"
        if (
            self._bucket
            and self._damage_here(sha256)
            and (wrong := self._bring(self._bucket, sha256))
        ):
            raise UserError(f"{what} {wrong}; {way_out}")
        if not self._bucket and any(self.final.parent.glob(f"{bucket.NOTE}*")):
            way_out = f"set {bucket.VARIABLE} as it was, or {way_out}"
        try:
            reader = open(source, "rb")
        except FileNotFoundError as error:
            raise UserError(f"{what} is missing: there is no {source}; {way_out}") from error
        except OSError as error:
            raise UserError(f"{what}: cannot read {source}: {error.strerror}; {way_out}") from error
        hasher = hashlib.sha256()
        try:
            with reader, writing(target, "free space there or name another directory"):
                with open(target, "xb") as writer:
                    while chunk := reader.read(CHUNK_BYTES):
                        hasher.update(chunk)
                        writer.write(chunk)
            if hasher.hexdigest() != sha256:
                raise UserError(
                    f"{what} is damaged: {source} no longer has the content that its name, a "
                    f"sha256, stands for; {way_out}"
                )
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def _sweep(self) -> None:
        for path in self.tmp.iterdir():
            with suppress(OSError):  # gone, or held: either is fine
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if path.is_dir():
                        shutil.rmtree(path, ignore_errors=True)
                    else:
                        path.unlink()
                finally:
                    os.close(descriptor)
