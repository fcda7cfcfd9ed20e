"""Tables with more rows than `data.large_rows`, which steps work on in batches."""

import logging
import shutil
from pathlib import Path

from util_lib.errors import UserError

logger = logging.getLogger("large")


def is_large(n_rows: int, large_rows: int) -> bool:
    """Say whether a table is to be worked on in batches, in the log where it is."""
    if n_rows > large_rows:
        logger.info(way(n_rows, large_rows))
    return n_rows > large_rows


def way(n_rows: int, large_rows: int) -> str:
    """Return how a step works on a table of so many rows, and why."""
    if n_rows > large_rows:
        return f"{n_rows:,} rows, above large_rows ({large_rows:,}): in batches"
    return f"{n_rows:,} rows, large_rows is {large_rows:,}: whole, in memory"


def check_room(folder: str | Path, n_bytes: int) -> None:
    """Raise `UserError` where the disk of a temporary folder lacks the room that is needed."""
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise UserError(
            f"the table needs about {n_bytes / 1e9:,.1f} GB of temporary files and {folder} has "
            f"{free / 1e9:,.1f} GB free: make room, or set TMPDIR to a folder on a larger disk"
        )
