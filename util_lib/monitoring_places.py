"""Where the monitoring log lies and what is in it, for who reads none of it."""

import os
from pathlib import Path

from util_lib import safe_files
from util_lib.tracking.store.places import store_directory

PLACE = "MONITORING_LOG"
FOLDER = "monitoring_log"
SPOOL, ROWS, LABELS, WINDOWS, KEY = "spool", "rows", "labels", "windows.parquet", "key"
SUFFIX = ".arrows"


def folder() -> Path:
    """Return where the log lies, whether it is there or not."""
    if chosen := os.environ.get(PLACE):
        return Path(chosen).expanduser().absolute()
    return store_directory().parent / FOLDER


def projects(root: Path) -> list[str]:
    """Name the projects that have something in the log."""
    found = {path.name for path in (root / SPOOL).glob("*") if path.is_dir()}
    found |= {path.name.partition("=")[2] for path in (root / ROWS).glob("project=*")}
    return sorted(found)


def spools(root: Path, project: str) -> list[Path]:
    """Return the streams of a project that nobody writes any more, oldest first."""
    found = sorted((root / SPOOL / project).glob(f"*{SUFFIX}"))
    return [path for path in found if not safe_files.is_held(path)]
