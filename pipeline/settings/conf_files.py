"""The user's YAML files that a command line chooses, looked at before Hydra composes them.

Hydra answers what it cannot take with a traceback, and an anchor that holds itself never.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import grammar_parser
from omegaconf.errors import GrammarParseError

from util_lib import validation, yaml_files
from util_lib.errors import UserError

CHOICE = re.compile(r"\+*(\w+)(?:@[\w.]*)?=(.*)")


def choices(root: Path, group: str) -> list[str]:
    """Name the files of a group of conf, those of the project at `root` and the user's own."""
    found = (path for place in (root, home()) for path in _folder(place, group).glob("*.yaml"))
    return sorted({path.stem for path in found})


def home() -> Path:
    """Return the folder where the user stands."""
    return Path(os.environ.get("PIPELINE_HOME", "."))


def refuse_unfit(root: Path, groups: list[str], words: list[str]) -> None:
    """Raise `UserError` for what Hydra cannot take of the user's files that `words` choose."""
    for word in words:
        match = CHOICE.fullmatch(word)
        if match and match[1] in groups:
            for name in match[2].split(","):
                _look_at(root, match[1], name.strip().strip("'\""), ())


def read(path: Path) -> Any:
    """Return what the YAML file at `path` holds; raise `UserError` where that cannot be told."""
    try:
        return yaml_files.read(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8: save it in that encoding") from None
    except yaml.YAMLError as error:
        said = " ".join(str(error).replace('in "<unicode string>", ', "").split())
        raise UserError(f"{path} is no YAML file: {said}") from None


def _look_at(root: Path, group: str, name: str, way: tuple[str, ...]) -> None:
    path = _folder(home(), group) / f"{name}.yaml"
    if not path.is_file():  # the project's own, or Hydra's to say
        return
    content = read(path)
    if path.read_bytes().startswith(b"\xef\xbb\xbf"):
        raise UserError(f"{path} begins with a byte order mark: save it as UTF-8 without one")
    if content is None:
        return
    parts = {"": content, ": hydra": content.get("hydra", {}) if isinstance(content, dict) else {}}
    for part, found in parts.items():
        if not isinstance(found, dict):
            raise UserError(
                f"{path}{part} must be a mapping (key: value), found {validation.shown(found)}"
            )
    for key, value in _values(path, content, ""):
        if isinstance(value, str) and "${" in value:
            try:
                grammar_parser.parse(value)
            except (GrammarParseError, RecursionError):
                raise UserError(
                    f"{path}: {key}: {value[:200]!r} is no interpolation that can be read: write "
                    "${section.key}, or \\${ for a text that is none"
                ) from None
    for other in _defaults(root, group, path, content):
        if other in (*way, name):
            circle = " -> ".join([*way, name, other])
            raise UserError(f"{path}: defaults: the files begin with each other: {circle}")
        _look_at(root, group, other, (*way, name))


def _values(path: Path, node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Give every value in `node` with its dotted key."""
    if not isinstance(node, dict | list):
        yield key, node
        return
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for name, value in items:
        if name is None:
            raise UserError(
                f"{path}: {key or 'the file'} has the key null, and a key is a text: write it in "
                "quotes"
            )
        yield from _values(path, value, f"{key}.{name}" if key else str(name))


def _defaults(root: Path, group: str, path: Path, content: dict[str, Any]) -> list[str]:
    """Return the files of its own group that a file begins with."""
    given = content.get("defaults", [])
    fits = isinstance(given, list) and all(isinstance(one, str | dict) for one in given)
    if not fits or any(len(one) != 1 for one in given if isinstance(one, dict)):
        raise UserError(
            f"{path}: defaults must be a list such as [training, _self_], "
            f"found {validation.shown(given)}"
        )
    names = [one for one in given if isinstance(one, str) and one != "_self_"]
    known = choices(root, group)
    for name in names:
        if re.fullmatch(r"[\w-]+", name) and name not in known:
            raise UserError(f"{path}: defaults: {validation.choose(group, name, known)}")
    return names


def _folder(place: Path, group: str) -> Path:
    return place / "conf" / group
