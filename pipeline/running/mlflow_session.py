"""The side of a pipeline run that needs MLflow: the parent run, environments, `mlflow.run`.

Nothing here is called while every step can be reused: MLflow is imported with the first step that
must run, and not before.
"""

import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.environments import making
from pipeline.environments.lacking import lacking, said_of_lack
from pipeline.planning.mlproject import refuse_misfit
from pipeline.planning.step import Step
from pipeline.running import parent_run
from pipeline.running.failures import is_from, not_fetched, one_line
from pipeline.running.screen import Screen
from pipeline.running.stopping import LOOK_S, stop_until
from pipeline.settings import temporary
from pipeline.settings.redacted import shown_config, without_variables
from pipeline.settings.schema import Main, Settings
from pipeline.settings.surroundings import ROOT_RUN, step_folder
from util_lib import git_state
from util_lib.errors import UserError
from util_lib.project import ROOT
from util_lib.redaction import redacted
from util_lib.tracking import databases, mlflow_runs
from util_lib.tracking.mlflow_mirror import connect
from util_lib.tracking.store.places import store_directory
from util_lib.urls import SECRET_URL

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import RunInfo


_open: list["Session"] = []


@dataclass
class Session:
    """An open parent run in MLflow, and what its steps share.

    `manager` makes the environments; `folder` is temporary; `runs` are the MLflow runs of steps
    that have begun, and their ends; `threads` wait for their processes. `address` is the one with
    secrets that the user has handed over by the environment, for the step that reads it. `lacks`
    maps steps to packages that they ask for and do not get, where no environment is made.
    """

    client: "MlflowClient"
    manager: str
    folder: Path
    experiment_id: str
    lacks: dict[str, list[str]]
    runs: dict[str, Future[None]] = field(default_factory=dict)
    threads: list[threading.Thread] = field(default_factory=list)
    address: str = ""

    @property
    def reports(self) -> Path:
        """Where the steps' runs on W&B leave what they made, a file for each MLflow run."""
        return self.folder / "reports"


class Under(NamedTuple):
    """What the steps of a sweep belong to: its run in MLflow, and who makes its environments."""

    run_id: str | None
    manager: str


@contextmanager
def opened(
    main: Main,
    config: dict[str, Any],
    steps: list[Step],
    screen: Screen,
    job: int | None = None,
    under: Under | None = None,
) -> Iterator[Session]:
    """Start MLflow, open the parent run and make the environments of `steps`.

    The parent run keeps `config`, which holds no secrets any more.
    """
    _say_that_it_starts(screen)
    what = "steps before the trials" if under else parent_run.what_runs(main, config, steps)
    with parent_run.opened(main, what, job, under.run_id if under else None) as client:
        import mlflow

        manager = under.manager if under else _manager(main, client, screen)
        mlflow.log_dict(config, "config.yaml")
        with temporary.folder(store_directory()) as folder:
            lacks = _prepare(manager, steps, screen)
            session = Session(client, manager, folder, _active().experiment_id, lacks)
            session.reports.mkdir()
            _open.append(session)
            with _surroundings_of_steps(session):
                try:
                    yield session
                finally:
                    _end_steps(session)
                    _open.remove(session)


@contextmanager
def _surroundings_of_steps(session: Session) -> Iterator[None]:
    """Set what the steps' processes inherit; a step in another repository finds `util_lib` too."""
    before = dict(os.environ)
    session.address = os.environ.get(SECRET_URL, "")
    os.environ["TRACKING_RUNS"] = str(session.reports)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    try:
        with without_variables():
            yield
    finally:
        for name in ("TRACKING_RUNS", "PYTHONPATH"):
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]


class SweepRun(NamedTuple):
    """The MLflow run of a sweep, and who makes its environments."""

    client: "MlflowClient"
    run_id: str
    manager: str


@contextmanager
def sweep_run(settings: Settings, name: str, screen: Screen) -> Iterator[SweepRun]:
    """Start MLflow and open the run under which it nests all that a sweep runs."""
    _say_that_it_starts(screen)
    with (
        parent_run.opened(settings.main, f"sweep {name}") as client,
        temporary.folder(store_directory()),
    ):
        import mlflow

        manager = _manager(settings.main, client, screen)
        mlflow.log_dict(shown_config(settings), "config.yaml")
        yield SweepRun(client, _active().run_id, manager)


def _say_that_it_starts(screen: Screen) -> None:
    """Say why nothing else is said for seconds: the first time in this process."""
    if "mlflow" not in sys.modules:
        screen.now("starting MLflow")


def _active() -> "RunInfo":
    import mlflow

    run = mlflow.active_run()
    assert run is not None  # a session begins one
    return run.info


def _manager(main: Main, client: "MlflowClient", screen: Screen) -> str:
    """Choose who makes the environments, and say if the code is not the commit's."""
    code = git_state.git(ROOT)
    if code.get("dirty"):
        screen.say(
            f"the code has uncommitted changes since {code['commit'][:10]}: commit before you "
            "run, so that results and code belong together"
        )
    making.use_own_tools()
    root = os.environ.get(ROOT_RUN)
    root_manager = client.get_run(root).data.tags.get(making.ROOT_MANAGER_TAG) if root else None
    return making.choose(main.env_manager, root_manager)


def _end_steps(session: Session) -> None:
    """Let no step outlive the session: where one was begun, main.py may have been stopped since."""
    for thread in session.threads:
        if thread.ident is not None:
            thread.join(timeout=LOOK_S)
    stop_until(lambda: not any(thread.is_alive() for thread in session.threads))
    for run_id in session.runs:
        end_killed(session.client, run_id)


def clean_up() -> None:
    """End and remove what killed pipelines left, where this one needed no MLflow so far."""
    store = store_directory()
    temporary.remove_left_behind(store)
    database = databases.path_of(os.environ["MLFLOW_TRACKING_URI"])
    if database and database.exists() and mlflow_runs.some_left_behind(database, store):
        with connect(store) as client:
            mlflow_runs.end_left_behind(client, store)


def _prepare(manager: str, steps: list[Step], screen: Screen) -> dict[str, list[str]]:
    """Make the environments of all steps ahead; a remote step is fetched to read its own.

    Returns the packages that steps ask for and do not get, where no environment is made.
    """
    from mlflow.projects.utils import fetch_and_validate_project

    if manager == "local":
        screen.say("environments: none, every step uses the packages installed here")
    projects = []
    for step in steps:
        place = location(step.uri)
        if Path(place).is_dir() and not step.version:
            projects.append(Path(place))
            continue
        screen.now(f"fetching {step.name} from {redacted(step.uri)}")
        given = {**step.parameters, **{key: "" for key in step.files}}
        try:
            project = Path(fetch_and_validate_project(place, step.version, step.entry_point, given))
        except Exception as error:
            shapes = OSError | AttributeError | TypeError | KeyError  # of its MLproject
            if not is_from(error, "mlflow", "git", "yaml") and not isinstance(error, shapes):
                raise
            if "missing parameters" in str(error):
                raise UserError(f"config: steps.{step.name}: {one_line(error)}") from None
            raise not_fetched(step, error) from error
        refuse_misfit(step, project)
        projects.append(project)
    if manager != "local":
        screen.now(f"checking environments ({manager})")
        making.prepare(making.needed(manager, projects), screen.now)
        return {}
    lacks = {step.name: lacking(path) for step, path in zip(steps, projects, strict=True)}
    for name in filter(lacks.get, lacks):
        screen.say(f"{name} may fail: {said_of_lack(lacks[name])}")
    return lacks


def location(uri: str) -> str:
    """Return a local step's folder as an absolute path, a remote one's address as it is."""
    local = step_folder(uri)
    return str(local) if local.exists() else uri


def log_text(text: str, name: str) -> bool:
    """Write `text` to a file of the parent run; return False where none is open."""
    if not _open:
        return False
    import mlflow

    mlflow.log_text(text, name)
    return True


def end_killed(client: "MlflowClient", run_id: str) -> None:
    """Give a run whose process ended without MLflow seeing it an end."""
    if client.get_run(run_id).info.status == "RUNNING":
        client.set_terminated(run_id, "KILLED")
