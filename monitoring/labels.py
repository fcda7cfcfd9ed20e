#!/usr/bin/env python
"""Load labels that became known after the model's answers, for the monitor to measure these by.

Reads any table; joins it to recorded rows by request and row, or by an input that is recorded as it
is or as its hash. Of several labels of a row the newest counts. Writes `labels/` of the log.
"""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

from monitoring.records import compaction, given_labels, rows
from util_lib import cli, monitoring_log
from util_lib.errors import UserError
from util_lib.tracking.store.places import user_directory

logger = logging.getLogger("monitoring")


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--labels", required=True, help="a CSV, parquet, JSON, Excel or Arrow file of labels"
    )
    parser.add_argument(
        "--key",
        default="request_id,row",
        help="columns of the file with request and row, or one input that is recorded",
    )
    parser.add_argument(
        "--label", type=cli.optional, default="null", help="column of the labels; null = the other"
    )
    parser.add_argument(
        "--project", type=cli.optional, default="null", help="null = the only one in the log"
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Load the labels; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    folder = monitoring_log.folder()
    path = user_directory() / Path(args.labels).expanduser()
    key = [name.strip() for name in args.key.split(",")]
    project = rows.choose_project(folder, args.project)
    with compaction.alone(folder):
        compaction.compact_and_say(folder, project)
        found = rows.files(folder, project)
        if not found:
            raise UserError(f"{project} has no finished rows that labels could belong to")
        loaded = given_labels.load(path, folder, project, key, args.label, found)
    for sentence in loaded.sentences():
        logger.info("%s: %s", path.name, sentence)


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
