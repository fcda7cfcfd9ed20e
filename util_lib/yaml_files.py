"""Reads YAML that users hand over: what it holds, but no more than a person would write.

A few lines of YAML can stand for billions of values, where names stand for lists of names (`&a`,
`*a`), and deep brackets end a reader. So the events of a file are counted before it is built.
"""

from pathlib import Path
from typing import Any

import yaml

from util_lib.errors import UserError

MOST_BYTES, MOST_VALUES, MOST_LEVELS = 10_000_000, 500_000, 50
# What PyYAML lets through: for the date 2019-02-31, a number of thousands of digits, `!!int`,
# `!!bool x` or `!!timestamp x`.
UNREADABLE = (ValueError, LookupError, AttributeError, TypeError, ArithmeticError)
# Written in C, many times as fast; not on every platform.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def read(path: str | Path) -> Any:
    """Return what a YAML file holds.

    Raises `UserError` for a file beyond the limits, `OSError` for one that cannot be read, and
    `yaml.YAMLError` or `UnicodeDecodeError` for one that is no YAML.
    """
    return parse(text_of(path), str(path))


def text_of(path: str | Path) -> str:
    """Return the text of a YAML file, which is within the limits."""
    with Path(path).open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UserError(f"{path} has more than {MOST_BYTES:,} bytes: no configuration is so long")
    text = content.decode("utf-8")
    _refuse_bomb(text, str(path))
    return text


def parse(text: str, name: str) -> Any:
    """Return what a YAML text holds; `name` says in a message where it is from."""
    _refuse_bomb(text, name)
    try:
        return yaml.load(text, Loader=LOADER)
    except UNREADABLE as error:
        raise yaml.YAMLError(f"a value cannot be read ({error})") from None


def _refuse_bomb(text: str, name: str) -> None:
    """Raise `UserError` if a text stands for too many values, or has too many levels."""
    total = 0
    open_since: list[tuple[str | None, int]] = []  # the collections around, with what was before
    sizes: dict[str, int] = {}  # how many values each name stands for
    for event in yaml.parse(text, Loader=LOADER):
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            total += sizes.get(anchor or "", MOST_VALUES)  # one that holds itself has no end
        elif isinstance(event, yaml.NodeEvent):
            total += 1
            if isinstance(event, yaml.CollectionStartEvent):
                sizes.pop(anchor or "", None)
                open_since.append((anchor, total - 1))
            elif anchor:
                sizes[anchor] = 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_since.pop()
            if anchor:
                sizes[anchor] = total - before
        if total > MOST_VALUES or len(open_since) > MOST_LEVELS:
            raise UserError(
                f"{name} stands for more than {MOST_VALUES:,} values, or has more than "
                f"{MOST_LEVELS} levels: no configuration is so large"
            )
