"""Rows to predict that come from a table, and answers that go into one."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from util_lib import cli
from util_lib.errors import UserError
from util_lib.sql import connection, loading, reading
from util_lib.sql.loading import Load
from util_lib.urls import is_database, whole_address, without_secrets

REJECTED = "_rejected"  # after the name of the table: where rows without an answer go
MOST_BYTES = 10**12


class Tables(NamedTuple):
    """What the arguments say of tables; None where a file is read, or written."""

    source: reading.Wanted | None
    target: Load | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the tables that are read and written where `input` or `output` is a database."""
    parser.add_argument(
        "--input_table",
        type=cli.optional,
        default="null",
        help="table of a database, or schema.table, that is the input",
    )
    parser.add_argument(
        "--input_order_by",
        type=cli.optional,
        default="null",
        help="columns, separated by commas, by which its rows are ordered",
    )
    parser.add_argument(
        "--output_table",
        type=cli.optional,
        default="null",
        help="table of a database, or schema.table, that is the output",
    )
    parser.add_argument(
        "--output_mode",
        choices=loading.MODES,
        default="replace",
        help="replace that table, append to it, or upsert by output_key",
    )
    parser.add_argument(
        "--output_key",
        type=cli.optional,
        default="null",
        help="columns, separated by commas, that say which row is which; for upsert alone",
    )


def tables(args: argparse.Namespace, run: str) -> Tables:
    """Read the arguments; `UserError` for a table without a database, or the other way round."""
    for name in ("input", "output"):
        address, table = getattr(args, name), getattr(args, f"{name}_table")
        connection.refuse_password(address)
        if is_database(address) != (table is not None):
            raise UserError(
                f"{name} {without_secrets(address)!r} and {name}_table {table!r}: a database needs "
                "a table, and a file has none"
            )
    key = tuple(name.strip() for name in (args.output_key or "").split(",") if name.strip())
    mode, table = args.output_mode, args.output_table
    return Tables(
        args.input_table and reading.Wanted(args.input_table, order_by=args.input_order_by),
        table and Load(whole_address(args.output), table, mode, key, run),
    )


def fetch(address: str, source: reading.Wanted, folder: Path) -> Path:
    """Return a file with the rows of a table."""
    path = folder / "table.parquet"
    reading.read(whole_address(address), source, path, MOST_BYTES)
    return path


@contextmanager
def refusals(predicted: Path, rejected: Path, target: Load | None) -> Iterator[None]:
    """Put the rows without an answer into their table also where no row has one."""
    try:
        yield
    except UserError as error:
        if target is None or not rejected.exists():
            raise
        store(predicted, rejected, target)
        table = f"table {target.table}{REJECTED}"
        raise UserError(str(error).replace(str(rejected), table)) from None


def store(predicted: Path, rejected: Path, target: Load) -> str:
    """Put answers, and rows without one, into their tables; return the first one's name.

    Those without one first, as it is with files; there is a table of them also where it is empty.
    """
    if not rejected.exists():
        none = pd.DataFrame({"row": [], "reason": [], "given": []})
        none = none.astype({"row": "int64", "reason": "str", "given": "str"})
        pq.write_table(pa.Table.from_pandas(none, preserve_index=False), rejected)
    aside = target._replace(table=target.table + REJECTED, mode="replace", key=())
    loading.load(rejected, aside)
    if predicted.exists():
        loading.load(predicted, target)
    return f"table {target.table}"
