"""The trials of a sweep on other machines, followed by the process that launched them.

An engine (ray_engine.py, submitit_engine.py) starts jobs, says which have ended and hands over what
they returned. A job whose machine was lost is started again, on another one.
"""

import contextlib
import os
import secrets
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf, flag_override

from pipeline.settings.overrides import of_job
from pipeline.sweeps import context
from pipeline.sweeps import trial as sweep_trial
from pipeline.sweeps.cluster.engine import Engine, Lost
from pipeline.sweeps.cluster.node import Job, Surroundings, code, kernel
from util_lib import safe_files
from util_lib.errors import UserError
from util_lib.tracking import choice
from util_lib.tracking.store.database import open_store

ATTEMPTS = 3  # a trial that takes its machine down with it must come to an end
ENGINES = ("ray", "submitit_local", "submitit_slurm")
VARIABLES = (
    context.VARIABLE,
    choice.VARIABLE,
    "TRACKING_STORE",
    "PIPELINE_HOME",
    "PIPELINE_LOG",
    "MLFLOW_TRACKING_URI",
    "WANDB_DIR",
    "WANDB_ENTITY",
    "WANDB_PROJECT",
    "WANDB_RUN_GROUP",
)

_engines: list[Engine] = []  # the one that runs this process's sweep


def threads(launcher: DictConfig) -> int | None:
    """Return how many cores a trial may use that `launcher` starts, None for other launchers."""
    if launcher.get("engine") == "ray":
        return max(1, int(launcher.ray.remote.get("num_cpus") or 1))
    if launcher.get("engine") in ENGINES:
        return launcher.cpus_per_task or 1
    return None


def jobs(
    config: DictConfig, loader: ConfigLoader, overrides: list[list[str]], first: int
) -> list[Job]:
    """Compose a job for each list of overrides; `first` is the number of the first one."""
    if context.current() is None:
        raise UserError(
            "a cluster runs the trials of a sweep, and these jobs are none (they do "
            "not train, or they go to several projects): use hydra/launcher=joblib, or basic"
        )
    made = []
    nothing = Surroundings(None, "", "", {})
    for number, words in enumerate(overrides, start=first):
        composed = loader.load_sweep_config(config, words)
        arguments = of_job(composed.hydra)
        dataset = composed.hydra.runtime.choices.get("dataset")
        with flag_override(composed, ["struct", "readonly"], [False, False]):
            del composed["hydra"]
        made.append(Job(number, arguments, composed, dataset, nothing))
    return made


@contextlib.contextmanager
def connected(config: DictConfig) -> Iterator[None]:
    """Have the engine of `hydra/launcher`, if it is one of ours, for the jobs of a sweep.

    Raises `UserError` where it cannot run trials, as far as is known before there are any.
    """
    engine = config.get("engine")
    if engine not in ENGINES:
        yield
        return
    settings: Any = OmegaConf.to_container(config, resolve=True)
    if engine == "ray":
        from pipeline.sweeps.cluster import ray_engine

        found: Engine = ray_engine.connect(settings["ray"])
    else:
        from pipeline.sweeps.cluster import submitit_engine

        found = submitit_engine.connect(engine.removeprefix("submitit_"), settings)
    _engines.append(found)
    try:
        yield
    finally:
        _engines.remove(found)
        found.close()


def launch(jobs: list[Job]) -> Sequence[JobReturn]:
    """Run `jobs` through the engine that is connected; return what each returned, in their order.

    Raises `UserError` where a machine cannot run trials: nothing of the sweep is done there.
    """
    found = _engines[-1]
    with _marked() as mark:
        surroundings = Surroundings(mark, kernel(), code(), _variables())
        if found.check(surroundings) and mark:
            open_store(make=True).share()
        values = _follow(found, [replace(job, surroundings=surroundings) for job in jobs])
    return [_returned(job, values[job.number]) for job in jobs]


def _returned(job: Job, value: Any) -> JobReturn:
    made = JobReturn(overrides=job.arguments, cfg=job.config, status=JobStatus.COMPLETED)
    made.return_value = value
    return made


@contextlib.contextmanager
def _marked() -> Iterator[str | None]:
    """Hold a file in the store locked, by which other machines know it; None on W&B."""
    if os.environ[choice.VARIABLE] != "local":
        yield None
        return
    path = open_store(make=True).files.tmp / f"cluster-{secrets.token_hex(8)}"
    lock = safe_files.hold(path)
    try:
        yield str(path)
    finally:
        path.unlink(missing_ok=True)
        safe_files.release(lock)


def _variables() -> dict[str, str]:
    """Return what a job needs of this process's environment; no secret is among it."""
    found = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    if os.environ[choice.VARIABLE] == "wandb":
        found |= choice.as_variables() | {"WANDB_BASE_URL": choice.base_url()}
        found.pop("WANDB_API_KEY", None)
    return found


def _follow(engine: Engine, jobs: list[Job]) -> dict[int, Any]:
    """Run all jobs, and again those whose machine was lost; return their values by number."""
    waiting = deque(jobs)
    running: dict[Any, Job] = {}
    values: dict[int, Any] = {}
    try:
        while waiting or running:
            room = len(waiting) if engine.at_once is None else engine.at_once - len(running)
            begun = [waiting.popleft() for _ in range(min(room, len(waiting)))]
            if begun:
                running |= dict(zip(engine.start(begun), begun, strict=True))
            for handle in engine.wait([*running]):
                job = running.pop(handle)
                try:
                    answer = engine.result(handle)
                    if answer.lost:
                        raise Lost(answer.lost)
                except Lost as lost:
                    again = _after_loss(job, str(lost), values)
                    waiting.extend([again] if again else [])
                    continue
                if answer.machine.refusal:
                    raise UserError(answer.machine.refusal)
                values[job.number] = answer.value
                for line in answer.said.splitlines():
                    print(f"{line} [{answer.machine.host}]", flush=True)
    finally:
        engine.stop([*running])
    return values


def _after_loss(job: Job, reason: str, values: dict[int, Any]) -> Job | None:
    """Return the job's next attempt; None, and its failure recorded, where there is none left."""
    trial = f"trial {job.number + 1}"
    if job.attempt + 1 < ATTEMPTS:
        print(f"{trial}: {reason}; it is started again", file=sys.stderr, flush=True)
        return replace(job, attempt=job.attempt + 1)
    why = f"{reason}, as in {ATTEMPTS - 1} attempts before"
    values[job.number] = sweep_trial.record_failure(job.config, job.arguments, job.number, why)
    return None
