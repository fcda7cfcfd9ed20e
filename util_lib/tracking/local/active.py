"""Which run is under way in this process."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from util_lib.tracking.local.run import Run

_active: list["Run"] = []


def active_run() -> "Run | None":
    """Return the run that was started last in this process and has not finished."""
    # A forked child inherits its parent's run, which is not its own.
    own = [run for run in _active if run._pid == os.getpid()]
    return own[-1] if own else None
