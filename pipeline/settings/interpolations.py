"""The `${...}` of a pipeline file, filled in from the checked configuration.

`${data.val_size}` is the checked value: a number where a number is declared, mappings with all
their defaults. What calls a function, such as `${suffix:${data.raw_artifact}}`, is OmegaConf's.
"""

import re
from typing import Any

from omegaconf import Container, DictConfig, OmegaConf

PATH = re.compile(r"(?<!\\)\$\{([A-Za-z_][\w.]*)\}")


class _Elsewhere(Exception):
    """An interpolation that the checked configuration cannot fill in."""


def fill_in(steps: DictConfig, written: dict[str, Any], checked: dict[str, Any]) -> dict[str, Any]:
    """Return `steps` with every interpolation filled in; a text around a null is null.

    `written` is the same as `steps`, as plain mappings with their `${...}`.
    """
    filled: dict[str, Any] = _filled(steps, written, checked)
    return filled


def keys(entry: dict[str, Any]) -> dict[str, str]:
    """Map what an entry of the pipeline file gives to a step to the key that it comes from.

    `max_bytes` may come from `data.max_bytes`; of a file, `dataset_config.target` from
    `data.target`; of an input it is the key of the artifact's name.
    """
    found = {**_keys(entry.get("parameters")), **_keys(entry.get("files"))}
    for name, written in (entry.get("inputs") or {}).items():
        if isinstance(written, str) and (match := PATH.match(written)):
            found[name] = match[1]
    return found


def _keys(written: Any, path: str = "") -> dict[str, str]:
    if isinstance(written, dict):
        found: dict[str, str] = {}
        for name, value in written.items():
            found |= _keys(value, f"{path}.{name}" if path else str(name))
        return found
    match = PATH.fullmatch(written) if isinstance(written, str) else None
    return {path: match[1]} if match else {}


def _filled(node: Any, written: Any, checked: dict[str, Any]) -> Any:
    if isinstance(written, dict):
        return {key: _value(node, key, value, checked) for key, value in written.items()}
    return [_value(node, place, value, checked) for place, value in enumerate(written)]


def _value(parent: Any, key: Any, written: Any, checked: dict[str, Any]) -> Any:
    if isinstance(written, dict | list):
        return _filled(parent[key], written, checked)
    if not isinstance(written, str) or "$" not in written:
        return written
    try:
        return _of_text(written, checked)
    except _Elsewhere:
        value = parent[key]
        return (
            OmegaConf.to_container(value, resolve=True) if isinstance(value, Container) else value
        )


def _of_text(text: str, checked: dict[str, Any]) -> Any:
    if whole := PATH.fullmatch(text):
        return _at(whole[1], checked)
    if "${" in PATH.sub("", text):
        raise _Elsewhere
    values = [_at(path, checked) for path in PATH.findall(text)]
    if any(value is None for value in values):
        return None
    return PATH.sub(lambda match: str(_at(match[1], checked)), text)


def _at(path: str, checked: dict[str, Any]) -> Any:
    found: Any = checked
    for name in path.split("."):
        if not isinstance(found, dict) or name not in found:
            raise _Elsewhere
        found = found[name]
    return found
