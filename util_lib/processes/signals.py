"""Stopping on a signal, surely: what a handler raises can get lost.

Python swallows an exception that is raised in a weak reference's callback or in `__del__`, and a
signal's handler runs wherever the program happens to be. So the handler raises again, until the
exception is on its way. In a block under `held` it waits for the end of that block.
"""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

AGAIN_S = 0.2  # between two attempts
LONGEST_S = 60  # a block that is held longer is broken off after all
_depth = 0  # of blocks that are not to be broken off


def insist(stop: Callable[[], BaseException]) -> None:
    """Raise what `stop` makes in the main thread, again and again until it is handled.

    To be called in a handler. `enough` ends it, on the way out.
    """

    until, kind = time.monotonic() + LONGEST_S, type(stop())

    def raise_again(_number: int, _frame: FrameType | None) -> None:
        held = _depth and time.monotonic() < until
        if not held and not _is_passing(kind):
            raise stop()

    def swallowed(what: Any) -> None:
        if not issubclass(what.exc_type, kind):
            sys.__unraisablehook__(what)  # prints a traceback, which here tells nothing

    sys.unraisablehook = swallowed
    signal.signal(signal.SIGALRM, raise_again)
    signal.setitimer(signal.ITIMER_REAL, AGAIN_S, AGAIN_S)
    raise_again(0, None)


def enough() -> None:
    """Insist no longer."""
    signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def held() -> Iterator[None]:
    """Do not break off this block, which is short: what it begins must also be noted down."""
    hold()
    try:
        yield
    finally:
        let_go()


def hold() -> None:
    """Break nothing off from here to `let_go`."""
    global _depth
    _depth += 1


def let_go() -> None:
    """End what `hold` began."""
    global _depth
    _depth -= 1


def _is_passing(kind: type[BaseException]) -> bool:
    """Say whether such an exception is on its way, or being answered, where the signal came."""
    error = sys.exception()
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__context__
    return False
