"""How a version came to its alias."""

from typing import Any

from serving.aliases import history, move
from util_lib import tracking
from util_lib.tracking import names


def promotion_of(
    reference: str, project: str | None = None, alias: str | None = None
) -> dict[str, Any] | None:
    """Return how a version came to its alias, None if it was never promoted.

    `reference` is `name:prod` or `name:v3`, `alias` the one that is meant where it is a version:
    the last event of that alias, else the version's last one. Keys: alias, deed (promoted, forced
    or rolled back), from (the version before, or None), at (UTC), by, reason, metrics, comparison
    and test_data (artifacts, or None).
    """
    move.finish_interrupted_move()
    wanted = names.parse_reference(reference, project)
    events = history.events_of(tracking.Api().artifact(str(wanted)))
    meant = [event for event in events if event["alias"] == (alias or wanted.alias)]
    return next(reversed(meant or events), None)
