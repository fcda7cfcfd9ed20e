"""References between keys, `${...}`, with an end.

Forty lines that each name the next one twice stand for a million million values. OmegaConf would
fill them in one by one, so each that it fills in is counted here.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf.base import Container
from omegaconf.errors import InterpolationResolutionError

MOST_REFERENCES, MOST_SIZE = 10_000, 200_000
_fill_in = Container.resolve_parse_tree


class _Count(threading.local):
    depth, filled_in, size = 0, 0, 0


_count = _Count()


def bound() -> None:
    """Let OmegaConf refuse a value for which too much would have to be filled in."""
    Container.resolve_parse_tree = _counted  # type: ignore[method-assign]


@contextmanager
def together() -> Iterator[None]:
    """Count all that is filled in meanwhile as one value: lists can name lists twice as well."""
    if not _count.depth:
        _count.filled_in = _count.size = 0
    _count.depth += 1
    try:
        yield
    finally:
        _count.depth -= 1


def _counted(self: Container, *given: Any, **named: Any) -> Any:
    with together():
        _count.filled_in += 1
        value = None if _count.filled_in > MOST_REFERENCES else _fill_in(self, *given, **named)
        _count.size += _size(value)
    if _count.filled_in > MOST_REFERENCES or _count.size > MOST_SIZE:
        raise InterpolationResolutionError(
            f"${{...}} stands for more than {MOST_REFERENCES:,} references, or {MOST_SIZE:,} "
            "values and characters: no configuration is so large; write the value itself"
        )
    return value


def _size(value: Any) -> int:
    """Count the characters of a text, the values in a list or a mapping as it is written."""
    if isinstance(value, str):
        return len(value)
    if not isinstance(value, Container) or not isinstance(value._content, dict | list):
        return 0
    inner = value._content
    return len(inner) + sum(map(_size, inner.values() if isinstance(inner, dict) else inner))
