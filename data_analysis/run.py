#!/usr/bin/env python
"""Open Jupyter on the notebooks of this folder, in an environment that has what they import.

Nothing is tracked here: a notebook begins its own run, which knows the table that it reads and
keeps its code. Notebooks are Python files (jupytext, percent format), without what they showed.
"""

import argparse
import logging
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

from data_analysis import notebooks
from util_lib import cli

logger = logging.getLogger("data_analysis")


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument("--notebook", default="eda", help="eda, modelling or unsupervised")
    parser.add_argument(
        "--port",
        type=cli.number(1, 65535, whole=True),
        default="8888",
        help="port of Jupyter on this machine; the next free one where it is taken",
    )
    parser.add_argument(
        "--browser",
        type=cli.true_or_false,
        default="true",
        help="false: print the address, and open nothing",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Become Jupyter; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    path = notebooks.find(args.notebook)
    options = [f"--ServerApp.root_dir={path.parent}", f"--port={args.port}"]
    options += [f"--LabApp.default_url=/lab/tree/{path.name}"]
    options += [] if args.browser else ["--no-browser"]
    if os.geteuid() == 0:  # Jupyter's own guard; it listens on this machine alone, with a token
        options.append("--allow-root")
    logger.info("opening %s; end Jupyter by File > Shut Down: open runs are then closed", path.name)
    found = os.environ.get("JUPYTER_CONFIG_PATH", "").split(os.pathsep)
    # A .py file opens as a notebook, with the user's own settings beside that.
    settings = os.pathsep.join([str(HERE / "jupyter"), *filter(None, found)])
    environment = notebooks.environment() | {"JUPYTER_CONFIG_PATH": settings}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "jupyterlab", *options], environment)


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
