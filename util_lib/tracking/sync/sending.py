"""Send runs, metrics, figures, artifacts, aliases and lineage of the embedded store to W&B.

What the service has is asked of the service, so a sync that was interrupted, however, is repeated
and goes on where it stopped. Importing this module imports the W&B client.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from util_lib.errors import UserError
from util_lib.tracking import choice
from util_lib.tracking.online import client
from util_lib.tracking.online.service import WandbService, connected
from util_lib.tracking.store.database import Store, open_store
from util_lib.tracking.store.records import RunRecord, VersionRecord
from util_lib.tracking.sync import aliases as sync_aliases
from util_lib.tracking.sync.plan import Event, Plan, plan
from util_lib.tracking.sync.replay import Missing, OpenRun, complete_summary, missing

AGAIN = "sync again later: nothing is lost, and it goes on where it stopped"
MARK = "TRACKING_SYNC"  # in the environment of the client's service process: whose it is
ARRIVAL_S = 10  # how long the end of a run may take to be seen by those who ask for it


class Counts(NamedTuple):
    """How many were sent, and how many W&B had already."""

    new: int
    there: int


class ArtifactRow(NamedTuple):
    """One artifact of the end table: versions by number, here and at W&B; what moved."""

    project: str
    name: str
    numbers: dict[int, int]
    versions: Counts
    aliases: list[str]
    notes: list[str]


class Report(NamedTuple):
    """What a sync did, or with `dry_run` would do."""

    dry_run: bool
    runs: Counts
    resumed: int
    steps: Counts
    files: Counts
    artifacts: list[ArtifactRow]
    left_out: dict[str, str]


def sync(project: str | None = None, dry_run: bool = False) -> Report:
    """Send what W&B does not have of the store, or of one `project` of it, and print a table.

    Raises `UserError` when something hinders it; what has arrived stays there.
    """
    store = open_store()
    if project is not None and project not in (here := sorted({r.project for r in store.runs()})):
        raise UserError(
            f"there is no project {project!r} in {store.directory}: choose from "
            f"{', '.join(here) or 'none, the store is empty'}"
        )
    with _alone(store) as folder, connected(folder, AGAIN) as service:
        report = _sync(store, service, project, dry_run, folder)
    print(describe(report))
    return report


@contextlib.contextmanager
def _alone(store: Store) -> Iterator[Path]:
    """Give a folder for what lies here meanwhile; no other sync of this store is under way."""
    with store.files.alone("sync"), store.files.work_folder() as folder:
        try:
            client.end_left_over(MARK, str(store.directory))
            os.environ[MARK] = str(store.directory)
            yield folder
        finally:
            os.environ.pop(MARK, None)


def _sync(
    store: Store, service: WandbService, project: str | None, dry_run: bool, folder: Path
) -> Report:
    planned = plan(store, project, service.has)
    _check_types(service, planned)
    seen: dict[str, Any] = {}
    for name in dict.fromkeys(run.project for run in planned.runs):
        seen |= service.runs(name, [run.id for run in planned.runs if run.project == name])
    of_run: dict[str, list[Event]] = {run.id: [] for run in planned.runs}
    for event in planned.events:
        of_run[event.run_id].append(event)
    lacks = {
        run.id: missing(service, run, seen.get(run.id), of_run[run.id]) for run in planned.runs
    }
    there = {version.id for version in planned.versions() if service.has(version)}
    if not dry_run:
        sync_aliases.forget_latest(
            store, service, [e.version for one in lacks.values() for e in one.events]
        )
        _replay(service, planned, lacks, folder)
        service.forget()
    rows = [
        _row(store, service, versions, there, dry_run)
        for versions in _by_artifact(planned.versions())
    ]
    return Report(
        dry_run,
        _count(len(lacks), sum(one.is_new for one in lacks.values())),
        sum(any(one) and not one.is_new for one in lacks.values()),
        _count(
            sum(len(run.history()) for run in planned.runs),
            sum(len(one.rows) for one in lacks.values()),
        ),
        _count(
            sum(len(run.files()) for run in planned.runs),
            sum(len(one.files) for one in lacks.values()),
        ),
        rows,
        {
            f"{run.project}/{run.name} ({run.id})": planned.left_out[run.id]
            for run in store.runs()
            if run.id in planned.left_out
        },
    )


def _replay(service: WandbService, planned: Plan, lacks: dict[str, Missing], folder: Path) -> None:
    """Send what is missing: runs in the order of their starts, events in the order of time.

    Runs that were active at the same time are open at the same time.
    """
    waiting = [run for run in planned.runs if any(lacks[run.id])]
    total, opened = len(waiting), {}
    left = {run.id: len(lacks[run.id].events) for run in waiting}

    def start(run: RunRecord) -> None:
        waiting.remove(run)
        verb = "sending" if lacks[run.id].is_new else "completing"
        print(
            f"{verb} run {total - len(waiting)} of {total}: {run.project}/{run.name}"
            f"{f' ({run.job_type})' if run.job_type else ''}: {_contents(lacks[run.id])}",
            flush=True,
        )
        if not any(lacks[run.id][:-1]):
            _complete(service, run)
            return
        opened[run.id] = OpenRun(service, run, lacks[run.id], folder)
        if not left[run.id]:
            finish(run)

    def finish(run: RunRecord) -> None:
        opened.pop(run.id).finish()
        _complete(service, run)

    wanted = {(e.run_id, e.direction, e.version.id) for one in lacks.values() for e in one.events}
    runs = {run.id: run for run in waiting}
    for event in planned.events:
        if (event.run_id, event.direction, event.version.id) not in wanted:
            continue
        for run in [run for run in waiting if run.started_at <= event.at or run.id == event.run_id]:
            start(run)
        opened[event.run_id].replay(event)
        left[event.run_id] -= 1
        if not left[event.run_id]:
            finish(runs[event.run_id])
    for run in [*waiting]:
        start(run)


def _complete(service: WandbService, record: RunRecord) -> None:
    """Add the last figures once the run is seen as it was sent: the client may lose it silently."""
    for _ in range(ARRIVAL_S):
        seen = service.run(record)
        lacks = missing(service, record, seen, [])
        if not any(lacks[:-1]):
            complete_summary(record, seen)
            return
        time.sleep(1)
    what = "the end" if lacks.end else _contents(lacks)
    raise UserError(
        f"{what} of run {record.project}/{record.name} did not arrive at W&B "
        f"({choice.base_url()}): {AGAIN}"
    )


def _check_types(service: WandbService, planned: Plan) -> None:
    for version in planned.versions():
        there = service.types(version.project).get(version.name, version.type)
        if there != version.type:
            raise UserError(
                f"artifact {version.project}/{version.name} has the type {there!r} at W&B and "
                f"{version.type!r} in the store: rename one of them, or sync other projects alone"
            )


def _by_artifact(versions: list[VersionRecord]) -> list[list[VersionRecord]]:
    found: dict[tuple[str, str], list[VersionRecord]] = {}
    for version in versions:
        found.setdefault((version.project, version.name), []).append(version)
    return [found[key] for key in sorted(found)]


def _row(
    store: Store,
    service: WandbService,
    versions: list[VersionRecord],
    there: set[int],
    dry_run: bool,
) -> ArtifactRow:
    project, name = versions[0].project, versions[0].name
    moved, notes = sync_aliases.settle(store, service, project, name, dry_run)
    seen = service.versions(project, name)
    removed = [
        f"v{version.number} is not at W&B: it {version.removal} before it was sent"
        for version in reversed(store.versions(project, name, removed=True))
        if version.removed_at is not None and version.digest not in seen
    ]
    numbers = {v.number: seen[v.digest].number for v in versions if v.digest in seen}
    new = sum(version.id not in there for version in versions)
    return ArtifactRow(project, name, numbers, _count(len(versions), new), moved, notes + removed)


def _count(total: int, new: int) -> Counts:
    return Counts(new, total - new)


def _contents(lacks: Missing) -> str:
    logged = sum(event.direction == "out" for event in lacks.events)
    parts = {
        "steps": len(lacks.rows),
        "files": len(lacks.files),
        "artifacts logged": logged,
        "used": len(lacks.events) - logged,
    }
    return ", ".join(f"{number} {what}" for what, number in parts.items() if number) or "its end"


def describe(report: Report) -> str:
    """Return the end table."""
    would = "would be new" if report.dry_run else "new"
    lines = ["", f"{'':24}{would:>14}{'there already':>15}"]
    counted = {
        "runs": report.runs,
        "steps of metrics": report.steps,
        "files, figures": report.files,
    }
    versions = [row.versions for row in report.artifacts]
    counted["versions"] = Counts(sum(v.new for v in versions), sum(v.there for v in versions))
    for what, counts in counted.items():
        lines.append(f"{what:24}{counts.new:>14}{counts.there:>15}")
    if report.resumed:
        verb = "would be" if report.dry_run else "were"
        lines.append(f"{report.resumed} of the runs that were there {verb} completed")
    if report.artifacts:
        names = [f"{row.project}/{row.name}" for row in report.artifacts]
        width = max(map(len, names)) + 2
        lines += ["", f"{'artifact':{width}}{'new':>4}{'there':>7}  here -> at W&B"]
        for name, row in zip(names, report.artifacts, strict=True):
            lines.append(
                f"{name:{width}}{row.versions.new:>4}{row.versions.there:>7}  {_numbers(row)}"
            )
            lines += [f"{'':4}{line}" for line in [*row.aliases, *row.notes]]
    lines += [f"left out: run {run} {why}" for run, why in report.left_out.items()]
    return "\n".join(lines)


def _numbers(row: ArtifactRow) -> str:
    """Say which version has which number there; one range where all are the same."""
    if not row.numbers:
        return "-"
    if all(here == there for here, there in row.numbers.items()):
        first, last = min(row.numbers), max(row.numbers)
        return f"v{first}" if first == last else f"v{first} to v{last}, the same"
    return ", ".join(f"v{here} -> v{there}" for here, there in sorted(row.numbers.items()))
