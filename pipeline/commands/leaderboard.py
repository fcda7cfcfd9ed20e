"""Print a sweep's leaderboard, and log it as a page.

Started by `mlflow run . -e leaderboard -P sweep=<name>`, or by
`python -m pipeline.commands.leaderboard`. The artifact `sweep_report` holds the page (HTML) and the
same figures as JSON.
"""

import argparse
import os
import sys

from pipeline.running.exit_code import exit_code
from pipeline.running.screen import Screen
from pipeline.sweeps.leaderboard import ranking
from pipeline.sweeps.leaderboard.report import log, show
from util_lib import cli, tracking
from util_lib.tracking import choice


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; the root MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument("--sweep", required=True, help="name of the sweep (sweep.name)")
    parser.add_argument(
        "--project",
        default="",
        help="where it is; empty = the one that has it, on W&B WANDB_PROJECT",
    )
    parser.add_argument("--tracking", default="auto", help="where it is recorded, as main.tracking")
    return parser


def go(argv: list[str]) -> None:
    """Read the sweep, print it and log the page."""
    arguments = build_parser().parse_args(argv)
    os.environ[choice.VARIABLE] = choice.choose(arguments.tracking).backend
    with tracking.whole_step():
        sweep = ranking.read(arguments.sweep, arguments.project)
        show(sweep, Screen())
        print(f"page: {log(sweep)[0]}")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: go(sys.argv[1:])))
