"""A Bayesian search that can be killed at any moment and goes on where it was.

What was tried, and what came of it, is in `sweeps.db` beside the store, as an Optuna study called
`<project>/<sweep>`. A trial is written there, whole, before it runs, and its score after it ran;
one that has no score when the search begins again is run again under the same number with the
same parameters. Each choice is seeded by the search's seed and the trial's number, so a search
that was interrupted chooses what an uninterrupted one would have chosen.
"""

import contextlib
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from pipeline.settings import interpolations
from pipeline.sweeps import context, record
from pipeline.sweeps.record import is_maximised
from pipeline.sweeps.search import distributions
from pipeline.sweeps.search.distributions import SearchSpace
from util_lib import safe_files
from util_lib.errors import UserError
from util_lib.tracking import databases
from util_lib.tracking.store.places import store_directory

DATABASE = "sweeps.db"
FEWEST = 5  # trials, before any is given up
ASKED_AGAIN = 20  # times for parameters that were not tried before
BEGUN_AS = "begun_as"  # the user attribute of a study that holds them

Launch = Callable[..., Sequence[JobReturn]]


class SearchSettings(NamedTuple):
    """What a search is told; `judged_by` is what its scores depend on, besides the space."""

    project: str
    sweep: str
    objectives: tuple[str, ...]
    seed: int
    n_trials: int
    startup: int
    batch: int
    judged_by: dict[str, Any]
    prune: bool = False
    question: str | None = None


def settings(
    config: DictConfig,
    n_trials: int,
    startup: int | None = None,
    batch: int | None = None,
    seed: int | None = None,
    prune: bool = True,
) -> SearchSettings:
    """Read the settings from the composed configuration; raise `UserError` for impossible ones."""
    given = {"n_trials": n_trials, "startup": startup, "batch": batch}
    for name, value in given.items():
        missing = value is None and name != "n_trials"
        if not missing and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise UserError(f"hydra.sweeper.{name} must be a whole number above 0, found {value!r}")
    if seed is not None and (not isinstance(seed, int) or not 0 <= seed < 2**32):
        raise UserError(f"hydra.sweeper.seed must be a whole number from 0 to 2^32 - 1: {seed!r}")
    under_way = context.current()
    if under_way is None:
        raise UserError(
            "hydra/sweeper=optuna compares trials of the step sweep.step: name it in "
            "main.execute_steps, and search no key that sends jobs to other projects or steps"
        )
    plain: Any = OmegaConf.to_container(config, resolve=False)
    section = interpolations.keys(plain["steps"][config.sweep.step])["model_config"]
    return SearchSettings(
        config.main.project_name,
        under_way.name,
        tuple(under_way.objectives),
        config.main.random_seed if seed is None else seed,
        n_trials,
        startup or min(10, max(3, n_trials // 4)),
        batch or _jobs(config),
        {
            "data": plain["data"],
            section: plain[section],
            "main.random_seed": config.main.random_seed,
            "sweep.cv": config.sweep.cv,
            "sweep.metric": under_way.objectives,
            **under_way.stands_on,
        },
        prune and len(under_way.objectives) == 1 and under_way.objectives[0].startswith("cv_"),
        under_way.question,
    )


def _jobs(config: DictConfig) -> int:
    """Return how many trials the launcher runs at a time; 1 where it does not say."""
    jobs = OmegaConf.select(config, "hydra.launcher.n_jobs")
    if not isinstance(jobs, int) or jobs == 0:
        return 1
    return jobs if jobs > 0 else max(1, len(os.sched_getaffinity(0)) + 1 + jobs)


def search(
    settings: SearchSettings, space: SearchSpace, launch: Launch
) -> list[Sequence[JobReturn]]:
    """Run the trials that the search still lacks; return what the launcher returned, by batch.

    `launch` is the launcher's: the overrides of some jobs, and the number of the first. A job
    returns its objectives' values, NaN where it failed, None where it was given up. A failed trial
    is recorded as failed, and the others go on; the next time its parameters are tried again. What
    a job raised is raised.
    """
    with _quiet(), _alone(settings) as database:
        study = _open(settings, space, database)
        returned: list[Sequence[JobReturn]] = []
        begun = study.get_trials(deepcopy=False)
        left = settings.n_trials - sum(trial.state != TrialState.FAIL for trial in begun)
        waiting = [trial for trial in begun if trial.state == TrialState.RUNNING]
        again = _failed(begun)
        while waiting or left > 0:
            # A batch that was broken off is filled up: its choices knew of no score of it.
            while left > 0 and (not waiting or _next(study) % settings.batch):
                left -= 1
                params = again.pop(0) if again else _choose(study, space, settings)
                if params is None:
                    print("every point of the space was tried", flush=True)
                    left = 0
                else:
                    waiting.append(_begin(study, space, params))
            if not waiting:
                break
            jobs = [distributions.as_overrides(space, trial.params) for trial in waiting]
            if settings.prune:
                limits = _limits(study, space, settings, waiting[0].number)
                jobs = [[*job, f"sweep.give_up={limits}"] for job in jobs]
            done = launch(jobs, initial_job_idx=waiting[0].number)
            for trial, job in zip(waiting, done, strict=True):
                _tell(study, trial, job)
            returned.append(done)
            waiting = []
        return returned


def _failed(trials: list[FrozenTrial]) -> list[dict[str, Any]]:
    """Return the parameters that only failed, each once."""
    others = [trial.params for trial in trials if trial.state != TrialState.FAIL]
    failed: list[dict[str, Any]] = []
    for trial in trials:
        if trial.state == TrialState.FAIL and trial.params not in [*others, *failed]:
            failed.append(trial.params)
    return failed


def _next(study: optuna.Study) -> int:
    return len(study.get_trials(deepcopy=False))


def _choose(
    study: optuna.Study, space: SearchSpace, settings: SearchSettings
) -> dict[str, Any] | None:
    """Choose the next trial's parameters, none that were tried; None where there are no others."""
    known = study.get_trials(deepcopy=False)
    tried = [trial.params for trial in known]
    random = np.random.default_rng([settings.seed, len(known)])
    sampler = optuna.samplers.TPESampler(
        n_startup_trials=settings.startup, seed=int(random.integers(2**32))
    )
    memory = optuna.create_study(sampler=sampler, directions=study.directions)
    memory.add_trials(known)
    asked = (memory.ask(space.searched).params for _ in range(ASKED_AGAIN))
    chosen = next((params for params in asked if params not in tried), None)
    if chosen is not None:
        return chosen
    # nearly all of a small space was tried
    others = [params for params in distributions.points(space) if params not in tried]
    return others[random.integers(len(others))] if others else None


def _begin(study: optuna.Study, space: SearchSpace, params: dict[str, Any]) -> FrozenTrial:
    """Write a trial down, in one transaction, and return it."""
    number = _next(study)
    trial = optuna.trial.create_trial(
        state=TrialState.RUNNING, params=params, distributions=space.searched
    )
    study.add_trial(trial)
    return study.get_trials(deepcopy=False)[number]


def _limits(
    study: optuna.Study, space: SearchSpace, settings: SearchSettings, number: int
) -> list[float]:
    """Return what the trial `number` must have reached after 1, 2, ... folds.

    Only trials of earlier batches count, so that a search that goes on decides as it would have.
    """
    first = number - number % settings.batch
    earlier = {
        frozenset(distributions.searched_overrides(space, trial.params))
        for trial in study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        if trial.number < first
    }
    recorded = record.trials(settings.project, settings.sweep, settings.question)
    return medians(
        [
            trial.summary["cv_scores"]
            for trial in recorded
            if frozenset(trial.sweep["arguments"]) in earlier and "cv_scores" in trial.summary
        ]
    )


def medians(scores: list[list[float]]) -> list[float]:
    """Return the median over the trials of their mean after 1, 2, ... folds, without the last one.

    `scores` are the folds' scores of each trial; of fewer than `FEWEST` trials nothing follows. The
    rule is the median stopping rule of Golovin et al. 2017 (Google Vizier), section 3.2.1.
    """
    if len(scores) < FEWEST:
        return []
    means = np.cumsum(scores, axis=1) / np.arange(1, len(scores[0]) + 1)
    return [float(each) for each in np.median(means, axis=0)[:-1]]


def _tell(study: optuna.Study, trial: FrozenTrial, job: JobReturn) -> None:
    """Write down what a trial reached, or that it failed; raise what its job raised."""
    if job.status != JobStatus.COMPLETED:
        study.tell(trial.number, state=TrialState.FAIL)
        _ = job.return_value
    value = job.return_value
    if value is None:
        study.tell(trial.number, state=TrialState.PRUNED)
        return
    values = [float(each) for each in (value if isinstance(value, tuple | list) else [value])]
    if any(map(math.isnan, values)):
        study.tell(trial.number, state=TrialState.FAIL)
    else:
        study.tell(trial.number, values=values)


@contextlib.contextmanager
def _alone(settings: SearchSettings) -> Any:
    """Give the path of the database; raise `UserError` while the same search runs elsewhere."""
    path = store_directory().parent / DATABASE
    # not the lock of the sweep, which the process that launched it holds already
    with safe_files.writing(path), context.alone(settings.project, settings.sweep, "search"):
        yield path


def _open(settings: SearchSettings, space: SearchSpace, path: Path) -> optuna.Study:
    """Return the study, made if it is not there; raise `UserError` if it was begun as another."""
    try:
        safe_files.make_database(
            path, lambda draft: RDBStorage(databases.address_of(draft)).engine.dispose()
        )
        study = optuna.create_study(
            study_name=f"{settings.project}/{settings.sweep}",
            storage=databases.address_of(path),
            directions=["maximize" if is_maximised(o) else "minimize" for o in settings.objectives],
            load_if_exists=True,
        )
    except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:
        # RuntimeError: it was made by a newer Optuna
        raise UserError(
            f"{path} cannot be used: {' '.join(str(error.__cause__ or error).split())}; free space "
            "there, or put it aside if it was made by something else"
        ) from error
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


def _begun_as(settings: SearchSettings, space: SearchSpace) -> dict[str, str]:
    """Return, as texts by key, what must be the same when the search goes on."""
    flat: dict[str, str] = {}

    def visit(key: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for name, each in value.items():
                visit(f"{key}.{name}", each)
        else:
            flat[key] = record.as_text(value)

    for key, value in settings.judged_by.items():
        visit(key, value)
    for override in space.fixed:
        key, _, value = override.partition("=")
        if not key.startswith(("hydra", "main.", "sweep.")):
            flat[key] = value
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
