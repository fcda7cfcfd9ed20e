"""House-keeping: list, and on demand remove, what no alias, receipt or run needs any more.

Started by `mlflow run . -e gc`, or `python -m pipeline.commands.gc`. Looks after the embedded store
and the steps' environments; without --delete=true nothing is changed. The rules: docs/pipeline.md.
"""

import argparse
import shutil
import sys

from pipeline.environments import unused
from pipeline.environments.unused import Found
from pipeline.housekeeping import monitored
from pipeline.housekeeping.unneeded import Removable, clean, day
from pipeline.running.exit_code import exit_code
from pipeline.settings import temporary
from util_lib import cli, monitoring_log
from util_lib.project import ROOT
from util_lib.tracking import choice, databases, mlflow_mirror, mlflow_runs
from util_lib.tracking.store.database import Store
from util_lib.tracking.store.places import has_store, refuse_no_store, store_directory

KEEP = "10"


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; the root MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--delete", default="false", type=cli.true_or_false, help="true: remove, not only list"
    )
    parser.add_argument(
        "--keep",
        default=KEEP,
        type=cli.positive_int,
        help="newest receipts of a project, and results of a step, that stay",
    )
    parser.add_argument(
        "--keep_days",
        default="90",
        type=cli.positive_int,
        help="days that rows stay in the monitoring log",
    )
    parser.add_argument(
        "--environments",
        default="false",
        type=cli.true_or_false,
        help="true: also environments that this checkout does not need; others may need them",
    )
    return parser


def go(argv: list[str]) -> None:
    """List or remove, and print it as a table."""
    arguments = build_parser().parse_args(argv)
    chosen = choice.choose()
    if chosen.backend == "wandb":
        print(f"runs and artifacts go to W&B ({chosen.reason}): gc looks after the embedded store")
    if chosen.backend == "local" or has_store(store_directory()):
        refuse_no_store()
        store = Store(store_directory(), sweep=False)
        print(f"the store {store.directory}", flush=True)
        rows = clean(store, arguments.keep, arguments.delete)
        rows += _of_killed_pipelines(store, arguments.delete)
        if others := store.files.others():
            print(f"  what the bucket has stays there, other stores use it: {', '.join(others)}")
        _show(rows, "gained" if arguments.delete else "would be gained")
    _monitored(arguments.keep_days, arguments.delete)
    _environments(arguments.delete and arguments.environments)
    print("MLflow's own copies (registered models, figures: mlruns, mlartifacts) are not touched.")
    if not arguments.delete:
        print("Nothing was changed: -P delete=true (--delete=true) removes it.")


def _monitored(keep_days: int, delete: bool) -> None:
    """List what is too old in the monitoring log, where there is one; with `delete` remove it."""
    if (root := monitoring_log.folder()).is_dir():
        print(f"the monitoring log {root}")
        rows = monitored.clean(root, keep_days, delete)
        _show(rows, "gained" if delete else "would be gained")


def _of_killed_pipelines(store: Store, delete: bool) -> list[Removable]:
    """List what killed pipelines of this store left on this machine; with `delete` remove it."""
    why = "left over by a process that was killed"
    rows = []
    for path in temporary.left_behind(store.directory):
        size = sum(file.lstat().st_size for file in path.rglob("*") if file.is_file())
        rows.append(Removable(str(path), why, size))
        if delete:
            shutil.rmtree(path, ignore_errors=True)
    database = databases.path_of(mlflow_mirror.tracking_uri(store.directory))
    if database is None or database.exists():  # it is not made for being asked
        with mlflow_mirror.connect(store.directory) as client:
            for run in mlflow_runs.left_behind(client, store.directory):
                rows.append(Removable(f"MLflow run {run.info.run_name}, RUNNING", why, 0))
            if delete:
                mlflow_runs.end_left_behind(client, store.directory)
    return rows


def _show(rows: list[Removable], gained: str) -> None:
    width = max((len(row.what) for row in rows), default=0)
    for row in rows:
        print(f"  {row.what:{width}}  {_bytes(row.size):>9}  {row.why}")
    print(f"  {_bytes(sum(row.size for row in rows))} {gained}" if rows else "  nothing can go")


def _environments(delete: bool) -> None:
    """List the environments, and delete those that can go if told to."""
    found = unused.listed(ROOT)
    gained = possible = 0
    print("environments")
    for one in found:
        state = _state(one)
        if _can_go(one) and delete:
            deleted = unused.delete(one)
            state = "deleted" if deleted else "stays: a pipeline is using it"
            gained += one.size if deleted else 0
        possible += one.size if _can_go(one) else 0
        used = f", used {day(one.used_at)}" if one.used_at else ""
        print(f"  {one.path}  {_bytes(one.size):>9}  made {day(one.made_at)}{used}; {state}")
    if delete:
        print(f"  {_bytes(gained)} gained")
    elif possible:
        print(
            f"  {_bytes(possible)} would be gained by -P delete=true -P environments=true; other "
            "checkouts may need them, and would make them again"
        )
    elif not found:
        print("  none")


def _can_go(one: Found) -> bool:
    return one.step is not None and not one.needed


def _state(one: Found) -> str:
    if one.needed:
        return "this checkout needs it"
    if one.step is None:
        return "has no marker of a pipeline: half-made, or MLflow's own; never deleted here"
    return f"made for {one.step} with {one.manager}, no step of this checkout needs it"


def _bytes(size: float) -> str:
    """Write a size for people: `999 B`, `1.2 kB`, `3.4 MB`."""
    if size < 1000:
        return f"{size} B"
    for unit in ("kB", "MB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} GB"


if __name__ == "__main__":
    sys.exit(exit_code(lambda: go(sys.argv[1:])))
