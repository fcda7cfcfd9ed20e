"""The packages of all environments of a checkout, fetched by its locks for this platform."""

import re
import subprocess
import sys
from pathlib import Path

from pipeline.environments import locks
from util_lib.errors import UserError
from util_lib.redaction import redacted

PLACES = (locks.NAME, f"*/{locks.NAME}", f"*/*/{locks.NAME}")
# pip and uv take these for a package that comes as its sources.
BUILDER = "setuptools"


def fetch(project: Path, target: Path) -> int:
    """Fetch what the locks of `project` name, digests checked; return the number of files."""
    found = [path for place in PLACES for path in sorted(project.glob(place))]
    if not found:
        raise UserError("that commit has no requirements.lock, and a bundle is made by the locks")
    entries: dict[str, str] = {}
    for path in found:
        for entry in re.split(r"\n(?=\S)", path.read_text(encoding="utf-8").strip()):
            entries.setdefault(entry.partition("\n")[0], entry)
    target.mkdir()
    wanted = target.with_suffix(".txt")
    wanted.write_text("\n".join(entries[key] for key in sorted(entries)) + "\n", encoding="utf-8")
    _download(target, "--require-hashes", "--requirement", str(wanted))
    if any(path.suffix != ".whl" for path in target.iterdir()):
        _download(target, BUILDER)
    return len([*target.iterdir()])


def oldest_glibc(folder: Path) -> list[int]:
    """Return the version of the C library that all wheels of a folder can do with; [] = any."""
    needed = []
    for path in folder.glob("*manylinux*.whl"):
        tags = re.findall(r"manylinux_(\d+)_(\d+)", path.name) + [("2", "17")] * (
            "manylinux2014" in path.name
        )
        needed.append(min([int(major), int(minor)] for major, minor in tags or [("2", "5")]))
    return max(needed, default=[])


def _download(target: Path, *what: str) -> None:
    command = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
    done = subprocess.run(
        [*command, "--no-input", "--no-deps", "--dest", str(target), *what],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
        raise UserError(
            f"the packages cannot be fetched: {redacted(' '.join(said[-3:]))[-600:]}; fetching "
            "needs the packages' registry, and pip in this environment"
        )
