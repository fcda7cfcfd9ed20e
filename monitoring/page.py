#!/usr/bin/env python
"""Write the page of what was judged so far; nothing is judged for it.

Reads `windows.parquet` of the monitoring log; writes one HTML file that needs nothing else.
"""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

from monitoring.records import history
from monitoring.telling import html
from util_lib import cli, monitoring_log, safe_files
from util_lib.errors import UserError
from util_lib.tracking.store.places import user_directory

logger = logging.getLogger("monitoring")


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument("--output", default=html.FILE, help="the file to write")
    for name, other in (("project", "project"), ("model", "model"), ("window", "kind of window")):
        parser.add_argument(
            f"--{name}", type=cli.optional, default="null", help=f"null = the only {other}"
        )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write the page; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    folder = monitoring_log.folder()
    known = history.load(folder)
    if not known:
        raise UserError(
            f"{folder} has no judged window: mlflow run monitoring --env-manager uv judges them"
        )
    asked = {"project": args.project, "model": args.model, "kind": args.window}
    wanted = {name: value for name, value in asked.items() if value is not None}
    fits = [s for s in known if all(getattr(s, name) == value for name, value in wanted.items())]
    if len(fits) != 1:
        there = ", ".join(f"{s.project} {s.model} by {s.kind}" for s in fits or known)
        raise UserError(f"there are pages of {there}: choose by project, model and window")
    output = user_directory() / Path(args.output).expanduser()
    windows = known[fits[0]]
    page = html.html(fits[0], windows, windows[-1])
    with safe_files.writing(output, "name another output"):
        output.write_text(page, encoding="utf-8", errors="backslashreplace", newline="\n")
    number = "1 window" if len(windows) == 1 else f"{len(windows)} windows, the last"
    logger.info("wrote %s: %s is %s", output, number, windows[-1].state)


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
