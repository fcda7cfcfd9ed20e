"""Fetches one file from an http(s) address, a bucket, a file:// address or a path.

No message and no log line says more of an address than `urls.without_secrets` shows.
"""

import email.utils
import hashlib
import logging
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import urlsplit

import requests
import urllib3

from util_lib import folders, safe_files
from util_lib.buckets import remote
from util_lib.errors import UserError
from util_lib.urls import file_name, is_bucket, without_secrets

logger = logging.getLogger("downloads")

CHUNK_BYTES = 2**20  # memory stays near 1 MiB however large the file
TIMEOUT_S = (10, 60)  # to connect; of silence
ANSWER_S = 120  # until all headers are there, redirects included
SLOWEST_BYTES_S, LOOK_S = 1_000, 60  # a download that is slower for so long is given up
MOST_S = 6 * 3600  # for all attempts together
RETRY_WAITS_S = (1, 3, 9)  # before the second, third and fourth attempt
PROGRESS_S = 5  # between two progress lines of a long download
TRY_AGAIN = (429, 500, 502, 503, 504)  # answers that another attempt may change
WAY_OUT = "give the file a shorter name, or set TMPDIR to a folder with space"
HTML_STARTS = (b"<!doctype html", b"<html")
HTML_SUFFIXES = (".html", ".htm")


class Received(NamedTuple):
    """What arrived; `etag` and `last_modified` as the server gave them, or None."""

    n_bytes: int
    sha256: str
    etag: str | None = None
    last_modified: str | None = None


class _Again(Exception):
    """An attempt failed in a way that the next one may not."""


class _TooLarge(UserError):
    """A file has more bytes than are allowed."""


def fetch(url: str, path: Path, max_bytes: int) -> Received:
    """Write what `url` names, an http(s) address, a bucket's or a file, to `path`."""
    scheme = urlsplit(url).scheme.lower() if "://" in url else ""
    if scheme in ("http", "https"):
        return download(url, path, max_bytes)
    if is_bucket(url):
        return from_bucket(url, path, max_bytes)
    if scheme in ("", "file"):
        return copy(url, path, max_bytes)
    raise UserError(
        f"file_url has the scheme {scheme!r}: expected an http(s) address, one of a bucket (s3://, "
        "gs://, az://, hf://, sftp://), a file:// address or a path"
    )


def fetch_all(files: Sequence[folders.Named], folder: Path, max_bytes: int) -> Received:
    """Copy files, which are one table, into `folder`; its sha256 is `folders.together`."""
    n_bytes, digests = 0, []
    for file in files:
        try:
            received = fetch(str(file), folder / file.name, max_bytes - n_bytes)
        except _TooLarge:
            raise UserError(
                f"the files of file_url ({len(files):,}) have more than the allowed {max_bytes:,} "
                f"bytes together ({n_bytes:,} before {file.name}): raise max_bytes if they are the "
                "right ones"
            ) from None
        n_bytes += received.n_bytes
        digests.append((file.name, received.sha256))
    return Received(n_bytes, folders.together(digests))


def copy(url: str, path: Path, max_bytes: int) -> Received:
    """Copy the file at a path or file:// address; a relative path starts at the project root."""
    source = folders.path_at(url)
    if source is None:
        host = urlsplit(url).netloc.rpartition("@")[2]
        raise UserError(
            f"file_url {without_secrets(url)!r} names the host {host!r}: a file:// address has "
            "three slashes"
        )
    if source.is_dir():
        raise UserError(f"file_url {url!r} is a directory: expected one file")
    if not source.is_file():
        raise UserError(f"file_url {url!r} does not exist: looked for {source}")
    try:
        with source.open("rb") as reader, _writing(path) as writer:
            n_bytes, sha256, start = _write(
                iter(lambda: reader.read(CHUNK_BYTES), b""),
                writer,
                url,
                max_bytes,
                source.stat().st_size,
            )
        changed = email.utils.formatdate(source.stat().st_mtime, usegmt=True)
    except OSError as error:
        raise UserError(f"file_url {url!r} cannot be read: {error.strerror or error}") from error
    _refuse_html(repr(url), source.name, None, start)
    return Received(n_bytes, sha256, None, changed)


def from_bucket(url: str, path: Path, max_bytes: int) -> Received:
    """Copy a file of a bucket, as its server's ETag or date has it, to `path`."""
    shown = without_secrets(url)
    with remote.reading(url) as (found, chunks):
        if found.size > max_bytes:
            raise _too_large(shown, found.size, max_bytes)
        with _writing(path) as writer:
            n_bytes, sha256, start = _write(chunks, writer, shown, max_bytes, found.size)
    _refuse_html(shown, file_name(url, ""), None, start)
    return Received(n_bytes, sha256, found.etag, found.last_modified)


def download(url: str, path: Path, max_bytes: int) -> Received:
    """Stream `url` into `path`.

    A refused or broken connection, a busy or very slow server and a truncated body are tried again
    three times; a page of HTML where data is expected, and all other errors, are final. No message
    says more of `url` than `without_secrets` shows.
    """
    shown, until = without_secrets(url), time.monotonic() + MOST_S
    for wait in (*RETRY_WAITS_S, None):
        try:
            return _attempt(url, path, max_bytes, until)
        except _Again as failure:
            reason = str(failure)
        if wait is None:
            break
        logger.warning("%s %s; trying again in %g s", shown, reason, wait)
        time.sleep(wait)
    raise UserError(
        f"file_url {shown} {reason}, {len(RETRY_WAITS_S) + 1} times: check the address and the "
        "network, then run again"
    )


def _attempt(url: str, path: Path, max_bytes: int, until: float) -> Received:
    shown = without_secrets(url)
    try:
        with _answer(url) as response:
            if response.status_code in TRY_AGAIN:
                raise _Again(f"answered {response.status_code} {response.reason}")
            if response.status_code != 200:
                raise UserError(
                    f"file_url {shown} answered {response.status_code} {response.reason}: expected "
                    "200 with the file; check the address"
                )
            announced = _content_length(response)
            if announced is not None and announced > max_bytes:
                raise _too_large(shown, announced, max_bytes)
            with _writing(path) as writer:
                n_bytes, sha256, start = _write(
                    _body(response, shown, until), writer, shown, max_bytes, announced
                )
            # `tell` counts what came over the wire, also where a server compressed it after all.
            if announced is not None and response.raw.tell() != announced:
                raise _Again(f"sent {response.raw.tell():,} of {announced:,} bytes")
            _refuse_html(shown, file_name(url, ""), response.headers.get("Content-Type"), start)
            received = response.headers
            return Received(n_bytes, sha256, received.get("ETag"), received.get("Last-Modified"))
    except requests.exceptions.SSLError:
        raise UserError(f"file_url {shown}: the server's certificate cannot be trusted") from None
    except (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
        requests.exceptions.TooManyRedirects,
    ) as error:
        kind = {"TooManyRedirects": "redirects without end"}.get(
            type(error).__name__, "is, or leads to, no valid http(s) address"
        )
        raise UserError(f"file_url {shown} {kind}") from None
    except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError):
        raise _Again(f"was silent for {TIMEOUT_S[0]} s (connecting) or {TIMEOUT_S[1]} s") from None
    except requests.exceptions.ConnectionError:
        raise _Again("cannot be reached, or closed the connection") from None
    except urllib3.exceptions.ProtocolError:
        raise _Again("broke off before the end of the file") from None
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
        # Its text may hold the address with its secrets.
        raise UserError(f"file_url {shown} cannot be read ({type(error).__name__})") from None
    except UnicodeError:
        raise UserError(f"file_url {shown} is no valid http(s) address") from None


def _answer(url: str) -> requests.Response:
    """Return the server's answer; its body is not read yet.

    It is waited for in a thread: a server that sends its headers byte by byte is never silent.
    """
    answers: queue.Queue[requests.Response | Exception] = queue.Queue()

    def ask() -> None:
        # The bytes as they lie on the server: a compressed transfer would have another length.
        headers = {"Accept-Encoding": "identity"}
        try:
            answers.put(requests.get(url, stream=True, timeout=TIMEOUT_S, headers=headers))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=ANSWER_S)
    except queue.Empty:
        raise _Again(f"had not answered after {ANSWER_S} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _body(response: requests.Response, shown: str, until: float) -> Iterator[bytes]:
    """Read a body as it comes; give up where it comes too slowly, or not by `until`."""
    looked, before = time.monotonic(), 0
    while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
        yield chunk
        now, received = time.monotonic(), response.raw.tell()
        if now > until:
            raise UserError(
                f"file_url {shown} was still arriving after {MOST_S / 3600:g} hours: fetch it in "
                "another way and give its path"
            )
        if now - looked >= LOOK_S:
            if received - before < SLOWEST_BYTES_S * LOOK_S:
                raise _Again(f"sent {received - before:,} bytes in {now - looked:.0f} s")
            looked, before = now, received


@contextmanager
def _writing(path: Path) -> Iterator[BinaryIO]:
    """Open the file that is made; a disk that is full is no fault of what is read."""
    with safe_files.writing(path, WAY_OUT):
        writer = path.open("wb")
    try:
        yield writer
    finally:
        with safe_files.writing(path, WAY_OUT):
            writer.close()


def _write(
    chunks: Iterable[bytes], writer: BinaryIO, shown: str, max_bytes: int, total: int | None
) -> tuple[int, str, bytes]:
    """Write `chunks`; return their number of bytes, their sha256 and the first of them."""
    n_bytes, digest, start = 0, hashlib.sha256(), b""
    said = time.monotonic()
    for chunk in chunks:
        start += chunk[: 512 - len(start)]
        n_bytes += len(chunk)
        if n_bytes > max_bytes:
            raise _too_large(shown, n_bytes, max_bytes)
        digest.update(chunk)
        with safe_files.writing(writer.name, WAY_OUT):
            writer.write(chunk)
        if time.monotonic() - said >= PROGRESS_S:
            of = f" of {total / 1e6:,.1f}" if total else ""
            logger.info("%.1f%s MB received", n_bytes / 1e6, of)
            said = time.monotonic()
    if n_bytes == 0:
        raise UserError(f"file_url {shown} is empty: expected a file with data")
    return n_bytes, digest.hexdigest(), start


def _too_large(shown: str, n_bytes: int, max_bytes: int) -> _TooLarge:
    return _TooLarge(
        f"file_url {shown} has more than the allowed {max_bytes:,} bytes (at least {n_bytes:,}): "
        "raise max_bytes if it is the right file"
    )


def _content_length(response: requests.Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


def _refuse_html(shown: str, name: str, content_type: str | None, start: bytes) -> None:
    """Raise `UserError` for a page: many servers answer 200 with one to log in or to apologise."""
    declared = (content_type or "").lower().startswith("text/html")
    looks = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(HTML_STARTS)
    if (declared or looks) and not name.lower().endswith(HTML_SUFFIXES):
        raise UserError(
            f"file_url {shown} gave an HTML page, not data: open it in a browser to "
            "see why; hosts of code have an address for the raw file"
        )


def check_sha256(expected: str | None, received: Received) -> None:
    """Raise `UserError` if the content is not the one that was asked for."""
    if expected is not None and received.sha256 != expected.lower():
        raise UserError(
            f"the file has sha256 {received.sha256}, expected {expected.lower()}: its content has "
            "changed or is damaged; nothing was logged; if another file is meant, set sha256 "
            "to null or to its own"
        )
