"""A checkout's main.py, run so that all that comes of it stays in a folder of its own."""

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Literal, NamedTuple

from pipeline.receipts import reading
from pipeline.receipts.reading import Receipt
from pipeline.running.stopping import Stopped, end_children
from pipeline.settings.surroundings import SCRATCH
from util_lib.tracking import databases
from util_lib.tracking.store.database import Store

# What leads runs elsewhere, or makes steps take other data, is not for a run in a folder of its
# own; where environments lie and how conda is found is.
OTHERS = ("WANDB_", "TRACKING_", "PIPELINE_", "MLFLOW_")
KEPT = ("MLFLOW_ENV_ROOT", "MLFLOW_CONDA_HOME", "MLFLOW_CONDA_CREATE_ENV_CMD", "PIPELINE_TEST_DATA")


class Ended(NamedTuple):
    """How a program ended: its exit code, what its last line, CPU seconds of all its processes."""

    code: int
    last_words: str
    cpu: float


def run(project: Path, home: Path, words: list[str], store: Store) -> tuple[Ended, Receipt | None]:
    """Run `project`'s main.py with `words` in `home`, whose store is `store`.

    The receipt is None where the run ended before it had one.
    """
    before = {run.id for run in store.runs(job_type="pipeline")}
    ended = call([sys.executable, str(project / "main.py"), *words], home, surroundings(home))
    for made in store.runs(job_type="pipeline"):
        if made.id not in before:
            return ended, reading.find_in(store, made.logged_artifacts()[-1])
    return ended, None


def call(
    command: list[str],
    folder: Path,
    environment: dict[str, str],
    says_on: Literal["stdout", "stderr"] = "stderr",
) -> Ended:
    """Run a command, and pass on what it says while it runs; its last words are of one stream."""
    before = _cpu_of_children()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        text=True,
        errors="replace",
        stdout=subprocess.PIPE if says_on == "stdout" else None,
        stderr=subprocess.PIPE if says_on == "stderr" else None,
    )
    last = ""
    try:
        for line in getattr(process, says_on):
            print(line, end="", file=getattr(sys, says_on), flush=True)
            last = line.strip() or last
        code = process.wait()
    except Stopped:
        end_children()  # before the folder goes in which they work
        raise
    return Ended(code, last, _cpu_of_children() - before)


def surroundings(home: Path) -> dict[str, str]:
    """Return the environment of a run that keeps everything in `home`."""
    return without_others() | {
        "TRACKING_STORE": str(home / "tracking_store"),
        "MLFLOW_TRACKING_URI": databases.address_of(home / "mlflow.db"),
        "PIPELINE_LOG": str(home / "ml_pipeline.log"),
        SCRATCH: "true",
    }


def without_others() -> dict[str, str]:
    """Return this environment without what leads runs to a place."""
    return {k: v for k, v in os.environ.items() if k in KEPT or not k.startswith(OTHERS)}


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
