"""What came of a run beside what had come of it before: row by row, and where it first differs."""

import json
import logging
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from pipeline.environments import making
from pipeline.receipts import store_copy
from pipeline.receipts.reading import Receipt, RecordedStep
from util_lib.errors import UserError
from util_lib.project import ROOT
from util_lib.tracking import databases
from util_lib.tracking.store.database import Store

COMPARE = ROOT / "tools/compare"
SHOWN = 12  # digits of a digest
STEP = "step "  # begins the row of a step that ended otherwise
NOT_HERE = "the recorded content is not here to compare"


class Difference(NamedTuple):
    """One artifact, one metric, or how a step ended; empty text for what is not there.

    `name` is the artifact's name, empty for other rows; `difference` says where it first differs.
    """

    what: str
    before: str
    now: str
    name: str = ""
    difference: str = ""

    @property
    def same(self) -> bool:
        """Whether it is there both times, and equal."""
        return self.before == self.now != ""


def rows(before: Receipt, now: Receipt) -> list[Difference]:
    """List artifacts and metrics of both runs, in the order of the steps."""
    found: list[Difference] = []
    again = {step.name: step for step in now.steps}
    for step in before.steps:
        found += _of_step(step, again.get(step.name))
    return found


def _of_step(before: RecordedStep, now: RecordedStep | None) -> list[Difference]:
    ended = now.ended if now else "not run"
    found = [] if ended == before.ended else [Difference(STEP + before.name, before.ended, ended)]
    outputs, metrics = (now.outputs, now.metrics) if now else ({}, {})
    for name in {**before.outputs, **outputs}:
        old, new = before.outputs.get(name), outputs.get(name)
        then, since = (version.digest or "" if version else "" for version in (old, new))
        found.append(Difference(name, then, since, name=name))
    for name in {**before.metrics, **metrics}:
        then, since = (
            json.dumps(each[name]) if name in each else "" for each in (before.metrics, metrics)
        )
        found.append(Difference(name, then, since, difference=_delta(then, since)))
    return found


def _delta(before: str, now: str) -> str:
    if before == now or not before or not now:
        return ""
    return f"{json.loads(now) - json.loads(before):+.6g}"


def explained(
    found: list[Difference],
    project: str,
    before: Store | None,
    now: Store,
    manager: str,
    folder: Path,
) -> list[Difference]:
    """Return the rows with where each differing artifact first differs.

    `before` is the user's store, `now` that of the new run. The comparison reads tables and models,
    which takes packages that main.py does not have: it is a small project of its own.
    """
    work = folder / "compare"
    said: dict[str, str] = {}
    for row in found:
        if not row.name or row.same or not row.before or not row.now:
            continue
        contents = lay_out(project, row.name, row.before, before, work / row.name / "before")
        if contents and lay_out(project, row.name, row.now, now, work / row.name / "now"):
            said[row.name] = ""
        else:
            said[row.name] = NOT_HERE
    if "" in said.values():
        run_tool("main", {"folder": str(work)}, manager, folder)
        said |= json.loads((work / "differences.json").read_text(encoding="utf-8"))
    return [row._replace(difference=said[row.name]) if row.name in said else row for row in found]


def lay_out(project: str, name: str, digest: str, store: Store | None, folder: Path) -> bool:
    """Link the files of a version into `folder`; return False where they are not whole."""
    found = store_copy.find(store, project, name, digest) if store else None
    if store is None or found is None or store.damage(store.version_by_id(found)):
        return False
    for file in store.version_files(found):
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        content = store.files.path(file.sha256)
        try:
            os.link(content, path)  # no symbolic link: a model holds all that it is made of
        except OSError:  # another disk
            shutil.copyfile(content, path)
    return True


def run_tool(entry: str, parameters: dict[str, str], setting: str, folder: Path) -> None:
    """Run an entry point of the project `compare`; `folder` is temporary.

    `setting` says who makes its environment, as main.env_manager.
    """
    import mlflow
    import mlflow.projects

    making.use_own_tools()
    manager = making.choose(setting, None)
    making.prepare(making.needed(manager, [COMPARE]), print)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        os.environ.pop(name, None)  # of another database
    mlflow.set_tracking_uri(databases.address_of(folder / "compare.db"))
    try:
        mlflow.run(
            str(COMPARE),
            entry_point=entry,
            parameters=parameters,
            env_manager=manager,
            storage_dir=str(folder),  # MLflow's own would stay behind
        )
    except mlflow.exceptions.ExecutionException as error:
        raise UserError(f"tools/compare could not do its part: {error}") from error


def table(found: list[Difference]) -> Table:
    """Return what `found` says as a table."""
    shown = Table(title_justify="left")
    for name in ("artifact or metric", "recorded", "now", "", "first difference"):
        shown.add_column(name, overflow="fold", no_wrap=name != "first difference")
    for row in found:
        short = [text[:SHOWN] if row.name else text for text in (row.before, row.now)]
        same = "same" if row.same else "different"
        shown.add_row(row.what, *(text or "-" for text in short), same, row.difference)
    return shown


def verdict(found: list[Difference]) -> str:
    """Return the closing sentence."""
    artifacts = [row for row in found if row.name]
    metrics = [row for row in found if not row.name and not row.what.startswith(STEP)]
    counts = [
        f"{sum(row.same for row in some)} of {len(some)} {what}"
        for some, what in ((artifacts, "artifacts"), (metrics, "metrics"))
    ]
    words = "reproduced" if all(row.same for row in found) else "not reproduced"
    return f"{words}: {' and '.join(counts)} are the same"
