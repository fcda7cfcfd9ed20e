"""What of the embedded store nobody needs any more, and how it is removed.

A version is needed while an alias holds it, once it was promoted, while a run that has not ended
logged or used it, and while a pipeline is running that began before it was logged or used last.
What else keeps it, such as a receipt, is told by the caller. A removed version keeps its row, so
that its number is never given again and what ran on it can still be read; its contents go after
that is on disk.
"""

import sqlite3
import time
from typing import NamedTuple

from util_lib.tracking.store.database import Store
from util_lib.tracking.store.records import PROMOTIONS, VersionRecord


class Unneeded(NamedTuple):
    """What can go; sizes are bytes on disk.

    A content that several versions share counts for the first of them. `contents` are the digests
    that go, `loose` those of them that no version refers to now.
    """

    versions: list[tuple[VersionRecord, int]]
    contents: dict[str, int]
    loose: dict[str, int]


def in_use(store: Store) -> set[int]:
    """Return the ids of the versions that an alias, a rollback or a run in progress needs."""
    running = {run.id for run in store.runs(state="running") if run.state == "running"}
    since = store.files.under_way_since()
    used = {
        version_id
        for run_id, _, version_id, at in store.lineage()
        if run_id in running or (since is not None and at >= since)
    }
    return used | {
        version.id
        for version in store.all_versions()
        if version.aliases or version.metadata.get(PROMOTIONS)
    }


def unneeded(store: Store, needed: set[int]) -> Unneeded:
    """Return what can go when the versions with the ids `needed` are to stay."""
    there = store.all_versions()
    going = sorted((version for version in there if version.id not in needed), key=_order)
    refers = {v.id: {file.sha256 for file in store.version_files(v.id)} for v in there}
    kept = store.contents_of_runs()
    kept |= {sha256 for version in there if version.id in needed for sha256 in refers[version.id]}
    contents = {
        sha256: size for sha256, size in store.files.all_contents().items() if sha256 not in kept
    }
    left = dict(contents)
    versions = [
        (version, sum(left.pop(sha256, 0) for sha256 in refers[version.id])) for version in going
    ]
    return Unneeded(versions, contents, left)


def mark(db: sqlite3.Connection, versions: list[VersionRecord]) -> None:
    """Take versions out of the store, inside a transaction of the caller."""
    now = time.time()
    db.executemany(
        "UPDATE versions SET removed_at = ? WHERE id = ?",
        [(now, version.id) for version in versions],
    )


def delete(store: Store, contents: dict[str, int]) -> None:
    """Delete contents that nothing refers to any more; called while `removing`."""
    store.files.remove(contents)


def _order(version: VersionRecord) -> tuple[str, str, int]:
    return version.project, version.name, version.number
