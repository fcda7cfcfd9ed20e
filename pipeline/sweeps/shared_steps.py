"""The steps of a sweep that are not trials: those before them, those after them for the winner."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from pipeline.caching import versions
from pipeline.environments import making
from pipeline.planning.step import Outcome, Step
from pipeline.running import pipeline_run
from pipeline.running.gates import ask_gates
from pipeline.running.mlflow_session import Under
from pipeline.running.scheduler import walk
from pipeline.running.screen import Screen
from pipeline.settings.schema import Settings
from pipeline.settings.surroundings import step_folder
from pipeline.sweeps import context
from pipeline.sweeps.context import Sweep
from pipeline.sweeps.space import chain
from util_lib import safe_files
from util_lib.tracking import choice
from util_lib.tracking.store.places import store_directory

LOCK = "sweep.lock"


def run_steps(
    found: Settings, steps: list[Step], screen: Screen, made: dict[str, str] | None = None
) -> list[Outcome]:
    """Run or reuse `steps` under the sweep's run in MLflow; `made` is what came before them."""
    outcomes = [Outcome(step.name) for step in steps]
    sweep = context.current()
    under = Under(sweep.mlflow_run, sweep.manager) if sweep else None
    with ExitStack() as stack:
        versions_ = stack.enter_context(versions.opened(choice.choose().backend, make=True))
        for line in ask_gates(found, steps, versions_):
            screen.say(line)
        execute = pipeline_run.executor(found, steps, outcomes, screen, None, stack, under)
        walk(found, steps, outcomes, versions_, screen.say, execute, made)
    return outcomes


def run_chain(sweep: Sweep, before: list[Step], found: Settings, screen: Screen) -> None:
    """Run the steps before training, and note in `sweep` what they made."""
    outcomes = run_steps(found, before, screen)
    for digest, outcome in zip(chain(before), outcomes, strict=True):
        sweep.made[digest] = outcome.artifacts


def run_missing(sweep: Sweep, before: list[Step], found: Settings) -> None:
    """Run, in a job, steps that depend on a value which nobody knew when the sweep began.

    One job at a time: the next one finds what this one made in the record of finished steps.
    """
    with safe_files.locked(store_directory() / LOCK):
        run_chain(sweep, before, found, Screen())
    sweep.publish()


def interpreter(sweep: Sweep, say: Callable[[str], None] = print) -> str:
    """Return the interpreter of the trials' step's environment, which is made if need be."""
    if sweep.manager == "local":
        return sys.executable
    making.use_own_tools()
    needed = making.needed(sweep.manager, [step_folder(sweep.uri)])
    making.prepare(needed, say)
    path = needed[0].path or making.conda_paths()[needed[0].name]
    return str(Path(path, "bin", "python"))
