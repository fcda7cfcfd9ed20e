"""What the cache knows of one artifact version."""

from typing import NamedTuple


class Version(NamedTuple):
    """One version of an artifact."""

    name: str
    number: int
    digest: str
