"""What of the monitoring log is older than it may be."""

import datetime
import shutil
from pathlib import Path

from pipeline.housekeeping.unneeded import Removable
from util_lib import monitoring_log, safe_files


def clean(root: Path, keep_days: int, delete: bool) -> list[Removable]:
    """Return the days of rows, and the streams, that are older; removed first if told to.

    What is still being written stays, whatever its age.
    """
    today = datetime.datetime.now(datetime.UTC).date()
    first = today - datetime.timedelta(days=keep_days)
    rows = []
    for path in sorted(_days(root) + _streams(root)):
        day = _day_of(path)
        if day is None or day >= first:
            continue
        size = sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())
        rows.append(Removable(str(path), f"older than {keep_days} days", size))
        if delete:
            with safe_files.writing(path, "what is left goes the next time"):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return rows


def _days(root: Path) -> list[Path]:
    return list((root / monitoring_log.ROWS).glob("project=*/day=*"))


def _streams(root: Path) -> list[Path]:
    named = monitoring_log.projects(root)
    return [path for name in named for path in monitoring_log.spools(root, name)]


def _day_of(path: Path) -> datetime.date | None:
    """Return the day that a name begins with; None for what is not ours."""
    name = path.name.removeprefix("day=")
    try:
        return datetime.date.fromisoformat(name if path.is_dir() else name.partition("T")[0])
    except ValueError:
        return None
