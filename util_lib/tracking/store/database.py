"""The embedded store: one SQLite database beside the file contents, no server.

`tracking.db` knows the runs, artifact versions, aliases and lineage; `files/` and `tmp/` are
described in `files.py`. A version, its files, its aliases and its lineage appear in one
transaction, after its contents are safely on disk. The database itself is built elsewhere and
linked into place, so that it is never seen half-made.
"""

import os
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from util_lib import safe_files
from util_lib.errors import UserError, UserValueError
from util_lib.tracking import names
from util_lib.tracking.store import contents as files
from util_lib.tracking.store import damage, places, values
from util_lib.tracking.store.places import store_directory
from util_lib.tracking.store.records import FileRecord, RunRecord, VersionRecord
from util_lib.tracking.store.schema import APPLICATION_ID, SCHEMA, SCHEMA_VERSION, upgrade

OF_ANOTHER_PROJECT = (
    "SELECT c.project FROM collections c JOIN versions v ON v.collection_id = c.id LEFT JOIN"
    " aliases a ON a.version_id = v.id WHERE c.name = ? AND v.removed_at IS NULL"
    " AND (a.alias = ? OR 'v' || v.number = ?) ORDER BY v.id DESC LIMIT 1"
)
BUSY_TIMEOUT_S = 60  # a writer waits this long for the others

_open: dict[Path, "Store"] = {}


def open_store(directory: str | os.PathLike | None = None, make: bool = False) -> "Store":
    """Return the store in `directory` (default `store_directory()`); a process opens it once.

    Where there is none, `make` makes it: for those who write. Others get a `UserError`.
    """
    directory = Path(directory or store_directory()).absolute()
    store = _open.get(directory)
    if store is None or not store.is_current():
        (places.refuse_lost_store if make else places.refuse_no_store)(directory)
        store = _open[directory] = Store(directory)
        if make:
            places.note_store(directory)
    return store


class Store:
    """Runs, artifact versions, aliases and lineage in `directory`."""

    def __init__(self, directory: Path, sweep: bool = True):
        """Open the store, making it first if need be; `open_store` does so once a process.

        Without `sweep` left-overs of dead processes stay where they are.
        """
        self.directory = directory
        self.path = directory / places.DATABASE
        self.files = files.Files(directory)
        self._lock = threading.RLock()
        self._connections: dict[int, sqlite3.Connection] = {}
        with safe_files.writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
            self.files.make(sweep)
            if not self.path.exists():
                self._create()
        with self._errors():
            self._check_schema()
            self._inode = self.path.stat().st_ino

    def share(self) -> None:
        """Let processes on other machines use the store, on a disk that all of them share.

        A write-ahead log needs memory that all its users share, so the database does without from
        then on. Raises `UserError` where another process uses the database right now.
        """
        with self._lock, self._errors():
            try:
                self._connect().execute("PRAGMA journal_mode = DELETE").fetchone()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                    raise
                raise UserError(
                    f"{self.path} is to be used by several machines, and another process uses it "
                    "right now: wait until that has ended, and start again"
                ) from error

    def is_current(self) -> bool:
        """Say whether this store's database is still the one on disk."""
        try:
            return self.path.stat().st_ino == self._inode
        except OSError:
            return False

    # Runs

    def start_run(
        self, run_id: str, project: str, config: str, environment: str, tags: str, **columns: Any
    ) -> tuple[RunRecord, int]:
        """Record a new run; return it with the lock that shows that its process lives."""
        with safe_files.writing(self.files.tmp):
            try:
                lock = safe_files.hold(self._run_lock(run_id))
            except FileExistsError as error:
                raise UserError(
                    f"run {run_id!r} is running already; choose another id or none"
                ) from error
        try:
            with self.transaction() as db:
                if db.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone():
                    raise UserError(f"there is a run {run_id!r} already; choose another id or none")
                (number,) = db.execute(
                    "SELECT coalesce(max(number), 0) + 1 FROM runs WHERE project = ?", (project,)
                ).fetchone()
                columns["name"] = columns.get("name") or names.new_run_name(number)
                columns |= {
                    "id": run_id,
                    "number": number,
                    "project": project,
                    "config": config,
                    "environment": environment,
                    "tags": tags,
                    "state": "running",
                    "started_at": time.time(),
                }
                marks = ", ".join("?" * len(columns))
                db.execute(
                    f"INSERT INTO runs ({', '.join(columns)}) VALUES ({marks})",
                    tuple(columns.values()),
                )
        except BaseException:
            self.end_run(run_id, lock)
            raise
        return self.runs(id=run_id)[0], lock

    def end_run(self, run_id: str, lock: int) -> None:
        """Give back the lock that `start_run` returned."""
        self._run_lock(run_id).unlink(missing_ok=True)
        safe_files.release(lock)

    def update_run(self, run_id: str, durable: bool = False, **columns: Any) -> None:
        """Set columns of a run; `durable` ones survive a power cut, others a killed process."""
        with self.transaction(durable) as db:
            assignments = ", ".join(f"{column} = ?" for column in columns)
            db.execute(f"UPDATE runs SET {assignments} WHERE id = ?", (*columns.values(), run_id))

    def log_step(self, run_id: str, step: int, data: str, summary: str) -> None:
        """Write one step of a run's history, in place of what was there, and its summary."""
        with self.transaction(durable=False) as db:
            db.execute("INSERT OR REPLACE INTO history VALUES (?, ?, ?)", (run_id, step, data))
            db.execute("UPDATE runs SET summary = ? WHERE id = ?", (summary, run_id))

    def add_run_file(self, run_id: str, path: str, source: str | os.PathLike) -> safe_files.Content:
        """Keep a copy of `source` as the run's own file `path`."""
        with self.files.adding():
            content = self.files.put(source)
            with self.transaction(durable=False) as db:
                db.execute(
                    "INSERT OR REPLACE INTO run_files VALUES (?, ?, ?, ?)",
                    (run_id, path, content.sha256, content.size),
                )
        return content

    def run(self, run_id: str, project: str | None = None) -> RunRecord | None:
        """Return the run with this id, or None."""
        found = self.runs(id=run_id, **({"project": project} if project else {}))
        return found[0] if found else None

    def runs(self, **columns: Any) -> list[RunRecord]:
        """Return the runs whose columns have these values, oldest first.

        `runs(mlflow_run_id=...)` finds those that a step made inside that MLflow run.
        """
        where = " AND ".join(f"{column} IS ?" for column in columns) or "1"
        rows = self._rows(
            f"SELECT * FROM runs WHERE {where} ORDER BY started_at, number", *columns.values()
        )
        return [self._run_record(row) for row in rows]

    def history(self, run_id: str) -> list[dict[str, Any]]:
        """Return what a run logged, one dict per step, in order."""
        rows = self._rows("SELECT data FROM history WHERE run_id = ? ORDER BY step", run_id)
        return [values.loads(row["data"]) for row in rows]

    def run_files(self, run_id: str) -> list[tuple[str, str, int]]:
        """Return path, sha256 and size of a run's own files."""
        query = "SELECT path, sha256, size FROM run_files WHERE run_id = ? ORDER BY path"
        return [tuple(row) for row in self._rows(query, run_id)]

    def contents_of_runs(self) -> set[str]:
        """Return the digests of all contents that runs have as files of their own."""
        return {row["sha256"] for row in self._rows("SELECT DISTINCT sha256 FROM run_files")}

    # Artifacts

    def add_version(
        self,
        run_id: str,
        project: str,
        name: str,
        type: str,
        digest: str,
        contents: list[FileRecord],
        aliases: list[str],
        description: str | None = None,
        metadata: dict[str, Any] | None = None,
        used: bool = False,
    ) -> VersionRecord:
        """Make a version of contents that are kept already, or find the one that equals it.

        Called while `files.adding`, which began before the contents were put in place. A version
        that was removed is there again under its number. `aliases` and `latest` move to it, and the
        run is recorded as having logged it (and, with `used`, as having used it): all of it becomes
        visible at once.
        """
        now = time.time()
        with self.transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO collections (project, name, type) VALUES (?, ?, ?)",
                (project, name, type),
            )
            collection = db.execute(
                "SELECT id, type FROM collections WHERE project = ? AND name = ?", (project, name)
            ).fetchone()
            check_type(name, collection["type"], type)
            version = db.execute(
                "SELECT id FROM versions WHERE collection_id = ? AND digest = ?",
                (collection["id"], digest),
            ).fetchone()
            if version is None:
                (number,) = db.execute(
                    "SELECT coalesce(max(number), -1) + 1 FROM versions WHERE collection_id = ?",
                    (collection["id"],),
                ).fetchone()
                size = sum(file.size for file in contents)
                about = (description, values.dumps(metadata or {}), run_id, now, now)
                version_id = db.execute(
                    "INSERT INTO versions (collection_id, number, digest, size, description,"
                    " metadata, logged_by, created_at, updated_at)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (collection["id"], number, digest, size, *about),
                ).lastrowid
                assert version_id is not None  # a row was inserted
                db.executemany(
                    "INSERT INTO version_files VALUES (?, ?, ?, ?, ?)",
                    [(version_id, f.path, f.md5, f.sha256, f.size) for f in contents],
                )
            else:
                version_id = version["id"]
                db.execute("UPDATE versions SET removed_at = NULL WHERE id = ?", (version_id,))
            db.executemany(
                "INSERT OR REPLACE INTO aliases VALUES (?, ?, ?)",
                [(collection["id"], alias, version_id) for alias in {*aliases, "latest"}],
            )
            for direction in ("out", "in") if used else ("out",):
                self._relate(db, run_id, direction, version_id, now)
        return self.version_by_id(version_id)

    def update_version(
        self,
        version: VersionRecord,
        add: set[str],
        remove: set[str],
        description: str | None,
        metadata: dict[str, Any],
    ) -> VersionRecord:
        """Change what may change of a version: its aliases, description and metadata.

        Raises `UserError` if it was removed meanwhile, as `use_version` does.
        """
        with self.transaction() as db:
            self.refuse_removed(version.id)
            (collection,) = db.execute(
                "SELECT collection_id FROM versions WHERE id = ?", (version.id,)
            ).fetchone()
            db.executemany(
                # An alias that has moved to another version since is not ours to remove.
                "DELETE FROM aliases WHERE collection_id = ? AND alias = ? AND version_id = ?",
                [(collection, alias, version.id) for alias in remove],
            )
            db.executemany(
                "INSERT OR REPLACE INTO aliases VALUES (?, ?, ?)",
                [(collection, alias, version.id) for alias in add],
            )
            db.execute(
                "UPDATE versions SET description = ?, metadata = ?, updated_at = ? WHERE id = ?",
                (description, values.dumps(metadata), time.time(), version.id),
            )
        return self.version_by_id(version.id)

    def use_version(self, run_id: str, version_id: int) -> None:
        """Record that a run used a version."""
        with self.transaction() as db:
            self.refuse_removed(version_id)
            self._relate(db, run_id, "in", version_id, time.time())

    def type_of(self, project: str, name: str) -> str | None:
        """Return the type of an artifact, or None if there is no such artifact."""
        rows = self._rows("SELECT type FROM collections WHERE project=? AND name=?", project, name)
        return rows[0]["type"] if rows else None

    def version(self, reference: names.Reference, removed: bool = False) -> VersionRecord | None:
        """Return the version that a reference names at this moment, or None.

        One that was removed is returned only with `removed`, as in `versions`.
        """
        project, name, alias = reference
        number = int(alias[1:]) if re.fullmatch(r"v(0|[1-9]\d{0,17})", alias) else None
        found = self._versions(
            "c.project = ? AND c.name = ? AND (v.number = ? OR v.id = (SELECT version_id"
            " FROM aliases a WHERE a.collection_id = c.id AND a.alias = ?))",
            project,
            name,
            number,
            alias,
            removed=removed,
        )
        return found[0] if found else None

    def version_by_id(self, version_id: int) -> VersionRecord:
        """Return one version, also one that was removed."""
        return self._versions("v.id = ?", version_id, removed=True)[0]

    def versions(
        self, project: str, name: str, type: str | None = None, removed: bool = False
    ) -> list[VersionRecord]:
        """Return all versions of an artifact, newest first."""
        return self._versions(
            "c.project = ? AND c.name = ? AND c.type = coalesce(?, c.type)",
            project,
            name,
            type,
            removed=removed,
        )

    def all_versions(self, removed: bool = False) -> list[VersionRecord]:
        """Return every version of every artifact."""
        return self._versions("1", removed=removed)

    def refuse_removed(self, version_id: int) -> None:
        """Raise `UserError` if a version was removed."""
        version = self.version_by_id(version_id)
        if version.removed_at is not None:
            raise UserError(
                f"artifact {version.reference!r} {version.removal}: its content is gone; use "
                "another version, or log the same content again, which brings this one back "
                f"(in {self.directory})"
            )

    def lineage(self) -> list[tuple[str, str, int, float]]:
        """Return which run logged ("out") or used ("in") which version first, and when."""
        query = "SELECT run_id, direction, version_id, at FROM lineage ORDER BY at, version_id"
        return [tuple(row) for row in self._rows(query)]

    def versions_of_run(self, run_id: str, direction: str) -> list[VersionRecord]:
        """Return the versions that a run logged (direction "out") or used ("in"), in order."""
        query = (
            "SELECT version_id FROM lineage WHERE run_id = ? AND direction = ?"
            " ORDER BY at, version_id"
        )
        return [self.version_by_id(row[0]) for row in self._rows(query, run_id, direction)]

    def runs_of_version(self, version_id: int, direction: str) -> list[RunRecord]:
        """Return the runs that logged (direction "out") or used ("in") a version, in order."""
        query = (
            "SELECT run_id FROM lineage WHERE version_id = ? AND direction = ? ORDER BY at, run_id"
        )
        return [self.runs(id=row[0])[0] for row in self._rows(query, version_id, direction)]

    def version_files(self, version_id: int) -> list[FileRecord]:
        """Return the files of a version."""
        query = (
            "SELECT path, md5, sha256, size FROM version_files WHERE version_id = ? ORDER BY path"
        )
        return [FileRecord(*row) for row in self._rows(query, version_id)]

    def damage(self, version: VersionRecord) -> list[str]:
        """Say, file by file, what is wrong with the kept contents of a version."""
        if version.removed_at is not None:
            return [version.removal]
        return [
            f"{file.path!r} {wrong} ({self.files.path(file.sha256)})"
            for file in self.version_files(version.id)
            if (wrong := self.files.damage(file.sha256))
        ]

    def missing(self, reference: names.Reference) -> UserError:
        """Return the error that tells a user what there is instead of `reference`."""
        import difflib  # only here, and not free

        project, name, alias = reference
        if removed := self.version(reference, removed=True):
            try:
                self.refuse_removed(removed.id)
            except UserError as error:
                return error
        rows = self._rows("SELECT name FROM collections WHERE project = ?", project)
        here = [row["name"] for row in rows]
        way_out = "run the step that logs it first"
        if versions := self.versions(project, name):
            held = [
                f"{alias} (v{version.number})" for version in versions for alias in version.aliases
            ]
            found = (
                f"it has {_span(versions)}, with the aliases {', '.join(sorted(held)) or 'none'}"
            )
            if versions[0].type == "model_export" and not re.fullmatch(r"v\d+", alias):
                command = f"mlflow run serving -e promote --env-manager uv -P alias={alias}"
                way_out = f"{command} gives a model its alias"
        elif elsewhere := self._rows(OF_ANOTHER_PROJECT, name, alias, alias):
            other = elsewhere[0]["project"]
            found = f"there is one in project {other!r}: write '{other}/{name}:{alias}' for that"
        elif close := difflib.get_close_matches(name, here):
            found = f"the nearest name there is {close[0]!r}"
        elif here:
            found = f"there are {', '.join(map(repr, sorted(here)[:10]))}"
        else:
            found = "that project holds no artifacts"
        return UserError(
            f"artifact '{name}:{alias}' not found in project {project!r}: {found}. It must have "
            f"been already created and stored: {way_out} (looked in {self.directory})"
        )

    # SQLite

    @contextmanager
    def transaction(self, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Write all or nothing, one writer at a time.

        What is not `durable` outlives a killed process but may be lost in a power cut; the next
        durable transaction makes it durable too. It spares a metric the wait for the disk.
        """
        with self._lock, self._errors():
            db = self._connect()
            db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _rows(self, query: str, *parameters: Any) -> list[sqlite3.Row]:
        with self._lock, self._errors():
            return self._connect().execute(query, parameters).fetchall()

    def _connect(self) -> sqlite3.Connection:
        # A forked child must not touch its parent's connection, not even to close it: it stays
        # in the dict, unused.
        if os.getpid() not in self._connections:
            uri = f"{self.path.as_uri()}?mode=rw"  # rw: never make an empty file by opening it
            db = sqlite3.connect(
                uri,
                uri=True,
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,  # `_lock` keeps threads apart
            )
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA foreign_keys = ON")
            self._connections[os.getpid()] = db
        return self._connections[os.getpid()]

    def _errors(self) -> AbstractContextManager[None]:
        return damage.explained(self.path)

    def _create(self) -> None:
        folder, lock = self.files.workspace()
        try:
            new = folder / self.path.name
            with self._errors():
                db = sqlite3.connect(new)
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                db.executescript(f"BEGIN; {SCHEMA} COMMIT;")
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                db.close()  # the last connection moves everything from the log into the file
            with suppress(FileExistsError):  # another process was first
                os.link(new, self.path)
            safe_files.sync_directory(self.directory)
            safe_files.sync_directory(self.directory.parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            safe_files.release(lock)

    def _check_schema(self) -> None:
        (application,) = self._rows("PRAGMA application_id")[0]
        (version,) = self._rows("PRAGMA user_version")[0]
        if (application, version) == (APPLICATION_ID, SCHEMA_VERSION):
            return
        if application == APPLICATION_ID and 0 < version < SCHEMA_VERSION:
            with self.transaction() as db:
                upgrade(db)
            return
        if application != APPLICATION_ID:
            found = "was not made by util_lib.tracking"
        else:
            found = f"has schema version {version}, this checkout reads {SCHEMA_VERSION}"
        raise UserError(
            f"{self.path} {found}; use the checkout that made it, or set TRACKING_STORE to "
            "another directory"
        )

    def _relate(
        self, db: sqlite3.Connection, run_id: str, direction: str, version_id: int, at: float
    ) -> None:
        db.execute(
            "INSERT OR IGNORE INTO lineage VALUES (?, ?, ?, ?)", (run_id, direction, version_id, at)
        )

    def _run_lock(self, run_id: str) -> Path:
        return self.files.tmp / f"run-{run_id}"

    def _run_record(self, row: sqlite3.Row) -> RunRecord:
        columns = dict(row)
        with damage.rows_read(self.path):
            columns["group"] = columns.pop("group_name")
            for column in ("config", "summary", "tags", "environment"):
                columns[column] = values.loads(columns[column])
            ended = not safe_files.is_held(self._run_lock(columns["id"]))
            if columns["state"] == "running" and ended:
                columns["state"] = self._state_of_ended(columns["id"])
            return RunRecord(store=self, **columns)

    def _state_of_ended(self, run_id: str) -> str:
        # It may have finished between our reading its row and our looking for its lock.
        (state,) = self._rows("SELECT state FROM runs WHERE id = ?", run_id)[0]
        return "crashed" if state == "running" else state

    def _versions(self, where: str, *parameters: Any, removed: bool) -> list[VersionRecord]:
        rows = self._rows(
            "SELECT v.id, c.project, c.name, c.type, v.number, v.digest, v.size, v.description,"
            " v.metadata, v.logged_by, v.created_at, v.updated_at, v.removed_at,"
            " (SELECT group_concat(alias, ':') FROM (SELECT alias FROM aliases a"
            "  WHERE a.version_id = v.id ORDER BY alias)) AS aliases"
            f" FROM versions v JOIN collections c ON c.id = v.collection_id WHERE ({where})"
            f"{'' if removed else ' AND v.removed_at IS NULL'} ORDER BY v.number DESC",
            *parameters,
        )
        with damage.rows_read(self.path):
            return [
                VersionRecord(
                    **{
                        **dict(row),
                        "metadata": values.loads(row["metadata"]),
                        "aliases": row["aliases"].split(":") if row["aliases"] else [],
                    }
                )
                for row in rows
            ]


def check_type(name: str, existing: str | None, type: str) -> None:
    """Refuse to log an artifact under a type that differs from its first one."""
    if existing is not None and existing != type:
        raise UserValueError(
            f"Artifact {name} already exists with type '{existing}'; "
            f"cannot create another with type '{type}'"
        )


def _span(versions: list[VersionRecord]) -> str:
    first, last = versions[-1].number, versions[0].number  # newest first
    if last - first + 1 > len(versions):  # single ones that were brought from W&B
        return ", ".join(f"v{version.number}" for version in reversed(versions))
    return f"v{first}" if first == last else f"v{first} to v{last}"
