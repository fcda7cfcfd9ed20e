"""The tables of the embedded store, and how those of an older store become them."""

import sqlite3

APPLICATION_ID = 0x54524B31  # "TRK1": tells our database from any other SQLite file
SCHEMA_VERSION = 2

SCHEMA = """
CREATE TABLE runs (
    id TEXT PRIMARY KEY, number INTEGER NOT NULL, project TEXT NOT NULL, name TEXT NOT NULL,
    group_name TEXT, job_type TEXT, notes TEXT, tags TEXT NOT NULL, config TEXT NOT NULL,
    summary TEXT NOT NULL DEFAULT '{}', state TEXT NOT NULL, exit_code INTEGER,
    started_at REAL NOT NULL, finished_at REAL, environment TEXT NOT NULL, mlflow_run_id TEXT,
    UNIQUE (project, number)
);
CREATE INDEX runs_by_mlflow_run ON runs (mlflow_run_id);
CREATE TABLE history (
    run_id TEXT NOT NULL REFERENCES runs, step INTEGER NOT NULL, data TEXT NOT NULL,
    PRIMARY KEY (run_id, step)
) WITHOUT ROWID;
CREATE TABLE run_files (
    run_id TEXT NOT NULL REFERENCES runs, path TEXT NOT NULL, sha256 TEXT NOT NULL,
    size INTEGER NOT NULL, PRIMARY KEY (run_id, path)
) WITHOUT ROWID;
CREATE TABLE collections (
    id INTEGER PRIMARY KEY, project TEXT NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL,
    UNIQUE (project, name)
);
CREATE TABLE versions (
    id INTEGER PRIMARY KEY, collection_id INTEGER NOT NULL REFERENCES collections,
    number INTEGER NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, description TEXT,
    metadata TEXT NOT NULL, logged_by TEXT NOT NULL REFERENCES runs, created_at REAL NOT NULL,
    updated_at REAL NOT NULL, removed_at REAL,
    UNIQUE (collection_id, number), UNIQUE (collection_id, digest)
);
CREATE TABLE version_files (
    version_id INTEGER NOT NULL REFERENCES versions, path TEXT NOT NULL, md5 TEXT NOT NULL,
    sha256 TEXT NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (version_id, path)
) WITHOUT ROWID;
CREATE TABLE aliases (
    collection_id INTEGER NOT NULL REFERENCES collections, alias TEXT NOT NULL,
    version_id INTEGER NOT NULL REFERENCES versions, PRIMARY KEY (collection_id, alias)
) WITHOUT ROWID;
CREATE TABLE lineage (
    run_id TEXT NOT NULL REFERENCES runs, direction TEXT NOT NULL,
    version_id INTEGER NOT NULL REFERENCES versions, at REAL NOT NULL,
    PRIMARY KEY (run_id, direction, version_id)
) WITHOUT ROWID;
CREATE INDEX lineage_by_version ON lineage (version_id, direction);
"""

# What leads from a version of the schema to the next one.
STEPS = {1: "ALTER TABLE versions ADD COLUMN removed_at REAL"}


def upgrade(db: sqlite3.Connection) -> None:
    """Bring an older store up to date, inside a transaction of the caller.

    Another process may have done so just before, or may do so after this one has failed.
    """
    (found,) = db.execute("PRAGMA user_version").fetchone()
    for version in range(found, SCHEMA_VERSION):
        db.execute(STEPS[version])
        db.execute(f"PRAGMA user_version = {version + 1}")
