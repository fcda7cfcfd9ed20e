"""Addresses as they may be shown: without the secrets that many of them carry."""

import os
import re
import unicodedata
from pathlib import PurePosixPath
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from util_lib.errors import UserError

SECRET_URL = "GET_DATA_URL"  # environment variable: the address that `--file_url` shows in part
HARMLESS_KEYS = ("raw", "download", "dl", "format", "version", "ref")  # of a query
LONGEST = 255  # bytes of a file's name, on most disks


def without_credentials(text: str) -> str:
    """Return `text` with the user and password of every address in it taken out."""
    return re.sub(r"(?<=://)[^/@\s]+@", "", text)


def without_secrets(url: str) -> str:
    """Return `url` as it may be shown: no user or password, `***` for the values of its query.

    Signed addresses carry their secret under many names (token, sig, X-Amz-Signature, ...), so
    only keys known to be harmless keep their values. A path without scheme is returned as it is.
    Raises `UserError` for what is no address; it does not repeat it.
    """
    if "://" not in url:
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        raise UserError("file_url is no valid http(s) address, file:// address or path") from None
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    shown = [f"{key}={value if key in HARMLESS_KEYS else '***'}" for key, value in pairs]
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "&".join(shown), ""))


def file_name(url: str, default: str) -> str:
    """Return the base name of the path in `url`, without query and fragment.

    `default` where the path ends in a slash or its name is not fit for a file.
    """
    path = urlsplit(url).path if "://" in url else url
    name = PurePosixPath(unquote(path)).name if not path.endswith("/") else ""
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
