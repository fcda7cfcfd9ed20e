"""Reads a table or a query of a database into one parquet file, in order, a batch at a time."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from util_lib import safe_files
from util_lib.errors import UserError
from util_lib.sql import connection
from util_lib.sql.connection import BATCH_ROWS, EXACT, Database, quoted

logger = logging.getLogger("sql")

# What a value of SQLite is, whatever its column is declared; the first that occurs is the column's.
SQLITE_TYPES = {"blob": ("BLOB", "x''"), "text": ("TEXT", "''"), "real": ("REAL", "0.0")}
SQLITE_TYPES |= {"integer": ("INTEGER", "0")}
MOST_DIGITS = 38  # of a decimal in Arrow
# What DuckDB's driver gives to Arrow as something else, and what it is asked for in place of that.
DUCKDB_TYPES = {"UHUGEINT": "DECIMAL(38, 0)", "HUGEINT": "DECIMAL(38, 0)"}
DUCKDB_TYPES |= {"TIME WITH TIME ZONE": "VARCHAR", "BIT": "VARCHAR"}
POSTGRESQL_TYPES = {"money": "numeric", "oid": "bigint"}  # of cents; beyond 2^31 below zero
# Earlier than any day of PostgreSQL's: what its driver makes of times without end.
FIRST_DAY = -2_440_589  # from 1970
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
DAY_S = 86_400
QUERY = " AS wanted"  # stands after a query in parentheses, and not after a table
WAY_OUT = "set TMPDIR to a folder with space"


class Wanted(NamedTuple):
    """What is read: a table or a query, in the order of some columns; who tells its version."""

    table: str | None = None
    query: str | None = None
    version_query: str | None = None
    order_by: str | None = None  # columns, separated by commas


class RowsRead(NamedTuple):
    """What was read; `version` is what the version query said of the same state, or None."""

    n_rows: int
    version: str | None


def read(
    address: str, source: Wanted, path: Path, max_bytes: int, wait_s: float = connection.WAIT_S
) -> RowsRead:
    """Write all rows to the parquet file `path`; the same rows in the same order, the same bytes.

    Memory does not grow with the rows.
    """
    wanted = _wanted(address, source)
    with connection.opened(address, read_only=True, wait_s=wait_s) as db:
        said = connection.version_in(db, source.version_query) if source.version_query else None
        n_rows, writer = 0, None
        try:
            for batch in _even(_batches(db, wanted, _columns(source.order_by))):
                with safe_files.writing(path, WAY_OUT):
                    if writer is None:
                        writer = pq.ParquetWriter(path, batch.schema)
                    writer.write_table(batch, row_group_size=BATCH_ROWS)
                n_rows += batch.num_rows
                if path.stat().st_size > max_bytes:
                    raise UserError(
                        f"{db.shown} has more than the allowed {max_bytes:,} bytes (after "
                        f"{n_rows:,} rows): raise max_bytes if it is the right table"
                    )
        finally:
            if writer is not None:
                with safe_files.writing(path, WAY_OUT):
                    writer.close()
        if not n_rows:
            raise UserError(f"{db.shown}: {wanted} has no rows: expected at least one")
    if not source.order_by:
        logger.warning(
            "no order_by: the rows come as the database gives them, so that the same rows can "
            "become another version"
        )
    return RowsRead(n_rows, said)


def _wanted(address: str, source: Wanted) -> str:
    """Return what stands after FROM."""
    if (source.table is None) == (source.query is None):
        raise UserError(
            f"{connection.without_secrets(address)} is a database: say which rows of it, by "
            "data.sql.table or by data.sql.query, and not by both"
        )
    if source.table is not None:
        return table_name(source.table)
    return f"({str(source.query).strip().rstrip(';')}\n){QUERY}"


def table_name(text: str) -> str:
    """Return `table` or `schema.table`, quoted."""
    return ".".join(map(quoted, text.split(".", 1)))


def _columns(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _batches(db: Database, wanted: str, order: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows, in types that parquet has."""
    schema = db.batches(f"SELECT * FROM {wanted} LIMIT 0").schema
    _refuse_repeated(db, wanted, schema.names)
    for name in order:  # SQLite would take an unknown one for a text
        if name not in schema.names:
            raise UserError(
                f"{db.shown}: data.sql.order_by: there is no column {name!r} among "
                f"{', '.join(schema.names)}"
            )
    query = _typed(db, wanted, order, schema)
    for batch in db.batches(query):
        if db.kind == "sqlite":  # the first column says which row only shows the types
            batch = batch.filter(pa.compute.equal(batch.column(0), 1))
            batch = pa.RecordBatch.from_arrays(batch.columns[1:], names=schema.names)
            batch.validate(full=True)  # a text of SQLite may be any bytes
        yield pa.RecordBatch.from_arrays(
            [_plain(values, field) for values, field in zip(batch, batch.schema, strict=True)],
            names=batch.schema.names,
        )


def _refuse_repeated(db: Database, wanted: str, names: list[str]) -> None:
    """Raise `UserError` for two columns of one name: `a`, `a` is `a:1` of SQLite, `a_1` of DuckDB.

    Both take `a` and `A` for one name, and `Ä` and `ä` for two.
    """
    if not wanted.endswith(QUERY):
        return  # of a table, which has no two
    if db.kind == "duckdb":
        names = [name for name, *_ in db.rows(f"DESCRIBE {wanted.removesuffix(QUERY)}")]
    elif db.kind == "sqlite" and len({re.sub(r":\d+$", "", n).lower() for n in names}) < len(names):
        # which may be their own names: the query alone, which may have to be sorted, gives them
        names = db.batches(wanted.removesuffix(f"\n){QUERY}")[1:]).schema.names
    known = [name if db.kind == "postgresql" else name.encode().lower() for name in names]
    for name, this in zip(names, known, strict=True):
        if known.count(this) > 1:
            raise UserError(
                f"{db.shown}: data.sql.query gives two columns called {name!r}: name one otherwise "
                "(AS)"
            )


def _typed(db: Database, wanted: str, order: list[str], schema: pa.Schema) -> str:
    """Return the query, with columns cast that Arrow has no type for.

    A column of SQLite may hold anything, and its driver takes the first rows for an example. So it
    is asked what there is, and a row that is none comes first.
    """
    names = [quoted(name) for name in schema.names]
    if db.kind != "sqlite":
        wanted_as = {
            name: "text" for name, field in zip(names, schema, strict=True) if _has_no_type(field)
        }
        if db.kind == "duckdb":
            for name, dtype, *_ in db.rows(f"DESCRIBE SELECT * FROM {wanted}"):
                if dtype in DUCKDB_TYPES:
                    wanted_as[quoted(name)] = DUCKDB_TYPES[dtype]
        if db.kind == "postgresql":
            types = ", ".join(f"pg_typeof(w.{name})::text" for name in names)
            empty = f"(SELECT * FROM {wanted} LIMIT 0) AS w"
            [said] = db.rows(f"SELECT {types} FROM (SELECT) AS one LEFT JOIN {empty} ON true")
            for name, dtype in zip(names, said, strict=True):
                if dtype in POSTGRESQL_TYPES:
                    wanted_as[name] = POSTGRESQL_TYPES[dtype]
        chosen = [
            f"CAST({name} AS {wanted_as[name]}) AS {name}" if name in wanted_as else name
            for name in names
        ]
        ordered = f" ORDER BY {', '.join(map(quoted, order))}" if order else ""
        return f"SELECT {', '.join(chosen)} FROM {wanted}{ordered}"
    asked = [f"max(typeof({name}) = '{kind}')" for name in names for kind in SQLITE_TYPES]
    asked += [
        f"max(typeof({name}) = 'integer' AND {name} NOT BETWEEN -{EXACT} AND {EXACT})"
        for name in names
    ]
    found = db.rows(f"SELECT {', '.join(asked)} FROM {wanted}")[0]
    cast, example = [], []
    for place, name in enumerate(names):
        there = found[place * len(SQLITE_TYPES) : (place + 1) * len(SQLITE_TYPES)]
        kinds = [kind for kind, is_there in zip(SQLITE_TYPES, there, strict=True) if is_there]
        dtype, value = SQLITE_TYPES[kinds[0] if kinds else "text"]
        if kinds[:1] == ["text"] and len(kinds) > 1:
            logger.warning("%s holds texts and numbers: all are taken for texts", name)
        if kinds[:1] == ["real"] and found[place - len(names)]:
            raise UserError(
                f"{db.shown}: {name} holds floats and whole numbers beyond {EXACT:,}, which floats "
                f"do not tell apart: ask for CAST({name} AS TEXT) in data.sql.query"
            )
        cast.append(f"CAST({name} AS {dtype})")
        example.append(value)
    places = [str(2 + schema.names.index(name)) for name in order]
    ordered = f" ORDER BY {', '.join(['1', *places])}" if order else ""
    return (
        f"SELECT 0, {', '.join(example)} UNION ALL SELECT 1, {', '.join(cast)} FROM "
        f"{wanted}{ordered}"
    )


def _has_no_type(field: pa.Field) -> bool:
    """Say whether values are no texts, numbers or dates for Arrow: an uuid, an interval."""
    if isinstance(field.type, pa.BaseExtensionType):
        return not pa.types.is_string(field.type.storage_type)
    return pa.types.is_interval(field.type)


def _plain(values: pa.Array, field: pa.Field) -> pa.Array:
    """Return the values of PostgreSQL's own types as what they hold, numbers as decimals."""
    if not isinstance(values.type, pa.BaseExtensionType):
        _refuse_endless(values, field.name)
        return values
    about = field.metadata or {}
    texts = values.storage
    if about.get(b"POSTGRESQL:type") != b"numeric":
        return texts
    size = int(about.get(b"POSTGRESQL:typmod", b"-1")) - 4
    digits, scale = size >> 16, size & 0x7FF
    if size > 0 and digits <= MOST_DIGITS and scale <= digits:
        with_no_number = pa.compute.is_in(texts, pa.array(["NaN", "Infinity", "-Infinity"]))
        if not pa.compute.any(with_no_number).as_py():
            return texts.cast(pa.decimal128(digits, scale))
    floats = texts.cast(pa.float64())
    largest = pa.compute.max(pa.compute.abs(_finite(floats))).as_py()
    if largest is not None and largest >= EXACT:
        raise UserError(
            f"{field.name} is a numeric that does not say how many digits it has, and holds "
            f"numbers beyond {EXACT:,}, which floats do not tell apart: ask for "
            f"CAST({quoted(field.name)} AS numeric(38, 2)), or as many digits as it has, in "
            "data.sql.query"
        )
    return floats


def _refuse_endless(values: pa.Array, name: str) -> None:
    """Raise `UserError` for times that parquet has not: `infinity`, and the hour 24."""
    if pa.types.is_date32(values.type):
        low, high, numbers = FIRST_DAY, 2**31 - 2, values.view(pa.int32())
    elif pa.types.is_timestamp(values.type):
        low, high = max(FIRST_DAY * DAY_S * UNITS[values.type.unit], 2 - 2**63), 2**63 - 2
        numbers = values.view(pa.int64())
    elif pa.types.is_time64(values.type):
        low, high = 0, DAY_S * UNITS[values.type.unit] - 1
        numbers = values.view(pa.int64())
    else:
        return
    found = pa.compute.min_max(numbers).as_py()
    if found["min"] is not None and (found["min"] < low or found["max"] > high):
        raise UserError(
            f"{name} holds times that a file cannot ({values.type}), such as infinity: ask for "
            f"CAST({quoted(name)} AS TEXT), or for null in their place, in data.sql.query"
        )


def _finite(values: pa.Array) -> pa.Array:
    return values.filter(pa.compute.is_finite(values))


def _even(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield the rows in parts of the same size, whatever the driver's are."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        while sum(each.num_rows for each in held) >= BATCH_ROWS:
            together = pa.Table.from_batches(held)
            yield together.slice(0, BATCH_ROWS)
            held = together.slice(BATCH_ROWS).to_batches()
    if sum(each.num_rows for each in held):
        yield pa.Table.from_batches(held)
