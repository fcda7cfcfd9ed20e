"""One trial on another machine: what it is handed, and whether it can be run there.

`run` is called there by the engine (Ray, submitit). All that it needs is in the `Job`, which is
pickled: the launching process's memory and environment are somewhere else.
"""

import contextlib
import functools
import io
import os
import platform
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from pipeline.caching import fingerprint
from pipeline.settings import resolvers
from pipeline.sweeps import context, trial, warm_worker
from util_lib import safe_files
from util_lib.project import ROOT
from util_lib.tracking import choice

DATABASE = "tracking.db"
WAL = 2  # what byte 18 of a SQLite database says of one with a write-ahead log
SHARED = (
    "put it on a disk that all machines share (TRACKING_STORE=/shared/folder), or keep runs and "
    "artifacts on W&B (main.tracking=wandb)"
)


@dataclass(frozen=True)
class Surroundings:
    """What the launching process has, and a trial's machine must have too.

    `mark` is a file in the store that the launching process holds locked, None where runs are kept
    on W&B; `kernel` tells running systems apart; `code` is a digest.
    """

    mark: str | None
    kernel: str
    code: str
    variables: dict[str, str]


@dataclass(frozen=True)
class Job:
    """One trial, whole: `number` is Hydra's, from 0; `attempt` counts from 0."""

    number: int
    arguments: list[str]
    config: DictConfig
    dataset: str | None
    surroundings: Surroundings
    attempt: int = 0


@dataclass(frozen=True)
class Machine:
    """What a machine says of itself; `refusal` is why no trial can run there, None if it can."""

    host: str
    kernel: str
    refusal: str | None


@dataclass(frozen=True)
class Answer:
    """What became of a job: its objective, what it printed, and where it ran.

    `lost` is how the process that ran it ended, None where that answered.
    """

    machine: Machine
    value: Any
    said: str
    lost: str | None = None


def kernel() -> str:
    """Return what tells this running system from all others."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


@functools.cache
def code() -> str:
    """Return a digest of the code that a trial runs."""
    sweep = context.current()
    rooms = ("pipeline", "util_lib", *([sweep.uri] if sweep else []))
    return fingerprint.digest(fingerprint.code_files(*rooms))


def look(surroundings: Surroundings, host: str = "") -> Machine:
    """Take over the launching process's settings, and see whether trials can run here.

    `host` is what to call this machine, its own name by default.
    """
    host = host or platform.node()
    os.environ.update(surroundings.variables)
    home = Path(surroundings.variables["PIPELINE_HOME"])
    if not home.is_dir():  # nobody reads here what the client of W&B and the log leave
        home = Path(tempfile.gettempdir(), f"pipeline-{os.getuid()}")
        home.mkdir(exist_ok=True)
        os.environ |= {"PIPELINE_HOME": str(home), "WANDB_DIR": str(home)}
        os.environ["PIPELINE_LOG"] = str(home / "ml_pipeline.log")
    return Machine(host, kernel(), _refusal(surroundings, host))


def _refusal(surroundings: Surroundings, host: str) -> str | None:
    if code() != surroundings.code:
        return (
            f"the code on {host} ({ROOT}) is not the code that started the sweep: bring both to "
            "the same commit, or let Ray send it (hydra.launcher.ray.init.runtime_env.working_dir)"
        )
    if surroundings.mark is None:
        if choice.has_credentials():
            return None
        return (
            f"runs go to W&B at {choice.base_url()}, and {host} has no credentials for it: run "
            "`wandb login` there, or start the cluster's processes with WANDB_API_KEY set"
        )
    mark = Path(surroundings.mark)
    store = Path(surroundings.variables["TRACKING_STORE"])
    if not mark.is_file():
        return f"{host} does not see the store {store} of the launching machine: {SHARED}"
    if not safe_files.is_held(mark):
        return (
            f"{host} sees a store at {store}, but not the locks of the launching machine, so it is "
            f"a copy or its file system does not pass locks on: {SHARED}"
        )
    return None


def refusal_of_journal(surroundings: Surroundings, machine: Machine) -> str | None:
    """Say why the store cannot be used by two machines: a write-ahead log is for one."""
    if surroundings.mark is None or machine.kernel == surroundings.kernel:
        return None
    store = Path(surroundings.variables["TRACKING_STORE"])
    if not has_wal(store / DATABASE):
        return None
    return (
        f"{store} has a write-ahead log, which works on one machine only, and {machine.host} is "
        "another one: start the sweep again when no other pipeline uses the store"
    )


def has_wal(database: Path) -> bool:
    """Say whether a SQLite database has a write-ahead log; it is not opened for that."""
    with database.open("rb") as file:
        return file.read(20)[18] == WAL


def run(job: Job, host: str = "") -> Answer:
    """Run a trial here; `value` is NaN where it failed, which is recorded.

    The machine's `refusal` says why it was not even tried.
    """
    machine = look(job.surroundings, host)
    if not machine.refusal:
        machine = replace(machine, refusal=refusal_of_journal(job.surroundings, machine))
    if machine.refusal:
        return Answer(machine, None, "")
    resolvers.register_resolvers()
    if job.attempt:
        warm_worker.end()  # it knows the record as it was before the first attempt
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            value = trial.run(job.config, job.dataset, job.arguments, job.number, repeats=True)
    except trial.Died as died:
        return Answer(machine, None, "", str(died))
    return Answer(machine, value, said.getvalue())
