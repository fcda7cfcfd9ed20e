"""What a database has against its use, as one sentence: damaged, full, held, or not allowed."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from util_lib.errors import UserError
from util_lib.safe_files import STORE_WAY_OUT

# What is wrong around the file, not in it; SQLite's extended codes have these in their low byte.
_OF_THE_DISK = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
)
_HELD = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
DAMAGED = (
    "the file is damaged: bring back a copy of the folder, or set TRACKING_STORE to another "
    "directory; the contents of artifacts, in files beside it, may be whole"
)
HELD = "another process is writing for too long: wait until it has ended, and run again"


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite says of the store's database into a `UserError` with the right way out."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # of a damaged schema's own text
        said = " ".join(str(error).split())
        raise UserError(
            f"cannot use the tracking store {path}: {said}; {way_out(error)}"
        ) from error


def way_out(error: Exception) -> str:
    """Return what can be done about an error of SQLite."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code in _HELD:
        return HELD
    return STORE_WAY_OUT if code in _OF_THE_DISK else DAMAGED


@contextmanager
def rows_read(path: Path) -> Iterator[None]:
    """Turn a row that holds what nobody wrote into a `UserError`."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"cannot use the tracking store {path}: a row cannot be read ({error}); {DAMAGED}"
        ) from error
