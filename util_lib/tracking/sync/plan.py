"""What of the embedded store would go to W&B, and in which order; nothing is asked or sent here."""

from collections.abc import Callable
from typing import NamedTuple

from util_lib.tracking.store.database import Store
from util_lib.tracking.store.records import RunRecord, VersionRecord


class Event(NamedTuple):
    """A run logged (direction "out") or used ("in") a version; `creates` if it made it."""

    at: float
    run_id: str
    direction: str
    version: VersionRecord
    creates: bool


class Plan(NamedTuple):
    """Runs that can go, oldest first; why others can't, by id; what happened, in order."""

    runs: list[RunRecord]
    left_out: dict[str, str]
    events: list[Event]

    def versions(self) -> list[VersionRecord]:
        """Return the versions that these runs made, in the order in which they came to be."""
        return [event.version for event in self.events if event.creates]


def plan(
    store: Store, project: str | None, is_there: Callable[[VersionRecord], bool] = lambda _: False
) -> Plan:
    """Plan the whole store, or one project of it.

    `is_there` says of a version of another project whether W&B has it already. A run that is
    still running is left out, and so is what cannot go before it: the runs that used its
    versions, and those that logged later versions of the same artifacts, which would else get
    other numbers. Of a version that was removed, only uses can go, and only where `is_there`.
    """
    runs = {run.id: run for run in store.runs()}  # first: what started since then is left out
    versions = {version.id: version for version in store.all_versions(removed=True)}
    events = [
        Event(at, run_id, direction, version, direction == "out" and version.logged_by == run_id)
        for run_id, direction, version_id, at in store.lineage()
        if run_id in runs and (version := versions.get(version_id))
        if version.removed_at is None or (direction == "in" and is_there(version))
    ]
    left_out = {run.id: "is still running" for run in runs.values() if run.state == "running"}
    if project is not None:
        runs_here = {run.id for run in runs.values() if run.project == project}
        events = [event for event in events if event.run_id in runs_here]
        for event in events:
            if event.version.project != project and not is_there(event.version):
                left_out.setdefault(
                    event.run_id,
                    f"used {event.version.reference}, which W&B lacks: sync without a project",
                )
        runs = {run_id: run for run_id, run in runs.items() if run_id in runs_here}
    _leave_out_what_follows(left_out, events, runs)
    return Plan(
        [run for run in runs.values() if run.id not in left_out],
        {run_id: why for run_id, why in left_out.items() if run_id in runs},
        _in_order([event for event in events if event.run_id not in left_out]),
    )


def _leave_out_what_follows(
    left_out: dict[str, str], events: list[Event], runs: dict[str, RunRecord]
) -> None:
    """Add to `left_out`, until nothing changes, the runs that need what is left out."""
    before, projects = -1, {run.project for run in runs.values()}
    while len(left_out) != before:
        before = len(left_out)
        first_gone: dict[tuple[str, str], VersionRecord] = {}
        for version in sorted({e.version.id: e.version for e in events}.values(), key=_number):
            known_there = version.project not in projects  # else its users are left out already
            if not known_there and (version.logged_by in left_out or version.logged_by not in runs):
                first_gone.setdefault((version.project, version.name), version)
        for event in events:
            version, first = event.version, first_gone.get(_name(event))
            if event.run_id in left_out or first is None or version.number < first.number:
                continue
            verb = "used" if event.direction == "in" else "logged"
            after = "" if version.id == first.id else f", which comes after {first.reference}"
            maker = runs[first.logged_by].name if first.logged_by in runs else first.logged_by
            left_out[event.run_id] = (
                f"{verb} {version.reference}{after}, made by run {maker}, which is left out"
            )


def _in_order(events: list[Event]) -> list[Event]:
    """Sort by time, with every version of an artifact after the one before it.

    A writer reads the clock before it waits for the others, so times alone may contradict the
    numbers; no version is older than one with a smaller number, no use older than what it used.
    """
    made_at: dict[int, float] = {}
    newest: dict[tuple[str, str], float] = {}
    for event in sorted((event for event in events if event.creates), key=lambda e: _number(e[3])):
        newest[_name(event)] = max(event.version.created_at, newest.get(_name(event), 0.0))
        made_at[event.version.id] = newest[_name(event)]
    moved = [
        event._replace(at=max(event.at, made_at.get(event.version.id, 0.0))) for event in events
    ]
    # At the same moment: smaller numbers first, then what was made before what was made of it.
    moved.sort(key=lambda e: (e.at, e.version.number, not e.creates, e.direction == "in"))
    return moved


def _number(version: VersionRecord) -> int:
    return version.number


def _name(event: Event) -> tuple[str, str]:
    return event.version.project, event.version.name
