#!/usr/bin/env python
"""Predict the rows of a file with a model, any number of them.

Reads a table, or a folder of tables; writes a label and the probability of each class for every
row, and the rows that are not as the model's declaration says, with the reason, to a file beside.
"""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from util_lib import cli

logger = logging.getLogger("serving")

MODEL = "model_export:prod"


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--input",
        required=True,
        help="a csv, parquet or json file, a folder of these, or an artifact (name:alias)",
    )
    parser.add_argument(
        "--output", required=True, help="the file to write (.csv, .parquet, .jsonl), or a folder"
    )
    parser.add_argument(
        "--model", default=MODEL, help="e.g. model_export:prod, or a directory with a model"
    )
    parser.add_argument(
        "--keep", default="null", help="columns of the input that the output has too, or null"
    )
    parser.add_argument(
        "--chunk_rows", type=cli.positive_int, default="20000", help="rows in memory at a time"
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the entry point; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    raise NotImplementedError(args)


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
