"""Runs in MLflow and the processes that are to end them.

MLflow notices nothing of a process that is killed: its run is RUNNING for ever. So each run that is
made here says by whom, and on behalf of which store.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from util_lib.processes import living

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PROCESS_TAG, STORE_TAG = "pipeline.process", "pipeline.store"
PAGE = 1000


def tags(store: Path) -> dict[str, str]:
    """Return what a run says of this process and its store."""
    return {PROCESS_TAG: living.mine(), STORE_TAG: str(store)}


def end_left_behind(client: "MlflowClient", store: Path) -> list[str]:
    """End the runs that dead processes of this machine left for `store`; return their names."""
    found = left_behind(client, store)
    for run in found:
        client.set_terminated(run.info.run_id, "KILLED")
    return [run.info.run_name for run in found]


def left_behind(client: "MlflowClient", store: Path) -> list["Run"]:
    """Return the runs that nobody will end: whoever began them on this machine was killed.

    One whose step still works, although main.py was killed, is not among them.
    """
    experiments = [each.experiment_id for each in client.search_experiments()]
    asked = f"attributes.status = 'RUNNING' AND tags.`{PROCESS_TAG}` LIKE '{living.machine()} %'"
    # Compared here: the folder's name may hold what a filter cannot say.
    found = [
        run
        for run in client.search_runs(experiments, asked, max_results=PAGE)
        if run.data.tags.get(STORE_TAG) == str(store)
        and living.has_ended(run.data.tags[PROCESS_TAG])
    ]
    working = living.with_variable("MLFLOW_RUN_ID") if found else set()
    return [run for run in found if run.info.run_id not in working]
