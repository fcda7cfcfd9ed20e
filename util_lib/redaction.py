"""The one redaction: texts as they may be written and said, without secrets.

A secret is known by where it stands: in an address, under a key or in an environment variable that
is called so. Whoever meets one lets it be remembered; it is then hidden wherever it turns up.
"""

import os
import re
from typing import Any
from urllib.parse import quote, unquote

from util_lib.urls import ADDRESS, HIDDEN, SECRET_URL, secret_parts, secret_spans, shown_address

SHORTEST = 6  # characters of a secret: a shorter text turns up by chance
# `mask_token` and its like are words of language models.
_SECRET_NAME = re.compile(
    r"(?:password|passwd|passphrase|secret|credentials?|connection_?string|(?:api|access|account|private|signing)_?key"
    r"|(?:^|[^a-z])(?<!mask[_-])(?<!(?:pad|sep|cls|unk|bos|eos)[_-])token)$",
    re.IGNORECASE,
)
# Tokens that services give out, known by how they look; and the head of a private key.
_FORMATS = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_\w{30,}|\bgithub_pat_\w{30,}|\bglpat-[\w-]{20,}"
    r"|\bxox[abprs]-[\w-]{10,}|\bAIza[\w-]{35}|\bsk-[\w-]{20,}|\bhf_[A-Za-z0-9]{30,}"
    r"|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
# What stands in a file for a secret: a text in quotes, a value in YAML, a variable of a shell.
_ASSIGNED = re.compile(
    r"""([\w.-]+)["']?\s*[:=]\s*["']([^"'\s]{6,})["']"""
    r"""|^[+ -]*([\w.-]+):[ ]+([^"'\s#]{6,})[ ]*$|^[+ -]*(?:export )?([A-Z][A-Z0-9_]+)=(\S{6,})$""",
    re.MULTILINE,
)
_STANDS_FOR_ONE = ("$", "{", "<", "*", "%")
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
    text = _FORMATS.sub(HIDDEN, text)
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def looks_secret(text: str) -> bool:
    """Say whether the text of a file holds something like a secret; a mistake costs little."""
    if _FORMATS.search(text) or any(secret in text for secret in _known):
        return True
    for found in _ASSIGNED.finditer(text):
        name, value = (part for part in found.groups() if part is not None)
        if is_secret_name(name) and _is_random(value):
            return True
    for address in ADDRESS.finditer(text):
        for start, end in secret_spans(address[0]):
            before, value = address[0][:start], address[0][start:end]
            key = re.split("[?&;#]", before)[-1].removesuffix("=")
            is_password = before.endswith("://") and ":" in value
            if is_password or is_secret_name(key) or key.lower().endswith(("sig", "signature")):
                if _is_random(value):
                    return True
    return False


def _is_random(value: str) -> bool:
    return (
        len(value) >= SHORTEST
        and any(char.isdigit() for char in value)
        and not any(mark in value for mark in _STANDS_FOR_ONE)
    )


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
