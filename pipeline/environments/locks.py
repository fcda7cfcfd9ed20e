"""The lock of an environment: every package, also those that others ask for, with its digests.

uv installs those versions and demands the digests; pip, which takes no digests from a constraint,
the versions. Conda is left to its pins.
"""

import hashlib
import os
import tempfile
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
    with tempfile.TemporaryDirectory() as folder:
        versions = Path(folder, "versions.txt")
        lines = lock.read_text(encoding="utf-8").splitlines()
        pins = [line.removesuffix("\\") for line in lines if not line.startswith(" ")]
        versions.write_text("\n".join(pins) + "\n", encoding="utf-8")
        settings = {
            "UV_CONSTRAINT": str(lock.absolute()),
            "UV_REQUIRE_HASHES": "1",
            "PIP_CONSTRAINT": str(versions),
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
    said = str(error).lower()
    return any(words in said for words in ("hash mismatch", "computed:", "not match the hashes"))
