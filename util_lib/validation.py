"""Checks a mapping read from YAML against a pydantic model; one sentence says what is wrong."""

import difflib
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from util_lib import cli, yaml_files
from util_lib.errors import UserError

Model = TypeVar("Model", bound=BaseModel)
MEMORY_UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12}
LEAST_MEMORY = 500 * 10**6


class Section(BaseModel):
    """A part of a YAML file: no unknown keys, no silent conversion of types."""

    # Built when it is used: most programs use a few sections, and a section's parts with it.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


def null_word(value: Any) -> Any:
    """Take `null`, `none` and the empty text for None, as the steps' command lines do."""
    return cli.optional(value) if isinstance(value, str) else value


def nearest(name: object, names: list[str]) -> str | None:
    """Return the entry of `names` most like `name`, or None where none is near.

    Upper and lower case are alike; a word of an entry counts where no whole entry is near.
    """
    wholes = {entry.lower(): entry for entry in reversed(names)}
    words = {word: entry for whole, entry in wholes.items() for word in re.split(r"\W|_", whole)}
    for known, cutoff in ((wholes, 0.6), (words, 0.8)):
        if near := difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=cutoff):
            return known[near[0]]
    return None


def choose(kind: str, name: object, names: list[str]) -> str:
    """Say that `name` is no `kind`: "unknown step 'x'; the nearest is 'y'; choose from ..."."""
    near = nearest(name, names)
    hint = f"the nearest is {near!r}; " if near else ""
    return f"unknown {kind} {name!r}: {hint}choose from {', '.join(names)}"


def shown(value: Any) -> str:
    """Return a value as a sentence shows it: its beginning."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def check(model: type[Model], mapping: Any, where: str) -> Model:
    """Return `mapping` as a `model`.

    `where` begins the sentence of the `UserError`, for example "config" or a file name. The
    sentence names the key, the value found, what is allowed and, for an unknown key, the nearest.
    """
    try:
        return model.model_validate(mapping)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        others = error.error_count() - 1
        more = f" (and {others} more)" if others else ""
        raise UserError(f"{where}: {_sentence(model, first)}{more}") from None


def load(model: type[Model], path: str | Path, section: str) -> Model:
    """Read a `model` from a YAML file: the bare section, or under the key `section`.

    So a step takes a whole configuration file as well as what
    `python main.py --cfg job --resolve --package <section>` prints.
    """
    content = read(path, section)
    if isinstance(content, dict) and section in content:
        content = content[section]
    return check(model, content, str(path))


def read(path: str | Path, section: str) -> Any:
    """Return what a YAML file holds; `section` is what a message says was expected in it."""
    path = Path(path)
    try:
        return yaml_files.read(path)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): expected a YAML file with the section "
            f"{section!r} of the configuration"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no YAML file: {' '.join(str(error).split())}") from error


def _sentence(model: type[BaseModel], error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    found = shown(error["input"])
    kind = error["type"]
    if kind == "extra_forbidden":
        return f"{choose('key', key, _siblings(model, error['loc']))} (value {found})"
    if kind == "missing":
        return f"key {key!r} is required and is not set"
    if kind == "value_error":
        return f"{key}: {error['ctx']['error']}" if key else str(error["ctx"]["error"])
    if kind == "string_too_short" and error["ctx"]["min_length"] == 1:
        return f"{key} must not be empty"
    if kind == "too_short" and error["ctx"]["min_length"] == 1:
        return f"{key} must not be empty"
    if kind in ("model_type", "dict_type"):
        return f"{key or 'it'} must hold keys with values, found {found}"
    expected = error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    sentence = f"{key} must be {expected}, found {found}"
    if kind in ("literal_error", "enum"):
        near = nearest(error["input"], [w.strip("' ") for w in _words(expected)])
        sentence += f"; the nearest is {near!r}" if near else ""
    return sentence


def _words(expected: str) -> list[str]:
    return expected.replace(" or ", ",").split(",")


def _siblings(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """Name the keys allowed where the unknown key at `path` stands, as dotted paths."""
    known: list[str] = []
    fields = model.model_fields
    for depth in range(len(path)):
        prefix = ".".join(str(part) for part in path[:depth])
        known = [f"{prefix}.{name}" if prefix else name for name in fields]
        inner = fields.get(str(path[depth]))
        nested = _model_of(inner.annotation) if inner else None
        if nested is None and depth + 1 < len(path):
            # a key of a mapping such as columns.<name>: its values share one model
            continue
        fields = nested.model_fields if nested else {}
    return known


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        if found := _model_of(part):
            return found
    return None


def bytes_of(memory: str) -> int:
    """Return how many bytes a text such as 2GB stands for; `ValueError` for any other."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(MB|GB|TB)", memory)
    n_bytes = int(float(found[1]) * MEMORY_UNITS[found[2]]) if found else 0
    if n_bytes < LEAST_MEMORY:
        raise ValueError(f"must be a size of at least 500MB such as 2GB, found {memory!r}")
    return n_bytes


def check_memory(text: str) -> str:
    """Return a text that `bytes_of` reads; `ValueError` for any other."""
    bytes_of(text)
    return text
