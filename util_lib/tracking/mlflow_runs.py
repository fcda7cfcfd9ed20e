"""Runs in MLflow and the processes that are to end them.

MLflow notices nothing of a process that is killed: its run is RUNNING for ever. So each run that is
made here says by whom, and on behalf of which store.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from util_lib.processes import living

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PROCESS_TAG, STORE_TAG = "pipeline.process", "pipeline.store"
PAGE, BUSY_S = 1000, 60
RUNNING = """
SELECT r.run_uuid, p.value FROM runs r
JOIN tags p ON p.run_uuid = r.run_uuid AND p.key = ?
JOIN tags s ON s.run_uuid = r.run_uuid AND s.key = ? AND s.value = ?
WHERE r.status = 'RUNNING'
"""


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
    unused = _without_those_at_work([run.info.run_id for run in found])
    return [run for run in found if run.info.run_id in unused]


def some_left_behind(database: Path, store: Path) -> bool:
    """Say whether MLflow's SQLite database has such runs; MLflow, which is slow, is not started."""
    rows: list[tuple[str, str]] = []
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(database.as_uri() + "?mode=ro", uri=True)) as db,
    ):
        rows = db.execute(RUNNING, (PROCESS_TAG, STORE_TAG, str(store))).fetchall()
    return bool(_without_those_at_work([run for run, of in rows if living.has_ended(of)]))


def experiment(client: "MlflowClient", name: str) -> str:
    """Return the id of the experiment of this name; one that is not there, or deleted, is made."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name)
        except MlflowException:  # another process was faster
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def move(database: Path, run_id: str, experiment: str, name: str | None = None) -> None:
    """Move a run of MLflow's SQLite database to another experiment, which MLflow itself can't.

    With a `name` the run gets that as well; MLflow, which is slow, is not started. Where there is
    no such experiment the run stays where it is.
    """
    with closing(sqlite3.connect(database, timeout=BUSY_S)) as db, db:
        db.execute(
            "UPDATE runs SET experiment_id = e.experiment_id FROM experiments e "
            "WHERE run_uuid = ? AND e.name = ?",
            (run_id, experiment),
        )
        if name is not None:
            db.execute("UPDATE runs SET name = ? WHERE run_uuid = ?", (name, run_id))
            db.execute(
                "UPDATE tags SET value = ? WHERE run_uuid = ? AND key = 'mlflow.runName'",
                (name, run_id),
            )


def hide_in_parameters(database: Path, run_id: str, hide: Callable[[str], str]) -> None:
    """Write the parameters of a run in MLflow's SQLite database again, without what `hide` hides.

    MLflow itself changes no parameter. Nothing of the old texts is left in the file.
    """
    with closing(sqlite3.connect(database, timeout=BUSY_S)) as db, db:
        db.execute("PRAGMA secure_delete = ON")
        rows = db.execute("SELECT key, value FROM params WHERE run_uuid = ?", (run_id,)).fetchall()
        db.executemany(
            "UPDATE params SET value = ? WHERE run_uuid = ? AND key = ?",
            [(hide(value), run_id, key) for key, value in rows],
        )


def _without_those_at_work(runs: list[str]) -> list[str]:
    working = living.with_variable("MLFLOW_RUN_ID") if runs else set()
    return [run for run in runs if run not in working]
