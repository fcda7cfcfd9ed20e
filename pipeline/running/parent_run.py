"""The run in MLflow under which a pipeline's steps are nested: where it lies and what it says."""

import logging
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from pipeline.planning.step import Outcome, Step
from pipeline.running.failures import one_line
from pipeline.settings.redacted import shown_config
from pipeline.settings.schema import Main, Settings
from pipeline.settings.surroundings import ROOT_RUN
from util_lib import git_state
from util_lib.errors import UserError
from util_lib.model import metric_names
from util_lib.processes import signals
from util_lib.project import ROOT
from util_lib.redaction import redacted
from util_lib.tracking import choice, databases, mlflow_runs
from util_lib.tracking.mlflow_mirror import make_database, mlflow_lock
from util_lib.tracking.names import parse_reference
from util_lib.tracking.store.places import store_directory
from util_lib.tracking.store.values import flatten

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger("pipeline")

END_RUN = "import sys, mlflow; mlflow.MlflowClient().set_terminated(*sys.argv[1:])"
# MLflow asks a server that does not answer for minutes; the first question need not.
RETRIES, FIRST_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2"
# MLflow works without these (as mlflow-skinny) and imports them where they are installed: nearly a
# third of its start, for nothing that main.py uses.
OPTIONAL_IN_MLFLOW = ("pandas", "numpy", "scipy", "sklearn", "pyarrow", "matplotlib")
DEFAULT_EXPERIMENT = "0"
RANDOM_NAME = re.compile(r"[a-z]+-[a-z]+-\d+")  # what MLflow calls a run that has no name
NOTE, NOTE_LENGTH = "mlflow.note.content", 8000  # MLflow's limit
VIEW = "?workflowType=machine_learning"  # otherwise MLflow 3 opens its view of language models
PAGE = "pages/lineage.html"
RAN = {"done": "ran"}  # how an outcome is called in a name

_concluded: list[str] = []  # where MLflow's page shows the runs that this process has concluded
_taken_over: list[str] = []  # the root's run, once the parent run of this process is it


def end_root_run() -> None:
    """End the root's run where main.py was stopped before it took the run over.

    In a process of its own: an import of MLflow that was broken off cannot be repeated here.
    """
    root = os.environ.get(ROOT_RUN)
    if root and not _taken_over:
        _end_elsewhere(root, "KILLED")


def _end_elsewhere(run_id: str, status: str) -> bool:
    """End a run by a process of its own; say whether it did."""
    command = [sys.executable, "-c", END_RUN, run_id, status]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def opened(
    main: Main, what: str, job: int | None = None, under: str | None = None
) -> Iterator["MlflowClient"]:
    """Open the run under which MLflow nests the steps' runs: the root's own where there is one.

    It lies in the experiment of the project, if no other was chosen. In a sweep it is one below the
    run `under`. `what` is going to run; `conclude` says how it went.
    """
    with mlflow_lock(store_directory()), _hidden(OPTIONAL_IN_MLFLOW):
        import mlflow
        import mlflow.projects

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        # What it says with a traceback, it raises as well.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
        chosen = os.environ.get(RETRIES)
        os.environ.setdefault(RETRIES, FIRST_RETRIES)
        try:
            make_database(os.environ["MLFLOW_TRACKING_URI"])
            client = mlflow.MlflowClient()
            client.search_experiments(max_results=1)
        except Exception as error:  # of MLflow, SQLAlchemy or the disk: the address is no use
            raise UserError(
                f"MLflow cannot use the tracking address {mlflow.get_tracking_uri()}: "
                f"{one_line(error)}; set MLFLOW_TRACKING_URI to another one, or delete "
                "a database whose making was interrupted"
            ) from error
        finally:
            if chosen is None:
                del os.environ[RETRIES]
    mlflow_runs.end_left_behind(client, store_directory())
    tags = {"project": main.project_name, "group": main.experiment_name}
    tags |= mlflow_runs.tags(store_directory())
    root = os.environ.get(ROOT_RUN)
    name = f"{main.project_name} · {what}"
    if under:
        its = client.get_run(under).info.experiment_id
        with run(run_name=name, tags=tags, nested=True, parent_run_id=under, experiment_id=its):
            yield client
        return
    experiment = _experiment(client, main.project_name, root)
    if root:
        _taken_over.append(root)
        if RANDOM_NAME.fullmatch(client.get_run(root).info.run_name):
            client.set_tag(root, "mlflow.runName", name)
    if job is not None:
        name = f"{name} · job {job}"
    if root is None:
        with run(run_name=name, tags=tags, experiment_id=experiment):
            yield client
    elif job is None:
        with run(run_id=root, tags=tags):
            yield client
    else:
        with run(run_id=root, tags=mlflow_runs.tags(store_directory())):
            with run(nested=True, run_name=name, tags=tags, experiment_id=experiment):
                yield client


def _experiment(client: "MlflowClient", project: str, root: str | None) -> str | None:
    """Return the experiment of the runs, None for the one that the environment names.

    `mlflow run` makes the root's run in the default experiment where it is told of no other; in a
    database on this machine it is moved to that of the project. A server's stays where it is.
    """
    if root is None:
        if any(os.environ.get(name) for name in ("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")):
            return None
        return mlflow_runs.experiment(client, project)
    now = client.get_run(root).info.experiment_id
    database = databases.path_of(os.environ["MLFLOW_TRACKING_URI"])
    if now != DEFAULT_EXPERIMENT or database is None:
        return now
    wanted = mlflow_runs.experiment(client, project)
    mlflow_runs.move(database, root, project)
    return wanted


@contextmanager
def run(**how: Any) -> Iterator[None]:
    """Open a run as `mlflow.start_run` does; no signal breaks off its beginning or its end."""
    import mlflow

    begun, status = None, "FAILED"
    try:
        with signals.held():
            begun = mlflow.start_run(**how)
        yield
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        if begun:
            with signals.held():
                _end(begun.info.run_id, status)


def _end(run_id: str, status: str) -> None:
    """End the open run; an error of MLflow hides neither how the pipeline ended nor that it did."""
    import mlflow

    try:
        mlflow.end_run(status)
    except Exception as error:  # of MLflow, of its database that is locked, of a broken-off request
        if not _end_elsewhere(run_id, status):
            logger.warning(
                "MLflow could not be told that run %s is %s (%s): the next run of the pipeline "
                "tells it",
                run_id,
                status,
                one_line(error),
            )


@contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Let modules that are not imported yet seem not to be installed."""
    hidden = [name for name in names if name not in sys.modules]
    nothing: dict[str, Any] = dict.fromkeys(hidden)
    sys.modules.update(nothing)
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def log_metrics(outcome: Outcome) -> None:
    """Show a step's metrics in the parent run; those on W&B stay there."""
    import mlflow

    if os.environ[choice.VARIABLE] == "local":
        for name, value in outcome.metrics.items():
            mlflow.log_metric(name, value)


def conclude(
    settings: Settings,
    outcomes: list[Outcome],
    closing: list[str],
    failure: BaseException | None,
) -> None:
    """Let the open run say what ran: in its name, its parameters and its description.

    `closing` are the lines below the table on the screen.
    """
    import mlflow

    run = mlflow.active_run()
    assert run is not None  # the session's
    _concluded.append(f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}{VIEW}")
    said = _counted(outcomes)
    name = mlflow.get_run(run.info.run_id).info.run_name
    mlflow.set_tag("mlflow.runName", f"{name} · {said}")
    mlflow.log_params(_parameters(settings))
    lines = [f"**{settings.main.project_name}**, group {settings.main.experiment_name}: {said}"]
    if failure is not None:
        lines += ["", f"**{type(failure).__name__}**: {failure}"]
    lines += ["", "| step | outcome | s | artifacts | metrics |", "|---|---|---|---|---|"]
    for outcome in outcomes:
        seconds = "" if outcome.seconds is None else f"{outcome.seconds:.1f}"
        cells = [outcome.step, outcome.outcome, seconds, *map("<br>".join, _told(outcome))]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"- {line}" for line in closing)]
    mlflow.set_tag(NOTE, redacted("\n".join(lines))[:NOTE_LENGTH])
    if any(outcome.artifacts for outcome in outcomes):
        mlflow.log_text(_page(settings.main.project_name, outcomes), PAGE)


def _page(project: str, outcomes: list[Outcome]) -> str:
    """Return what ran, as a graph with state and time, and the lineage of all that was made."""
    from util_lib.tracking import graph

    run = graph.Graph()
    for step in outcomes:
        took = "" if step.seconds is None else f"{step.seconds:.1f} s"
        run.nodes[step.step] = graph.Node("run", step.step, (step.outcome, took), step.outcome)
        read = [
            f"{parse_reference(asked).name}:{found['version']}"
            for asked, found in step.inputs.items()
            if found
        ]
        for name in (*read, *step.artifacts):
            run.nodes.setdefault(name, graph.Node("artifact", name))
        for name in read:
            run.join(name, step.step)
        for name in step.artifacts:
            run.join(step.step, name)
    graphs = {"What ran": run}
    if os.environ[choice.VARIABLE] == "local":  # W&B has pages of its own, and a question is slow
        made = [f"{project}/{name}" for step in outcomes for name in step.artifacts]
        graphs["What it was made of"] = graph.lineage(made, on=False)
    return graph.as_page(f"Run of {project}: {_counted(outcomes)}", graphs)


def conclude_cached(main: Main, what: str, outcomes: list[Outcome]) -> None:
    """Let the run that `mlflow run` made say that nothing had to run; MLflow is not started."""
    root, database = os.environ.get(ROOT_RUN), databases.path_of(os.environ["MLFLOW_TRACKING_URI"])
    if root and database and database.exists():
        name = f"{main.project_name} · {what} · {_counted(outcomes)}"
        mlflow_runs.move(database, root, main.project_name, name)


def what_runs(main: Main, config: dict[str, Any], steps: list[Step]) -> str:
    """Say what is going to run, in words for a run's name."""
    if "steps" not in config:  # a step that is no part of the pipeline
        return ", ".join(step.name for step in steps)
    everything = [name for name, entry in config["steps"].items() if entry.get("in_all", True)]
    return "all steps" if main.execute_steps == everything else ", ".join(main.execute_steps)


def _counted(outcomes: list[Outcome]) -> str:
    counts = Counter(RAN.get(outcome.outcome, outcome.outcome) for outcome in outcomes)
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items())


def address() -> str | None:
    """Return where MLflow's page shows the last run of this process, None where none was made."""
    return _concluded[-1] if _concluded else None


def _told(outcome: Outcome) -> tuple[list[str], list[str]]:
    return outcome.artifacts, metric_names.lines(outcome.metrics)


def _parameters(settings: Settings) -> dict[str, Any]:
    """Return what was chosen for a run: its dataset, its overrides, the tag of the code."""
    found = {"git.tag": git_state.tag(ROOT)}
    if HydraConfig.initialized():
        chosen, shown = HydraConfig.get(), flatten(shown_config(settings))
        # As typed: an override may name a variable of the environment.
        typed = OmegaConf.to_container(chosen.overrides.task, resolve=False)
        keys = [str(text).lstrip("+~").partition("=")[0] for text in typed or ()]
        found |= {"dataset": chosen.runtime.choices.get("dataset")}
        found |= {key: shown.get(key) for key in keys}
    return {key: value for key, value in found.items() if value is not None}
