"""Train, test and promote if there is a reason to: one tick, to be called by any scheduler.

Started by `mlflow run . -e update`, or by `python -m pipeline.commands.update`. What it asks and
what it does: docs/updating.md. Exit codes: 0 nothing to do or promoted, 2 the data were refused,
3 the model was refused or rolled back, 1 broken.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from pipeline.running.exit_code import exit_code
from pipeline.settings import overrides, resolvers, surroundings
from pipeline.settings.composing import settings_of
from pipeline.settings.schema import Settings
from pipeline.updating import look, tick
from util_lib import cli, partitions, safe_files
from util_lib.errors import UserError
from util_lib.redaction import remember_environment
from util_lib.tracking import choice
from util_lib.tracking.store.places import store_directory


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; the root MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument("--hydra_options", default="", help="overrides of config.yaml")
    parser.add_argument(
        "--why", default="false", type=cli.true_or_false, help="true: only say what would be done"
    )
    parser.add_argument(
        "--until", default="", type=cli.optional, help="as it was known then, such as 2026-W14"
    )
    parser.add_argument(
        "--backfill", default="", type=cli.optional, help="FIRST:LAST, a tick for each partition"
    )
    return parser


def go(argv: list[str]) -> int:
    """Do a tick, or one for each partition of a backfill; return the exit code."""
    args = build_parser().parse_args(argv)
    if args.until and args.backfill:
        raise UserError("until and backfill were both given: a backfill says itself until when")
    resolvers.register_resolvers()
    remember_environment()
    surroundings.adopt_surroundings(store_directory().parent)
    words = overrides.command_line([f"--hydra_options={args.hydra_options}"])
    overrides.refuse_unfit_files(words)
    settings = settings_of(words)
    project = settings.main.project_name
    os.environ["WANDB_PROJECT"] = project
    os.environ[choice.VARIABLE] = choice.choose(settings.main.tracking).backend
    if not args.why:
        surroundings.refuse_unwritable(store_directory().parent)
    code = 0
    with _alone(project, args.why) as alone:
        if not alone:
            print(f"update {project}: another update of it is running; nothing was done")
            return 0
        for until in _partitions(settings, args.backfill) if args.backfill else [args.until]:
            came = tick.run(settings, partial(settings_of, words), until, args.why)
            print(f"update {project}{f' until {until}' if until else ''}: {came.words}", flush=True)
            code = max(code, came.code)
    return code


def _partitions(settings: Settings, asked: str) -> list[str]:
    """Return the partitions of files from the first to the last that are asked for."""
    look.files_of(settings)  # says where it looked, if there is nothing
    first, colon, last = asked.partition(":")
    files = look.all_files_of(settings)
    if settings.data.partition.by != "file" or files is None:
        raise UserError(
            "backfill goes through the files of a folder: it needs data.partition.by=file and a "
            "folder or glob as data.file_url; for a column, call update until each of its values"
        )
    known = sorted({partitions.of_file(file.name) for file in files}, key=partitions.order)
    low, high = partitions.order(first), partitions.order(last)
    found = [name for name in known if low <= partitions.order(name) <= high]
    if not colon or not found:
        raise UserError(
            f"backfill must be FIRST:LAST, such as {known[0]}:{known[-1]}, and hold a partition, "
            f"found {asked!r}"
        )
    return found


@contextmanager
def _alone(project: str, only_look: bool) -> Iterator[bool]:
    """Hold the lock of a project's updates; give False where another one has it."""
    if only_look:
        yield True
        return
    with safe_files.locked(store_directory() / f"update.{project}.lock", 0) as is_ours:
        yield is_ours


def main() -> int:
    """Run the command as a program and return its exit code."""
    return exit_code(lambda: go(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
