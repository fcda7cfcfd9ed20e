"""The lock of an environment: every package with the digests of its files, used by uv and pip.

A lock constrains what is installed and its digests are demanded. Conda is left to its pins.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "requirements.lock"
TOOLS = ("uv", "virtualenv")  # the managers that can use one


def beside(path: Path) -> Path:
    """Return where the lock of a requirements file or a conda.yml lies."""
    return path.with_suffix(".lock") if path.suffix == ".txt" else path.parent / NAME


def digest(manager: str, config: Path) -> str | None:
    """Return the sha256 of the lock that an environment is made by, None where there is none."""
    lock = beside(config)
    if manager not in TOOLS or not lock.is_file():
        return None
    return hashlib.sha256(lock.read_bytes()).hexdigest()


@contextmanager
def used(lock: Path) -> Iterator[None]:
    """Let uv and pip, started in this block, install what `lock` says and nothing else."""
    settings = {
        "UV_CONSTRAINT": str(lock.absolute()),
        "UV_REQUIRE_HASHES": "1",
        "PIP_CONSTRAINT": str(lock.absolute()),
        "PIP_REQUIRE_HASHES": "1",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def is_refused(error: Exception) -> bool:
    """Say whether a package was not what the lock says, which no other way of making it mends."""
    return "hash" in str(error).lower()
