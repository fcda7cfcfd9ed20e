"""What a column of a parquet file is in a database, and whether a table's column can hold it."""

from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as types

from util_lib.errors import UserError
from util_lib.sql.connection import EXACT, Database, literal, quoted

LONGEST = 63  # bytes of a name in PostgreSQL, which cuts off the rest


class Stored(NamedTuple):
    """How a column is stored: its family, the Arrow type it is sent as, and its type in SQL."""

    family: str
    sent: Any
    sql: str


class There(NamedTuple):
    """A column that a table has."""

    dtype: str
    needed: bool  # it takes no null and has no default


# Family: what it is sent as, and its type in SQLite, DuckDB and PostgreSQL.
FAMILIES = {
    "whole numbers": (pa.int64(), "INTEGER", "BIGINT", "BIGINT"),
    "numbers": (pa.float64(), "REAL", "DOUBLE", "DOUBLE PRECISION"),
    "booleans": (pa.bool_(), "BOOLEAN", "BOOLEAN", "BOOLEAN"),
    "texts": (pa.string(), "TEXT", "VARCHAR", "TEXT"),
    "days": (pa.date32(), "DATE", "DATE", "DATE"),
    "times": (pa.timestamp("us"), "TIMESTAMP", "TIMESTAMP", "TIMESTAMP"),
    "bytes": (pa.binary(), "BLOB", "BLOB", "BYTEA"),
}
KINDS = ("sqlite", "duckdb", "postgresql")
# Words in the types of SQL, in the order in which they are looked for; of others nothing is known.
WORDS = {
    "": ("interval", "point"),
    "times": ("timestamp", "datetime"),
    "days": ("date",),
    "whole numbers": ("int", "serial"),
    "numbers": ("real", "float", "doub", "numeric", "decimal"),
    "booleans": ("bool",),
    "texts": ("char", "text", "clob"),
    "bytes": ("blob", "bytea"),
}
# What a family may be put into beside itself, without a loss.
WIDER = {"whole numbers": ("numbers",), "days": ("times",)}
WIDER_IN_SQLITE = {"booleans": ("whole numbers",), "days": ("texts",), "times": ("texts",)}


def stored(schema: Any, kind: str, where: str) -> dict[str, Stored]:
    """Say how each column of a file is stored; name those that no table can hold."""
    found, wrong = {}, []
    for field in schema:
        how = _stored(field.type, kind)
        if how is None:
            wrong.append(f"{field.name} ({field.type})")
        elif kind == "postgresql" and len(field.name.encode()) > LONGEST:
            wrong.append(f"{field.name} (a name of more than {LONGEST} bytes)")
        else:
            found[field.name] = how
    if wrong:
        raise UserError(
            f"{where} cannot hold {', '.join(wrong)}: leave such columns out of the artifact, or "
            "make texts or numbers of them; nothing was written"
        )
    return found


def _stored(dtype: Any, kind: str) -> Stored | None:
    if types.is_dictionary(dtype):
        return _stored(dtype.value_type, kind)
    if types.is_decimal(dtype):
        if kind == "sqlite":  # it has none; a text is exact
            return Stored("texts", pa.string(), "TEXT")
        return Stored("numbers", dtype, f"NUMERIC({dtype.precision}, {dtype.scale})")
    if types.is_timestamp(dtype) and dtype.tz is not None:
        return Stored("times", pa.timestamp("us", "UTC"), "TIMESTAMP WITH TIME ZONE")
    family = next((name for name, is_so in _IS.items() if is_so(dtype)), None)
    if family is None:
        return None
    sent, *sqls = FAMILIES[family]
    return Stored(family, sent, sqls[KINDS.index(kind)])


_IS = {
    "whole numbers": types.is_integer,
    "numbers": types.is_floating,
    "booleans": types.is_boolean,
    "texts": lambda t: any(
        f(t) for f in (types.is_string, types.is_large_string, types.is_string_view, types.is_null)
    ),
    "days": types.is_date,
    "times": types.is_timestamp,
    "bytes": lambda t: any(
        f(t) for f in (types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    ),
}


def sent(batch: Any, how: dict[str, Stored], kind: str) -> Any:
    """Return a batch in the types that are sent; `UserError` names a column that does not fit."""
    columns = []
    for name, column in how.items():
        values = batch.column(name)
        if kind == "sqlite" and types.is_floating(values.type):  # which has no NaN
            values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
        try:
            columns.append(values.cast(column.sent))
        except pa.ArrowInvalid as error:
            raise UserError(
                f"{name} does not fit a column of {column.family} ({error}): nothing was changed"
            ) from None
    return pa.RecordBatch.from_arrays(columns, names=[*how])


def schema_of(db: Database, given: str, table: str) -> str | None:
    """Return the schema where a table is, else is to be made; `UserError` where none is kept.

    A name without schema is looked for as PostgreSQL does, on the user's whole search path.
    """
    if db.kind == "sqlite":
        if given.lower() not in ("", "main"):
            raise UserError(
                f"{db.shown} has no schema {given!r}, as no file of SQLite has: name a table "
                "without a dot"
            )
        return None
    place = literal(given) if given else "current_schema()"
    query = (
        "SELECT schema_name FROM information_schema.schemata WHERE catalog_name = "
        f"current_database() AND {same_name(db, 'schema_name', place)}"
    )
    if db.kind == "postgresql":
        if not given:
            place = (
                "coalesce((SELECT relnamespace::regnamespace::oid FROM pg_class WHERE oid = "
                f"to_regclass({literal(quoted(table))})), to_regnamespace(quote_ident({place})))"
            )
        query = (
            f"SELECT nspname::text FROM pg_namespace WHERE {'nspname' if given else 'oid'} = "
            f"{place} AND nspname NOT LIKE 'pg\\_%'"
        )
    if not (found := db.rows(query)):
        raise UserError(
            f"{db.shown} has no schema {given!r} that keeps tables: name one that is there"
            if given
            else f"{db.shown} has no schema for {table!r} on its search path: name SCHEMA.{table}"
        )
    return str(found[0][0])


def of_table(db: Database, schema: str | None, table: str) -> dict[str, There]:
    """Return the columns of a table; none where there is no such table."""
    if db.kind == "sqlite":
        query = (
            'SELECT name, type, "notnull" AND dflt_value IS NULL AND NOT '
            f"(pk AND type = 'INTEGER') FROM pragma_table_info({literal(table)})"
        )
    else:
        place = literal(schema) if schema else "current_schema()"
        query = (
            "SELECT column_name, data_type, is_nullable = 'NO' AND column_default IS NULL"
            f"{' AND is_identity = ' + literal('NO') if db.kind == 'postgresql' else ''} FROM "
            f"information_schema.columns WHERE {same_name(db, 'table_schema', place)} AND "
            f"{same_name(db, 'table_name', literal(table))} ORDER BY ordinal_position"
        )
    return {name: There(dtype, bool(needed)) for name, dtype, needed in db.rows(query)}


def same_name(db: Database, one: str, other: str) -> str:
    """Return the comparison of two names in SQL; only PostgreSQL tells `Songs` from `songs`."""
    return f"{one} = {other}" if db.kind == "postgresql" else f"lower({one}) = lower({other})"


def exact_up_to(column: There, kind: str) -> int | None:
    """Return up to where a column of floats holds whole numbers exactly; None if it has others."""
    if kind != "sqlite" and column.dtype.lower() in ("real", "float"):  # of 32 bits
        return 2**24
    is_float = any(word in column.dtype.lower() for word in ("real", "float", "doub"))
    return EXACT if is_float else None


def misfits(how: dict[str, Stored], there: dict[str, There], kind: str) -> list[str]:
    """Say in words which columns of a file a table cannot take, and which it lacks."""
    found = []
    for name, column in how.items():
        if name not in there:
            found.append(f"{name} is no column of the table")
            continue
        dtype = there[name].dtype.lower()
        known = (family for family, words in WORDS.items() if any(w in dtype for w in words))
        has = next(known, "")
        takes = (column.family, "", *WIDER.get(column.family, ()))
        if kind == "sqlite":
            takes += WIDER_IN_SQLITE.get(column.family, ())
        if has not in takes:
            found.append(f"{name} has {column.family} and the table's column is {dtype}")
        elif has == "times" and column.family in ("times", "days"):
            zone = "with time zone" in dtype or "timestamptz" in dtype
            if zone != (getattr(column.sent, "tz", None) is not None):
                having = "without" if zone else "with"
                found.append(
                    f"{name} has {column.family} {having} a time zone and the table's column is "
                    f"{dtype}"
                )
    found += [
        f"{name} is needed by the table and not in the artifact"
        for name, column in there.items()
        if column.needed and name not in how
    ]
    return found
