"""Addresses as they may be shown: without the secrets that many of them carry."""

import os
import re
import unicodedata
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from util_lib.errors import UserError

SECRET_URL = "GET_DATA_URL"  # environment variable: the address that `--file_url` shows in part
HARMLESS_KEYS = ("raw", "download", "dl", "format", "version", "ref")  # of a query
DATABASES = ("sqlite", "duckdb", "postgresql", "postgres")  # schemes
BUCKETS = ("s3", "gs", "az", "abfs", "hf", "sftp")  # schemes
HIDDEN = "***"  # stands for a secret
LONGEST = 255  # bytes of a file's name, on most disks


_SCHEME = r"[A-Za-z][\w+.-]*://"
_CHARACTER = r"(?:\$\{[^{}]*\}|[^\s'\"<>\]})])"
ADDRESS = re.compile(rf"{_SCHEME}(?:(?!,{_SCHEME}){_CHARACTER})*")
# After a user's colon a password may hold what belongs into a path; digits there are a port.
_USER = re.compile(r"(?<=://)(?:[^/?#]*|[^/?#:@]+:(?!\d+(?:[/?#]|$)).*)(?=@)")
_VALUE = re.compile(r"(?:^|(?<=[?#&;]))([^=&;?#]*=)?([^&;#]*)")


def secret_spans(address: str) -> list[tuple[int, int]]:
    """Return where in an address its secrets stand: a user with a password, values of its query.

    Signed addresses carry their secret under many names (token, sig, X-Amz-Signature, ...), so
    only keys known to be harmless keep their values. So it is with `key=value` after a `#`.
    """
    user = _USER.search(address)
    found = [user.span()] if user and user[0] else []
    start = user.end() if user else 0
    question, fragment = (address.find(mark, start) for mark in "?#")
    if question >= 0 and (fragment < 0 or question < fragment):
        end = len(address) if fragment < 0 else fragment
        found += [
            pair.span(2)
            for pair in _VALUE.finditer(address, question + 1, end)
            if pair[2] and (pair[1] or pair[2] + "=")[:-1] not in HARMLESS_KEYS
        ]
    if fragment >= 0:
        found += [
            pair.span(2)
            for pair in _VALUE.finditer(address, fragment + 1)
            if pair[1] and pair[2] and pair[1][:-1] not in HARMLESS_KEYS
        ]
    return found


def secret_parts(address: str) -> set[str]:
    """Return the secrets of an address: its query's values, its user and password, the latter."""
    found = {address[start:end] for start, end in secret_spans(address)}
    user = _USER.search(address)
    return found | ({user[0].partition(":")[2]} - {""} if user else set())


def shown_address(address: str) -> str:
    """Return an address without user and password, with `***` for the values of its query."""
    for start, end in reversed(secret_spans(address)):
        is_user = address[end : end + 1] == "@" and address[:start].endswith("://")
        after = end + 1 if is_user else end
        address = address[:start] + ("" if is_user else HIDDEN) + address[after:]
    return address


def without_secrets(url: str) -> str:
    """Return `url` as it may be shown and recorded: without its secrets and what follows a `#`.

    A path without scheme is returned as it is. Raises `UserError` for what is no address; it does
    not repeat it.
    """
    if "://" not in url:
        return url
    try:
        urlsplit(url)
    except ValueError:
        raise UserError("file_url is no valid http(s) address, file:// address or path") from None
    shown = shown_address(url)
    return shown if is_bucket(url) else shown.partition("#")[0]  # a key may have one


def whole_address(shown: str) -> str:
    """Return the address to read: `GET_DATA_URL` where it is the one that `shown` stands for.

    Arguments are recorded by MLflow and visible to other users of the machine; main.py and careful
    users hand over the secrets of an address by the environment.
    """
    whole = os.environ.get(SECRET_URL, "")
    return whole if without_secrets(whole) == shown else shown


def is_database(url: str) -> bool:
    """Say whether an address names a database, whose tables `util_lib.sql` reads."""
    return "://" in url and url.partition("://")[0].lower() in DATABASES


def is_bucket(url: str) -> bool:
    """Say whether an address names a file of a bucket or server that `util_lib.buckets` reads."""
    return "://" in url and url.partition("://")[0].lower() in BUCKETS


def file_name(url: str, default: str) -> str:
    """Return the base name of the path in `url`, without query and fragment of a web address.

    `default` where the path ends in a slash or its name is not fit for a file.
    """
    if is_bucket(url):  # whose keys are as they stand
        path = url.partition("://")[2].partition("/")[2]
    else:
        path = unquote(urlsplit(url).path if "://" in url else url)
    name = PurePosixPath(path).name if not path.endswith("/") else ""
    fits = re.fullmatch(r"[^\x00-\x1f\\:*?\"<>|]+", name) and len(os.fsencode(name)) <= LONGEST
    return name if fits and name != ".." else default


def table_name(url: str) -> str:
    """Return the name of the table at `url`: its file's, of ASCII letters, digits, `_` and `-`.

    It begins with a letter, so that Hydra takes `dataset=<name>` for a text.
    """
    stem = file_name(url, "").partition(".")[0]
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", plain).strip("_-")
    return name if re.match("[A-Za-z]", name) else f"table_{name}".rstrip("_")
