"""Give the versions at W&B the aliases that the store has, and undo nobody's work there.

What was set by the last sync is kept in `sent_aliases.json` in the store's directory. It only says
whose an alias is: one that somebody moved at W&B since then stays there, one that was removed from
the store is removed at W&B only where the sync had set it. Without the file the store has its way.
"""

import json
import os
from collections.abc import Iterable

from util_lib import safe_files
from util_lib.tracking import choice
from util_lib.tracking.names import Reference
from util_lib.tracking.online.service import SeenVersion, WandbService, seconds
from util_lib.tracking.store.database import Store
from util_lib.tracking.store.records import VersionRecord

LATEST = "latest"


def forget_latest(store: Store, service: WandbService, versions: Iterable[VersionRecord]) -> None:
    """Note that `latest` of these artifacts is about to move: W&B moves it with every version."""
    sent = _read(store)
    keys = {_key(service, version.project, version.name) for version in versions}
    for key in keys & {*sent}:
        sent[key].pop(LATEST, None)
    _write(store, sent)


def settle(
    store: Store, service: WandbService, project: str, name: str, dry_run: bool
) -> tuple[list[str], list[str]]:
    """Set the aliases of one artifact; return what was done and what was left, in words."""
    versions = {version.digest: version for version in store.versions(project, name)}
    seen = service.versions(project, name)
    wanted = {alias: v.digest for v in versions.values() for alias in v.aliases}
    held = {alias: version.digest for version in seen.values() for alias in version.aliases}
    sent, key = _read(store), _key(service, project, name)
    before = sent.get(key, {})
    changes: dict[str, tuple[set[str], set[str]]] = {}
    done, notes, kept = [], [], {}
    for alias, digest in sorted(wanted.items()):
        holder = held.get(alias)
        if holder == digest:
            kept[alias] = digest
        elif digest not in seen and not dry_run:
            notes.append(f"{alias} is not set: v{versions[digest].number} is left out")
        elif holder is not None and holder not in versions:
            notes.append(f"{alias} stays on {_at(seen[holder])}, which the store does not have")
        elif holder is not None and before.get(alias) == digest:
            notes.append(f"{alias} stays on {_at(seen[holder])}: moved there since the last sync")
            kept[alias] = digest
        else:
            changes.setdefault(digest, (set(), set()))[0].add(alias)
            kept[alias] = digest
            to = _at(seen[digest]) if digest in seen else f"v{versions[digest].number}"
            done.append(f"{alias} -> {to}")
    for alias, digest in sorted(before.items()):
        if alias not in wanted and held.get(alias) == digest:
            changes.setdefault(digest, (set(), set()))[1].add(alias)
            done.append(f"{alias} removed from {_at(seen[digest])}")
    edited = {
        digest for digest in versions.keys() & seen if _edited(versions[digest], seen[digest])
    }
    done += [f"description and metadata of {_at(seen[digest])}" for digest in sorted(edited)]
    if not dry_run:
        for digest in {*changes} | edited:
            add, remove = changes.get(digest, (set(), set()))
            artifact = seen[digest].artifact
            if digest in edited:
                artifact.description = versions[digest].description
                artifact.metadata = versions[digest].metadata
            artifact.aliases = sorted({*seen[digest].aliases} - remove | add)
            artifact.save()
        if kept != before:
            _write(store, {**sent, key: kept})
    return done, notes


def take(
    store: Store,
    service: WandbService,
    wanted: Reference,
    target: str,
    there: Iterable[SeenVersion],
    chosen: list[SeenVersion],
    held: dict[str, str],
) -> tuple[dict[str, str | None], list[str], dict[str, str]]:
    """Say how aliases of the store follow W&B: changes, notes, and what to `remember`.

    `there` are all versions at W&B, `chosen` those that are brought, `held` the aliases of the
    store under `target` with the digests that hold them. A change to None removes an alias. What
    a version that W&B does not have holds, it keeps; what was given here, stays given.
    """
    key = _key(service, wanted.project, wanted.name, target)
    before = _read(store).get(key, {})
    known = {version.digest for version in there} | {version.digest for version in chosen}
    changes: dict[str, str | None] = {}
    notes, sent = [], dict(before)
    for version in chosen:
        for alias in version.aliases:
            holder = held.get(alias)
            if holder is not None and holder not in known:
                notes.append(
                    f"{alias} stays on a version that W&B does not have; there it is on "
                    f"v{version.number}"
                )
                continue
            sent[alias] = version.digest
            if holder != version.digest:
                changes[alias] = version.digest
        for alias, digest in before.items():
            if digest == version.digest and alias not in version.aliases:
                sent.pop(alias, None)
                if held.get(alias) == digest:
                    changes.setdefault(alias, None)
    return changes, notes, sent


def remember(
    store: Store, service: WandbService, wanted: Reference, target: str, sent: dict[str, str]
) -> None:
    """Note what `take` has set."""
    key = _key(service, wanted.project, wanted.name, target)
    _write(store, {**_read(store), key: sent})


def _edited(version: VersionRecord, seen: SeenVersion) -> bool:
    """Say whether description or metadata were changed here after W&B's last change."""
    there = seen.artifact
    if version.updated_at <= max(version.created_at, seconds(there.updated_at) or 0.0):
        return False
    now = (version.description, version.metadata)
    return now != (there.description, there.metadata)


def _at(version: SeenVersion) -> str:
    return f"v{version.number} at W&B"


def _key(service: WandbService, project: str, name: str, target: str | None = None) -> str:
    here = "" if target in (None, project) else f" as {target}"
    return f"{choice.base_url()} {service.entity}/{project}/{name}{here}"


def _read(store: Store) -> dict[str, dict[str, str]]:
    try:
        return json.loads((store.directory / "sent_aliases.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}


def _write(store: Store, sent: dict[str, dict[str, str]]) -> None:
    path = store.directory / "sent_aliases.json"
    with safe_files.writing(path):
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(sent, indent=1), encoding="utf-8")
        os.replace(partial, path)
