#!/usr/bin/env python
"""Make one version of the data the reference that `check_data` compares new data with.

Not a step of the pipeline: run it when a drift has been looked at and is here to stay.
"""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

from check_data.examine import FIRST_ALIAS
from check_data.run import accept
from util_lib import cli, tracking

logger = logging.getLogger("accept_reference")


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--sample_artifact",
        type=cli.artifact_reference,
        required=True,
        help="the version to accept, e.g. preprocessed_data.parquet:latest",
    )
    parser.add_argument("--reference_alias", default=FIRST_ALIAS, help="the alias that moves to it")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Move the alias; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    with tracking.init_reader(job_type="accept_reference", config=vars(args)) as run:
        accept(run.use_artifact(args.sample_artifact), args.reference_alias)


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
