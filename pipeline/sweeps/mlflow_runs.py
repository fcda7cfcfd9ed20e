"""A sweep in MLflow: each trial is a run below the sweep's, with its swept values as columns.

Written by the launching process, which has MLflow loaded: a trial that wrote its own would cost an
import of seconds.
"""

import time
from typing import TYPE_CHECKING

from pipeline.sweeps import record as sweep_record
from pipeline.sweeps.context import Sweep
from pipeline.sweeps.record import Trial
from util_lib.tracking import choice
from util_lib.tracking.mlflow_mirror import ADDRESS_TAG
from util_lib.tracking.mlflow_mirror import publish as publish_record
from util_lib.tracking.store.database import open_store

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN_TAG = "tracking.run_id"  # on an MLflow run: the run that it shows
STATUS = {
    "finished": "FINISHED",
    "pruned": "FINISHED",
    "killed": "KILLED",
}  # every other state is FAILED


def publish(client: "MlflowClient", sweep: Sweep, project: str, others: list[str]) -> None:
    """Show the trials that MLflow does not show yet; `others` are ids of the sweep's other runs."""
    assert sweep.mlflow_run is not None  # a sweep begins with it
    parent = client.get_run(sweep.mlflow_run).info
    shown = _shown(client, parent.experiment_id, sweep.name)
    trials = sweep_record.trials(project, sweep.name)
    for trial in trials:
        if trial.run_id not in shown:
            _publish(client, parent.experiment_id, sweep, trial)
    _conclude(client, sweep, trials)
    if choice.choose().backend != "local":
        return
    for run_id in others:
        record = open_store().runs(id=run_id)[0]
        run = client.create_run(
            parent.experiment_id,
            tags={"mlflow.parentRunId": sweep.mlflow_run},
            run_name=record.name,
        )
        publish_record(record, run.info.run_id)
        client.set_terminated(run.info.run_id, STATUS.get(record.state, "FAILED"))


def _conclude(client: "MlflowClient", sweep: Sweep, trials: list[Trial]) -> None:
    """Let the sweep's run say how many trials there are, and what the best one is."""
    assert sweep.mlflow_run is not None
    name, count = client.get_run(sweep.mlflow_run).info.run_name, len(trials)
    client.set_tag(sweep.mlflow_run, "mlflow.runName", f"{name} · {count} trials")
    asked = [trial for trial in trials if trial.question == sweep.question]
    best = sweep_record.best(asked, sweep.objectives)
    if best is None or choice.choose().backend != "local":
        return
    client.log_metric(sweep.mlflow_run, sweep.objectives[0], best.value(sweep.objectives[0]))
    for key, value in best.overrides.items():
        client.log_param(sweep.mlflow_run, f"best.{key}", value)


def _shown(client: "MlflowClient", experiment: str, name: str) -> set[str]:
    found, token = set(), None
    while True:
        page = client.search_runs(
            [experiment], f"tags.sweep = '{name}'", max_results=1000, page_token=token
        )
        found |= {run.data.tags.get(RUN_TAG, "") for run in page}
        token = page.token
        if not token:
            return found


def _publish(client: "MlflowClient", experiment: str, sweep: Sweep, trial: Trial) -> None:
    from mlflow.entities import Metric, Param, RunTag

    started, ended = _times(trial)
    run = client.create_run(
        experiment,
        started,
        tags={"mlflow.parentRunId": sweep.mlflow_run, "sweep": sweep.name, RUN_TAG: trial.run_id},
        run_name=trial.run_name,
    )
    names = sweep_record.short_names([*trial.overrides])
    metrics = [
        Metric(name, float(value), ended, 0)
        for name, value in trial.summary.items()
        if isinstance(value, int | float)
    ]
    texts = {name: v for name, v in trial.summary.items() if isinstance(v, str)}
    if trial.url:
        texts[ADDRESS_TAG] = trial.url
    client.log_batch(
        run.info.run_id,
        metrics,
        [Param(names[key], str(value)) for key, value in trial.overrides.items()],
        [RunTag(key, value[:5000]) for key, value in texts.items()],
    )
    client.set_terminated(run.info.run_id, STATUS.get(trial.state, "FAILED"), ended)


def _times(trial: Trial) -> tuple[int, int]:
    """Return begin and end in milliseconds; of a trial on W&B, which shows them, just now."""
    now = time.time()
    found = open_store().runs(id=trial.run_id) if choice.choose().backend == "local" else []
    started, ended = (found[0].started_at, found[0].finished_at) if found else (now, now)
    return int(started * 1000), int((ended or now) * 1000)
