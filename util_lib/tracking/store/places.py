"""Where the embedded store lies, and who refuses to go on without one."""

import os
from pathlib import Path

from util_lib.errors import UserError
from util_lib.project import ROOT


def store_directory() -> Path:
    """Return where this process keeps its store.

    `TRACKING_STORE`, else beside the SQLite database that `MLFLOW_TRACKING_URI` names, else in
    the current directory. A step folder of this checkout is never the place: a step that is run
    on its own shares the store of the whole project.
    """
    if chosen := os.environ.get("TRACKING_STORE"):
        return Path(chosen).expanduser().absolute()
    base = _beside_the_database()
    if is_step_folder(base):
        base = ROOT
    return base / "tracking_store"


def user_directory() -> Path:
    """Return where relative paths of the user start: the current directory.

    MLflow runs a step in the step's own folder; there it is the directory of the SQLite database
    that `MLFLOW_TRACKING_URI` names, else the project root.
    """
    if not is_step_folder(Path.cwd()):
        return Path.cwd()
    base = _beside_the_database()
    return ROOT if is_step_folder(base) else base


def is_step_folder(path: Path) -> bool:
    """Say whether a directory is a step of this checkout."""
    return path.resolve().parent == ROOT and (path / "MLproject").is_file()


def _beside_the_database() -> Path:
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri.startswith("sqlite:///") and (path := uri.removeprefix("sqlite:///")):
        return Path(path.partition("?")[0]).absolute().parent
    return Path.cwd()


def refuse_no_store() -> None:
    """Raise `UserError` where there is no store to look into."""
    if not (store_directory() / "tracking.db").exists():
        raise UserError(
            f"there is no store at {store_directory()}: go to the directory where the runs were "
            "started, or set TRACKING_STORE or MLFLOW_TRACKING_URI as it was for them"
        )
