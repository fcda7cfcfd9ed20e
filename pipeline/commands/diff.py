"""Show how two versions of an artifact differ: tables, models, reports; as a page.

    python -m pipeline.commands.diff --before=songs_demo/model_export:v0 --now=model_export:v1

Prints the first difference; the page has the others. The work is done by tools/compare, in an
environment of its own.
"""

import argparse
import json
import sys
import webbrowser
from pathlib import Path

from pipeline.receipts import differences
from pipeline.running.exit_code import stoppable_exit_code
from pipeline.settings import temporary
from util_lib import cli, safe_files, tracking
from util_lib.tracking import graph
from util_lib.tracking.store.places import store_directory, user_directory


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; the entry point of the root's MLproject gives the same."""
    parser = cli.parser(__doc__)
    parser.add_argument("--before", required=True, help="[project/]name:alias")
    parser.add_argument("--now", required=True, help="[project/]name:alias")
    parser.add_argument("--output", default="diff.html", help="the page to write")
    parser.add_argument("--env_manager", default="auto", help="as main.env_manager")
    parser.add_argument("--open", default="false", help="true: show the page")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Write the page; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    output = user_directory() / Path(args.output).expanduser()
    with temporary.folder(store_directory()) as made:
        work = made.resolve()
        facts = {}
        for side in ("before", "now"):
            reference = getattr(args, side)
            with tracking.lineage():
                facts[side] = dict(graph.facts(reference))
                artifact = tracking.Api().artifact(reference)
                maker = artifact.logged_by()
                measured = dict(maker.summary) if maker else {}
            facts[side] |= {k: v for k, v in measured.items() if isinstance(v, int | float)}
            artifact.download(str(work / side))
        (work / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        given = {"folder": str(work), "output": str(work / "page.html")}
        differences.run_tool("diff", given, args.env_manager, work)
        with safe_files.writing(output, "name another output"):
            output.write_bytes((work / "page.html").read_bytes())
    print(output)
    if args.open == "true":
        webbrowser.open(output.absolute().as_uri())
    return 0


if __name__ == "__main__":
    sys.exit(stoppable_exit_code(lambda: main(sys.argv[1:])))
