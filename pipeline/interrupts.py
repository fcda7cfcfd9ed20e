"""Ctrl-C in the first second, while modules are imported. Imports nothing that takes time."""

import os
import signal


def answer_while_importing() -> None:
    """End on Ctrl-C with one line: nothing has begun, and a traceback helps nobody.

    A signal that whoever started this process had ignored stays ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)


def leave_to_python() -> None:
    """Raise KeyboardInterrupt on Ctrl-C again, which the program answers from now on."""
    if signal.getsignal(signal.SIGINT) is _stop:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _stop(_number: int, _frame: object) -> None:
    os.write(2, b"error: stopped\n")
    os._exit(130)
