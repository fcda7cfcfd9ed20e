#!/usr/bin/env python
"""Put an artifact's table into a database, whole or not at all.

An optional step, never part of `all`. Reads the artifact `--input_artifact`, a parquet file; writes
the table, and a row in `pipeline_loads`. What is in the table already is not written again.
"""

import argparse
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

from util_lib import cli, tracking
from util_lib.errors import UserError
from util_lib.sql import connection, loading
from util_lib.urls import whole_address, without_secrets

logger = logging.getLogger("store_data")


def build_parser() -> argparse.ArgumentParser:
    """Name the step's inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--input_artifact",
        type=cli.artifact_reference,
        required=True,
        help="a table in parquet, e.g. preprocessed_data.parquet:latest",
    )
    parser.add_argument(
        "--database",
        required=True,
        help="sqlite:///FILE, duckdb:///FILE or postgresql://HOST/NAME",
    )
    parser.add_argument("--table", required=True, help="table, or schema.table")
    parser.add_argument(
        "--mode",
        choices=loading.MODES,
        default="replace",
        help="replace the table, append to it, or upsert: change rows by their key, add the others",
    )
    parser.add_argument(
        "--key",
        type=cli.optional,
        default="null",
        help="columns, separated by commas, that say which row is which; for upsert alone",
    )
    parser.add_argument(
        "--wait_s",
        type=cli.number(0),
        default="30",
        help="seconds to wait for a database that another program has locked",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the step; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    connection.refuse_password(args.database)
    shown = without_secrets(args.database)
    config: dict[str, Any] = vars(args) | {"database": shown}
    with (
        tracking.init_reader(job_type="store_data", config=config) as run,
        tempfile.TemporaryDirectory() as tmp,
    ):
        artifact = run.use_artifact(args.input_artifact)
        path = Path(artifact.file(tmp))
        if path.suffix != ".parquet":
            raise UserError(
                f"{args.input_artifact} holds {path.name}, and only parquet says what its columns "
                "are: let the artifact's name end in .parquet"
            )
        what = loading.Load(
            whole_address(args.database),
            args.table,
            args.mode,
            tuple(name.strip() for name in (args.key or "").split(",") if name.strip()),
            os.environ.get("MLFLOW_RUN_ID", run.id),
            args.wait_s,
        )
        done = loading.load(path, what)
        run.summary.update({"rows": done.n_rows, "rows_in_table": done.n_in_table})
        of = f"{artifact.name} ({done.n_rows:,} rows, sha256 {done.digest[:12]})"
        if done.written:
            logger.info(
                "%s: %s is in table %s of %s, which has %s rows",
                args.mode,
                of,
                args.table,
                shown,
                f"{done.n_in_table:,}",
            )
        else:
            logger.info("%s is in table %s of %s already: nothing written", of, args.table, shown)


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
