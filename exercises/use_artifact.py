#!/usr/bin/env python
"""Fetch one version of an artifact and show it: the second half of docs/artifacts.md."""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

from util_lib import cli, tracking
from util_lib.errors import UserError


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--artifact_name",
        type=cli.artifact_reference,
        required=True,
        help="with its version or an alias, e.g. exercise_1/zen_of_python:v1",
    )
    parser.add_argument(
        "--project",
        default=os.environ.get("WANDB_PROJECT") or "exercise_1",
        help="where this run belongs, and the artifact if its name does not say",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Show path and content; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    with tracking.init(project=args.project, job_type="use_file", config=vars(args)) as run:
        path = Path(run.use_artifact(args.artifact_name).file())
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise UserError(f"{path} was fetched and is no text that could be shown") from None
        print(f"{path}\n{text}")


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
