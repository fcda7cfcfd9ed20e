#!/usr/bin/env python
"""Log one file as an artifact: the first half of the exercise in docs/artifacts.md."""

import argparse
import logging
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

from util_lib import cli, tracking
from util_lib.errors import UserError

logger = logging.getLogger("upload_artifact")


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs."""
    parser = cli.parser(__doc__)
    parser.add_argument("--input_file", type=Path, required=True, help="file to log")
    parser.add_argument(
        "--artifact_name",
        type=cli.artifact_name,
        required=True,
        help="without a version; it need not be the name of the file",
    )
    parser.add_argument(
        "--artifact_type", type=cli.artifact_type, required=True, help="groups artifacts"
    )
    parser.add_argument("--artifact_description", required=True, help="one sentence")
    parser.add_argument(
        "--project",
        default=os.environ.get("WANDB_PROJECT") or "exercise_1",
        help="where the artifact belongs",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Log the file; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    if not args.input_file.is_file():
        raise UserError(f"--input_file {str(args.input_file)!r} is no file: give the path of one")
    with tracking.init(project=args.project, job_type="upload_file", config=vars(args)) as run:
        artifact = tracking.Artifact(
            args.artifact_name, type=args.artifact_type, description=args.artifact_description
        )
        artifact.add_file(str(args.input_file))
        logged = run.log_artifact(artifact)
        logged.wait()
        logger.info(
            "logged %s/%s:%s, aliases: %s",
            *(run.project, args.artifact_name, logged.version, ", ".join(logged.aliases)),
        )


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
