"""Secrets in the configuration: handed on by the environment, and recorded nowhere.

Hydra keeps what it is given, in files of its own. A secret that was typed is therefore put into the
environment of this process before Hydra sees it, and `${oc.env:...}` stands in its place.
"""

import copy
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.settings.schema import Settings
from util_lib.errors import UserError
from util_lib.redaction import (
    is_secret_name,
    redacted_values,
    remember,
    remember_address,
)
from util_lib.urls import ADDRESS, HIDDEN, SECRET_URL, secret_parts, secret_spans, without_secrets

VARIABLE = "PIPELINE_SECRET_"  # a number follows
# `key=value`, also in a mapping: {password: abc}
_KEYED = re.compile(
    r"([\w.-]+)(?:=|:[ ]*)"
    r"(?:'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"|((?!\s)[^\s,'\"\[\]{}()]+))"
)
_read: set[str] = set()  # environment variables that `${oc.env:...}` has read


def put_apart(text: str) -> str:
    """Return words of the command line with `${oc.env:...}` in place of the secrets in them."""
    spans = {
        (found.start() + start, found.start() + end)
        for found in ADDRESS.finditer(text)
        for start, end in secret_spans(found[0])
    }
    for found in _KEYED.finditer(text):
        kind = found.lastindex or 0
        if kind > 1 and is_secret_name(found[1]) and found[kind] not in ("", "null"):
            spans.add(found.span(kind))
    after = len(text)
    for start, end in sorted(spans, reverse=True):
        secret = text[start:end]
        if end > after or "${" in secret or HIDDEN in secret:
            continue
        remember(secret)
        text = f"{text[:start]}${{oc.env:{_variable(secret)}}}{text[end:]}"
        after = start
    return text


def _variable(secret: str) -> str:
    """Return the environment variable that holds a secret from now on."""
    number = 1
    while os.environ.setdefault(f"{VARIABLE}{number}", secret) != secret:
        number += 1
    return f"{VARIABLE}{number}"


def read_environment(name: str, *default: str | None) -> str | None:
    """Return what `${oc.env:name}` or `${oc.env:name,default}` stands for.

    What was typed on another machine of a sweep is not here, and needed by no trial.
    """
    _read.add(name)
    if name in os.environ:
        return os.environ[name]
    if name.startswith(VARIABLE):
        return HIDDEN
    if not default:
        raise KeyError(f"Environment variable {name!r} not found")
    return default[0]


@contextmanager
def without_variables() -> Iterator[None]:
    """Take the secrets of addresses out of the environment, which processes inherit.

    That are the variables of which `${oc.env:...}` has made an address, and GET_DATA_URL.
    """
    taken = {
        name: value
        for name, value in os.environ.items()
        if name == SECRET_URL or name.startswith(VARIABLE) or (name in _read and value in _parts)
    }
    for name in taken:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(taken)


_parts: set[str] = set()  # of addresses in the configuration: each, and its secrets


def remember_addresses(settings: Settings) -> None:
    """Hide the secrets of the addresses in the checked configuration from now on."""
    given = [
        entry.parameters.get(entry.address) for entry in settings.steps.values() if entry.address
    ]
    given += [settings.data.file_url, settings.store.database, settings.main.components_repository]
    for address in given:
        if isinstance(address, str) and (parts := secret_parts(address)):
            _parts.update(parts, [address])
            remember_address(address)


def refuse_secrets(settings: Settings) -> None:
    """Raise `UserError` for a step's parameter that is a secret: MLflow records parameters."""
    for name, entry in settings.steps.items():
        for key, value in entry.parameters.items():
            hidden = isinstance(value, str) and redacted_values({key: value})[key] != value
            if hidden and key != entry.address:
                raise UserError(
                    f"config: steps.{name}.parameters.{key} holds a secret, and MLflow records "
                    "parameters: let the step read an environment variable, or, where it is an "
                    f"address, name it by steps.{name}.source, or sink"
                )


def shown_config(settings: Settings) -> dict[str, Any]:
    """Return the configuration as it may be recorded."""
    dumped = settings.model_dump(mode="json")
    dumped["data"]["file_url"] = without_secrets(settings.data.file_url)
    if settings.store.database:
        dumped["store"]["database"] = without_secrets(settings.store.database)
    # As written, with its `${...}`: who runs it again may need to change what is filled in.
    dumped["steps"] = copy.deepcopy(settings.steps_as_written)
    for name, entry in settings.steps.items():
        if entry.address:
            written = dumped["steps"][name]["parameters"]
            written[entry.address] = without_secrets(written[entry.address])
    return redacted_values(dumped)


def shown_parameters(parameters: dict[str, str], address: str | None) -> dict[str, str]:
    """Return a step's parameters as they may be recorded; `address` names the one that is one."""
    return {k: without_secrets(v) if k == address else v for k, v in parameters.items()}
