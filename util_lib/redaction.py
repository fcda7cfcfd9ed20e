"""The one redaction: texts as they may be written and said, without secrets.

A secret is known by where it stands: in an address, under a key or in an environment variable that
is called so. Whoever meets one lets it be remembered; it is then hidden wherever it turns up.
"""

import os
import re
from typing import Any
from urllib.parse import quote, unquote

from util_lib.urls import ADDRESS, HIDDEN, SECRET_URL, secret_parts, shown_address

SHORTEST = 6  # characters of a secret: a shorter text turns up by chance
# `mask_token` and its like are words of language models.
_SECRET_NAME = re.compile(
    r"(?:password|passwd|passphrase|secret|credentials?|(?:api|access|account|private|signing)_?key"
    r"|(?:^|[^a-z])(?<!mask[_-])(?<!(?:pad|sep|cls|unk|bos|eos)[_-])token)$",
    re.IGNORECASE,
)
_known: set[str] = set()


def is_secret_name(name: str) -> bool:
    """Say whether a key, or an environment variable, is called like one that holds a secret."""
    return bool(_SECRET_NAME.search(name))


def remember(*secrets: str) -> None:
    """Hide these texts from now on, also in the spelling that addresses have."""
    for secret in secrets:
        spelt = {secret, unquote(secret), quote(secret, safe="")}
        _known.update(text for text in spelt if len(text) >= SHORTEST)


def remember_address(address: str) -> None:
    """Hide the secrets of an address wherever they turn up."""
    remember(*secret_parts(address))


def remember_environment() -> None:
    """Hide the values of environment variables that hold secrets by their names."""
    remember(*(value for name, value in os.environ.items() if is_secret_name(name)))
    remember_address(os.environ.get(SECRET_URL, ""))


def redacted(text: str) -> str:
    """Return `text` with its addresses as they may be shown and `***` for known secrets."""
    if "://" in text:
        text = ADDRESS.sub(lambda found: shown_address(found[0]), text)
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def redacted_values(value: Any, key: str = "") -> Any:
    """Return nested values as they may be recorded; what a key calls a secret is hidden whole.

    What refers to a value elsewhere, `${...}`, is none.
    """
    if isinstance(value, dict):
        return {name: redacted_values(inner, str(name)) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redacted_values(inner, key) for inner in value]
    if not isinstance(value, str):
        return value
    return HIDDEN if is_secret_name(key) and "${" not in value else redacted(value)
