"""A step as a process: begun by `mlflow.run`, waited for in a thread, collected at its end."""

import hashlib
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pipeline.planning.step import Outcome, Step
from pipeline.running import failures, mlflow_session
from pipeline.running.mlflow_session import Session
from pipeline.settings import redacted
from util_lib.processes import signals
from util_lib.tracking import choice, mlflow_runs
from util_lib.tracking.mlflow_mirror import publish, publish_report
from util_lib.tracking.store.database import open_store
from util_lib.tracking.store.places import store_directory
from util_lib.tracking.store.records import RunRecord
from util_lib.urls import SECRET_URL, without_secrets


class Begun(NamedTuple):
    """A step whose process was started: its MLflow run, None where it came to none; its end."""

    run_id: str | None
    ended: Future[None]


def begin(
    opened: Session, step: Step, made: dict[str, str], alone: dict[str, str] | None = None
) -> Begun:
    """Start one step by `mlflow.run`; what hinders it is told by its `ended`, as a failure is.

    `alone` are variables that this step, and no other, finds in its environment.

    An input that this pipeline run made is passed as the very version that it made: `latest` may
    meanwhile belong to another pipeline. MLflow waits for the process in a thread of its own. Which
    run is the parent it only knows in this one, so the step's run is made here.
    """
    from mlflow.projects import utils

    parameters = {
        key: made.get(value.removesuffix(":latest"), value) if value.endswith(":latest") else value
        for key, value in step.parameters.items()
    }
    address = parameters.get(step.address or "", "")
    parameters = redacted.shown_parameters(parameters, step.address)
    recorded = dict(parameters)
    for key, content in step.files.items():
        path = opened.folder / f"{step.name}_{key}.yaml"
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        path.write_text(text)
        parameters[key] = str(path)
        # Two runs are compared by what was in it: where it lay for a while says nothing.
        recorded[key] = f"sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}"
    ended: Future[None] = Future()
    place, entry = mlflow_session.location(step.uri), step.entry_point
    try:
        project = utils.fetch_and_validate_project(place, step.version, entry, parameters)
        with signals.held():
            run = utils.get_or_create_run(
                None, place, opened.experiment_id, project, step.version, entry, recorded
            )
            opened.runs[run.info.run_id] = ended
            for key, value in mlflow_runs.tags(store_directory()).items():
                opened.client.set_tag(run.info.run_id, key, value)
    except Exception as error:
        ended.set_exception(error)
        return Begun(None, ended)
    run_id = run.info.run_id
    thread = threading.Thread(
        target=_run, args=(opened, step, project, parameters, run_id, ended), daemon=True
    )
    opened.threads.append(thread)
    given = dict(alone or {})
    if step.address is not None and without_secrets(address) == address:
        address = opened.address  # the user may have handed over the secrets
    if address:
        given[SECRET_URL] = address
    with _handed_over(opened, given, run_id, ended):
        with signals.held():  # broken off, it would start unseen
            thread.start()
    return Begun(run_id, ended)


@contextmanager
def _handed_over(
    opened: Session, given: dict[str, str], run_id: str, ended: Future[None]
) -> Iterator[None]:
    """Give a step, and no other, variables, such as the secrets of its address.

    MLflow records parameters. It copies the environment when it starts the process, in a thread of
    its own, so that is waited for, also for the steps begun before.
    """
    if not given:
        yield
        return
    for earlier, end in opened.runs.items():
        if earlier != run_id:
            _wait_for_process(earlier, end)
    os.environ.update(given)
    try:
        yield
        _wait_for_process(run_id, ended)
    finally:
        for name in given:
            os.environ.pop(name, None)


def _wait_for_process(run_id: str, ended: Future[None]) -> None:
    """Wait until a step's process is there, or has been."""
    import psutil

    while not _is_done(ended):
        for child in psutil.Process().children():
            try:
                if child.environ().get("MLFLOW_RUN_ID") == run_id:
                    return
            except psutil.Error:
                continue
        time.sleep(0.02)


def _is_done(ended: Future[None]) -> bool:
    with signals.held():  # an interrupt would leave its lock taken
        return ended.done()


def _run(
    opened: Session,
    step: Step,
    project: str,
    parameters: dict[str, str],
    run_id: str,
    ended: Future[None],
) -> None:
    import mlflow

    # Ctrl-C reaches the step as well, and Python answers it with a traceback while it imports. The
    # step inherits that this thread blocks it; main.py tells it to stop by SIGTERM.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        mlflow.run(
            project,
            entry_point=step.entry_point,
            parameters=parameters,
            experiment_id=opened.experiment_id,
            env_manager=opened.manager,
            storage_dir=str(opened.folder),  # MLflow's own would stay behind
            run_id=run_id,
            run_name=step.name,
        )
    except BaseException as error:
        ended.set_exception(error)
    else:
        ended.set_result(None)


def raise_failure(step: Step, begun: Begun) -> None:
    """Raise what a step that has ended failed of, if it did."""
    from mlflow.exceptions import ExecutionException

    try:
        begun.ended.result()
    except ExecutionException as error:
        code = failures.exit_code(error)
        raise failures.StepFailed(step.name, failures.one_line(error), code) from error
    except Exception as error:
        if not failures.is_from(error, "git"):
            raise
        raise failures.not_fetched(step, error) from error


def collect(opened: Session, step: Step, begun: Begun, outcome: Outcome) -> None:
    """Read what the step recorded, and publish it to the step's MLflow run."""
    run_id = begun.run_id
    if run_id is None:
        return
    opened.runs.pop(run_id, None)
    mlflow_session.end_killed(opened.client, run_id)  # stopped before MLflow waited for it
    if os.environ[choice.VARIABLE] == "wandb":
        for report in read_reports(opened.reports / run_id, outcome):
            publish_report(report, run_id)
        return
    records = read_records(run_id, outcome)
    if not records and outcome.outcome == "done":
        _take_over(opened, step, run_id, outcome)
    for record in records:
        publish(record, run_id)


def read_reports(path: Path, outcome: Outcome) -> list[dict[str, Any]]:
    """Fill in what a step on W&B reported to the file at `path`; return the last of each run."""
    reports = _reports(path)
    outcome.told = any("logged" in report for report in reports)
    for report in reports:
        outcome.artifacts += report.get("logged", ())
        outcome.digests |= report.get("digests", {})
        outcome.metrics |= _numbers(report.get("summary", {}))
    return reports


def read_records(run_id: str, outcome: Outcome) -> list[RunRecord]:
    """Fill in what the runs of a step left in the embedded store; return them."""
    records = open_store().runs(mlflow_run_id=run_id)
    for record in records:
        made = {f"{v.name}:v{v.number}": v.digest for v in record.logged_artifacts()}
        outcome.artifacts += made
        outcome.digests |= made
        outcome.metrics |= _numbers(record.summary)
    return records


def missing_outputs(step: Step, outcome: Outcome) -> list[str]:
    """List the outputs that a step declares and did not make although it ended well.

    What comes after it would go on with what an earlier run made.
    """
    if outcome.outcome != "done" or not outcome.told:
        return []
    made = {name.rpartition(":")[0] for name in outcome.artifacts}
    return [name for name in step.outputs if name not in made]


def undeclared_outputs(step: Step, outcome: Outcome) -> list[str]:
    """List what a step made and does not declare: it is kept and reused like the rest."""
    made = dict.fromkeys(name.rpartition(":")[0] for name in outcome.artifacts)
    return [name for name in made if name not in step.outputs]


def _take_over(opened: Session, step: Step, run_id: str, outcome: Outcome) -> None:
    """Keep what a step that uses plain MLflow logged to its run: metrics, and files of its outputs.

    A file or folder that is called like one of the step's outputs becomes that artifact.
    """
    outcome.metrics |= _numbers(opened.client.get_run(run_id).data.metrics)
    logged = {file.path for file in opened.client.list_artifacts(run_id)} if step.outputs else set()
    outputs = [name for name in step.outputs if name in logged]
    if not outputs:
        return
    from util_lib import tracking

    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with tracking.init(job_type=step.name, config=dict(step.parameters)) as run:
        for name in outputs:
            with tempfile.TemporaryDirectory(dir=opened.folder) as folder:
                path = Path(opened.client.download_artifacts(run_id, name, folder))
                made = tracking.Artifact(name, type=step.name)
                made.add_dir(str(path)) if path.is_dir() else made.add_file(str(path))
                run.log_artifact(made).wait()
            outcome.artifacts.append(made.source_name)
            outcome.digests[made.source_name] = made.digest


def _reports(path: Path) -> list[dict[str, Any]]:
    """Return the last line of each run in the file at `path`."""
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [*{line["path"]: line for line in lines}.values()]


def _numbers(summary: dict[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in summary.items()
        if isinstance(value, int | float) and not name.startswith("_")
    }
