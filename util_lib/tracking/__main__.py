"""Work on artifacts: list, show, lineage; send the embedded store to W&B, bring versions here.

python -m util_lib.tracking sync [--project NAME] [--dry-run]
python -m util_lib.tracking pull project/name:alias [--project NAME] [--versions all]
python -m util_lib.tracking publish <run id>
python -m util_lib.tracking download project/name:alias FOLDER
python -m util_lib.tracking list [--project NAME]
python -m util_lib.tracking show project/name:alias
python -m util_lib.tracking lineage project/name:alias [--output page.html] [--open]
python -m util_lib.tracking diff project/name:alias project/name:alias [--output page.html] [--open]
"""

import argparse
import os
import signal
import subprocess
import sys
import webbrowser
from pathlib import Path
from types import FrameType

from util_lib.errors import UserError
from util_lib.project import ROOT
from util_lib.tracking.store.database import open_store
from util_lib.tracking.store.places import refuse_no_store


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = build_parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _stop)  # so that everything is closed as after Ctrl-C
    try:
        args.act(args)
    except UserError as error:
        print(f"tracking: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tracking: stopped; the same command goes on", file=sys.stderr)
        return 130
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Name the commands; the entry points of the root's MLproject give the same options."""
    parser = argparse.ArgumentParser(
        prog="python -m util_lib.tracking", description=__doc__.splitlines()[0]
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    command = commands.add_parser("sync", help="send what W&B does not have of the store")
    command.add_argument("--project", default="", help="one project; default: all")
    command.add_argument(
        *("--dry-run", "--dry_run"),
        nargs="?",
        const="true",
        default="false",
        type=str.lower,
        choices=("true", "false"),
        help="only list what would go",
    )
    command.set_defaults(act=_sync)

    command = commands.add_parser("pull", help="bring versions of an artifact from W&B")
    command.add_argument("artifact", help="[entity/]project/name:alias")
    command.add_argument("--project", default="", help="keep it here under this project")
    command.add_argument("--versions", default="", help="all: the whole artifact")
    command.set_defaults(act=_pull)

    command = commands.add_parser("publish", help="show a run of the store in MLflow")
    command.add_argument("run_id", help="as in the message that asked for this")
    command.set_defaults(act=_publish)

    command = commands.add_parser("download", help="write the files of an artifact into a folder")
    command.add_argument("artifact", help="[project/]name:alias, of the store or of W&B")
    command.add_argument("folder", help="made where it does not exist")
    command.set_defaults(act=_download)

    command = commands.add_parser("list", help="list the versions of the store")
    command.add_argument("--project", default="", help="one project; default: all")
    command.set_defaults(act=_list)

    command = commands.add_parser("show", help="say what is known of a version")
    command.add_argument("artifact", help="[project/]name:alias, of the store or of W&B")
    command.set_defaults(act=_show)

    command = commands.add_parser("lineage", help="say what a version was made of, what came of it")
    command.add_argument("artifact", help="[project/]name:alias, of the store or of W&B")
    command.add_argument("--output", default="", help="write it as a page of HTML")
    command.add_argument("--open", action="store_true", help="write the page and show it")
    command.set_defaults(act=_lineage)

    command = commands.add_parser("diff", help="show how two versions differ, as a page")
    command.add_argument("before", help="[project/]name:alias")
    command.add_argument("now", help="[project/]name:alias")
    command.add_argument("--output", default="diff.html", help="the page to write")
    command.add_argument("--open", action="store_true", help="show the page")
    command.add_argument("--env_manager", default="auto", help="as main.env_manager")
    command.set_defaults(act=_diff)
    return parser


def _sync(args: argparse.Namespace) -> None:
    refuse_no_store()
    from util_lib.tracking.sync.sending import sync

    sync(args.project or None, args.dry_run == "true")


def _pull(args: argparse.Namespace) -> None:
    from util_lib.tracking.sync.pulling import pull

    pull(args.artifact, args.project or None, args.versions or None)


def _publish(args: argparse.Namespace) -> None:
    from util_lib.tracking.mlflow_mirror import publish_own

    store = open_store()
    record = store.run(args.run_id)
    if record is None:
        raise UserError(
            f"there is no run {args.run_id!r} in {store.directory}; go to the directory where "
            "the run was started, or set TRACKING_STORE"
        )
    publish_own(record)


def _download(args: argparse.Namespace) -> None:
    from util_lib import tracking

    with tracking.whole_step():
        artifact = tracking.Api().artifact(args.artifact)
        folder = artifact.download(args.folder)
        for name in artifact.manifest.entries:
            print(Path(folder, name))


def _list(args: argparse.Namespace) -> None:
    from util_lib.tracking import graph

    for reference, aliases, kind, size, made in graph.list_versions(args.project or None):
        print(f"{reference}  {kind}, {size}, {made}{f'  [{aliases}]' if aliases else ''}")


def _show(args: argparse.Namespace) -> None:
    from util_lib import tracking
    from util_lib.tracking import graph

    with tracking.lineage():
        for name, text in graph.facts(args.artifact):
            print(f"{name:13}{text}")


def _lineage(args: argparse.Namespace) -> None:
    from util_lib import safe_files, tracking
    from util_lib.tracking import graph

    with tracking.lineage():
        if not (args.output or args.open):
            print("\n".join(graph.lines(args.artifact)))
            return
        path = Path(args.output or f"{args.artifact.rpartition('/')[2].replace(':', '-')}.html")
        with safe_files.writing(path):
            path.write_text(graph.written(args.artifact), encoding="utf-8")
    print(path)
    if args.open:
        webbrowser.open(path.absolute().as_uri())


def _diff(args: argparse.Namespace) -> None:
    command = [sys.executable, "-m", "pipeline.commands.diff", f"--before={args.before}"]
    command += [f"--now={args.now}", f"--output={args.output}", f"--open={args.open}".lower()]
    command += [f"--env_manager={args.env_manager}"]
    found = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    code = subprocess.call(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(found)})
    sys.exit(code)


def _stop(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
