"""Show a finished run in MLflow: parameters, metrics, figures, tags, and its exported model.

The store is what counts; MLflow is its screen and its model registry. Publishing the same run
twice changes nothing. Only this module imports MLflow, and only when it is called.
"""

import contextlib
import json
import logging
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from util_lib import safe_files
from util_lib.errors import UserError
from util_lib.tracking import databases, mlflow_datasets, mlflow_registry, mlflow_runs
from util_lib.tracking.store import values
from util_lib.tracking.store.database import Store
from util_lib.tracking.store.places import refuse_lost_store, store_directory
from util_lib.tracking.store.records import RunRecord, VersionRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

ADDRESS_TAG = "wandb.url"  # on an MLflow run: where W&B shows the step's run
PAGE_SUFFIX = ".html"
PARAM_LENGTH = 6000  # MLflow's limits
TAG_LENGTH = 8000
PARAMS_PER_BATCH = 100
METRICS_PER_BATCH = 1000
STATUS = {"finished": "FINISHED", "killed": "KILLED"}  # every other state is FAILED


def publish(record: RunRecord, mlflow_run_id: str) -> None:
    """Write a run's record to the MLflow run with this id.

    Its status is left to whoever started it. Raises `ImportError` without MLflow, `UserError` if
    MLflow refuses.
    """
    with connect(record.store.directory) as client, _errors(record):
        _publish(client, record, client.get_run(mlflow_run_id))


def publish_own(record: RunRecord) -> None:
    """Publish a run to the MLflow run it ran in, else to a new one.

    Without MLflow a line on stderr says that the run is not shown there, and why.
    """
    logging.getLogger("tracking").info("showing the run in MLflow")  # which takes seconds
    try:
        with connect(record.store.directory) as client, _errors(record):
            mlflow_run_id = record.mlflow_run_id or _create_run(client, record)
            mlflow_run = client.get_run(mlflow_run_id)
            _publish(client, record, mlflow_run)
            if mlflow_run.data.tags.get("tracking.created_for") == record.id:
                client.set_terminated(
                    mlflow_run_id,
                    STATUS.get(record.state, "FAILED"),
                    _milliseconds(record.finished_at or time.time()),
                )
    except ImportError as error:
        print(
            f"tracking: run {record.name} is in {record.store.directory} but not shown in MLflow: "
            f"{error}",
            file=sys.stderr,
        )


def publish_address(url: str) -> None:
    """Note on the MLflow run of this process, if it has one, where W&B shows its run.

    Without MLflow a line on stderr says that it is not noted there, and why.
    """
    if not (mlflow_run_id := os.environ.get("MLFLOW_RUN_ID")):
        return
    try:
        with connect(store_directory()) as client:
            client.set_tag(mlflow_run_id, ADDRESS_TAG, url)
    except ImportError as error:
        print(f"tracking: {url} could not be noted in MLflow: {error}", file=sys.stderr)
    except Exception as error:
        raise UserError(
            f"{url} could not be noted in MLflow: {_first_line(error)}; correct what hinders it, "
            "or unset MLFLOW_RUN_ID, and run the step again"
        ) from error


def publish_report(report: dict[str, Any], mlflow_run_id: str) -> None:
    """Write what a run on W&B left for MLflow: its parameters and its address.

    Metrics and figures stay at W&B. A report without `config` is one of a step that did not end
    well; then it is only the address.
    """
    with connect(store_directory()) as client:
        _log_params(client, report.get("config") or {}, client.get_run(mlflow_run_id))
        tags = {ADDRESS_TAG: report["url"], "wandb.path": report["path"]}
        for name in ("logged", "used"):
            tags[f"artifacts.{name}"] = ",".join(report.get(name) or ())
        for key, value in tags.items():
            if value:
                client.set_tag(mlflow_run_id, key, value[:TAG_LENGTH])


def mirror_aliases(store: Store, version: VersionRecord) -> None:
    """Give a registered model version the aliases of its artifact version, and no others.

    A version that was never published is left alone.
    """
    if not mlflow_registry.is_model(store, version):
        return
    if not os.environ.get("MLFLOW_TRACKING_URI") and not _database(store.directory).exists():
        return
    try:
        with connect(store.directory) as client:
            try:
                mlflow_registry.mirror_aliases(client, version)
            except ImportError:
                raise
            except Exception as error:
                raise UserError(
                    f"the aliases of {version.reference} are changed in {store.directory}, but "
                    f"not in MLflow's registry: {_first_line(error)}; correct what hinders it and "
                    f"repeat: python -m util_lib.tracking publish {version.logged_by}"
                ) from error
    except ImportError as error:
        print(
            f"tracking: the aliases of {version.reference} are changed in {store.directory} but "
            f"not in MLflow's registry: {error}",
            file=sys.stderr,
        )


def tracking_uri(directory: Path) -> str:
    """Return `MLFLOW_TRACKING_URI`, else the database beside the store in `directory`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or databases.address_of(_database(directory))


@contextlib.contextmanager
def mlflow_lock(directory: Path) -> Iterator[None]:
    """Let one process at a time use the MLflow database beside the store in `directory`.

    Two cannot build the database at once, and a model version must not be registered by both.
    """
    refuse_lost_store(directory)  # its disk may have gone a moment ago
    with safe_files.locked(directory / "publish.lock"):
        yield


def make_database(uri: str) -> None:
    """Build the SQLite database of the address `uri`, if that is one and it is not there.

    MLflow builds it in place, in seconds; broken off, half a database is there, which MLflow never
    mends. Call it under `mlflow_lock`.
    """
    path = databases.path_of(uri)
    if path is None:
        return
    databases.keep_whole()
    if path.exists():
        return
    from mlflow import MlflowClient as Client

    safe_files.make_database(
        path, lambda draft: Client(databases.address_of(draft)).search_experiments(max_results=1)
    )


@contextlib.contextmanager
def connect(directory: Path) -> "Iterator[MlflowClient]":
    """Give a client of MLflow for the store in `directory`, to one process at a time."""
    from mlflow import MlflowClient

    base = directory.parent
    with mlflow_lock(directory):
        # Log lines about building the database help nobody.
        quiet = [logging.getLogger(name) for name in ("alembic", "mlflow.store.db.utils")]
        levels = [logger.level for logger in quiet]
        # MLflow would keep the files of its default experiment under the current directory.
        root = "_MLFLOW_SERVER_ARTIFACT_ROOT"
        added = root not in os.environ
        try:
            for logger in quiet:
                logger.setLevel(logging.CRITICAL)  # what it says with a traceback, it raises
            if added:
                os.environ[root] = databases.files_of(base)
            uri = tracking_uri(directory)
            make_database(uri)
            yield MlflowClient(uri, uri)
        finally:
            if added:
                os.environ.pop(root, None)
            for logger, level in zip(quiet, levels, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def _errors(record: RunRecord) -> Iterator[None]:
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        raise UserError(
            f"run {record.name} could not be shown in MLflow: {_first_line(error)}; its results "
            f"are safe in {record.store.directory}; correct what hinders it and repeat: "
            f"python -m util_lib.tracking publish {record.id}"
        ) from error


def _create_run(client: "MlflowClient", record: RunRecord) -> str:
    experiment_id = os.environ.get("MLFLOW_EXPERIMENT_ID")
    if not experiment_id:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or record.project
        experiment_id = mlflow_runs.experiment(client, name)
    tags = mlflow_runs.tags(record.store.directory) | {
        "mlflow.source.name": record.environment.get("program") or "",
        "mlflow.source.type": "LOCAL",
        "tracking.created_for": record.id,
    }
    if commit := record.environment["git"].get("commit"):
        tags["mlflow.source.git.commit"] = commit
    run = client.create_run(
        experiment_id, _milliseconds(record.started_at), tags, run_name=record.name
    )
    # From now on, also for a repetition after a failure, this is the run's place in MLflow.
    record.store.update_run(record.id, durable=True, mlflow_run_id=run.info.run_id)
    return run.info.run_id


def _publish(client: "MlflowClient", record: RunRecord, mlflow_run: "MlflowRun") -> None:
    run_id = mlflow_run.info.run_id
    _log_params(client, record.config, mlflow_run)
    mlflow_datasets.log(client, record, run_id)
    _log_figures(client, record, run_id)
    logged = record.logged_artifacts()
    for version in (version for version in logged if version.removed_at is None):
        if mlflow_registry.is_model(record.store, version):
            mlflow_registry.register(client, record.store, version, mlflow_run)
        else:
            _log_pages(client, record.store, version, run_id)
    _log_metrics(client, record, run_id, mlflow_registry.model_measured(client, record))
    for key, value in _tags(record, logged).items():
        client.set_tag(run_id, key, value[:TAG_LENGTH])


def _log_params(client: "MlflowClient", config: dict[str, Any], mlflow_run: "MlflowRun") -> None:
    from mlflow.entities import Param

    present = mlflow_run.data.params
    params = [
        Param(key, _text(value)[:PARAM_LENGTH])
        for key, value in _named(values.flatten(config)).items()
        if key not in present
    ]
    for start in range(0, len(params), PARAMS_PER_BATCH):
        batch = params[start : start + PARAMS_PER_BATCH]
        client.log_batch(mlflow_run.info.run_id, params=batch)


def _log_metrics(
    client: "MlflowClient", record: RunRecord, run_id: str, model_id: str | None
) -> None:
    """Log a run's metrics; those of `model_id`, where there is one, are its as well."""
    from mlflow.entities import Metric

    metrics, last = [], {}
    for row in record.history():
        at = _milliseconds(row["_timestamp"])
        for key, value in _named(_numbers(row)).items():
            metrics.append(Metric(key, value, at, row["_step"], model_id=model_id))
            last[key] = metrics[-1]
    # What stands in the summary alone, or was set there to another value than the last logged.
    for key, value in _named(_numbers(record.summary)).items():
        logged = last.get(key)
        if logged is None or not _same(logged.value, value):
            at = _milliseconds(record.finished_at or record.started_at)
            step = logged.step if logged else 0
            metrics.append(Metric(key, value, at, step, model_id=model_id))
    # The database ignores a metric that it has: key, value, time and step are all the same when
    # the record is published again.
    for start in range(0, len(metrics), METRICS_PER_BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_BATCH])


def _log_figures(client: "MlflowClient", record: RunRecord, run_id: str) -> None:
    images: dict[str, dict[str, dict]] = {}
    for row in [*record.history(), record.summary]:
        for key, value in row.items():
            for image in value if isinstance(value, list) else [value]:
                if _is_image(image):
                    images.setdefault(key, {})[image["path"]] = image
    if not images:
        return
    with tempfile.TemporaryDirectory() as folder:
        for key, found in _named(images).items():
            for path, image in found.items():
                # One picture is named for its key; several also carry their step.
                name = key if len(found) == 1 else f"{key}{_step_in(path)}"
                target = Path(folder, *name.split("/")).with_name(f"{name.split('/')[-1]}.png")
                target.parent.mkdir(parents=True, exist_ok=True)
                what = f"image {path!r} of run {record.name!r}"
                record.store.files.fetch(image["sha256"], target, what)
        client.log_artifacts(run_id, folder, "figures")


def _log_pages(client: "MlflowClient", store: Store, version: VersionRecord, run_id: str) -> None:
    """Show an artifact's HTML pages under `pages`: `mlflow ui` opens them as a browser does."""
    pages = [file for file in store.version_files(version.id) if file.path.endswith(PAGE_SUFFIX)]
    with tempfile.TemporaryDirectory() as folder:
        for file in pages:
            target = Path(folder, Path(file.path).name)
            store.files.fetch(file.sha256, target, f"page {file.path!r} of {version.reference!r}")
            client.log_artifact(run_id, str(target), "pages")


def _tags(record: RunRecord, logged: list[VersionRecord]) -> dict[str, str]:
    git = record.environment["git"]
    tags = {
        "project": record.project,
        "group": record.group,
        "job_type": record.job_type,
        "tracking.run_id": record.id,
        "tracking.run_name": record.name,
        "tracking.state": record.state,
        "artifacts.logged": ",".join(version.reference for version in logged),
        "artifacts.used": ",".join(v.reference for v in record.used_artifacts()),
        "git.commit": git.get("commit"),
        "git.remote": git.get("remote"),
        "mlflow.note.content": record.notes,
    }
    if git:
        tags["git.dirty"] = str(git["dirty"]).lower()
    for key, value in _named(_without_images(record.summary)).items():
        if isinstance(value, str):
            tags[f"summary.{key}"] = value
    return {key: value for key, value in tags.items() if value}


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in _without_images(row).items()
        if isinstance(value, int | float) and not key.startswith("_")
    }


def _without_images(row: dict[str, Any]) -> dict[str, Any]:
    return values.flatten({key: value for key, value in row.items() if not _is_image(value)})


def _is_image(value: Any) -> bool:
    return isinstance(value, dict) and value.get("_type") == "image-file"


def _named(items: dict[str, Any]) -> dict[str, Any]:
    """Return the items under names that MLflow takes."""
    return {re.sub(r"[^\w\-./: ]", "_", key)[:250]: value for key, value in items.items()}


def _step_in(path: str) -> str:
    """Return `_<step>_<start of the digest>` of an image's path, which tells it from others."""
    step, digest = path.removesuffix(".png").rsplit("_", 2)[1:]
    return f"_{step}_{digest[:6]}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _database(directory: Path) -> Path:
    return directory.parent / "mlflow.db"


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
