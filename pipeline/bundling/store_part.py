"""A part of the embedded store as its own store: some versions, and the runs that made them."""

import sqlite3
from contextlib import closing
from pathlib import Path

from util_lib.tracking.store.database import Store
from util_lib.tracking.store.places import DATABASE
from util_lib.tracking.store.records import VersionRecord

# The runs that made what stays, and those that only looked at it, as a step that measures does.
MAKERS = """
CREATE TEMP TABLE makers AS
    SELECT logged_by AS id FROM versions WHERE id IN kept
    UNION SELECT run_id FROM lineage WHERE direction = 'out' AND version_id IN kept
    UNION SELECT run_id FROM lineage GROUP BY run_id
        HAVING max(direction) = 'in' AND min(direction) = 'in' AND min(version_id IN kept)
"""
# What belongs to no version that stays, in an order in which nothing points at what is gone.
PRUNE = (
    "DELETE FROM aliases WHERE version_id NOT IN kept",
    "DELETE FROM version_files WHERE version_id NOT IN kept",
    "DELETE FROM lineage WHERE version_id NOT IN kept OR run_id NOT IN makers",
    "DELETE FROM versions WHERE id NOT IN kept",
    "DELETE FROM collections WHERE id NOT IN (SELECT collection_id FROM versions)",
    "DELETE FROM history WHERE run_id NOT IN makers",
    "DELETE FROM run_files WHERE run_id NOT IN makers",
    "DELETE FROM runs WHERE id NOT IN makers",
)


def copy(store: Store, versions: list[VersionRecord], target: Path) -> None:
    """Write a store with these versions to the new folder `target`; contents are checked."""
    target.mkdir(parents=True)
    database = f"{(store.directory / DATABASE).as_uri()}?mode=ro"
    with (
        store.files.adding(),  # nothing is removed between the two
        closing(sqlite3.connect(database, uri=True)) as before,
        closing(sqlite3.connect(target / DATABASE, isolation_level=None)) as db,
    ):
        before.backup(db)
        db.execute("CREATE TEMP TABLE kept (id INTEGER PRIMARY KEY)")
        db.executemany("INSERT INTO kept VALUES (?)", [(version.id,) for version in versions])
        for statement in (MAKERS, *PRUNE):
            db.execute(statement)
        db.execute("VACUUM")
        query = "SELECT sha256 FROM version_files UNION SELECT sha256 FROM run_files"
        for (digest,) in db.execute(query):
            path = target / "files" / digest[:2] / digest
            path.parent.mkdir(parents=True, exist_ok=True)
            store.files.fetch(digest, path, f"content {digest[:10]} of {store.directory}")
