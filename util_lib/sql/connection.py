"""Databases by their address: opened, asked, and what they refuse said in one sentence.

`sqlite:///songs.db` and `duckdb:///songs.duckdb` are files (a fourth slash begins an absolute path,
a relative one starts where the user stands); `postgresql://host/name` is a server, with the
password in the environment or in `~/.pgpass`. Drivers are imported when they are used.
"""

import fcntl
import importlib
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from util_lib.errors import UserError
from util_lib.redaction import redacted, remember_address
from util_lib.tracking.store.places import user_directory
from util_lib.urls import SECRET_URL, is_database, secret_parts, without_secrets

DRIVERS = {
    "sqlite": ("adbc_driver_sqlite.dbapi", "adbc-driver-sqlite"),
    "duckdb": ("adbc_driver_duckdb", "duckdb"),
    "postgresql": ("adbc_driver_postgresql.dbapi", "adbc-driver-postgresql"),
}
WAIT_S = 30.0  # for a database, or a table in it, that another program has locked
LOOK_S = 0.2  # between two looks at one that is locked
CONNECT_S = 10
LOCKED = ("is locked", "Could not set lock", "55P03")  # what the drivers say, or a SQLSTATE
BATCH_ROWS = 2**16
EXACT = 2**53  # whole numbers up to here are floats too


def kind_of(address: str) -> str:
    """Return sqlite, duckdb or postgresql; `UserError` for an address of anything else."""
    if not is_database(address):
        raise UserError(
            f"{without_secrets(address)!r} is no address of a database: expected sqlite:///FILE, "
            "duckdb:///FILE or postgresql://HOST/NAME"
        )
    scheme = urlsplit(address).scheme.lower()
    return "postgresql" if scheme == "postgres" else scheme


def file_of(address: str) -> Path | None:
    """Return the file that an address of SQLite or DuckDB names, None for a server."""
    if kind_of(address) == "postgresql":
        return None
    place = address.partition("://")[2]
    if not place.startswith("/") or place == "/":
        raise UserError(
            f"{without_secrets(address)!r} names no file: a relative path comes after three "
            "slashes, an absolute one after four"
        )
    return user_directory() / Path(place[1:]).expanduser()


def refuse_password(given: str) -> None:
    """Raise `UserError` for a password among the arguments, which MLflow and `ps` show."""
    if any(":" in part for part in secret_parts(given)) or "password=" in given:
        raise UserError(
            f"{without_secrets(given)} came with a password on the command line, where MLflow and "
            f"`ps` show it: leave it out there, and set PGPASSWORD, write ~/.pgpass, or put the "
            f"whole address into {SECRET_URL}"
        )


def quoted(name: str) -> str:
    """Return the name of a table or column as SQL has it, whatever is in it."""
    if not name or "\0" in name:
        raise UserError(f"{name!r} cannot be the name of a table or column")
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


class Database:
    """An open database: statements, and the rows that come of them."""

    def __init__(self, kind: str, shown: str, connected: Any):
        """Take a connection of a driver; `shown` is the address as messages may have it."""
        self.kind, self.shown, self._connected = kind, shown, connected
        self._cursor = connected.cursor()

    def execute(self, statement: str) -> None:
        """Run a statement that gives no rows."""
        self._cursor.execute(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        self._cursor.execute(query)
        try:
            return list(self._cursor.fetchall())
        except (ValueError, OverflowError, NotImplementedError) as error:
            raise UserError(
                f"{self.shown} gave what Python cannot hold ({error}), such as a time without end "
                f"or a text that is no UTF-8: cast it in the query {query!r}"
            ) from None

    def value(self, query: str) -> Any:
        """Return the one value of a query."""
        return self.rows(query)[0][0]

    def batches(self, query: str) -> Any:
        """Return a reader of Arrow batches."""
        if self.kind == "sqlite":
            options = {"adbc.sqlite.query.batch_rows": BATCH_ROWS}
            self._cursor.adbc_statement.set_options(**options)
        self._cursor.execute(query)
        return self._cursor.fetch_record_batch()

    def insert(self, schema: str | None, table: str, batch: Any) -> None:
        """Add a batch to a table of the same columns."""
        self._cursor.adbc_ingest(table, batch, mode="append", db_schema_name=schema)

    def commit(self) -> None:
        """Let others see what was done."""
        self._connected.commit()

    def rollback(self) -> None:
        """Undo what was done since the last commit."""
        self._connected.rollback()

    def close(self) -> None:
        """Close the connection; what was not committed is gone."""
        self._cursor.close()
        self._connected.close()


@contextmanager
def opened(address: str, read_only: bool = False, wait_s: float = WAIT_S) -> Iterator[Database]:
    """Open a database; what it refuses in this block becomes a `UserError` without secrets.

    One that only is read sees one state of all tables, and can change nothing.
    """
    kind, shown = kind_of(address), without_secrets(address)
    remember_address(address)
    file = file_of(address)
    if file is not None and not (file if read_only else file.parent).exists():
        raise UserError(f"{shown} does not exist: looked for {file if read_only else file.parent}")
    module, package = DRIVERS[kind]
    try:
        driver = importlib.import_module(module)
        dbapi = importlib.import_module("adbc_driver_manager.dbapi")
    except ModuleNotFoundError:
        raise UserError(f"{shown} needs the package {package}: pip install {package}") from None
    import pyarrow as pa

    try:
        until = time.monotonic() + wait_s
        while True:
            try:
                found = _connected(kind, driver, dbapi, address, file, read_only)
                break
            except dbapi.Error as error:
                if not is_locked(error) or time.monotonic() > until:
                    raise
            time.sleep(LOOK_S)
        with closing(Database(kind, shown, found)) as connection:
            _prepare(connection, read_only, wait_s)
            yield connection
    except (dbapi.Error, pa.ArrowException, OSError) as error:
        raise UserError(_sentence(shown, error, address, wait_s)) from None


def _connected(
    kind: str, driver: Any, dbapi: Any, address: str, file: Path | None, read_only: bool
) -> Any:
    if kind == "sqlite":
        return driver.connect(_uri(file, "rw" if read_only else "rwc"))
    if kind == "duckdb":
        options = {"path": str(file), "access_mode": "READ_ONLY" if read_only else "READ_WRITE"}
        options |= {"entrypoint": "duckdb_adbc_init", "autoinstall_known_extensions": "false"}
        # Who reads touches no other file (COPY); of who writes, each thread holds rows of its own.
        options |= {"enable_external_access": "false"} if read_only else {"threads": "1"}
        return dbapi.connect(driver=driver.driver_path(), db_kwargs=options)
    os.environ.setdefault("PGCONNECT_TIMEOUT", str(CONNECT_S))
    return driver.connect(address)


def _uri(file: Path | None, mode: str) -> str:
    return f"file:{quote(str(file))}?mode={mode}"


def _prepare(connection: Database, read_only: bool, wait_s: float) -> None:
    wait_ms = max(1, round(wait_s * 1000))
    if connection.kind == "sqlite":
        connection.rows(f"PRAGMA busy_timeout = {wait_ms}")
        if read_only:  # only what may write can undo what a killed program has left half done
            connection.execute("PRAGMA query_only = true")
    elif connection.kind == "postgresql":
        connection.execute(f"SET lock_timeout = {wait_ms}")
        connection.commit()
        if read_only:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def is_locked(error: BaseException) -> bool:
    """Say whether a driver gave up waiting for another program."""
    return any(word in f"{error} {getattr(error, 'sqlstate', '')}" for word in LOCKED)


def _sentence(shown: str, error: Exception, address: str, wait_s: float) -> str:
    if is_locked(error):
        return (
            f"{shown} is locked by another program, and was for {wait_s:g} s: nothing was changed; "
            "let that program end, then run again"
        )
    said = str(error).partition(". SQLSTATE")[0]
    said = said.rpartition("ERROR:")[2].partition("Query was:")[0].partition("\nLINE ")[0]
    for secret in sorted(secret_parts(address), key=len, reverse=True):
        said = said.replace(secret, "***")
    if user := unquote(urlsplit(address).username or ""):
        said = said.replace(f'"{user}"', '"***"')
    said = " ".join(said.split())
    return f"{shown} says: {redacted(said)}"


@contextmanager
def alone(connection: Database, address: str, table: str, wait_s: float) -> Iterator[None]:
    """Let no other loader touch a table in this block; a killed one holds it no more.

    DuckDB lets one program at a time write at all.
    """
    if connection.kind == "postgresql":
        key = literal(f"pipeline_loads {table}")
        connection.rows(f"SELECT pg_advisory_lock(hashtext({key}))")
        connection.commit()
    if (file := file_of(address)) is None or connection.kind == "duckdb":
        yield
        return
    file = file.resolve()  # links are other names of the same database
    beside = file.with_name(f".{file.name}.loading")
    until = time.monotonic() + wait_s
    while True:
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:  # else its holder has just removed it
                break
        except BlockingIOError:
            pass
        os.close(descriptor)
        if time.monotonic() > until:
            raise UserError(
                f"another load into {connection.shown} was running for {wait_s:g} s: nothing was "
                "changed; let it end, then run again"
            )
        time.sleep(LOOK_S)
    try:
        yield
    finally:
        beside.unlink(missing_ok=True)
        os.close(descriptor)


def version(address: str, query: str) -> str:
    """Return what a query for the state of a table says, as text, for main.py to compare.

    SQLite is asked without a driver, which main.py's environment does not have.
    """
    file = file_of(address)
    if kind_of(address) != "sqlite" or file is None:
        with opened(address, read_only=True, wait_s=CONNECT_S) as connection:
            return version_in(connection, query)
    try:
        with closing(sqlite3.connect(_uri(file, "rw"), uri=True, timeout=CONNECT_S)) as db:
            db.execute("PRAGMA query_only = true")
            return _text(db.execute(query).fetchall())
    except sqlite3.Error as error:
        raise UserError(
            f"{without_secrets(address)} does not answer data.sql.version_query {query!r}: {error}"
        ) from None


def version_in(connection: Database, query: str) -> str:
    """Return the same of an open database."""
    return _text(connection.rows(query))


def _text(rows: list[tuple[Any, ...]]) -> str:
    return "; ".join(", ".join(map(str, row)) for row in rows[:100])
