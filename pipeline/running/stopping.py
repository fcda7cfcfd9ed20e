"""Stopping: whoever stops main.py stops the running step and all that it started.

psutil is imported where processes are looked at: a run in which every step is cached starts none.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

from util_lib.processes import signals

GRACE_S = 10  # for a step to record that it was stopped, before it is killed
LOOK_S = 0.05  # between two looks at what has ended
SERVICE = "wandb-core"  # the W&B client's service process
WATCH_S = 1.0  # between two looks at whether `mlflow run` still lives


_told: set["psutil.Process"] = set()  # a second SIGTERM would cut short what the first one began


class Stopped(KeyboardInterrupt):
    """main.py was told to stop; `number` is the signal."""

    def __init__(self, number: int) -> None:
        """Keep the signal's number: the exit code is 128 + number."""
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn SIGINT, SIGTERM, SIGHUP and the death of `mlflow run` into `Stopped`.

    All processes below this one are told to stop at once (a shell between MLflow and the step
    would otherwise die alone and leave the step running) and are gone when the block has ended. A
    second signal kills them.
    """
    seen: list[int] = []

    def stop(number: int, _frame: object) -> None:
        seen.append(number)
        signal_children(signal.SIGTERM if len(seen) == 1 else signal.SIGKILL)
        if len(seen) == 1:
            _let_record()
            signals.insist(lambda: Stopped(number))

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    ended = threading.Event()
    threading.Thread(target=_watch_parent, args=(ended,), daemon=True).start()
    try:
        yield
        if seen:  # the exception got lost until the very end
            raise Stopped(seen[0])
    except BaseException as error:
        if not seen:  # else they were told already
            signal_children(signal.SIGTERM)
        end_children()
        if seen and not isinstance(error, Stopped):  # what the signal did to a child, or hid
            raise Stopped(seen[0]) from error
        raise
    finally:
        signals.enough()
        ended.set()
        for number, handler in before.items():
            signal.signal(number, handler)


def signal_children(number: int) -> None:
    """Send a signal to every process below this one; another one than SIGKILL only once.

    Short of SIGKILL the W&B client's service process is left alone: its step needs it to record
    that it was stopped, and ends it.
    """
    import psutil

    for child in _children():
        try:
            if number == signal.SIGKILL:
                child.kill()
            elif child not in _told and child.name() != SERVICE:
                _told.add(child)
                child.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def stop_until(done: Callable[[], bool]) -> None:
    """Tell all processes below this one to stop, also those that only start now, until `done`.

    Those that have not ended after `GRACE_S` seconds are killed.
    """
    deadline = time.monotonic() + GRACE_S
    while not done():
        late = time.monotonic() > deadline
        signal_children(signal.SIGKILL if late else signal.SIGTERM)
        time.sleep(LOOK_S)


def end_children() -> None:
    """Wait for the processes below this one to end; kill what is left after `GRACE_S` seconds."""
    import psutil

    children = _children()
    _, alive = psutil.wait_procs(children, timeout=GRACE_S)
    for child in alive:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=GRACE_S)


def _let_record() -> None:
    """Wait for the processes below this one to end by themselves.

    What `Stopped` passes through, such as joblib's pool, kills all of them at once. Who waits for
    them is left to learn how they ended: nothing is reaped here. The service process of this one's
    own W&B client is not waited for: it ends when this one closes its client.
    """
    until = time.monotonic() + GRACE_S
    while time.monotonic() < until and any(
        _is_alive(child) and not _is_own_service(child) for child in _children()
    ):
        time.sleep(0.02)


def _is_own_service(child: "psutil.Process") -> bool:
    import psutil

    try:
        return child.name() == SERVICE and child.ppid() == os.getpid()
    except psutil.NoSuchProcess:
        return True


def _children() -> list["psutil.Process"]:
    """List all processes below this one that can be told to stop.

    Python's trackers of shared resources cannot; they end with the process that they serve.
    """
    import psutil

    return [child for child in psutil.Process().children(recursive=True) if not _is_tracker(child)]


def _is_tracker(process: "psutil.Process") -> bool:
    import psutil

    try:
        return any(".resource_tracker import" in word for word in process.cmdline())
    except psutil.Error:
        return False


def _is_alive(process: "psutil.Process") -> bool:
    import psutil

    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _watch_parent(ended: threading.Event) -> None:
    """Send SIGTERM to this process when the `mlflow run` that started it is gone.

    MLflow starts a step through a shell and does not pass signals on: killed alone, it would
    leave main.py and its step running for nobody.
    """
    if "PIPELINE_ROOT_RUN" not in os.environ:
        return
    import psutil

    above = psutil.Process().parents()
    if above and above[0].name() in ("bash", "sh"):
        above = above[1:]
    if not above:
        return
    while not ended.wait(WATCH_S):
        if not above[0].is_running() or above[0].status() == psutil.STATUS_ZOMBIE:
            os.kill(os.getpid(), signal.SIGTERM)
            return
