"""Ctrl-C before anything has begun and after all is done. Imports nothing that takes time."""

import os
import signal
import sys


def answer_at_once() -> None:
    """End on Ctrl-C with one line, wherever `stoppable` does not: a traceback helps nobody.

    An exception would not do: raised in a weak reference's callback it is lost.

    A signal that whoever started this process had ignored stays ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)


def _stop(_number: int, _frame: object) -> None:
    try:
        sys.stdout.flush()
    except Exception:  # RuntimeError: a line was being written
        pass
    os.write(2, b"error: stopped\n")
    os._exit(130)
