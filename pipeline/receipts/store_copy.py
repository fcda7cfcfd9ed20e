"""The store as a receipt's run found it: a copy of the user's, its aliases put back."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from pipeline.receipts.reading import Receipt, RecordedVersion
from util_lib.errors import UserError
from util_lib.tracking.names import Reference, parse_reference
from util_lib.tracking.store import contents
from util_lib.tracking.store.database import Store


def copy(source: Path, target: Path) -> Store:
    """Copy the store in `source` to `target`, without its record of finished steps.

    Contents are linked, not copied: they never change. Those of a bucket are fetched when asked
    for. Without a store there the copy is empty.
    """
    if (source / "tracking.db").exists():
        target.mkdir(parents=True)
        with (
            contents.Files(source).adding(),  # nothing is removed between the two
            closing(
                sqlite3.connect(f"{(source / 'tracking.db').as_uri()}?mode=ro", uri=True)
            ) as db,
            closing(sqlite3.connect(target / "tracking.db")) as new,
        ):
            try:
                db.backup(new)
            except sqlite3.Error as error:
                raise UserError(
                    f"the store {source} cannot be copied: {error}; see whether it is whole, and "
                    f"whether there is space in {target.parent}"
                ) from error
            for path in (source / "files").glob("*/*"):
                link = target / "files" / path.parent.name / path.name
                link.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(path, link)
                except OSError:  # another disk
                    link.symlink_to(path)
    (target / "files").mkdir(parents=True, exist_ok=True)
    (target / "files" / contents.COPY).touch()
    return Store(target)


def put_back(store: Store, receipt: Receipt) -> None:
    """Let every alias that the run read lead to the version that it led to.

    What the run made itself before it read it needs no alias; an alias that came with the run (the
    first data become the reference) was not there when it began.
    """
    made: dict[tuple[str, str], set[str | None]] = {}
    for step in receipt.steps:
        for text, recorded in step.inputs.items():
            reference = parse_reference(text, receipt.project)
            digests = made.get(reference[:2], set())
            if digests and reference.alias == "latest":
                continue
            if recorded is None or recorded.digest in digests:
                _remove(store, reference)
            else:
                _set(store, reference, recorded, step.name)
        for name, output in step.outputs.items():
            made.setdefault((receipt.project, name), set()).add(output.digest)


def find(store: Store, project: str, name: str, digest: str | None) -> int | None:
    """Return the id of the version with this content, or None."""
    versions = store.versions(project, name)
    return next((version.id for version in versions if version.digest == digest), None)


def _remove(store: Store, reference: Reference) -> None:
    held = store.version(reference)
    if held and reference.alias in held.aliases:
        store.update_version(held, set(), {reference.alias}, held.description, held.metadata)


def _set(store: Store, reference: Reference, recorded: RecordedVersion, step: str) -> None:
    found = find(store, reference.project, reference.name, recorded.digest)
    version = store.version_by_id(found) if found is not None else None
    if version is None or store.damage(version):
        raise UserError(
            f"step {step} read {reference} ({recorded.version}, digest {recorded.digest}), which "
            "no step of that run made, and its content is not in the store here: reproduce where "
            "the run was, or bring the artifact here first (docs/wandb.md: pull)"
        )
    if reference.alias in (f"v{version.number}", *version.aliases):
        return
    if reference.alias[1:].isdigit():
        raise UserError(
            f"step {step} read {reference}, which in the store here is v{version.number}: a "
            "receipt that reads a version by number is reproduced where its run was"
        )
    store.update_version(version, {reference.alias}, set(), version.description, version.metadata)
