"""What earlier runs of steps made: `cache.db` in the tracking store, one row for each fingerprint.

A row is written after its step has finished, so a killed step leaves none. Rows only say which
versions a step logged; whether those are still there, and whole, is looked up on every hit. The
results of steps that log to W&B are recorded here too: `PLACE` tells them apart.
"""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from pipeline.caching.version import Version
from pipeline.caching.versions_in_store import Local
from util_lib import safe_files
from util_lib.errors import UserError
from util_lib.tracking.store.database import BUSY_TIMEOUT_S

FILE = "cache.db"
PLACE = "main.tracking"  # the part of a fingerprint that says where the versions are
SCHEMA = """
CREATE TABLE IF NOT EXISTS results (
    fingerprint TEXT PRIMARY KEY, project TEXT NOT NULL, step TEXT NOT NULL, parts TEXT NOT NULL,
    outputs TEXT NOT NULL, metrics TEXT NOT NULL, seconds REAL NOT NULL, at REAL NOT NULL
) WITHOUT ROWID
"""
DAMAGE = (ValueError, TypeError, AttributeError)  # what reading a damaged row raises
REFUSED = (
    "CREATE TABLE IF NOT EXISTS refused (project TEXT, step TEXT, place TEXT, input TEXT,"
    " why TEXT NOT NULL, PRIMARY KEY (project, step, place, input)) WITHOUT ROWID"
)
IMPORTS = "CREATE TABLE IF NOT EXISTS imports (content TEXT PRIMARY KEY, names TEXT NOT NULL)"


class Result(NamedTuple):
    """What one run of a step came to.

    `outputs` are in the order in which they were logged.
    """

    fingerprint: str
    parts: dict[str, str]
    outputs: list[Version]
    metrics: dict[str, float]
    seconds: float


class CacheEntry(NamedTuple):
    """What house-keeping needs to know of a recorded result; `outputs` are (name, version number).

    `at` is when it was recorded or used last; `size` its bytes; `place` says where the versions
    are.
    """

    fingerprint: str
    at: float
    project: str
    step: str
    outputs: list[tuple[str, int]]
    size: int
    place: str

    @property
    def is_local(self) -> bool:
        """Whether the versions are in the embedded store, as in rows of old all are."""
        return self.place in ("", Local.place)


def find(directory: Path, fingerprint: str) -> Result | None:
    """Return the result recorded under `fingerprint`, or None: of a damaged row nobody knows."""
    return _first(directory, "fingerprint = ?", fingerprint)


def last(directory: Path, project: str, step: str) -> Result | None:
    """Return the result of a step that was recorded last in a project, or None."""
    return _first(directory, "project = ? AND step = ?", project, step)


def that_made(directory: Path, project: str, step: str, output: Version) -> list[dict[str, str]]:
    """Return what the outcome of a step depended on each time that it made this version."""
    with _database(directory) as db:
        rows = db.execute(
            "SELECT parts FROM results WHERE project = ? AND step = ? AND instr(outputs, ?)"
            " ORDER BY at DESC",
            (project, step, json.dumps(output)),
        ).fetchall()
    found = []
    for (parts,) in rows:
        with suppress(*DAMAGE):
            found.append({str(key): str(value) for key, value in json.loads(parts).items()})
    return found


def add(directory: Path, project: str, step: str, result: Result) -> None:
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
    with _database(directory, make=True) as db:
        db.execute("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)


def touch(directory: Path, result: Result) -> None:
    """Let a result count as recorded last: `last` compares the next run with it.

    House-keeping then leaves its outputs alone as long as this pipeline runs.
    """
    with _database(directory) as db:
        known = (time.time(), result.fingerprint)
        db.execute("UPDATE results SET at = ? WHERE fingerprint = ?", known)


def entries(directory: Path) -> list[CacheEntry]:
    """Return every result that is recorded, newest first; makes no record where there is none."""
    if not (directory / FILE).exists():
        return []
    with _database(directory) as db:
        rows = db.execute(
            "SELECT fingerprint, at, project, step, outputs, length(fingerprint) + length(parts)"
            " + length(outputs) + length(metrics), parts FROM results ORDER BY at DESC"
        ).fetchall()
    found = []
    for key, at, project, step, outputs, size, parts in rows:
        with suppress(*DAMAGE):
            made = [(name, number) for name, number, _ in json.loads(outputs)]
            place = json.loads(parts).get(PLACE, "")
            found.append(CacheEntry(key, at, project, step, made, size, place))
    return found


def refuse(
    directory: Path, project: str, step: str, place: str, inputs: list[str], why: str | None
) -> None:
    """Record why a step refused its `inputs` (name and digest), or with None that it does not."""
    rows = [(project, step, place, each, why) for each in inputs]
    with _database(directory, make=True) as db:
        db.execute(REFUSED)
        db.executemany(
            "DELETE FROM refused WHERE project = ? AND step = ? AND place = ? AND input = ?",
            [row[:4] for row in rows],
        )
        if why is not None:
            db.executemany("INSERT INTO refused VALUES (?, ?, ?, ?, ?)", rows)


def refusal(directory: Path, project: str, step: str, place: str, given: str) -> str | None:
    """Return why a step refused an input (name and digest) when it last looked at it, or None."""
    with _database(directory) as db:
        db.execute(REFUSED)
        row = db.execute(
            "SELECT why FROM refused WHERE project = ? AND step = ? AND place = ? AND input = ?",
            (project, step, place, given),
        ).fetchone()
    return row and str(row[0])


def imports(directory: Path) -> dict[str, list[str]]:
    """Return what is known of the imports of Python files, by their content."""
    with _database(directory) as db:
        db.execute(IMPORTS)
        rows = db.execute("SELECT content, names FROM imports").fetchall()
    found = {}
    for content, names in rows:
        with suppress(*DAMAGE):
            found[content] = [str(name) for name in json.loads(names)]
    return found


def add_imports(directory: Path, found: dict[str, list[str]]) -> None:
    """Record the imports of Python files, so that the next run need not read them."""
    rows = [(content, json.dumps(names)) for content, names in found.items()]
    with _database(directory) as db:
        db.execute(IMPORTS)
        db.executemany("INSERT OR REPLACE INTO imports VALUES (?, ?)", rows)


def forget(directory: Path, forgotten: list[CacheEntry]) -> None:
    """Remove results, other than those that were used again since they were read."""
    with _database(directory) as db:
        db.executemany(
            "DELETE FROM results WHERE fingerprint = ? AND at = ?",
            [(entry.fingerprint, entry.at) for entry in forgotten],
        )
    with _database(directory) as db:
        db.execute("VACUUM")


def _first(directory: Path, where: str, *values: str) -> Result | None:
    with _database(directory) as db:
        row = db.execute(
            "SELECT fingerprint, parts, outputs, metrics, seconds FROM results"
            f" WHERE {where} ORDER BY at DESC LIMIT 1",
            values,
        ).fetchone()
    if row is None:
        return None
    fingerprint, parts, outputs, metrics, seconds = row
    try:
        made = [Version(*output) for output in json.loads(outputs)]
        known = {str(k): str(v) for k, v in json.loads(parts).items()}
        measured = {str(name): value for name, value in json.loads(metrics).items()}
        return Result(str(fingerprint), known, made, measured, float(seconds))
    except DAMAGE:
        return None


@contextmanager
def _database(directory: Path, *, make: bool = False) -> Iterator[sqlite3.Connection]:
    """Open the record; where there is no store, an empty one that nobody sees, unless to `make`."""
    path: str | Path = directory / FILE
    try:
        if make:
            with safe_files.writing(directory):
                directory.mkdir(parents=True, exist_ok=True)
        elif not directory.is_dir():
            path = ":memory:"
        with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as db, db:
            db.execute(SCHEMA)
            yield db
    except (sqlite3.Error, UnicodeDecodeError) as error:  # of a damaged schema's own text
        raise UserError(
            f"cannot use the record of finished steps {path}: {error}; delete that file (every "
            "step then runs once more), or use main.cache=false"
        ) from error
