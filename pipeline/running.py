"""One pipeline run: each step is reused or run, then what came of it is shown."""

import os
import shlex
import time
from contextlib import ExitStack
from pathlib import Path

from pipeline import cache, reuse, session
from pipeline.plan import Step
from pipeline.processes import Stopped, stoppable
from pipeline.screen import Outcome, Screen
from pipeline.session import ROOT_RUN, Session, StepFailed
from pipeline.settings import Settings
from util_lib.errors import UserError
from util_lib.tracking import choice
from util_lib.tracking.store import Store, open_store, store_directory


def adopt_surroundings(home: Path) -> None:
    """Make explicit, in the environment, what every step and MLflow must agree on.

    `home` holds the MLflow database and the store. Called once, before Hydra starts.
    """
    os.environ["PIPELINE_HOME"] = str(home)
    os.environ["TRACKING_STORE"] = str(store_directory())
    os.environ.setdefault("PIPELINE_LOG", str(home / "ml_pipeline.log"))
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
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


def run_pipeline(settings: Settings, steps: list[Step], job: int | None = None) -> list[Outcome]:
    """Run or reuse `steps` one after the other and print what came of them.

    `job` is the number of a multirun's job, None for a single run. Raises `UserError` for the
    first step that fails and `Stopped` when told to stop; the outcome table is printed first.
    """
    screen = Screen()
    outcomes = [Outcome(step.name) for step in steps]
    os.environ["WANDB_PROJECT"] = settings.main.project_name
    os.environ["WANDB_RUN_GROUP"] = settings.main.experiment_name
    os.environ["TRACKING_PUBLISH"] = "parent"
    chosen = choice.choose(settings.main.tracking)
    os.environ[choice.VARIABLE] = chosen.backend
    failure: BaseException | None = None
    store = open_store() if chosen.backend == "local" else None
    with screen.relayed():
        try:
            with stoppable(), ExitStack() as stack:
                screen.say(_where_results_go(settings, chosen))
                _run_steps(settings, steps, outcomes, screen, store, job, stack)
        except (UserError, Stopped) as error:
            failure = error
            if isinstance(error, Stopped):
                session.end_root_run()
        screen.table(outcomes)
        _say_where_to_look(screen, chosen, settings)
    if failure:
        raise failure
    return outcomes


def _where_results_go(settings: Settings, chosen: choice.Choice) -> str:
    place = f"the local store {os.environ['TRACKING_STORE']}"
    if chosen.backend == "wandb":
        place = f"W&B at {choice.base_url()}"
    return (
        f"project {settings.main.project_name}, group {settings.main.experiment_name}; runs and "
        f"artifacts go to {place} ({chosen.reason})"
    )


def _run_steps(
    settings: Settings,
    steps: list[Step],
    outcomes: list[Outcome],
    screen: Screen,
    store: Store | None,
    job: int | None,
    stack: ExitStack,
) -> None:
    """Fill in `outcomes`; MLflow is started, in `stack`, for the first step that must run.

    Without a store there is no record of earlier runs, and every step runs.
    """
    made: dict[str, str] = {}
    opened: Session | None = None
    for number, (step, outcome) in enumerate(zip(steps, outcomes, strict=True), start=1):
        label = f"[{number}/{len(steps)}] {step.name}"
        decision = reuse.decide(step, settings, store, made)
        if store and decision.result:
            outcome.outcome = "cached"
            outcome.artifacts = cache.take(store, settings.main.project_name, decision.result)
            outcome.metrics = decision.result.metrics
            screen.say(f"{label}: cached" + _listed(outcome))
        else:
            if settings.main.explain:
                screen.say(f"{label}: runs, because: {decision.reason}")
            if opened is None:
                rest = steps[number - 1 :]
                opened = stack.enter_context(session.opened(settings, rest, screen, job))
                for earlier in outcomes[: number - 1]:
                    session.log_metrics(earlier)
            _run_step(opened, step, outcome, label, made, screen)
            if store:
                reuse.record(step, settings, store, decision, made, outcome)
        if opened:
            session.log_metrics(outcome)
        made |= {name.split(":")[0]: name for name in outcome.artifacts}


def _run_step(
    opened: Session,
    step: Step,
    outcome: Outcome,
    label: str,
    made: dict[str, str],
    screen: Screen,
) -> None:
    screen.forget()
    screen.now(label)
    started = time.monotonic()
    outcome.outcome = "failed"
    try:
        session.run_step(opened, step, made)
        outcome.outcome = "done"
    except StepFailed as error:
        error.add_last_words(screen.last_words())
        raise
    except Stopped:
        outcome.outcome = "stopped"
        raise
    finally:
        outcome.seconds = time.monotonic() - started
        session.collect(opened, outcome)
        screen.drain()
        screen.say(f"{label}: {outcome.outcome} in {outcome.seconds:.1f} s" + _listed(outcome))


def _listed(outcome: Outcome) -> str:
    verb = "has" if outcome.outcome == "cached" else "made"
    return f", {verb} {', '.join(outcome.artifacts)}" if outcome.artifacts else ""


def _say_where_to_look(screen: Screen, chosen: choice.Choice, settings: Settings) -> None:
    uri = os.environ["MLFLOW_TRACKING_URI"]
    if chosen.backend == "wandb":
        screen.say(f"On W&B: project {settings.main.project_name} at {choice.base_url()}")
    screen.say(f"Look next: mlflow ui --backend-store-uri {shlex.quote(uri)}")
