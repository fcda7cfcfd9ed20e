"""Addresses of SQLite databases, `sqlite:////path/mlflow.db`: made and read in one place.

SQLAlchemy, by which MLflow and Optuna open them, takes `?` for the end of the path and `%41` for A.
A folder may have both in its name.
"""

import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from util_lib.errors import UserError
from util_lib.processes import signals

PREFIX = "sqlite:///"
HELD = "signals are held"  # what is noted with a connection


def address_of(path: Path) -> str:
    """Return the address of the database at `path`."""
    return PREFIX + str(path).replace("%", "%25").replace("?", "%3F")


def files_of(home: Path) -> str:
    """Return where the files of MLflow's runs lie, as MLflow reads it: `%41` in a path is A."""
    files = home / "mlruns"
    return str(files) if unquote(str(files)) == str(files) else files.as_uri()


def path_of(address: str) -> Path | None:
    """Return the path of the database at `address`; None where it is no file.

    Raises `UserError` for the address that MLflow makes of a folder with a `?` in its name: MLflow
    itself would go to another place.
    """
    path, _, query = address.removeprefix(PREFIX).partition("?")
    if not address.startswith(PREFIX) or path in ("", ":memory:"):
        return None
    if "/" in query:
        meant = Path(address.removeprefix(PREFIX))
        raise UserError(
            f"{address} leads to {path}, because of the ? in the folder's name: set "
            f"MLFLOW_TRACKING_URI='{address_of(meant)}', or go to a folder without"
        )
    return Path(unquote(path))


def keep_whole() -> None:
    """Let no signal break off what the main thread does with SQLAlchemy, as MLflow and Optuna do.

    A query that is broken off keeps its lock on the database as long as its traceback lives, and
    whoever then writes that the run has ended waits for it.
    """
    from sqlalchemy import event
    from sqlalchemy.pool import Pool

    if not event.contains(Pool, "checkout", _taken):
        event.listen(Pool, "checkout", _taken)
        event.listen(Pool, "checkin", _given_back)


def _taken(_connection: Any, record: Any, _proxy: Any) -> None:
    if threading.current_thread() is threading.main_thread():
        signals.hold()
        record.info[HELD] = True


def _given_back(_connection: Any, record: Any) -> None:
    if record.info.pop(HELD, False):
        signals.let_go()
