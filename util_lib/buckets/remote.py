"""Files by their address in a bucket or on a server: looked at, read, written, through fsspec.

Every kind of address needs a package of its own, which is imported when it is used and finds its
secrets in the environment. Such packages try again by themselves, each in its own way: here every
call of theirs is waited for as long as `ANSWER_S`, and what they say becomes one sentence.
"""

import functools
import glob
import importlib
import logging
import os
import queue
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from util_lib import folders
from util_lib.errors import UserError
from util_lib.redaction import redacted, remember_address
from util_lib.urls import BUCKETS, SECRET_URL, is_bucket, without_secrets


class Access(NamedTuple):
    """What a kind of address needs: what to install, and what the environment says of the user."""

    package: str
    credentials: str
    options: dict[str, Any] = {}


KINDS = {
    "s3": Access(
        "s3fs==2026.9.0",
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        {
            "config_kwargs": {
                "connect_timeout": 5,
                "read_timeout": 15,
                "retries": {"max_attempts": 2},
            }
        },
    ),
    "gs": Access("gcsfs==2026.10.1", "GOOGLE_APPLICATION_CREDENTIALS"),
    "az": Access("adlfs==2026.8.0", "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"),
    "hf": Access("huggingface_hub==2.4.0", "HF_TOKEN"),
    "sftp": Access(
        "sshfs==2026.8.0",
        "a key in ~/.ssh or in ssh-agent, and the server in ~/.ssh/known_hosts",
        {"known_hosts": ()},  # those of the user; the package itself would trust every server
    ),
}
KINDS["abfs"] = KINDS["az"]
ANSWER_S = 20.0  # for one answer, all attempts of a package together
SILENCE_S = 60.0  # for the next chunk of a file
SLOWEST_BYTES_S = 100_000  # of a file that is written
CHUNK_BYTES = 2**23
TAGS = ("ETag", "etag", "generation", "blob_id")  # what servers call this content of a file
TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")
_REFUSED = re.compile("Permission|Credential|Auth|HostKey|Forbidden|Gated|Refresh")
_AWAY = re.compile("Connect|Timeout|Endpoint|ServiceRequest|Transport|gaierror")
T = TypeVar("T")


class NotThere(UserError):
    """No file has this address."""


class FileState(NamedTuple):
    """What a server says of a file."""

    size: int
    etag: str | None
    last_modified: str | None


class BucketFile(NamedTuple):
    """One of the files of a folder or glob."""

    address: str
    state: FileState

    @property
    def name(self) -> str:
        """What it is called in its folder."""
        return self.address.rpartition("/")[2]

    def __str__(self) -> str:
        """Return its address, as a path returns itself."""
        return self.address


def refuse_secrets(given: str) -> None:
    """Raise `UserError` for secrets in an address among the arguments, which MLflow shows."""
    if urlsplit(given).password is not None or urlsplit(given).query:
        raise UserError(
            f"{without_secrets(given)} came with a secret on the command line, where MLflow and "
            f"`ps` show it: leave it out (access needs {_kind(given).credentials}), or put the "
            f"whole address into {SECRET_URL}"
        )


def look(address: str, seconds: float | None = None) -> FileState:
    """Ask what is at an address; `NotThere` where that is nothing."""
    system, path = _opened(address)
    _ask(address, system.invalidate_cache)
    info = _ask(address, system.info, path, seconds=seconds)
    if info["type"] == "directory":
        raise UserError(f"{without_secrets(address)} is a folder: expected one file")
    return _state(info)


def files_at(address: str) -> Sequence[folders.Named] | None:
    """Return the files that a folder or a glob names, on a disk or in a bucket.

    None where there is one file, or nothing.
    """
    return files_in_bucket(address) if is_bucket(address) else folders.files_at(address)


def files_in_bucket(address: str, seconds: float | None = None) -> list[BucketFile] | None:
    """Return the files that a folder or a glob of a bucket names, as `folders.files_at` does."""
    system, path = _opened(address)
    _ask(address, system.invalidate_cache)
    inside = address.partition("://")[2].partition("/")[2]
    start, above = path.removesuffix(inside), address.removesuffix(inside)
    ends = inside.endswith("/")  # then a file may have the folder's name, too
    try:
        if not ends and _ask(address, system.info, path, seconds=seconds)["type"] != "directory":
            return None
        infos = _ask(address, system.ls, path, detail=True, seconds=SILENCE_S)
    except NotThere:
        if not glob.has_magic(inside):
            return None
        infos = _ask(address, system.glob, path, detail=True, seconds=SILENCE_S).values()
    found = []
    for info in infos:
        at = above + info["name"].removeprefix(start)
        if info["type"] not in ("file", "directory"):  # a link: what it leads to counts
            info = {**_ask(at, system.info, info["name"]), "name": info["name"]}
        if info["type"] == "file" and not at.endswith("/"):
            found.append(BucketFile(at, _state(info)))
    return folders.one_table(without_secrets(address), path, found)


@contextmanager
def reading(address: str) -> Iterator[tuple[FileState, Iterator[bytes]]]:
    """Give what a server says of a file, and its bytes; `UserError` if they change meanwhile."""
    before = look(address)
    system, path = _opened(address)
    file = _ask(address, system.open, path, "rb", cache_type="none")
    n_bytes = 0

    def chunks() -> Iterator[bytes]:
        nonlocal n_bytes
        while chunk := _ask(address, file.read, CHUNK_BYTES, seconds=SILENCE_S):
            n_bytes += len(chunk)
            yield chunk

    try:
        yield before, chunks()
    finally:
        with suppress(UserError):
            _ask(address, file.close)
    if look(address) != before or n_bytes != before.size:
        raise _changed(address)


def write(address: str, source: Path) -> None:
    """Put a file at an address, in place of what is there: the whole file or nothing."""
    system, path = _opened(address)
    seconds = ANSWER_S + source.stat().st_size / SLOWEST_BYTES_S
    _ask(address, system.put_file, str(source), path, seconds=seconds)


def remove(address: str) -> None:
    """Remove the file at an address; one that is not there is no fault."""
    system, path = _opened(address)
    with suppress(NotThere):
        _ask(address, system.rm_file, path)


def sizes_below(address: str) -> dict[str, int]:
    """Return the files below an address, by the rest of their path, with their bytes."""
    system, path = _opened(address)
    _ask(address, system.invalidate_cache)
    try:
        found = _ask(address, system.find, path, detail=True, seconds=SILENCE_S)
    except NotThere:
        return {}
    return {name.rpartition(f"{path}/")[2]: int(info["size"]) for name, info in found.items()}


def _state(info: dict[str, Any]) -> FileState:
    etag, changed = (next((info[k] for k in keys if info.get(k)), None) for keys in (TAGS, TIMES))
    return FileState(int(info["size"]), etag and str(etag), changed and str(changed))


def _kind(address: str) -> Access:
    if not is_bucket(address):
        raise UserError(
            f"{without_secrets(address)!r} is no address of a bucket: expected one with "
            f"{', '.join(f'{scheme}://' for scheme in BUCKETS)}"
        )
    return KINDS[urlsplit(address).scheme.lower()]


def _opened(address: str) -> tuple[Any, str]:
    """Return fsspec's file system for an address, and the path in it."""
    kind = _kind(address)
    remember_address(address)
    user = urlsplit(address).username
    if user is not None and kind is KINDS["s3"]:
        raise UserError(
            f"{without_secrets(address)} came with a user: access needs {kind.credentials}"
        )
    scheme, _, rest = address.partition("://")
    host, _, inside = rest.partition("/")
    system, base = _system(f"{scheme.lower()}://{host}", os.getpid())
    return system, f"{base.rstrip('/')}/{inside}"


@functools.lru_cache
def _system(address: str, _: int) -> tuple[Any, str]:
    """Open a bucket once a process: no package can be used on by a forked child."""
    kind = _kind(address)

    def opened() -> tuple[Any, str]:
        importlib.import_module(kind.package.partition("=")[0])
        from fsspec.core import url_to_fs

        for name in ("aiobotocore", "botocore", "asyncssh", "azure", "gcsfs"):  # tell much
            logging.getLogger(name).setLevel(logging.ERROR)
        return url_to_fs(address, skip_instance_cache=True, **kind.options)

    try:
        return _ask(address, opened)
    except ImportError:
        raise UserError(
            f"{without_secrets(address)} needs {kind.package.partition('=')[0]}, which this Python "
            f"lacks: uv pip install --python {sys.executable} {kind.package}"
        ) from None


def _ask(
    address: str, call: Callable[..., T], *given: Any, seconds: float | None = None, **named: Any
) -> T:
    """Call a package's function in a thread, and wait for it only so long."""
    answers: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue()

    def ask() -> None:
        try:
            answers.put((call(*given, **named), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=ask, daemon=True).start()
    seconds = ANSWER_S if seconds is None else seconds
    try:
        answer, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise UserError(
            f"{without_secrets(address)} did not answer for {seconds:.0f} s: check the address and "
            "the network, then run again"
        ) from None
    if isinstance(error, ImportError):
        raise error
    if error is not None:
        raise _explained(address, error) from None
    return answer  # type: ignore[return-value]  # without an error there is one


def _changed(address: str) -> UserError:
    return UserError(
        f"{without_secrets(address)} changed while it was read: run again when it is whole"
    )


def _explained(address: str, error: BaseException) -> UserError:
    """Return what a package raised as a sentence; packages of many kinds name it alike."""
    shown, kind = without_secrets(address), type(error).__name__
    if isinstance(error, FileNotFoundError):
        return NotThere(f"{shown} does not exist: check the address")
    if kind == "FileExpired":
        return _changed(address)
    status = str(getattr(error, "status_code", getattr(error, "code", "")))
    if isinstance(error, PermissionError) or _REFUSED.search(kind) or status in ("401", "403"):
        return UserError(
            f"{shown} refuses access with what is found here: it needs "
            f"{_kind(address).credentials}, of a user who may do this"
        )
    if isinstance(error, ConnectionError | TimeoutError) or _AWAY.search(kind):
        return UserError(
            f"{shown} cannot be reached: check the address and the network, then run again"
        )
    said = " ".join(redacted(str(error)).split())[:200]
    return UserError(f"{shown} cannot be used: {kind} {said}")
