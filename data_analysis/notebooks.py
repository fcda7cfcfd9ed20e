"""The notebooks of this folder: where they lie, and in which surroundings their kernels run."""

import os
from pathlib import Path

from util_lib import validation
from util_lib.errors import UserError
from util_lib.project import ROOT
from util_lib.tracking.store.places import store_directory, user_directory

FOLDER = Path(__file__).resolve().parent / "percent"


def find(name: str) -> Path:
    """Return the file of a notebook: one of this folder by its name, another one by its path."""
    named = {path.stem: path for path in sorted(FOLDER.glob("*.py"))}
    if name in named:
        return named[name]
    if name.endswith((".py", ".ipynb")):
        path = user_directory() / name
        if path.is_file():
            return path
        raise UserError(f"there is no notebook {path}: give one of {', '.join(named)}, or a path")
    raise UserError(validation.choose("notebook", name, [*named]))


def environment() -> dict[str, str]:
    """Return the environment of a kernel: our modules, this store, a run of its own in MLflow."""
    kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_RUN_ID"}
    paths = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    return kept | {
        "PYTHONPATH": os.pathsep.join(paths),
        "TRACKING_STORE": str(store_directory()),
    }
