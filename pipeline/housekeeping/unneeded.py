"""What of the embedded store no alias, kept receipt or run needs: found, and removed."""

import datetime
from typing import NamedTuple

from pipeline.caching import record
from pipeline.caching.record import CacheEntry
from pipeline.housekeeping import removal
from pipeline.housekeeping.removal import Unneeded
from pipeline.receipts import writing
from util_lib.errors import UserError
from util_lib.tracking.names import Reference
from util_lib.tracking.store.database import Store
from util_lib.tracking.store.records import VersionRecord

UNNEEDED = "no alias, kept receipt or run in progress needs it"


class Removable(NamedTuple):
    """One line of the list: what goes, why, and the bytes that are gained."""

    what: str
    why: str
    size: int


def clean(store: Store, keep: int, delete: bool) -> list[Removable]:
    """Return what of a store can go, after removing it if told to.

    Whatever moment this is killed at, what is visible is whole, and the next time removes the rest:
    versions are taken out first, in one transaction with the decision, their contents after it.
    """
    left_over = store.files.left_over()
    if not delete:
        found, results = look(store, keep)
        return _rows(store, found, results, left_over)
    with store.files.alone("gc"), store.files.removing():
        with store.transaction() as db:
            found, results = look(store, keep)
            removal.mark(db, [version for version, _ in found.versions])
        removal.delete(store, found.contents)
        if results:
            record.forget(store.directory, [entry for entry, _ in results])
        store.files.make()
    return _rows(store, found, results, left_over)


def look(store: Store, keep: int) -> tuple[Unneeded, list[tuple[CacheEntry, str]]]:
    """Return what of a store can go: versions and contents, and results with the reason."""
    versions = store.all_versions()
    ids = {Reference(v.project, v.name, f"v{v.number}"): v.id for v in versions}
    entries, since = record.entries(store.directory), store.files.under_way_since()
    reused = {
        Reference(entry.project, name, f"v{number}")
        for entry in entries
        # a pipeline that is running takes it as made
        if entry.is_local and since is not None and entry.at >= since
        for name, number in entry.outputs
    }
    named = _kept_by_receipts(store, versions, keep) | reused
    needed = removal.in_use(store) | {ids[reference] for reference in named if reference in ids}
    found = removal.unneeded(store, needed)
    staying = {reference for reference, version_id in ids.items() if version_id in needed}
    return found, _old_results(entries, staying, keep, since)


def _kept_by_receipts(store: Store, versions: list[VersionRecord], keep: int) -> set[Reference]:
    """Return the receipts that stay, and the versions that they name.

    A receipt stays while an alias holds it, while it is one of the newest of its project, and while
    it is the newest that tells how a version was made that an alias holds.
    """
    logged: dict[int, float] = {}
    for _, direction, version_id, at in store.lineage():
        if direction == "out":
            logged[version_id] = max(at, logged.get(version_id, at))
    receipts = [v for v in versions if v.type == writing.NAME and v.name == writing.NAME]
    receipts.sort(key=lambda version: -logged.get(version.id, version.created_at))
    held = {Reference(v.project, v.name, f"v{v.number}") for v in versions if v.aliases}
    newest: dict[str, int] = {}
    kept: set[Reference] = set()
    for version in receipts:
        newest[version.project] = newest.get(version.project, 0) + 1
        named = named_by(store, version)
        stays = bool(version.aliases) or newest[version.project] <= keep
        if named is None and stays:
            raise UserError(
                f"{version.reference} cannot be read, and what it names must be kept: "
                f"{'; '.join(store.damage(version)) or 'it is no receipt'}; nothing was removed: "
                "take its aliases away, or give a smaller keep, if it is not needed"
            )
        made, read = named or (set(), set())
        if stays or made & held:
            held -= made
            kept |= {*made, *read, Reference(version.project, version.name, f"v{version.number}")}
    return kept


def named_by(store: Store, version: VersionRecord) -> tuple[set[Reference], set[Reference]] | None:
    """Return the versions that a receipt names, made and read; None where it cannot be read."""
    if store.damage(version):
        return None
    files = {file.path: file.sha256 for file in store.version_files(version.id)}
    try:
        text = store.files.path(files[writing.FILE]).read_text(encoding="utf-8")
        return writing.versions(text, version.project)
    except (KeyError, ValueError):
        return None


def _old_results(
    entries: list[CacheEntry], staying: set[Reference], keep: int, since: float | None
) -> list[tuple[CacheEntry, str]]:
    newer: dict[tuple[str, str, str], int] = {}
    found = []
    for entry in entries:
        step = (entry.place, entry.project, entry.step)
        outputs = {Reference(entry.project, name, f"v{number}") for name, number in entry.outputs}
        if entry.is_local and outputs - staying:  # W&B is not asked
            found.append((entry, f"{_first(outputs - staying)} is not there any more"))
            continue
        newer[step] = newer.get(step, 0) + 1
        if newer[step] > keep and (since is None or entry.at < since):
            found.append((entry, f"newer ones of the step: {keep} or more"))
    return found


def _first(references: set[Reference]) -> str:
    first = min(references)
    return f"{first.name}:{first.alias}"


def _rows(
    store: Store, found: Unneeded, results: list[tuple[CacheEntry, str]], left_over: dict
) -> list:
    rows = [Removable(f"version {v.reference}", UNNEEDED, size) for v, size in found.versions]
    if found.loose:
        what = f"{len(found.loose)} contents in files"
        rows.append(Removable(what, "no version and no run has them", sum(found.loose.values())))
    rows += [
        Removable(f"tmp/{path.name}", "left over by a process that has ended", size)
        for path, size in left_over.items()
    ]
    rows += [
        Removable(f"result {entry.project} {entry.step}, {day(entry.at)}", why, entry.size)
        for entry, why in results
    ]
    return rows


def day(moment: float) -> str:
    """Write a moment for people, to the minute."""
    return f"{datetime.datetime.fromtimestamp(moment):%Y-%m-%d %H:%M}"
