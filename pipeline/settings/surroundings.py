"""The environment variables on which main.py, MLflow and the steps must agree."""

import os
import re
import tempfile
from pathlib import Path

from pipeline.settings import wandb_trial
from util_lib import safe_files
from util_lib.errors import UserError
from util_lib.project import ROOT
from util_lib.tracking import databases
from util_lib.tracking.store.places import store_directory

ROOT_RUN = "PIPELINE_ROOT_RUN"  # the run that `mlflow run .` made for main.py
# git@host:path is git's short form of ssh://git@host/path. Nothing else: `ext::` runs a command.
ADDRESS = re.compile(
    r"(https?|ssh|git|file)://[^\s-]|\w[\w.-]*@\w[\w.-]*:(?!:)|\w[\w-]*\.[\w.-]+:(?!:)"
)
# Of W&B's client: with one of these all steps would be one run, each in the place of the last.
OF_ONE_RUN = ("WANDB_RUN_ID", "WANDB_RESUME", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH")
SCRATCH = "PIPELINE_SCRATCH"  # set where the folder of the results goes when the run has ended
HOME_WAY_OUT = (
    "results are kept where you stand: go to a folder that you may write to, or name one by "
    "MLFLOW_TRACKING_URI=sqlite:////path/to/mlflow.db"
)


def adopt_surroundings(home: Path) -> None:
    """Make explicit, in the environment, what every step and MLflow must agree on.

    `home` holds the MLflow database and the store. Called once, before Hydra starts.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    _refuse_another_relative_database(uri)
    os.environ["PIPELINE_HOME"] = str(home)
    os.environ["TRACKING_STORE"] = str(store_directory())
    os.environ.setdefault("PIPELINE_LOG", str(home / "ml_pipeline.log"))
    if not uri:
        uri = databases.address_of(home / "mlflow.db")
    elif path := databases.path_of(uri):  # steps have another working directory
        uri = databases.address_of(path.absolute()) + uri[uri.find("?") :] * ("?" in uri)
    os.environ["MLFLOW_TRACKING_URI"] = uri
    # Of experiments that are made from now on; otherwise they lie under the current directory.
    os.environ.setdefault("_MLFLOW_SERVER_ARTIFACT_ROOT", databases.files_of(home))
    # The client's own copies of runs; otherwise they would lie in the steps' folders.
    os.environ.setdefault("WANDB_DIR", str(home))
    wandb_trial.put_aside()
    if found := [name for name in OF_ONE_RUN if os.environ.pop(name, None)]:
        print(
            f"{', '.join(found)}: not followed, because each step is a run of its own at W&B",
            flush=True,
        )
    # `mlflow.start_run()` takes MLFLOW_RUN_ID away; each job of a multirun needs it.
    if run_id := os.environ.pop("MLFLOW_RUN_ID", None):
        os.environ[ROOT_RUN] = run_id
    # Without cached bytecode each step compiles all that it imports; the environments are ours.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def is_own(uri: str) -> bool:
    """Say whether a step's `uri` starts where the user stands: `./my_step`, `../my_step`."""
    return uri.split("/")[0] in (".", "..")


def is_address(uri: str) -> bool:
    """Say whether a step's `uri` is an address that git, or MLflow, fetches a step from."""
    return ADDRESS.match(uri) is not None


def step_folder(uri: str) -> Path:
    """Return the folder that a step's `uri` names, where it is no git address.

    What is not the user's `own` starts in this project. `folder#sub` is a folder in it, as it is in
    a repository.
    """
    base = Path(os.environ.get("PIPELINE_HOME", ".")).absolute() if is_own(uri) else ROOT
    folder, _, inner = uri.partition("#")
    return Path(os.path.normpath(base / folder / inner))


def _refuse_another_relative_database(uri: str) -> None:
    """A relative path, read here, is not what `mlflow run <this folder>` read where it started."""
    path = databases.path_of(uri)
    if path is None or path.is_absolute() or path.exists():
        return
    if "MLFLOW_RUN_ID" in os.environ:
        raise UserError(
            f"MLFLOW_TRACKING_URI={uri} is relative, and {path} is not in {Path.cwd()}, where the "
            "project runs: give the whole path, for example "
            f"MLFLOW_TRACKING_URI=sqlite:///$PWD/{path}"
        )


def refuse_unwritable(home: Path) -> None:
    """Raise `UserError` where nothing can be written to `home`."""
    with safe_files.writing(home, HOME_WAY_OUT):
        home.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=home).close()
