"""House-keeping: list, and on demand remove, what no alias, receipt or run needs any more.

Started by `mlflow run . -e gc`, or `python -m pipeline.commands.gc`. Looks after the embedded store
and the steps' environments; without --delete=true nothing is changed. The rules: docs/pipeline.md.
"""

import argparse
import datetime
import sys
from typing import NamedTuple

from pipeline.caching import record
from pipeline.caching.record import Entry
from pipeline.environments import unused
from pipeline.environments.unused import Found
from pipeline.receipts import writing
from pipeline.running.exit_code import exit_code
from util_lib import cli
from util_lib.errors import UserError
from util_lib.project import ROOT
from util_lib.tracking import choice
from util_lib.tracking.names import Reference
from util_lib.tracking.store import removal
from util_lib.tracking.store.database import Store, VersionRecord, refuse_no_store, store_directory
from util_lib.tracking.store.removal import Unneeded

KEEP = "10"
UNNEEDED = "no alias, kept receipt or run in progress needs it"


class Row(NamedTuple):
    """One line of the list: what goes, why, and the bytes that are gained."""

    what: str
    why: str
    size: int


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
    if chosen.backend == "local" or (store_directory() / "tracking.db").exists():
        refuse_no_store()
        store = Store(store_directory(), sweep=False)
        print(f"the store {store.directory}", flush=True)
        rows = clean(store, arguments.keep, arguments.delete)
        _show(rows, "gained" if arguments.delete else "would be gained")
    _environments(arguments.delete and arguments.environments)
    print("MLflow's own copies (registered models, figures: mlruns, mlartifacts) are not touched.")
    if not arguments.delete:
        print("Nothing was changed: -P delete=true (--delete=true) removes it.")


def clean(store: Store, keep: int, delete: bool) -> list[Row]:
    """Return what of a store can go, after removing it if told to.

    Whatever moment this is killed at, what is visible is whole, and the next time removes the rest:
    versions are taken out first, in one transaction with the decision, their contents after it.
    """
    left_over = store.files.left_over()
    if not delete:
        found, results = look(store, keep)
        return _rows(store, found, results, left_over)
    with store.files.alone("gc"), store.files.removing():
        with store.transaction() as db:
            found, results = look(store, keep)
            removal.mark(db, [version for version, _ in found.versions])
        removal.delete(store, found.contents)
        if results:
            record.forget(store.directory, [entry for entry, _ in results])
        store.files.make()
    return _rows(store, found, results, left_over)


def look(store: Store, keep: int) -> tuple[Unneeded, list[tuple[Entry, str]]]:
    """Return what of a store can go: versions and contents, and results with the reason."""
    versions = store.all_versions()
    ids = {Reference(v.project, v.name, f"v{v.number}"): v.id for v in versions}
    entries, since = record.entries(store.directory), store.files.under_way_since()
    reused = {
        Reference(entry.project, name, f"v{number}")
        for entry in entries
        # a pipeline that is running takes it as made
        if entry.is_local and since is not None and entry.at >= since
        for name, number in entry.outputs
    }
    named = _kept_by_receipts(store, versions, keep) | reused
    needed = removal.in_use(store) | {ids[reference] for reference in named if reference in ids}
    found = removal.unneeded(store, needed)
    staying = {reference for reference, version_id in ids.items() if version_id in needed}
    return found, _old_results(entries, staying, keep, since)


def _kept_by_receipts(store: Store, versions: list[VersionRecord], keep: int) -> set[Reference]:
    """Return the receipts that stay, and the versions that they name.

    A receipt stays while an alias holds it, while it is one of the newest of its project, and while
    it is the newest that tells how a version was made that an alias holds.
    """
    logged: dict[int, float] = {}
    for _, direction, version_id, at in store.lineage():
        if direction == "out":
            logged[version_id] = max(at, logged.get(version_id, at))
    receipts = [v for v in versions if v.type == writing.NAME and v.name == writing.NAME]
    receipts.sort(key=lambda version: -logged.get(version.id, version.created_at))
    held = {Reference(v.project, v.name, f"v{v.number}") for v in versions if v.aliases}
    newest: dict[str, int] = {}
    kept: set[Reference] = set()
    for version in receipts:
        newest[version.project] = newest.get(version.project, 0) + 1
        named = _named(store, version)
        stays = bool(version.aliases) or newest[version.project] <= keep
        if named is None and stays:
            raise UserError(
                f"{version.reference} cannot be read, and what it names must be kept: "
                f"{'; '.join(store.damage(version)) or 'it is no receipt'}; nothing was removed: "
                "take its aliases away, or give a smaller keep, if it is not needed"
            )
        made, read = named or (set(), set())
        if stays or made & held:
            held -= made
            kept |= {*made, *read, Reference(version.project, version.name, f"v{version.number}")}
    return kept


def _named(store: Store, version: VersionRecord) -> tuple[set[Reference], set[Reference]] | None:
    if store.damage(version):
        return None
    files = {file.path: file.sha256 for file in store.version_files(version.id)}
    try:
        text = store.files.path(files[writing.FILE]).read_text(encoding="utf-8")
        return writing.versions(text, version.project)
    except (KeyError, ValueError):
        return None


def _old_results(
    entries: list[Entry], staying: set[Reference], keep: int, since: float | None
) -> list[tuple[Entry, str]]:
    newer: dict[tuple[str, str, str], int] = {}
    found = []
    for entry in entries:
        step = (entry.place, entry.project, entry.step)
        outputs = {Reference(entry.project, name, f"v{number}") for name, number in entry.outputs}
        if entry.is_local and outputs - staying:  # W&B is not asked
            found.append((entry, f"{_first(outputs - staying)} is not there any more"))
            continue
        newer[step] = newer.get(step, 0) + 1
        if newer[step] > keep and (since is None or entry.at < since):
            found.append((entry, f"newer ones of the step: {keep} or more"))
    return found


def _first(references: set[Reference]) -> str:
    first = min(references)
    return f"{first.name}:{first.alias}"


def _rows(store: Store, found: Unneeded, results: list[tuple[Entry, str]], left_over: dict) -> list:
    rows = [Row(f"version {v.reference}", UNNEEDED, size) for v, size in found.versions]
    if found.loose:
        what = f"{len(found.loose)} contents in files"
        rows.append(Row(what, "no version and no run has them", sum(found.loose.values())))
    rows += [
        Row(f"tmp/{path.name}", "left over by a process that has ended", size)
        for path, size in left_over.items()
    ]
    rows += [
        Row(f"result {entry.project} {entry.step}, {_day(entry.at)}", why, entry.size)
        for entry, why in results
    ]
    return rows


def _show(rows: list[Row], gained: str) -> None:
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
        used = f", used {_day(one.used_at)}" if one.used_at else ""
        print(f"  {one.path}  {_bytes(one.size):>9}  made {_day(one.made_at)}{used}; {state}")
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


def _bytes(size: int) -> str:
    """Write a size for people: `999 B`, `1.2 kB`, `3.4 MB`."""
    if size < 1000:
        return f"{size} B"
    for unit in ("kB", "MB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} GB"


def _day(moment: float) -> str:
    return f"{datetime.datetime.fromtimestamp(moment):%Y-%m-%d %H:%M}"


if __name__ == "__main__":
    sys.exit(exit_code(lambda: go(sys.argv[1:])))
