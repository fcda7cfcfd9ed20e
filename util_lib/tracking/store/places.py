"""Where the embedded store lies, and who refuses to go on without one."""

import os
from contextlib import suppress
from pathlib import Path

from util_lib.errors import UserError
from util_lib.project import ROOT
from util_lib.tracking import databases

DATABASE = "tracking.db"
NOTE = ".tracking_stores"  # lists the stores that were made, beside MLflow's database


def store_directory() -> Path:
    """Return where this process keeps its store.

    `TRACKING_STORE`, else beside the SQLite database that `MLFLOW_TRACKING_URI` names, else in
    the current directory. A step folder is never the place: a step that is run on its own shares
    the store of the whole project, and a step of one's own that of the folder in which it lies.
    """
    if chosen := os.environ.get("TRACKING_STORE"):
        return Path(chosen).expanduser().absolute()
    base = _beside_the_database()
    if is_step_folder(base):
        base = base.resolve().parent
    return base / "tracking_store"


def user_directory() -> Path:
    """Return where relative paths of the user start: the current directory.

    MLflow runs a step in the step's own folder; there it is the directory of the SQLite database
    that `MLFLOW_TRACKING_URI` names, else where the step's folder lies: the project root.
    """
    if not is_step_folder(Path.cwd()):
        return Path.cwd()
    base = _beside_the_database()
    return base.resolve().parent if is_step_folder(base) else base


def is_step_folder(path: Path) -> bool:
    """Say whether a directory is a step of this checkout, or a project beside a store."""
    path = path.resolve()
    if path == ROOT or not (path / "MLproject").is_file():
        return False
    mine = (path.parent / "tracking_store").is_dir() and not (path / "tracking_store").exists()
    return path.parent == ROOT or mine


def _beside_the_database() -> Path:
    path = databases.path_of(os.environ.get("MLFLOW_TRACKING_URI", ""))
    return path.absolute().parent if path else Path.cwd()


def refuse_no_store(directory: Path | None = None) -> None:
    """Raise `UserError` where there is no store to look into; by default at the usual place."""
    directory = directory or store_directory()
    if not has_store(directory):
        raise UserError(
            f"there is no store at {directory}: go to the directory where the runs were "
            "started, or set TRACKING_STORE or MLFLOW_TRACKING_URI as it was for them"
        )


def has_store(directory: Path) -> bool:
    """Say whether there is a store in a directory."""
    return (directory / DATABASE).exists()


def refuse_lost_store(directory: Path) -> None:
    """Raise `UserError` where a store is to be made in the place of one that was there.

    Its disk may not be mounted. That it was there is noted where results are kept, beside
    `mlflow.db`: whoever begins anew removes that file too, and nothing is asked.
    """
    for home in () if has_store(directory) else _homes(directory):
        if (home / "mlflow.db").exists() and str(directory) in _noted(home):
            raise UserError(
                f"there is no store at {directory}, and there was one: mount its disk, or set "
                f"TRACKING_STORE to where it is now; to begin anew, remove {home / NOTE}"
            )


def note_store(directory: Path) -> None:
    """Note that there is a store, so that another one is not made in its place."""
    for home in _homes(directory):
        if str(directory) not in _noted(home):
            with suppress(OSError), (home / NOTE).open("a", encoding="utf-8") as file:
                file.write(f"{directory}\n")


def _homes(directory: Path) -> set[Path]:
    beside = _beside_the_database()
    has_results = os.environ.get("MLFLOW_TRACKING_URI") or (beside / "mlflow.db").exists()
    return {directory.parent, beside} if has_results else {directory.parent}


def _noted(home: Path) -> list[str]:
    try:
        return (home / NOTE).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
