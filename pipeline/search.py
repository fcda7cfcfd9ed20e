"""A Bayesian search that can be killed at any moment and goes on where it was.

What was tried, and what came of it, is in `sweeps.db` beside the store, as an Optuna study called
`<project>/<sweep>`. A trial is written there, whole, before it runs, and its score after it ran;
one that has no score when the search begins again is run again under the same number with the
same parameters. Each choice is seeded by the search's seed and the trial's number, so a search
that was interrupted chooses what an uninterrupted one would have chosen.
"""

import contextlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from filelock import FileLock, Timeout
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from pipeline import search_space
from pipeline.leaderboard_trials import is_minimised
from pipeline.search_space import Space
from util_lib.errors import UserError
from util_lib.tracking import files
from util_lib.tracking.store import store_directory

logger = logging.getLogger("sweep")

DATABASE = "sweeps.db"
# What a trial's score depends on, besides the space: another value is another search.
JUDGED_BY = ("data", "random_forest_pipeline", "main.random_seed", "sweep.metric", "sweep.cv")
BEGUN_AS = "begun_as"  # the user attribute of a study that holds them

Launch = Callable[..., Sequence[JobReturn]]


class Settings(NamedTuple):
    """What a search is told; `judged_by` is what its scores depend on."""

    project: str
    sweep: str
    objectives: tuple[str, ...]
    seed: int
    n_trials: int
    startup: int
    batch: int
    judged_by: dict[str, Any]


def settings(config: DictConfig, n_trials: int, startup: int | None, batch: int | None) -> Settings:
    """Read the settings from the composed configuration; raise `UserError` for impossible ones."""
    given = {"n_trials": n_trials, "startup": startup, "batch": batch}
    for name, value in given.items():
        missing = value is None and name != "n_trials"
        if not missing and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise UserError(f"hydra.sweeper.{name} must be a whole number above 0, found {value!r}")
    metric = OmegaConf.select(config, "sweep.metric")
    objectives = (metric,) if isinstance(metric, str) else tuple(metric)
    known = {key: OmegaConf.select(config, key) for key in JUDGED_BY}
    return Settings(
        config.main.project_name,
        config.sweep.name,
        objectives,
        config.main.random_seed,
        n_trials,
        startup or min(10, max(3, n_trials // 4)),
        batch or _jobs(config),
        {
            key: OmegaConf.to_container(value, resolve=True)
            if OmegaConf.is_config(value)
            else value
            for key, value in known.items()
        },
    )


def _jobs(config: DictConfig) -> int:
    """Return how many trials the launcher runs at a time; 1 where it does not say."""
    jobs = OmegaConf.select(config, "hydra.launcher.n_jobs")
    if not isinstance(jobs, int) or jobs == 0:
        return 1
    return jobs if jobs > 0 else max(1, len(os.sched_getaffinity(0)) + 1 + jobs)


def search(settings: Settings, space: Space, launch: Launch) -> list[Sequence[JobReturn]]:
    """Run the trials that the search still lacks; return what the launcher returned, by batch.

    `launch` is the launcher's: the overrides of some jobs, and the number of the first. A job
    returns its objectives' values, or None if it was pruned. A trial whose job fails is recorded
    as failed, and the others go on; the first failure is raised at the end.
    """
    with _quiet(), _alone(settings) as database:
        study = _open(settings, space, database)
        returned: list[Sequence[JobReturn]] = []
        failed: list[JobReturn] = []
        begun = study.get_trials(deepcopy=False)
        left = settings.n_trials - sum(trial.state != TrialState.FAIL for trial in begun)
        waiting = [trial for trial in begun if trial.state == TrialState.RUNNING]
        while waiting or left > 0:
            # A batch that was broken off is filled up: its choices knew of no score of it.
            while left > 0 and (not waiting or _next(study) % settings.batch):
                waiting.append(_ask(study, space, settings))
                left -= 1
            jobs = [search_space.as_overrides(space, trial.params) for trial in waiting]
            done = launch(jobs, initial_job_idx=waiting[0].number)
            for trial, job in zip(waiting, done, strict=True):
                if not _tell(study, trial, job, settings):
                    failed.append(job)
            returned.append(done)
            waiting = []
        for job in failed:
            _ = job.return_value  # raises what the job raised
        return returned


def _next(study: optuna.Study) -> int:
    return len(study.get_trials(deepcopy=False))


def _ask(study: optuna.Study, space: Space, settings: Settings) -> FrozenTrial:
    """Choose a trial's parameters and write it down, in one transaction."""
    number = _next(study)
    seed = int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(n_startup_trials=settings.startup, seed=seed)
    memory = optuna.create_study(sampler=sampler, directions=study.directions)
    memory.add_trials(study.get_trials(deepcopy=False))
    chosen = memory.ask(space.searched).params
    study.add_trial(
        optuna.trial.create_trial(
            state=TrialState.RUNNING, params=chosen, distributions=space.searched
        )
    )
    return study.get_trials(deepcopy=False)[number]


def _tell(study: optuna.Study, trial: FrozenTrial, job: JobReturn, settings: Settings) -> bool:
    """Write a trial's score down; return False where its job failed."""
    if job.status != JobStatus.COMPLETED:
        study.tell(trial.number, state=TrialState.FAIL)
        return False
    if job.return_value is None:
        study.tell(trial.number, state=TrialState.PRUNED)
        return True
    value = job.return_value
    values = [*value] if isinstance(value, tuple | list) else [value]
    study.tell(trial.number, values=[float(each) for each in values])
    return True


@contextlib.contextmanager
def _alone(settings: Settings) -> Any:
    """Give the path of the database; raise `UserError` while the same search runs elsewhere."""
    path = store_directory().parent / DATABASE
    name = f"{DATABASE}.{settings.project}.{settings.sweep}.lock".replace("/", "_")
    with files.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(name))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"the sweep {settings.sweep!r} is running in another process: wait for its end, or "
                "give this one another sweep.name"
            ) from None
        try:
            yield path
        finally:
            lock.release()


def _open(settings: Settings, space: Space, path: Path) -> optuna.Study:
    """Return the study, made if it is not there; raise `UserError` if it was begun as another."""
    files.make_database(path, lambda draft: RDBStorage(f"sqlite:///{draft}").engine.dispose())
    study = optuna.create_study(
        study_name=f"{settings.project}/{settings.sweep}",
        storage=f"sqlite:///{path}",
        directions=["minimize" if is_minimised(o) else "maximize" for o in settings.objectives],
        load_if_exists=True,
    )
    now = _begun_as(settings, space)
    before = study.user_attrs.get(BEGUN_AS)
    if before is None:
        study.set_user_attr(BEGUN_AS, now)
    elif before != now:
        key = next(key for key in sorted({*before, *now}) if before.get(key) != now.get(key))
        raise UserError(
            f"the sweep {settings.sweep!r} was begun with another {key}: "
            f"{_short(before.get(key))}, now {_short(now.get(key))}; its scores would not compare: "
            "give it as it was, or another sweep.name"
        )
    return study


def _begun_as(settings: Settings, space: Space) -> dict[str, str]:
    """Return, as texts by key, what must be the same when the search goes on."""
    flat: dict[str, str] = {}

    def visit(key: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for name, each in value.items():
                visit(f"{key}.{name}", each)
        else:
            flat[key] = json.dumps(value, sort_keys=True, default=str)

    for key, value in settings.judged_by.items():
        visit(key, value)
    for key, distribution in space.searched.items():
        flat[key] = str(distribution)
    return flat


def _short(text: str | None) -> str:
    return "nothing" if text is None else text if len(text) <= 80 else f"{text[:79]}…"


@contextlib.contextmanager
def _quiet() -> Any:
    """Keep Optuna from logging each trial: the sweep has its own lines."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
