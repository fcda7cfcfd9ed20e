"""What earlier runs of steps made: `cache.db` in the tracking store, one row for each fingerprint.

A row is written after its step has finished, so a killed step leaves none. Rows only say which
versions a step logged; whether those are still there, and whole, is looked up on every hit.
"""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from util_lib.errors import UserError
from util_lib.tracking.names import Reference
from util_lib.tracking.store import BUSY_TIMEOUT_S, Store

FILE = "cache.db"
SCHEMA = """
CREATE TABLE IF NOT EXISTS results (
    fingerprint TEXT PRIMARY KEY, project TEXT NOT NULL, step TEXT NOT NULL, parts TEXT NOT NULL,
    outputs TEXT NOT NULL, metrics TEXT NOT NULL, seconds REAL NOT NULL, at REAL NOT NULL
) WITHOUT ROWID
"""


class Result(NamedTuple):
    """What one run of a step came to.

    `outputs` are (name, version number, digest), in the order in which they were logged.
    """

    fingerprint: str
    parts: dict[str, str]
    outputs: list[tuple[str, int, str]]
    metrics: dict[str, float]
    seconds: float


class Entry(NamedTuple):
    """What house-keeping needs to know of a recorded result; `outputs` are (name, version number).

    `at` is when it was recorded or used last; `size` its bytes.
    """

    fingerprint: str
    at: float
    project: str
    step: str
    outputs: list[tuple[str, int]]
    size: int


def find(store: Store, fingerprint: str) -> Result | None:
    """Return the result recorded under `fingerprint`, or None."""
    return _first(store, "fingerprint = ?", fingerprint)


def last(store: Store, project: str, step: str) -> Result | None:
    """Return the result of a step that was recorded last in a project, or None."""
    return _first(store, "project = ? AND step = ?", project, step)


def add(store: Store, project: str, step: str, result: Result) -> None:
    """Record a result, in place of one with the same fingerprint."""
    row = (
        result.fingerprint,
        project,
        step,
        json.dumps(result.parts),
        json.dumps(result.outputs),
        json.dumps(result.metrics),
        result.seconds,
        time.time(),
    )
    with _database(store) as db:
        db.execute("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)


def missing(store: Store, project: str, result: Result) -> str | None:
    """Say which output of a result is gone or damaged, None where all are whole.

    Reads every byte of the outputs: a cache that trusts them hands on what nobody can use.
    """
    for name, number, digest in result.outputs:
        version = store.version(Reference(project, name, f"v{number}"), removed=True)
        if version is None or version.digest != digest:
            return f"output {name}:v{number} is gone"
        if damage := store.damage(version):
            return f"output {name}:v{number}: {damage[0]}"
    return None


def take(store: Store, project: str, result: Result) -> list[str] | None:
    """Make a result's outputs the latest ones, as logging them again would; return `name:vN`.

    The result counts as recorded last: `last` compares the next run with it, and house-keeping
    leaves its outputs alone as long as this pipeline runs. None where they were removed just now.
    """
    with _database(store) as db:
        known = (time.time(), result.fingerprint)
        db.execute("UPDATE results SET at = ? WHERE fingerprint = ?", known)
    for name, number, _ in result.outputs:
        reference = Reference(project, name, f"v{number}")
        try:
            version = store.version(reference)
            if version and "latest" not in version.aliases:
                latest = {"latest"}
                store.update_version(version, latest, set(), version.description, version.metadata)
        except UserError:
            if store.version(reference):
                raise
            version = None
        if version is None:
            return None
    return [f"{name}:v{number}" for name, number, _ in result.outputs]


def entries(store: Store) -> list[Entry]:
    """Return every result that is recorded, newest first; makes no record where there is none."""
    if not (store.directory / FILE).exists():
        return []
    with _database(store) as db:
        rows = db.execute(
            "SELECT fingerprint, at, project, step, outputs, length(fingerprint) + length(parts)"
            " + length(outputs) + length(metrics) FROM results ORDER BY at DESC"
        ).fetchall()
    return [
        Entry(*row[:4], [(name, number) for name, number, _ in json.loads(row[4])], row[5])
        for row in rows
    ]


def forget(store: Store, forgotten: list[Entry]) -> None:
    """Remove results, other than those that were used again since they were read."""
    with _database(store) as db:
        db.executemany(
            "DELETE FROM results WHERE fingerprint = ? AND at = ?",
            [(entry.fingerprint, entry.at) for entry in forgotten],
        )
    with _database(store) as db:
        db.execute("VACUUM")


def _first(store: Store, where: str, *values: str) -> Result | None:
    with _database(store) as db:
        row = db.execute(
            "SELECT fingerprint, parts, outputs, metrics, seconds FROM results"
            f" WHERE {where} ORDER BY at DESC LIMIT 1",
            values,
        ).fetchone()
    if row is None:
        return None
    fingerprint, parts, outputs, metrics, seconds = row
    made = [(name, number, digest) for name, number, digest in json.loads(outputs)]
    return Result(fingerprint, json.loads(parts), made, json.loads(metrics), seconds)


@contextmanager
def _database(store: Store) -> Iterator[sqlite3.Connection]:
    path: Path = store.directory / FILE
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as db, db:
            db.execute(SCHEMA)
            yield db
    except sqlite3.Error as error:
        raise UserError(
            f"cannot use the record of finished steps {path}: {error}; delete that file (every "
            "step then runs once more), or use main.cache=false"
        ) from error
