"""One pipeline run: each step is reused or run, then what came of it is shown."""

import os
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from pipeline.caching import versions
from pipeline.caching.versions import Versions
from pipeline.planning.plan import Step
from pipeline.receipts import writing
from pipeline.running import mlflow_session, preview, step_process
from pipeline.running.mlflow_session import ROOT_RUN, Session, StepFailed
from pipeline.running.scheduler import Execute, Work, position, walk
from pipeline.running.screen import Outcome, Screen
from pipeline.running.stopping import Stopped, stoppable
from pipeline.settings.schema import Main, Settings
from util_lib.errors import UserError
from util_lib.project import ROOT
from util_lib.tracking import choice
from util_lib.tracking.store import contents
from util_lib.tracking.store.database import store_directory

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
        uri = f"sqlite:///{home / 'mlflow.db'}"
    elif uri.startswith("sqlite:///"):  # steps have another working directory
        uri = f"sqlite:///{Path(uri.removeprefix('sqlite:///')).absolute()}"
    os.environ["MLFLOW_TRACKING_URI"] = uri
    # The client's own copies of runs; otherwise they would lie in the steps' folders.
    os.environ.setdefault("WANDB_DIR", str(home))
    # `mlflow.start_run()` takes MLFLOW_RUN_ID away; each job of a multirun needs it.
    if run_id := os.environ.pop("MLFLOW_RUN_ID", None):
        os.environ[ROOT_RUN] = run_id
    # Without cached bytecode each step compiles all that it imports; the environments are ours.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def _refuse_another_relative_database(uri: str) -> None:
    """A relative path, read here, is not what `mlflow run <this folder>` read where it started."""
    path = uri.removeprefix("sqlite:///").partition("?")[0]
    relative = path != uri and path and not Path(path).is_absolute()
    if relative and "MLFLOW_RUN_ID" in os.environ and not Path(path).exists():
        raise UserError(
            f"MLFLOW_TRACKING_URI={uri} is relative, and {path} is not in {Path.cwd()}, where the "
            "project runs: give the whole path, for example "
            f"MLFLOW_TRACKING_URI=sqlite:///$PWD/{path}"
        )


def refuse_unwritable(home: Path) -> None:
    """Raise `UserError` where nothing can be written to `home`."""
    with contents.writing(home, HOME_WAY_OUT):
        home.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=home).close()


def run_pipeline(settings: Settings, steps: list[Step], job: int | None = None) -> list[Outcome]:
    """Run or reuse `steps` and print what came of them.

    `job` is the number of a multirun's job, None for a single run. Raises `UserError` for the
    first step that fails and `Stopped` when told to stop; the outcome table is printed first.
    """
    _refuse_missing_folders(steps)
    outcomes = [Outcome(step.name) for step in steps]
    with shown(settings.main, lambda s: s.table(outcomes)) as screen, ExitStack() as stack:
        found = stack.enter_context(versions.opened(os.environ[choice.VARIABLE]))
        execute = executor(settings, steps, outcomes, screen, job, stack)
        with _receipt_kept(settings, steps, outcomes, found, screen):
            walk(settings, steps, outcomes, found, screen.say, execute)
    return outcomes


def run_alone(main: Main, step: Step) -> Outcome:
    """Run one step that is no part of the pipeline, as `run_pipeline` runs its steps."""
    outcome = Outcome(step.name)
    config = {
        "main": main.model_dump(),
        step.name: mlflow_session.shown_parameters(step.parameters),
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
                mlflow_session.end_root_run()
        except Exception as error:
            failure = mlflow_session.explain(error)
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
    """Write the receipt at the end, also that of a run that fails or is stopped."""
    code = writing.code(ROOT)
    failure: BaseException | None = None
    try:
        yield
    except BaseException as error:
        failure = error
        raise
    finally:
        text = writing.make(settings, steps, outcomes, code)
        try:
            kept = _keep_receipt(text, settings.main, found, failure)
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
            return found.keep_receipt(text, main, failure is not None)
        except Exception as error:
            if failure is None:
                raise
            why = f"W&B does not have it: {error}"
    path = Path(HydraConfig.get().runtime.output_dir, writing.FILE)
    with contents.writing(path, "the receipt was not kept"):
        path.write_text(text, encoding="utf-8")
    return f"{path}{' and the parent run in MLflow' if shown else ''} ({why})"


def show_plan(settings: Settings, steps: list[Step]) -> None:
    """Print what `run_pipeline` would do; nothing is run, and nothing is recorded."""
    if settings.main.plan == "mermaid":
        print(preview.mermaid(steps), end="")
        return
    chosen = choice.choose(settings.main.tracking)
    with versions.opened(chosen.backend) as found:
        Screen().show(preview.table(settings, steps, found))


def _refuse_missing_folders(steps: list[Step]) -> None:
    for step in steps:
        path = step.uri.partition("#")[0]
        if ":" not in path and not (ROOT / path).exists():  # with a colon: an address
            raise UserError(
                f"config: the code of step {step.name} is to come from {step.uri!r}, which is "
                f"neither a folder (looked for {ROOT / path}) nor the address of a repository: "
                f"correct steps.{step.name}.uri or main.components_repository"
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
) -> Execute:
    """Return what begins one step; MLflow is started, in `stack`, with the first one."""
    opened: list[Session] = []

    def log_cached_metrics() -> None:
        for outcome in outcomes:
            if outcome.outcome == "cached":
                mlflow_session.log_metrics(outcome)

    def execute(step: Step, outcome: Outcome, made: dict[str, str]) -> Work:
        if not opened:
            rest = steps[steps.index(step) :]
            config = mlflow_session.shown_config(settings)
            parent = mlflow_session.opened(settings.main, config, rest, screen, job)
            opened.append(stack.enter_context(parent))
            stack.callback(log_cached_metrics)
        return _begin(opened[0], step, outcome, position(steps, step), made, screen)

    return execute


def _begin(
    opened: Session,
    step: Step,
    outcome: Outcome,
    label: str,
    made: dict[str, str],
    screen: Screen,
) -> Work:
    screen.begin(step.name, label)
    started = time.monotonic()
    outcome.outcome = "failed"
    begun = step_process.begin(opened, step, made)

    def finish(stopped: bool) -> None:
        try:
            step_process.raise_failure(step, begun)
            outcome.outcome = "done"
        except StepFailed as error:
            if stopped:
                outcome.outcome = "stopped"
                return
            error.add_last_words(screen.last_words(step.name))
            raise
        finally:
            outcome.seconds = time.monotonic() - started
            step_process.collect(opened, begun, outcome)
            screen.end(step.name)
            listed = f", made {', '.join(outcome.artifacts)}" if outcome.artifacts else ""
            screen.say(f"{label}: {outcome.outcome} in {outcome.seconds:.1f} s{listed}")
        mlflow_session.log_metrics(outcome)

    return Work(begun.ended, finish)


def _say_where_to_look(screen: Screen, chosen: choice.Choice, main: Main) -> None:
    uri = os.environ["MLFLOW_TRACKING_URI"]
    if chosen.backend == "wandb":
        screen.say(f"On W&B: project {main.project_name} at {choice.base_url()}")
    screen.say(f"Look next: mlflow ui --backend-store-uri {shlex.quote(uri)}")
