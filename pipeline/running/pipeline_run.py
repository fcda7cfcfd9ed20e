"""One pipeline run: each step is reused or run, then what came of it is shown."""

import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from pipeline.caching import versions
from pipeline.caching.versions import Versions
from pipeline.planning.mlproject import refuse_misfit
from pipeline.planning.step import Outcome, Step
from pipeline.receipts import code_state, writing
from pipeline.running import failures, mlflow_session, parent_run, preview, step_process
from pipeline.running.failures import StepFailed
from pipeline.running.gates import ask_gates, ask_makers
from pipeline.running.mlflow_session import Session, Under
from pipeline.running.scheduler import Execute, Work, position, walk
from pipeline.running.screen import Screen
from pipeline.running.stopping import Stopped, stoppable
from pipeline.settings import redacted, wandb_trial
from pipeline.settings.schema import Main, Settings
from pipeline.settings.surroundings import SCRATCH, is_address, step_folder
from util_lib import safe_files
from util_lib.errors import UserError
from util_lib.project import ROOT
from util_lib.tracking import choice
from util_lib.tracking.names import parse_reference


def run_pipeline(settings: Settings, steps: list[Step], job: int | None = None) -> list[Outcome]:
    """Run or reuse `steps` and print what came of them.

    `job` is the number of a multirun's job, None for a single run. Raises `UserError` for the
    first step that fails and `Stopped` when told to stop; the outcome table is printed first.
    """
    backend = choice.choose(settings.main.tracking).backend
    wandb_trial.refuse_unfit(settings, [step.name for step in steps], backend)
    _refuse_missing_folders(steps)
    outcomes = [Outcome(step.name) for step in steps]
    with shown(settings.main, lambda s: s.table(outcomes)) as screen, ExitStack() as stack:
        with versions.opened(os.environ[choice.VARIABLE]) as found:
            _refuse_missing_inputs(settings, steps, found)
        found = stack.enter_context(versions.opened(os.environ[choice.VARIABLE], make=True))
        for line in (*ask_gates(settings, steps, found), *ask_makers(settings, steps, found)):
            screen.say(line)
            screen.closing.append(line)
        execute = executor(settings, steps, outcomes, screen, job, stack)
        with _receipt_kept(settings, steps, outcomes, found, screen):
            walk(settings, steps, outcomes, found, screen.say, execute)
        if all(outcome.outcome == "cached" for outcome in outcomes):
            mlflow_session.clean_up()
            what = parent_run.what_runs(settings.main, redacted.shown_config(settings), steps)
            parent_run.conclude_cached(settings.main, what, outcomes)
    return outcomes


def run_alone(main: Main, step: Step) -> Outcome:
    """Run one step that is no part of the pipeline, as `run_pipeline` runs its steps."""
    outcome = Outcome(step.name)
    config = {
        "main": main.model_dump(),
        step.name: redacted.shown_parameters(step.parameters, step.address),
    }
    with (
        shown(main, lambda s: s.table([outcome])) as screen,
        mlflow_session.opened(main, config, [step], screen) as opened,
    ):
        work = _begin(opened, step, outcome, step.name, {}, screen)
        work.ended.exception()  # waits
        work.finish(False)
    return outcome


@contextmanager
def shown(main: Main, show: Callable[[Screen], None]) -> Iterator[Screen]:
    """Prepare the steps' surroundings; at the end `show` what came of them, also of a failure."""
    screen = Screen()
    os.environ["WANDB_PROJECT"] = main.project_name
    os.environ["WANDB_RUN_GROUP"] = main.experiment_name
    os.environ["TRACKING_PUBLISH"] = "parent"
    if main.workers:
        os.environ["PIPELINE_WORKERS"] = main.workers
    chosen = choice.choose(main.tracking)
    os.environ[choice.VARIABLE] = chosen.backend
    failure: BaseException | None = None
    with screen.relayed():
        try:
            with stoppable():
                screen.say(_where_results_go(main, chosen))
                yield screen
        except (UserError, Stopped) as error:
            failure = error
            if isinstance(error, Stopped):
                parent_run.end_root_run()
        except Exception as error:
            failure = failures.explain(error)
        show(screen)
        _say_where_to_look(screen, chosen, main)
        for line in screen.closing:
            screen.say(line)
    if failure:
        raise failure


@contextmanager
def _receipt_kept(
    settings: Settings,
    steps: list[Step],
    outcomes: list[Outcome],
    found: Versions,
    screen: Screen,
) -> Iterator[None]:
    """Write the receipt at the end, also that of a run that fails or is stopped in a step."""
    code = code_state.describe(ROOT)
    failure: BaseException | None = None
    try:
        yield
    except BaseException as error:
        failure = error
        raise
    finally:
        if all(outcome.outcome == "not run" for outcome in outcomes):
            screen.closing.append("no receipt: the run ended before its first step")
        else:
            text = writing.make(settings, steps, outcomes, code)
            if why := code_state.why_not_again(code):
                screen.closing.append(f"this run cannot be reproduced: {why}")
            try:
                kept = _keep_receipt(text, settings.main, found, failure)
                if SCRATCH not in os.environ:  # else it goes with all that the run has left
                    screen.closing.append(f"receipt: {kept}")
            except Exception as error:
                if failure is None:
                    raise
                screen.closing.append(f"no receipt: {error}")


def _keep_receipt(text: str, main: Main, found: Versions, failure: BaseException | None) -> str:
    """Write the receipt where runs are recorded, and say where that is."""
    shown = mlflow_session.log_text(text, writing.FILE)
    if found.is_local:
        return writing.keep(text, main.execute_steps, failure is not None)
    why = "W&B was not asked to keep it"
    if failure is None or isinstance(failure, StepFailed):
        try:
            from pipeline.receipts import on_wandb  # imports the client

            return on_wandb.keep(found, text, main, failure is not None)
        except Exception as error:
            why = f"not at W&B, or not whole: {error}"
    runtime = HydraConfig.get().runtime
    # A command that composes its configuration itself, as update does, has no folder of Hydra's.
    own = OmegaConf.is_missing(runtime, "output_dir")
    path = Path(os.environ["PIPELINE_HOME"] if own else runtime.output_dir, writing.FILE)
    with safe_files.writing(path, "the receipt was not kept"):
        path.write_text(text, encoding="utf-8")
    return f"{path}{' and the parent run in MLflow' if shown else ''} ({why})"


def show_plan(settings: Settings, steps: list[Step]) -> None:
    """Print what `run_pipeline` would do; nothing is run, and nothing is recorded."""
    if settings.main.plan == "mermaid":
        print(preview.mermaid(steps), end="")
        return
    _refuse_missing_folders(steps)
    _refuse_misfits(steps)
    chosen = choice.choose(settings.main.tracking)
    with versions.opened(chosen.backend) as found:
        Screen().show(preview.table(settings, steps, found))


def _refuse_missing_folders(steps: list[Step]) -> None:
    for step in steps:
        if not is_address(step.uri) and not step_folder(step.uri).is_dir():
            raise UserError(
                f"config: the code of step {step.name} is to come from {step.uri!r}, which is "
                f"neither a folder (looked for {step_folder(step.uri)}) nor the address of a "
                f"repository: correct steps.{step.name}.uri or main.components_repository"
            )


def _refuse_misfits(steps: list[Step]) -> None:
    """A step that is fetched is looked at when it is there (`mlflow_session`)."""
    for step in steps:
        folder = step_folder(step.uri)
        if folder.is_dir() and not step.version:
            refuse_misfit(step, folder)


def _refuse_missing_inputs(settings: Settings, steps: list[Step], found: Versions) -> None:
    """What a step reads is made by a step that runs, or was made before."""
    project, made = settings.main.project_name, {name for step in steps for name in step.outputs}
    for step in steps:
        for reference in step.inputs:
            name = parse_reference(reference).name
            if name in made or reference in step.may_be_absent or found.find(reference, project):
                continue
            makers = [other for other, entry in settings.steps.items() if name in entry.outputs]
            way_out = f"add {makers[0]} to main.execute_steps" if makers else "correct its inputs"
            raise UserError(
                f"config: step {step.name} reads {reference}, which no step that runs makes and "
                f"no version in project {project} has: {way_out}"
            )


def _where_results_go(main: Main, chosen: choice.Choice) -> str:
    place = f"the local store {os.environ['TRACKING_STORE']}"
    if chosen.backend == "wandb":
        place = f"W&B at {choice.base_url()}"
    return (
        f"project {main.project_name}, group {main.experiment_name}; runs and "
        f"artifacts go to {place} ({chosen.reason})"
    )


def executor(
    settings: Settings,
    steps: list[Step],
    outcomes: list[Outcome],
    screen: Screen,
    job: int | None,
    stack: ExitStack,
    under: Under | None = None,
) -> Execute:
    """Return what begins one step; MLflow is started, in `stack`, with the first one.

    `job` is the number of a multirun's job; `under` is what a sweep's steps belong to.
    """
    opened: list[Session] = []

    def conclude(_: Any, failure: BaseException | None, __: Any) -> None:
        for outcome in outcomes:
            if outcome.outcome == "cached":
                parent_run.log_metrics(outcome)
        parent_run.conclude(settings, outcomes, screen.closing, failure)

    def execute(step: Step, outcome: Outcome, made: dict[str, str]) -> Work:
        if not opened:
            rest = steps[steps.index(step) :]
            _refuse_misfits(rest)
            config = redacted.shown_config(settings)
            parent = mlflow_session.opened(settings.main, config, rest, screen, job, under)
            opened.append(stack.enter_context(parent))
            stack.push(conclude)
        alone = wandb_trial.variables(settings, step.name)
        return _begin(opened[0], step, outcome, position(steps, step), made, screen, alone)

    return execute


def _begin(
    opened: Session,
    step: Step,
    outcome: Outcome,
    label: str,
    made: dict[str, str],
    screen: Screen,
    alone: dict[str, str] | None = None,
) -> Work:
    screen.begin(step.name, label)
    started = time.monotonic()
    outcome.outcome = "failed"
    begun = step_process.begin(opened, step, made, alone)

    def finish(stopped: bool) -> None:
        try:
            step_process.raise_failure(step, begun)
            outcome.outcome = "done"
        except StepFailed as error:
            if stopped:
                outcome.outcome = "stopped"
                return
            lacks = opened.lacks.get(step.name, [])
            error.add_last_words(screen.last_words(step.name), lacks)
            raise
        finally:
            outcome.seconds = time.monotonic() - started
            step_process.collect(opened, step, begun, outcome)
            missing = step_process.missing_outputs(step, outcome)
            if missing:
                outcome.outcome = "failed"
            screen.end(step.name)
            listed = f", made {', '.join(outcome.artifacts)}" if outcome.artifacts else ""
            screen.say(f"{label}: {outcome.outcome} in {outcome.seconds:.1f} s{listed}")
            for name in step_process.undeclared_outputs(step, outcome):
                screen.say(
                    f"{step.name} made {name}, which its entry in the pipeline file does not list "
                    "under outputs: steps that read it do not wait for it"
                )
        if missing:
            raise StepFailed(
                step.name,
                f"it ended without making {', '.join(missing)}, which its entry in the pipeline "
                "file lists under outputs: let it log that, or correct the entry",
            )
        parent_run.log_metrics(outcome)

    return Work(begun.ended, finish)


def _say_where_to_look(screen: Screen, chosen: choice.Choice, main: Main) -> None:
    if SCRATCH in os.environ:
        return
    uri = os.environ["MLFLOW_TRACKING_URI"]
    if chosen.backend == "wandb":
        screen.say(f"On W&B: project {main.project_name} at {choice.base_url()}")
    mlflow = Path(sys.executable).with_name("mlflow")  # which need not be on the PATH
    found = shutil.which("mlflow") and "MAKELEVEL" not in os.environ  # make's PATH is its own
    command = "mlflow" if found else shlex.quote(os.path.relpath(mlflow))
    screen.say(f"Look next: {command} ui --backend-store-uri {shlex.quote(uri)}")
    if address := parent_run.address():
        screen.say(f"This run is then at http://127.0.0.1:5000/{address}")
