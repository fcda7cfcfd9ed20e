"""A multirun of the training step: its trials, one after the other or many at once, and the end.

main.py's process makes environments, database and the data that all trials share, launches the jobs
through Hydra (trial.py), then logs the winner (winner.py). docs/sweeps.md says what a user
sees of it.
"""

import logging
import os
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, read_write

from pipeline.caching import fingerprint
from pipeline.planning.step import Step
from pipeline.running import mlflow_session, pipeline_run
from pipeline.running.failures import StepFailed
from pipeline.running.screen import Screen
from pipeline.settings.redacted import remember_addresses
from pipeline.settings.schema import Settings
from pipeline.sweeps import context, question, record, shared_steps, space, warm_worker, winner
from pipeline.sweeps.cluster import launcher as cluster
from pipeline.sweeps.context import Sweep
from pipeline.sweeps.space import Composer, Space
from util_lib import tracking
from util_lib.errors import UserError

JOBLIB = "JoblibLauncher"
HYDRA_LOGGERS = (
    "hydra._internal.core_plugins.basic_launcher",
    "hydra_plugins.hydra_joblib_launcher._core",
)


def run(config: DictConfig, loader: ConfigLoader, launch: Callable[[], Any]) -> Any:
    """Run a multirun; `launch` has Hydra run its jobs.

    Jobs that cannot be compared, because they do not train or because they go to several projects,
    are pipeline runs of their own.
    """
    with tracking.whole_step():  # the trials are read from where they are recorded
        return _run(config, loader, launch)


def _run(config: DictConfig, loader: ConfigLoader, launch: Callable[[], Any]) -> Any:
    swept = space.space(config, loader)
    compose = Composer(config, loader, swept)
    base = compose()
    remember_addresses(base)
    if not swept.values or not space.is_of_trials(swept, base, compose):
        return launch()
    for logger in HYDRA_LOGGERS:  # they list the jobs, which say more themselves
        logging.getLogger(logger).setLevel(logging.WARNING)
    with read_write(config):  # trials are recorded; a folder of files each costs more than it says
        config.hydra.overrides.hydra.insert(0, "hydra.output_subdir=null")
    name = base.sweep.name or f"sweep-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    data = base.data
    objectives = record.objectives(base.sweep.metric, data.task, base.sweep.cv, data.val_size)
    found = Sweep(
        name,
        [key.lstrip("+~") for key in swept.values],
        objectives,
        python="",
        manager="",
        pid=os.getpid(),
        host=platform.node(),
        n_jobs=swept.n_jobs(),
        threads=_threads(config),
    )
    ending = winner.Ending(found, base, compose)
    if _is_joblib(config):
        _start_tracker()
    lock = context.alone(base.main.project_name, name)
    with pipeline_run.shown(base.main, ending.show) as screen, lock:
        _say_what(found, screen)
        with (
            cluster.connected(config.hydra.launcher),
            mlflow_session.sweep_run(base, name, screen) as opened,
        ):
            found.manager = opened.manager
            found.mlflow_run = opened.run_id
            found.uri = space.trial_step(base).uri
            found.python = shared_steps.interpreter(found, screen.now)
            found.publish()
            try:
                _prepare(found, swept, base, compose, screen)
                found.publish()
                returned = launch()
                ending.finish(screen)
            finally:
                _end_jobs()
                ending.publish(opened.client)
                context.forget()
    ending.refuse_failures()
    return returned


def _say_what(found: Sweep, screen: Screen) -> None:
    count = f"{found.n_jobs} trials" if found.n_jobs else "trials"
    names = record.short_names(found.keys)
    screen.say(
        f"sweep {found.name}: {count} over {', '.join(names.values())}; the best has the "
        f"{_extreme(found)} {found.objectives[0]}; "
        f"sweep.name={found.name} again runs what is missing"
    )


def _extreme(found: Sweep) -> str:
    return "highest" if record.is_maximised(found.objectives[0]) else "lowest"


def _threads(config: DictConfig) -> int:
    """Return how many cores a trial may use: all that the trials beside it leave."""
    cores = os.cpu_count() or 1
    launcher = config.hydra.launcher
    if given := cluster.threads(launcher):
        return given
    if not _is_joblib(config):
        return cores
    at_once = launcher.n_jobs if launcher.n_jobs > 0 else cores
    return max(1, cores // at_once)


def _is_joblib(config: DictConfig) -> bool:
    return config.hydra.launcher.get("_target_", "").endswith(JOBLIB)


def _start_tracker() -> None:
    """Start the process by which joblib's pool cleans up, which lives as long as this one.

    Started later it would hold the screen's pipes open.
    """
    from joblib.externals.loky.backend.resource_tracker import ensure_running

    ensure_running()


def _prepare(found: Sweep, swept: Space, base: Settings, compose: Composer, screen: Screen) -> None:
    """Run what trials share before the first one: every step before training, once per value."""
    before = space.before_training(base)
    early = space.early_keys(swept, base, compose) if before else []
    if swept.is_grid:
        for arguments in space.combinations(swept, early):
            _run_before(found, arguments, compose, screen)
    first = space.first_early(swept, early, base, compose)
    if before[:first] and not swept.is_grid:
        shared_steps.run_chain(found, before[:first], base, screen)
    project = base.main.project_name
    training = space.trial_step(base)
    outputs = {name for step in before for name in step.outputs}
    for reference in training.inputs:
        if reference.removesuffix(":latest") not in outputs:
            artifact = tracking.Api().artifact(f"{project}/{reference}")
            found.pinned[reference.removesuffix(":latest")] = artifact.source_name
    made = [name for digest in space.chain(before)[:first] for name in found.made.get(digest, [])]
    versions = found.pinned | {name.partition(":")[0]: name for name in made}
    parts = question.parts(found.keys, base, [*before[first:], training], versions)
    found.question, found.stands_on = fingerprint.digest(parts), question.of_no_setting(parts)
    if swept.is_grid:
        _number(found, swept, record.trials(project, found.name))


def _run_before(found: Sweep, arguments: list[str], compose: Composer, screen: Screen) -> None:
    """Run the steps before training for one combination of values that they depend on.

    Where there are several, one that fails fails its own trials only.
    """
    try:
        settings = compose(*arguments)
    except UserError:  # its trials say so
        return
    before: list[Step] = space.before_training(settings)
    if not before:
        return
    try:
        shared_steps.run_chain(found, before, settings, screen)
    except StepFailed as error:
        if not arguments:
            raise
        found.failed[space.chain(before)[-1]] = str(error)


def _number(found: Sweep, swept: Space, recorded: list[record.Trial]) -> None:
    """See that no trial gets the number of another one: a grid may have grown since."""
    known = {trial.number: (trial.question, trial.overrides) for trial in recorded}
    jobs = space.combinations(swept, [*swept.values])
    for number, arguments in enumerate(jobs, start=1):
        trial = found.question, {space.key_of(a): space.value_of(a) for a in arguments}
        if known.get(number, trial) != trial:
            found.first = max(known)
            return


def _end_jobs() -> None:
    """End the processes that ran the jobs: they hold their output, which is ours, open."""
    warm_worker.end()
    reusable = sys.modules.get("joblib.externals.loky.reusable_executor")
    if reusable and (executor := reusable._executor):
        executor.shutdown(wait=True, kill_workers=True)
