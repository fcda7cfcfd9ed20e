"""Bring artifact versions from W&B into the embedded store, to go on without a network.

A version keeps its number, type, description, metadata and aliases; the run that made it comes with
its name, config and summary. All that one call brings becomes visible at once, after every file
was checked. Importing this module imports the W&B client.
"""

import json
import os
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple

from util_lib import safe_files
from util_lib.errors import UserError
from util_lib.tracking import names
from util_lib.tracking.local.manifest import Entry, Manifest
from util_lib.tracking.online.service import SeenVersion, WandbService, connected, seconds, see
from util_lib.tracking.store import values
from util_lib.tracking.store.database import Store, check_type, open_store
from util_lib.tracking.store.records import FileRecord, VersionRecord
from util_lib.tracking.sync import aliases

AGAIN = "pull again later: the store is as it was"


class Brought(NamedTuple):
    """One version of a pull: its number in the store, and whether it was there already."""

    reference: str
    new: bool
    note: str | None


class _Download(NamedTuple):
    seen: SeenVersion
    contents: list[FileRecord]


def pull(artifact: str, project: str | None = None, versions: str | None = None) -> list[Brought]:
    """Bring `project/name:alias`, or with `versions="all"` all versions of `project/name`.

    `project` is the one to keep it under here, if not its own. An entity in front is W&B's.
    Raises `UserError`; then the store is as it was.
    """
    if versions not in (None, "", "all"):
        raise UserError(f"versions must be 'all' or left out, found {versions!r}")
    everything = versions == "all"
    wanted = names.parse_reference(
        artifact if ":" in artifact or not everything else f"{artifact}:latest"
    )
    target = names.check_project(project or wanted.project)
    store = open_store(make=True)
    with store.files.work_folder() as folder, connected(folder, AGAIN) as service:
        if artifact.count("/") == 2:
            service.entity = artifact.partition("/")[0]
        chosen = _find(service, wanted, everything)
        with store.files.adding():  # else what was fetched might be gone before it is recorded
            brought, notes = _bring(store, service, wanted, target, chosen, folder)
    for one in brought:
        verb = "is now in the store" if one.new else "was in the store already"
        print(f"{one.reference} {verb}{f' ({one.note})' if one.note else ''}")
    print("\n".join(notes), end="\n" if notes else "")
    return brought


def _find(service: WandbService, wanted: names.Reference, everything: bool) -> list[SeenVersion]:
    known = service.versions(wanted.project, wanted.name)
    if everything and known:
        return [*known.values()]
    # Also where there is no such artifact: the client then says what is missing.
    return [see(service.api.artifact(f"{service.entity}/{wanted}"))]


def _bring(
    store: Store,
    service: WandbService,
    wanted: names.Reference,
    target: str,
    chosen: list[SeenVersion],
    folder: Path,
) -> tuple[list[Brought], list[str]]:
    kind = chosen[0].artifact.type
    check_type(wanted.name, store.type_of(target, wanted.name), kind)
    here = {v.digest: v for v in store.versions(target, wanted.name, removed=True)}
    removed = {version.digest for version in here.values() if version.removed_at is not None}
    numbers = {version.number: version for version in here.values()}
    downloads = []
    for seen in chosen:
        if seen.digest in here and not store.damage(here[seen.digest]):
            continue
        if seen.digest not in here and seen.number in numbers:
            raise UserError(
                f"{target}/{wanted.name}:v{seen.number} in the store has another content than "
                f"{wanted.project}/{wanted.name}:v{seen.number} at W&B: give another project to "
                "keep it under, such as -P project=other_name"
            )
        print(f"fetching {wanted.project}/{wanted.name}:v{seen.number}", flush=True)
        downloads.append(_download(store, seen, folder))
    makers = {one.seen.number: one.seen.artifact.logged_by() for one in downloads}
    there = service.versions(wanted.project, wanted.name).values()
    with store.transaction() as db:
        for one in downloads:
            if one.seen.digest in removed:
                again = (here[one.seen.digest].id,)
                db.execute("UPDATE versions SET removed_at = NULL WHERE id = ?", again)
            elif one.seen.digest not in here:
                run_id = _keep_run(db, target, makers[one.seen.number], one.seen)
                _keep_version(db, target, wanted.name, kind, run_id, one)
        held = _aliases(db, target, wanted.name)
        changes, notes, sent = aliases.take(store, service, wanted, target, there, chosen, held)
        _keep_aliases(db, target, wanted.name, changes)
    aliases.remember(store, service, wanted, target, sent)
    now = {version.digest: version for version in store.versions(target, wanted.name)}
    return [
        Brought(
            now[seen.digest].reference,
            seen.digest not in here or seen.digest in removed,
            _differs(seen, now),
        )
        for seen in chosen
    ], notes


def _differs(seen: SeenVersion, now: dict[str, VersionRecord]) -> str | None:
    if now[seen.digest].number == seen.number:
        return None
    return f"the content of v{seen.number} at W&B"


def _download(store: Store, seen: SeenVersion, folder: Path) -> _Download:
    """Fetch all files of a version and keep them; nothing in the store names them yet."""
    artifact, place = seen.artifact, folder / f"v{seen.number}"
    announced = artifact.manifest.entries
    if refs := [path for path, entry in announced.items() if entry.ref is not None]:
        raise UserError(
            f"{artifact.source_name} at W&B holds references such as {refs[0]!r}, not files: "
            "only files can be kept in the store"
        )
    place.mkdir()
    artifact.download(root=str(place), skip_cache=True)
    staged, entries = {}, {}
    for path, entry in announced.items():
        # The store would not take such a path either; here it would lead out of the folder.
        file = place / names.check_path(path)
        found = safe_files.read_content(file) if file.is_file() else None
        if found is None or found.md5 != entry.digest:
            wrong = "is missing" if found is None else f"has the MD5 {found.md5}"
            raise UserError(
                f"file {path!r} of {artifact.source_name} arrived damaged from W&B: it {wrong}, "
                f"not {entry.digest}; {AGAIN}"
            )
        with file.open("rb+") as written:
            os.fsync(written.fileno())
        staged[found.sha256] = file
        entries[path] = Entry(path, found.md5, found.size, found.sha256)
    if (digest := Manifest(entries).digest()) != seen.digest:
        raise UserError(
            f"{artifact.source_name} arrived damaged from W&B: its files have the digest {digest}, "
            f"not {seen.digest}; {AGAIN}"
        )
    with safe_files.writing(store.files.final):
        store.files.adopt(staged)
    return _Download(
        seen, [FileRecord(e.path, e.digest, e.sha256, e.size) for e in entries.values()]
    )


def _keep_run(db: sqlite3.Connection, project: str, run: Any, seen: SeenVersion) -> str:
    """Record the run that made a version, unless it is known; return its id here."""
    run_id = run.id if run else f"unknown-{seen.digest[:8]}"
    row = db.execute("SELECT project FROM runs WHERE id = ?", (run_id,)).fetchone()
    if row and row["project"] == project:
        return run_id
    if row:  # at W&B an id belongs to its project, here to the whole store
        return _keep_run_as(db, f"{run_id}-{project}", project, run, seen)
    return _keep_run_as(db, run_id, project, run, seen)


def _keep_run_as(
    db: sqlite3.Connection, run_id: str, project: str, run: Any, seen: SeenVersion
) -> str:
    if db.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone():
        return run_id
    (number,) = db.execute(
        "SELECT coalesce(max(number), 0) + 1 FROM runs WHERE project = ?", (project,)
    ).fetchone()
    state = run.state if run else "finished"
    started = seconds(run.created_at if run else seen.artifact.created_at)
    columns = {
        "id": run_id,
        "number": number,
        "project": project,
        "name": run.name if run else "unknown run at W&B",
        "group_name": run.group if run else None,
        "job_type": run.job_type if run else None,
        "notes": run.notes if run else None,
        "tags": values.dumps(run.tags if run else []),
        "config": values.dumps(run.config if run else {}),
        "summary": values.dumps(_summary(run) if run else {}),
        # `running` would say that its process lives here.
        "state": "crashed" if state in ("running", "crashed") else state,
        "exit_code": {"finished": 0, "failed": 1}.get(state),
        "started_at": started,
        "finished_at": seconds(getattr(run, "heartbeat_at", None)) or started,
        "environment": values.dumps({"pulled_from": "/".join(run.path) if run else None}),
    }
    marks = ", ".join("?" * len(columns))
    query = f"INSERT INTO runs ({', '.join(columns)}) VALUES ({marks})"
    db.execute(query, tuple(columns.values()))
    return run_id


def _summary(run: Any) -> dict[str, Any]:
    items = json.loads(json.dumps(dict(run.summary), default=dict))
    return {key: value for key, value in items.items() if not key.startswith("_")}


def _keep_version(
    db: sqlite3.Connection, project: str, name: str, kind: str, run_id: str, one: _Download
) -> None:
    artifact = one.seen.artifact
    db.execute(
        "INSERT OR IGNORE INTO collections (project, name, type) VALUES (?, ?, ?)",
        (project, name, kind),
    )
    made = seconds(artifact.created_at)
    version_id = db.execute(
        "INSERT INTO versions (collection_id, number, digest, size, description, metadata,"
        " logged_by, created_at, updated_at) SELECT id, ?, ?, ?, ?, ?, ?, ?, ? FROM collections"
        " WHERE project = ? AND name = ?",
        (
            one.seen.number,
            one.seen.digest,
            sum(file.size for file in one.contents),
            artifact.description,
            values.dumps(artifact.metadata or {}),
            run_id,
            made,
            seconds(artifact.updated_at) or made,
            project,
            name,
        ),
    ).lastrowid
    db.executemany(
        "INSERT INTO version_files VALUES (?, ?, ?, ?, ?)",
        [(version_id, *file) for file in one.contents],
    )
    db.execute("INSERT OR IGNORE INTO lineage VALUES (?, 'out', ?, ?)", (run_id, version_id, made))


def _aliases(db: sqlite3.Connection, project: str, name: str) -> dict[str, str]:
    """Return which alias is held by the version with which digest."""
    rows = db.execute(
        "SELECT alias, digest FROM aliases JOIN versions ON versions.id = version_id"
        " JOIN collections ON collections.id = versions.collection_id"
        " WHERE project = ? AND name = ?",
        (project, name),
    )
    return {row["alias"]: row["digest"] for row in rows}


def _keep_aliases(
    db: sqlite3.Connection, project: str, name: str, changes: dict[str, str | None]
) -> None:
    (collection,) = db.execute(
        "SELECT id FROM collections WHERE project = ? AND name = ?", (project, name)
    ).fetchone()
    for alias, digest in changes.items():
        db.execute("DELETE FROM aliases WHERE collection_id = ? AND alias = ?", (collection, alias))
        if digest is not None:
            db.execute(
                "INSERT INTO aliases SELECT ?, ?, id FROM versions"
                " WHERE collection_id = ? AND digest = ?",
                (collection, alias, collection, digest),
            )
