"""Addresses as they may be shown: without the secrets that many of them carry."""

import re
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from util_lib.errors import UserError

HARMLESS_KEYS = ("raw", "download", "dl", "format", "version", "ref")  # of a query


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
