"""The history of an alias such as `prod`: who gave it to which version, when and why.

Each move is an event in the metadata of the version that got the alias, under `promotions`; it is
written together with the alias (see move.py), travels with `sync` and `pull`, and is read the same
way on either backend.
"""

import datetime
import getpass
import os
from typing import Any

from util_lib import tracking
from util_lib.tracking.store.records import PROMOTIONS

PROMOTED, FORCED, ROLLED_BACK = "promoted", "forced", "rolled back"  # deeds


def history(project: str, name: str, type: str, alias: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the events of an alias, oldest first, each with its version `project/name:vN`.

    The events of versions that `gc` has removed are gone with them.
    """
    events = [
        (full_name(version), event)
        for version in tracking.Api().artifacts(type, f"{project}/{name}")
        for event in events_of(version)
        if event["alias"] == alias
    ]
    return sorted(events, key=lambda found: found[1]["number"])


def way_back(events: list[tuple[str, dict[str, Any]]], holder: str | None) -> list[str]:
    """Return the versions that had the alias before `holder`, the last one first.

    A version that was rolled back is no more on the way; one that got the alias by hand is.
    """
    way: list[str] = []
    for version, event in events:
        if event["deed"] == ROLLED_BACK and version in way:
            while way[-1] != version:
                way.pop()
            continue
        for step in (event["from"], version):
            if step is not None and way[-1:] != [step]:
                way.append(step)
    if way and way[-1] == holder:
        way.pop()
    return way[::-1]


def events_of(version: Any) -> list[dict[str, Any]]:
    """Return the events of one version, oldest first."""
    return list((version.metadata or {}).get(PROMOTIONS) or [])


def full_name(version: Any) -> str:
    """Return `project/name:vN` of an artifact of either backend."""
    return f"{version.project}/{version.source_name}"


def about_now() -> dict[str, str]:
    """Return when it is, in UTC, and who asks."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a list of users
        user = f"user {os.getuid()}"
    now = datetime.datetime.now(datetime.UTC)
    return {"at": now.strftime("%Y-%m-%dT%H:%M:%SZ"), "by": f"{user}@{os.uname().nodename}"}
