"""Puts a parquet file into a table, whole or not at all: replaced, appended or by a key.

The rows go into `<table>__new_<digest>` first, where they are counted and compared; one transaction
then brings them into the table and notes it in `pipeline_loads`. Readers see the table as it was
until that is done. What a killed load has left, the next one removes.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from util_lib import safe_files
from util_lib.errors import UserError
from util_lib.sql import columns, connection
from util_lib.sql.columns import Stored, There
from util_lib.sql.connection import Database, literal, quoted
from util_lib.tables import parquet_files

logger = logging.getLogger("sql")

MODES = ("replace", "append", "upsert")
CREATE = "create"  # what is noted instead of the mode where there was no table
LOADS = "pipeline_loads"
LOADS_COLUMNS = '("table" TEXT, digest TEXT, "rows" BIGINT, run TEXT, "time" TEXT, mode TEXT)'
NEW, DIGITS = "__new_", 12  # of the digest, in the name of the table that is being made
LONGEST_TABLE = columns.LONGEST - len(NEW) - DIGITS
SEND_ROWS = 2**14
READ_BYTES = 2**18


class Load(NamedTuple):
    """What is put where; `key` are the columns that say which row is which, `run` who does it."""

    address: str
    table: str
    mode: str = "replace"
    key: tuple[str, ...] = ()
    run: str = ""
    wait_s: float = connection.WAIT_S


class LoadDone(NamedTuple):
    """What was done: rows of the file, of the table afterwards; whether anything was written."""

    n_rows: int
    n_in_table: int
    written: bool
    digest: str


def load(path: Path, what: Load) -> LoadDone:
    """Put the rows of a parquet file into a table; one that is in it already is not written."""
    kind = connection.kind_of(what.address)
    schema, _, table = what.table.rpartition(".")
    if len(table.encode()) > LONGEST_TABLE:
        raise UserError(f"table {table!r} has a name of more than {LONGEST_TABLE} bytes")
    if table.lower() == LOADS:
        raise UserError(f"table {LOADS} holds what is noted of loads: name another one")
    if (what.mode == "upsert") != bool(what.key):
        raise UserError("key names the columns that say which row is which: for mode upsert alone")
    digest = safe_files.read_content(path).sha256
    shown = connection.without_secrets(what.address)
    with parquet_files.opened(path, buffer_size=READ_BYTES) as file:
        how = columns.stored(file.schema_arrow, kind, f"table {what.table} in {shown}")
        for name in what.key:
            if name not in how:
                raise UserError(f"key: {name!r} is no column among {', '.join(how)}")
        with (
            connection.opened(what.address, wait_s=what.wait_s) as db,
            _alone(db, what, columns.schema_of(db, schema, table), table) as at,
        ):
            return _Loading(db, at, table, what, how, digest).go(file)


@contextmanager
def _alone(db: Database, what: Load, schema: str | None, table: str) -> Iterator[str | None]:
    """Let no other load touch the table, whatever way it is named; give its schema."""
    with connection.alone(db, what.address, f"{schema}.{table}", what.wait_s):
        yield schema


class _Loading:
    """One load into an open database."""

    def __init__(
        self,
        db: Database,
        schema: str | None,
        table: str,
        what: Load,
        how: dict[str, Stored],
        digest: str,
    ):
        self.db, self.schema, self.table, self.what, self.how = db, schema, table, what, how
        self.digest = digest
        self.new = f"{table}{NEW}{digest[:DIGITS]}"
        self.names = ", ".join(map(quoted, how))

    def at(self, table: str) -> str:
        """Return the name of a table with its schema, quoted."""
        return ".".join(map(quoted, [self.schema, table] if self.schema else [table]))

    def go(self, file: Any) -> LoadDone:
        n_rows, db = file.metadata.num_rows, self.db
        self.clean_up()
        there = columns.of_table(db, self.schema, self.table)
        if there and self.is_in_it():
            return LoadDone(n_rows, self.count(self.table), False, self.digest)
        wrong = columns.misfits(self.how, there, db.kind) if there else []
        if wrong and self.what.mode != "replace":
            raise UserError(
                f"table {self.what.table} in {db.shown} does not fit: {'; '.join(wrong)}; nothing "
                "was written; mode=replace makes the table anew"
            )
        as_it_is = bool(there) and not wrong and set(there) == set(self.how)
        try:
            self.fill(file)
            self.note(n_rows, self.what.mode if there else CREATE)
            if self.what.mode == "upsert":
                self.check_key([(self.new, "the artifact has")])
            if there and (as_it_is or self.what.mode != "replace"):
                self.put_into(there)
            else:
                self.make_anew()
            n_in_table = self.count(self.table)
            db.commit()
        except BaseException as error:
            with suppress(Exception):  # on a full disk it is undone already; the next load cleans
                db.rollback()
                if not connection.is_locked(error):
                    self.clean_up()
            raise
        return LoadDone(n_rows, n_in_table, True, self.digest)

    def clean_up(self) -> None:
        """Remove what broken-off loads of this table have left."""
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        if self.db.kind != "sqlite":
            place = literal(self.schema) if self.schema else "current_schema()"
            query = f"SELECT table_name FROM information_schema.tables WHERE table_schema = {place}"
        names = self.db.rows(query)
        self.db.commit()
        for (name,) in names:
            if re.fullmatch(f"{re.escape(self.table + NEW)}[0-9a-f]{{{DIGITS}}}", name):
                self.db.execute(f"DROP TABLE {self.at(name)}")
        self.db.commit()

    def is_in_it(self) -> bool:
        """Say whether the table holds these rows, by what is noted of its loads."""
        loads = self.at(LOADS)
        if not columns.of_table(self.db, self.schema, LOADS):
            return False
        found = self.db.rows(
            f'SELECT digest, mode, "rows" FROM {loads} WHERE '
            f"{columns.same_name(self.db, quoted('table'), literal(self.table))} "
            'ORDER BY "time"'
        )
        if not found or (found[-1][2] and not self.count(self.table)):  # somebody has emptied it
            return False
        if self.what.mode == "append":
            anew = ("replace", CREATE)
            last = max((n for n, row in enumerate(found) if row[1] in anew), default=0)
            return self.digest in [row[0] for row in found[last:]]
        same = found[-1][0] == self.digest and found[-1][1] in (self.what.mode, CREATE)
        return same and (self.what.mode == "upsert" or found[-1][2] == self.count(self.table))

    def fill(self, file: Any) -> None:
        """Write all rows to the new table, then count them and the values of each column."""
        self.db.commit()
        described = (f"{quoted(name)} {column.sql}" for name, column in self.how.items())
        self.db.execute(f"CREATE TABLE {self.at(self.new)} ({', '.join(described)})")
        self.db.commit()
        expected = [0] * (len(self.how) + 1)
        for batch in parquet_files.record_batches(file, SEND_ROWS, use_threads=False):
            given = columns.sent(batch, self.how, self.db.kind)
            self.db.insert(self.schema, self.new, given)
            self.db.commit()
            expected[0] += given.num_rows
            for place, values in enumerate(given.columns, 1):
                expected[place] += given.num_rows - values.null_count
        counts = ", ".join(["count(*)", *(f"count({quoted(name)})" for name in self.how)])
        found = [*self.db.rows(f"SELECT {counts} FROM {self.at(self.new)}")[0]]
        self.db.commit()
        if found != expected:
            raise UserError(
                f"{self.db.shown} took {found} rows and values of {expected}: nothing was changed"
            )

    def make_anew(self) -> None:
        """Put the new table in the place of the old."""
        self.db.execute(f"DROP TABLE IF EXISTS {self.at(self.table)}")
        self.db.execute(f"ALTER TABLE {self.at(self.new)} RENAME TO {quoted(self.table)}")

    def put_into(self, there: dict[str, There]) -> None:
        """Bring the new rows into the table that is there: it keeps its indexes and rights."""
        self.refuse_inexact(there)
        if self.what.mode == "upsert":
            self.upsert()
        else:
            if self.what.mode == "replace":
                self.db.execute(f"DELETE FROM {self.at(self.table)}")
            self.db.execute(
                f"INSERT INTO {self.at(self.table)} ({self.names}) SELECT {self.names} FROM "
                f"{self.at(self.new)}"
            )
        self.refuse_changed(there)
        self.db.execute(f"DROP TABLE {self.at(self.new)}")

    def refuse_inexact(self, there: dict[str, There]) -> None:
        """Raise `UserError` for numbers that a column of floats cannot tell apart."""
        for name, column in self.how.items():
            exact = columns.exact_up_to(there[name], self.db.kind)
            if exact is None or not column.sql.startswith(("INTEGER", "BIGINT", "NUMERIC")):
                continue
            beyond = f"{quoted(name)} NOT BETWEEN -{exact} AND {exact}"
            if self.db.value(f"SELECT count(*) FROM {self.at(self.new)} WHERE {beyond}"):
                raise UserError(
                    f"{name} has numbers beyond {exact:,}, which the table's column "
                    f"{there[name].dtype} does not tell apart: nothing was changed"
                )

    def refuse_changed(self, there: dict[str, There]) -> None:
        """Raise `UserError` for values that became others in a column of another type.

        Such a column rounds or cuts off by itself: `NUMERIC(10, 2)`, `REAL`, `TIMESTAMP(0)`.
        """
        for name, column in self.how.items():
            if there[name].dtype.upper() == column.sql:
                continue
            chosen = quoted(name)
            changed = (
                f"SELECT {chosen} FROM {self.at(self.new)} EXCEPT SELECT {chosen} FROM "
                f"{self.at(self.table)}"
            )
            if n := self.db.value(f"SELECT count(*) FROM ({changed}) AS changed"):
                raise UserError(
                    f"{name} has {n:,} values that the table's column {there[name].dtype} would "
                    "store as others: nothing was changed; change the column's type, or drop the "
                    "table so that it is made anew"
                )

    def check_key(self, tables: list[tuple[str, str]]) -> None:
        """Raise `UserError` for keys that lack or stand for several rows of one of `tables`."""
        key = ", ".join(map(quoted, self.what.key))
        shown = ", ".join(self.what.key)
        lacking = " OR ".join(f"{quoted(name)} IS NULL" for name in self.what.key)
        if self.db.value(f"SELECT count(*) FROM {self.at(self.new)} WHERE {lacking}"):
            raise UserError(
                f"key {shown}: some rows of the artifact have none: nothing was changed"
            )
        for table, what in tables:
            one_each = f"SELECT {key} FROM {self.at(table)} GROUP BY {key} HAVING count(*) > 1"
            if twice := self.db.value(f"SELECT count(*) FROM ({one_each}) AS twice"):
                raise UserError(
                    f"key {shown}: {what} {twice:,} that stand for several rows: nothing was "
                    "changed; name columns that tell the rows apart"
                )

    def upsert(self) -> None:
        """Change the rows whose key is there, add the others; other columns stay as they are."""
        old, new = self.at(self.table), self.at(self.new)
        key = ", ".join(map(quoted, self.what.key))
        self.check_key([(self.table, f"table {self.what.table} has")])
        if self.db.kind == "sqlite":  # the others join without one
            self.db.execute(
                f"CREATE INDEX {self.at(self.new + '_key')} ON {quoted(self.new)} ({key})"
            )
        same = " AND ".join(f"o.{quoted(n)} = n.{quoted(n)}" for n in self.what.key)
        if self.db.kind == "sqlite":  # whose columns may take `a` and `A` for the same
            each = ", ".join(f"o.{quoted(n)}" for n in self.what.key)
            one = f"SELECT 1 FROM {old} AS o JOIN {new} AS n ON {same} GROUP BY {each}"
            if n := self.db.value(f"SELECT count(*) FROM ({one} HAVING count(*) > 1)"):
                raise UserError(
                    f"key {', '.join(self.what.key)}: {n:,} rows of table {self.what.table} are "
                    "meant by several of the artifact: nothing was changed"
                )
        if others := [name for name in self.how if name not in self.what.key]:
            changes = ", ".join(f"{quoted(n)} = n.{quoted(n)}" for n in others)
            self.db.execute(f"UPDATE {old} AS o SET {changes} FROM {new} AS n WHERE {same}")
        chosen = ", ".join(f"n.{quoted(name)}" for name in self.how)
        self.db.execute(
            f"INSERT INTO {old} ({self.names}) SELECT {chosen} FROM {new} AS n LEFT JOIN {old} "
            f"AS o ON {same} WHERE o.{quoted(self.what.key[0])} IS NULL"
        )

    def note(self, n_rows: int, mode: str) -> None:
        """Note the load, as the first change of the transaction that it is part of.

        SQLite waits for who writes only before a transaction has read.
        """
        loads = self.at(LOADS)
        self.db.execute(f"CREATE TABLE IF NOT EXISTS {loads} {LOADS_COLUMNS}")
        self.db.commit()
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        texts = (self.table, self.digest, str(n_rows), self.what.run, now, mode)
        values = ", ".join(literal(text) for text in texts)
        self.db.execute(f"INSERT INTO {loads} VALUES ({values})")

    def count(self, table: str) -> int:
        """Return the rows of a table."""
        return int(self.db.value(f"SELECT count(*) FROM {self.at(table)}"))
