"""Say what a change does to the pipeline: steps, tests, metrics, artifacts, cost; refuse a drop.

    python -m pipeline.commands.review --base=origin/main --output=report.md

Runs the pipeline at the commit where HEAD left the base and in this working tree, in a store of its
own beside the results, where the base is mostly cached. Exit code 0: nothing speaks against the
change; 3: a metric fell by more than chance explains, a test fails, or the pipeline does not run;
1: it could not be reviewed.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

import yaml

from pipeline.environments import making
from pipeline.receipts import differences
from pipeline.receipts.code_checkout import checked_out
from pipeline.receipts.reading import Code
from pipeline.reviewing import changes, measured, report, side, tests
from pipeline.reviewing.changes import Change
from pipeline.reviewing.report import Review
from pipeline.running.exit_code import stoppable_exit_code
from pipeline.running.screen import Screen
from pipeline.settings import overrides, resolvers, temporary
from pipeline.settings.composing import settings_of
from pipeline.settings.schema import EnvManager, Settings
from util_lib import cli, safe_files, validation
from util_lib.buckets import remote
from util_lib.errors import UserError
from util_lib.project import ROOT, resolve_path
from util_lib.tracking.store.database import open_store
from util_lib.tracking.store.places import store_directory
from util_lib.urls import file_name, is_database, whole_address

REFUSED = 3
HOME = "review_runs"  # beside the results: what both sides made, the cache of the next review
OTHER_FILE = "give another file with output=<path>"
WAY_OUT = "free space there, or set TMPDIR to another directory"


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = build_parser().parse_args(argv)
    return stoppable_exit_code(lambda: review(args, Screen()))


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; the entry point of the root's MLproject gives the same."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.commands.review", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--base", default="origin/main", help="branch, tag or commit to compare with"
    )
    parser.add_argument(
        "--sample", type=cli.optional, default="", help="rows to draw of the data; empty = all"
    )
    parser.add_argument("--hydra_options", default="", help="overrides, as main.py takes them")
    parser.add_argument("--output", default="report.md", help="file to write the report to")
    parser.add_argument("--env_manager", default="auto", help="who makes the environments")
    return parser


def review(args: argparse.Namespace, screen: Screen) -> int:
    """Review, write the report, and return the exit code."""
    user_home = store_directory().parent
    os.environ["PIPELINE_HOME"] = str(user_home)
    output = (user_home / args.output).absolute()
    if not output.parent.is_dir():
        raise UserError(f"there is no folder {output.parent} for the report: {OTHER_FILE}")
    if args.sample and (not args.sample.isdigit() or not int(args.sample)):
        raise UserError(f"sample={args.sample} must be a number of rows, such as 5000")
    change = changes.found(args.base, output)
    screen.say(f"comparing {change.described()}")
    with safe_files.writing(output, OTHER_FILE):
        output.unlink(missing_ok=True)  # that of another review is not taken for this one's
    if change.only_documents:
        found = Review(change, args.hydra_options, "", None, None, None, {}, [], [], {})
    else:
        settings = _settings(args.hydra_options)
        manager = _manager(args.env_manager)
        tested = tests.run(change.base) if change.files else None
        with (
            safe_files.writing(tempfile.gettempdir(), WAY_OUT),
            _own_home(user_home / HOME) as home,
            temporary.folder(home) as made,
        ):
            found = _both(args, change, settings, manager, home, made.resolve(), screen)
            found = found._replace(tests=tested)
    with safe_files.writing(output, OTHER_FILE):
        output.write_text(report.as_markdown(found), encoding="utf-8")
    reasons = report.against(found)
    for reason in reasons:
        screen.say(f"refused: {reason}")
    screen.say(f"report: {output}")
    return REFUSED if reasons else 0


def _settings(options: str) -> Settings:
    resolvers.register_resolvers()
    words = overrides.command_line([f"--hydra_options={options}"])
    if overrides.MULTIRUN & {*words}:
        raise UserError("a review compares two single runs: leave -m out of hydra_options")
    return settings_of(words)


def _manager(setting: str) -> str:
    """Choose who makes the environments, as main.py does."""
    managers = get_args(EnvManager)
    if setting not in managers:
        raise UserError(validation.choose("env_manager", setting, list(managers)))
    root_manager = None
    if run_id := os.environ.get("MLFLOW_RUN_ID"):
        from mlflow import MlflowClient

        root_manager = MlflowClient().get_run(run_id).data.tags.get(making.ROOT_MANAGER_TAG)
    return making.choose(setting, root_manager)


@contextmanager
def _own_home(home: Path) -> Iterator[Path]:
    """Give the folder in which both sides run, to one review at a time."""
    conf = home.parent / "conf"
    with safe_files.locked(home / "review.lock", 0) as is_ours:
        if not is_ours:
            raise UserError(f"another review runs in {home}: wait for its end")
        if home.parent != ROOT and conf.is_dir() and not (home / "conf").exists():
            (home / "conf").symlink_to(conf)  # the user's own dataset and pipeline files
        yield home


def _both(
    args: argparse.Namespace,
    change: Change,
    settings: Settings,
    manager: str,
    home: Path,
    folder: Path,
    screen: Screen,
) -> Review:
    """Run the pipeline at the base and in the working tree, and compare."""
    store = open_store(home / "tracking_store", make=True)
    words = [f"--hydra_options={args.hydra_options}", f"main.env_manager={manager}"]
    words += ["main.tracking=local", "main.cache=true", "main.plan=false"]
    if any(settings.steps[name].sink for name in settings.main.execute_steps):
        # Neither side of a review writes to a database that others read.
        names = [n for n in settings.main.execute_steps if not settings.steps[n].sink]
        words.append(f"main.execute_steps=[{','.join(names)}]")
    data, sample = _data(args.sample, settings, home, folder, manager)
    code = Code(
        remote=None,
        commit=change.base,
        folder=change.folder,
        dirty=False,
        diff=None,
        left_out=None,
    )
    with checked_out(code, "", folder, screen.say) as project:
        forgotten = side.forget_aliases(store)
        if not data and _is_only_here(settings.data.file_url, project):
            data = [_override("data.file_url", str(resolve_path(settings.data.file_url)))]
        before = side.run(project, home, [*words, *data], store)
    side.keep_reference(store, before, forgotten)
    screen.say("running this working tree")
    now = side.run(ROOT, home, [*words, *data], store)
    touched = side.touched(before, now)
    found: list[differences.Difference] = []
    scores: list[measured.Scores] = []
    if before.receipt and now.receipt:
        found = differences.rows(before.receipt, now.receipt)
        project_name = now.receipt.project
        found = differences.explained(found, project_name, store, store, manager, folder)
        scores = measured.measure(before, now, store, manager, folder)
    names = [row.name for row in found if row.name]
    sizes = {name: (before.size(store, name), now.size(store, name)) for name in names}
    options = args.hydra_options
    return Review(change, options, sample, None, before, now, touched, scores, found, sizes)


def _is_only_here(address: str, project: Path) -> bool:
    """Say whether data lie in this project and not in the base's checkout: git ignores them."""
    if urlsplit(address).scheme or Path(address).is_absolute():
        return False
    return not (project / address).exists() and (ROOT / address).exists()


def _data(
    rows: str | None, settings: Settings, home: Path, folder: Path, manager: str
) -> tuple[list[str], str]:
    """Draw a sample for both sides; return the overrides that name it, and what it is in words."""
    if not rows:
        return [], ""
    from util_lib import downloads

    data, address = settings.data, whole_address(settings.data.file_url)
    if is_database(address) or remote.files_at(address) is not None:
        raise UserError(
            "rows are drawn of one file, and data.file_url is none: leave sample out, or name one "
            "by hydra_options=data.file_url=<path>"
        )
    whole = folder / "whole" / file_name(address, "table")
    whole.parent.mkdir()
    received = downloads.fetch(address, whole, data.max_bytes)
    downloads.check_sha256(data.sha256, received)
    target = home / "samples" / f"{settings.main.project_name}_{rows}"
    target.parent.mkdir(exist_ok=True)
    form = folder / "form.yaml"
    form.write_text(yaml.safe_dump({"format": data.format, "csv": data.csv.model_dump()}))
    given = {"source": str(whole), "target": str(target), "rows": rows, "form": str(form)}
    differences.run_tool("sample", given, manager, folder)
    words = [_override("data.file_url", str(target)), "data.sha256=null", "data.format=auto"]
    return words, f"{int(rows):,} rows of the data, the same ones for both"


def _override(key: str, text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{quoted}'"


if __name__ == "__main__":
    sys.exit(main())
