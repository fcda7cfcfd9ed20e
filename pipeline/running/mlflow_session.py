"""The side of a pipeline run that needs MLflow: the parent run, environments, `mlflow.run`.

Nothing here is called while every step can be reused: MLflow is imported with the first step that
must run, and not before.
"""

import logging
import os
import subprocess
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
from pipeline.planning.step import Outcome, Step
from pipeline.running.failures import is_from, not_fetched, one_line
from pipeline.running.screen import Screen
from pipeline.running.stopping import LOOK_S, stop_until
from pipeline.settings import temporary
from pipeline.settings.redacted import shown_config, without_variables
from pipeline.settings.schema import Main, Settings
from pipeline.settings.surroundings import ROOT_RUN, step_folder
from util_lib import databases, git_state
from util_lib.errors import UserError
from util_lib.processes import signals
from util_lib.project import ROOT
from util_lib.redaction import redacted
from util_lib.tracking import choice, mlflow_runs
from util_lib.tracking.mlflow_mirror import connect, make_database, mlflow_lock
from util_lib.tracking.store.places import store_directory
from util_lib.urls import SECRET_URL

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import RunInfo

END_RUN = "import sys, mlflow; mlflow.MlflowClient().set_terminated(sys.argv[1], 'KILLED')"
# MLflow asks a server that does not answer for minutes; the first question need not.
RETRIES, FIRST_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2"
# MLflow works without these (as mlflow-skinny) and imports them where they are installed: nearly a
# third of its start, for nothing that main.py uses.
OPTIONAL_IN_MLFLOW = ("pandas", "numpy", "scipy", "sklearn", "pyarrow", "matplotlib")


_open: list["Session"] = []
_taken_over: list[str] = []  # the root's run, once the parent run of this process is it


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
    with _parent_run(main, job, under=under) as client:
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
        _parent_run(settings.main, None, f"sweep {name}") as client,
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


def end_root_run() -> None:
    """End the root's run where main.py was stopped before it took the run over.

    In a process of its own: an import of MLflow that was broken off cannot be repeated here.
    """
    root = os.environ.get(ROOT_RUN)
    if root and not _taken_over:
        subprocess.run([sys.executable, "-c", END_RUN, root], capture_output=True, check=False)


def clean_up() -> None:
    """End and remove what killed pipelines left, where this one needed no MLflow so far."""
    store = store_directory()
    temporary.remove_left_behind(store)
    database = databases.path_of(os.environ["MLFLOW_TRACKING_URI"])
    if database and database.exists() and mlflow_runs.some_left_behind(database, store):
        with connect(store) as client:
            mlflow_runs.end_left_behind(client, store)


@contextmanager
def _parent_run(
    main: Main, job: int | None, name: str | None = None, under: Under | None = None
) -> Iterator["MlflowClient"]:
    """Open the run under which MLflow nests the steps' runs: the root's own where there is one.

    In a sweep it is one below the sweep's run. `name` is for one that this process makes.
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
    name = name or main.experiment_name
    if under and under.run_id:
        parent = under.run_id
        with _run(run_name=f"{name} steps", tags=tags, nested=True, parent_run_id=parent):
            yield client
        return
    if root:
        _taken_over.append(root)
    if job is None:
        with _run(run_id=root, run_name=None if root else name, tags=tags):
            yield client
    elif root is None:
        with _run(run_name=f"{name} {job}", tags=tags):
            yield client
    else:
        with _run(run_id=root, tags=mlflow_runs.tags(store_directory())):
            with _run(nested=True, run_name=f"{name} {job}", tags=tags):
                yield client


@contextmanager
def _run(**how: Any) -> Iterator[None]:
    """Open a run as `mlflow.start_run` does; no signal breaks off its beginning or its end."""
    import mlflow

    with signals.held():
        mlflow.start_run(**how)
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        with signals.held():
            mlflow.end_run(status)


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
            project = Path(fetch_and_validate_project(place, step.version, "main", given))
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


def log_metrics(outcome: Outcome) -> None:
    """Show a step's metrics in the parent run; those on W&B stay there."""
    import mlflow

    if os.environ[choice.VARIABLE] == "local":
        for name, value in outcome.metrics.items():
            mlflow.log_metric(name, value)


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
