"""What the double keeps: one SQLite database, and file contents named by the hex of their MD5."""

import hashlib
import itertools
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

TABLES = """
CREATE TABLE accounts (api_key TEXT PRIMARY KEY, entity TEXT NOT NULL);
CREATE TABLE projects (
    id INTEGER PRIMARY KEY, entity TEXT NOT NULL, name TEXT NOT NULL, created_at REAL NOT NULL,
    UNIQUE (entity, name)
);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, project INTEGER NOT NULL REFERENCES projects, name TEXT NOT NULL,
    display_name TEXT NOT NULL, group_name TEXT, job_type TEXT, notes TEXT, description TEXT,
    commit_hash TEXT, config TEXT NOT NULL, tags TEXT NOT NULL, state TEXT NOT NULL,
    summary TEXT NOT NULL, host TEXT, program TEXT, repo TEXT, sweep TEXT, to_stop INTEGER,
    created_at REAL NOT NULL, heartbeat_at REAL NOT NULL,
    UNIQUE (project, name)
);
CREATE TABLE sweeps (
    id INTEGER PRIMARY KEY, project INTEGER NOT NULL REFERENCES projects, name TEXT NOT NULL,
    config TEXT NOT NULL, state TEXT NOT NULL, created_at REAL NOT NULL, UNIQUE (project, name)
);
CREATE TABLE agents (id INTEGER PRIMARY KEY, sweep INTEGER NOT NULL REFERENCES sweeps);
CREATE TABLE stream (
    run INTEGER NOT NULL REFERENCES runs, file TEXT NOT NULL, line_number INTEGER NOT NULL,
    line TEXT NOT NULL, PRIMARY KEY (run, file, line_number)
);
CREATE TABLE run_files (
    run INTEGER NOT NULL REFERENCES runs, name TEXT NOT NULL, md5 TEXT NOT NULL,
    size INTEGER NOT NULL, updated_at REAL NOT NULL, PRIMARY KEY (run, name)
);
CREATE TABLE collections (
    id INTEGER PRIMARY KEY, project INTEGER NOT NULL REFERENCES projects, name TEXT NOT NULL,
    type TEXT NOT NULL, created_at REAL NOT NULL, UNIQUE (project, name)
);
CREATE TABLE artifacts (
    id INTEGER PRIMARY KEY, collection INTEGER NOT NULL REFERENCES collections,
    digest TEXT NOT NULL, state TEXT NOT NULL, version INTEGER, description TEXT, metadata TEXT,
    size INTEGER NOT NULL DEFAULT 0, wanted_aliases TEXT NOT NULL, client_id TEXT NOT NULL,
    history_step INTEGER, created_by INTEGER REFERENCES runs, created_at REAL NOT NULL,
    updated_at REAL NOT NULL, UNIQUE (collection, version)
);
CREATE TABLE manifests (
    id INTEGER PRIMARY KEY, artifact INTEGER NOT NULL REFERENCES artifacts,
    digest TEXT NOT NULL, name TEXT NOT NULL, md5 TEXT
);
CREATE TABLE entries (
    artifact INTEGER NOT NULL REFERENCES artifacts, path TEXT NOT NULL, md5 TEXT NOT NULL,
    size INTEGER NOT NULL, PRIMARY KEY (artifact, path)
);
CREATE TABLE aliases (
    id INTEGER PRIMARY KEY, collection INTEGER NOT NULL REFERENCES collections,
    alias TEXT NOT NULL, artifact INTEGER NOT NULL REFERENCES artifacts,
    UNIQUE (collection, alias)
);
CREATE TABLE lineage (
    run INTEGER NOT NULL REFERENCES runs, artifact INTEGER NOT NULL REFERENCES artifacts,
    direction TEXT NOT NULL, PRIMARY KEY (run, artifact, direction)
);
"""


class Database:
    """One connection, used by one thread: the double answers one request after the other.

    With `credits_again` a content that is known is an output of whoever logs it again, too.
    """

    credits_again = False

    def __init__(self, folder: Path):
        self._connection = sqlite3.connect(folder / "service.db", isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        # What the double forgets when the machine loses power is of no interest.
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.executescript(TABLES)
        self._contents = folder / "contents"
        self._contents.mkdir()
        self._numbers = itertools.count()

    def begin(self) -> None:
        self._connection.execute("BEGIN")

    def end(self, keep: bool) -> None:
        self._connection.execute("COMMIT" if keep else "ROLLBACK")

    def all(self, query: str, *values: Any) -> list[sqlite3.Row]:
        return self._connection.execute(query, values).fetchall()

    def one(self, query: str, *values: Any) -> sqlite3.Row | None:
        return self._connection.execute(query, values).fetchone()

    def value(self, query: str, *values: Any) -> Any:
        row = self.one(query, *values)
        return row[0] if row else None

    def insert(self, table: str, **values: Any) -> int:
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        query = f"INSERT INTO {table} ({names}) VALUES ({marks})"
        return self._connection.execute(query, tuple(values.values())).lastrowid

    def replace(self, table: str, **values: Any) -> None:
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        query = f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})"
        self._connection.execute(query, tuple(values.values()))

    def update(self, table: str, key: int, **values: Any) -> None:
        if values:
            sets = ", ".join(f"{name} = ?" for name in values)
            query = f"UPDATE {table} SET {sets} WHERE id = ?"
            self._connection.execute(query, (*values.values(), key))

    def delete(self, query: str, *values: Any) -> None:
        self._connection.execute(query, values)

    # Contents

    def has(self, md5: str) -> bool:
        return self.content(md5).is_file()

    def content(self, md5: str) -> Path:
        return self._contents / md5

    def new_content(self) -> "Upload":
        return Upload(self._contents, next(self._numbers))


class Upload:
    """A content on its way in: `write` as it comes, then `keep`."""

    def __init__(self, folder: Path, number: int):
        self._folder, self._path = folder, folder / f"upload-{number}"
        self._file, self._md5, self.size = self._path.open("wb"), hashlib.md5(), 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._md5.update(data)
        self.size += len(data)

    def keep(self) -> str:
        """Give the content its name, the hex of its MD5, and return it."""
        self._file.close()
        md5 = self._md5.hexdigest()
        os.replace(self._path, self._folder / md5)
        return md5

    def drop(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)


def now() -> float:
    return time.time()
