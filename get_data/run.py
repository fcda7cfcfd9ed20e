#!/usr/bin/env python
"""Download the raw dataset, or copy it from files or a database, and log it as an artifact.

Step 1 of 6. Reads an http(s) address, one of a bucket or a path; writes the artifact
`--artifact_name`: one file, or those of a folder or glob, byte for byte what was served. Nothing is
parsed here; `preprocess` is the first to read columns. Rows of a database become one parquet file.
"""

import argparse
import logging
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

from util_lib import cli, downloads, partitions, tracking
from util_lib.buckets import remote
from util_lib.downloads import Received
from util_lib.errors import UserError
from util_lib.redaction import redacted_values
from util_lib.safe_files import read_content
from util_lib.sql import connection
from util_lib.urls import file_name, is_bucket, is_database, whole_address, without_secrets

logger = logging.getLogger("get_data")


def _sha256(text: str) -> str | None:
    value = cli.optional(text)
    if value is not None and not re.fullmatch("[0-9a-fA-F]{64}", value):
        raise argparse.ArgumentTypeError(f"must be 64 hexadecimal digits or null, found {text!r}")
    return value


# What says which rows of a database are read (`data.sql`).
SQL = {
    "table": "table of a database, or schema.table; null = a query",
    "query": "SQL that gives the rows; null = a table",
    "version_query": "SQL that gives another answer when the rows are others; null = always runs",
    "order_by": "columns, separated by commas, by which the rows are ordered; null = as they come",
}


def build_parser() -> argparse.ArgumentParser:
    """Name the step's inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--file_url",
        required=True,
        help="http(s) address, one of a bucket (s3://, gs://, az://, hf://, sftp://) or path of "
        "the raw file, or of a folder or glob of files that are one table; a relative path starts "
        "at the project root; or the address of a database",
    )
    parser.add_argument(
        "--artifact_name", type=cli.artifact_name, required=True, help="e.g. raw_data.parquet"
    )
    parser.add_argument(
        "--artifact_type", type=cli.artifact_type, default="raw_data", help="groups artifacts"
    )
    parser.add_argument("--artifact_description", default="Data as downloaded", help="one sentence")
    parser.add_argument(
        "--sha256",
        type=_sha256,
        default="null",
        help="64 hexadecimal digits; another content is refused; null = not checked",
    )
    parser.add_argument(
        "--max_bytes",
        type=cli.positive_int,
        default="2000000000",
        help="a longer file is refused",
    )
    for name, help in SQL.items():
        parser.add_argument(f"--sql_{name}", type=cli.optional, default="null", help=help)
    partitions.add_arguments(parser)
    return parser


def from_database(
    address: str, args: argparse.Namespace, tmp: str
) -> tuple[Path, Received, dict[str, Any]]:
    """Write the rows of a database to a parquet file; return it, and what is noted of it."""
    from util_lib.sql import reading  # needs pyarrow, which a download does not

    source = reading.Wanted(**{name: getattr(args, f"sql_{name}") for name in SQL})
    path = Path(tmp, f"{Path(args.artifact_name).stem}.parquet")
    rows = reading.read(address, source, path, args.max_bytes)
    if source.version_query is None:
        logger.info("no version_query: nobody knows whether the rows changed, so this always runs")
    content = read_content(path)
    noted = {
        "rows": rows.n_rows,
        "sql": redacted_values(source._asdict()),
        "sql_version": rows.version,
    }
    return path, Received(content.size, content.sha256), noted


def main(argv: list[str] | None = None) -> None:
    """Run the step; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    shown = without_secrets(args.file_url)
    config: dict[str, Any] = vars(args) | {"file_url": shown}
    with (
        tracking.init(job_type="get_data", config=config) as run,
        tempfile.TemporaryDirectory() as tmp,
    ):
        address = whole_address(args.file_url)
        noted: dict[str, Any] = {}
        if is_bucket(address):
            remote.refuse_secrets(args.file_url)
        files = None if is_database(address) else remote.files_at(address)
        if is_database(address):
            connection.refuse_password(args.file_url)
            path, received, noted = from_database(address, args, tmp)
        elif any(getattr(args, f"sql_{name}") for name in SQL):
            raise UserError(f"{shown} is no database: leave the options that begin with sql_ out")
        elif files is None:
            path = Path(tmp, file_name(args.file_url, args.artifact_name))
            received = downloads.fetch(address, path, args.max_bytes)
        else:
            files = partitions.of_files(files, partitions.rule(args))
            path = Path(tmp, "files")
            path.mkdir()
            received = downloads.fetch_all(files, path, args.max_bytes)
            logger.info("%s files in the order of their names", f"{len(files):,}")
        downloads.check_sha256(args.sha256, received)
        metadata = {
            "original_url": shown,
            "sha256": received.sha256,
            "bytes": received.n_bytes,
            "etag": received.etag,
            "last_modified": received.last_modified,
            **noted,
        }
        if files is not None:
            metadata["n_files"] = len(files)
        name, kind, text = args.artifact_name, args.artifact_type, args.artifact_description
        logged = tracking.log_file(run, path, name, kind, text, metadata)
        logger.info("logged %s: %s bytes from %s", logged.name, f"{received.n_bytes:,}", shown)


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
