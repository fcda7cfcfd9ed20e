"""Whether the head of a Ray cluster lives, seen without Ray, which waits a minute and says nothing.

The launching process looks, and so does every process that runs a trial: neither works on for a
cluster that is gone.
"""

import os
import socket
import threading
import time

CONNECT_S = 5
WATCH_S = 2.0  # between two looks
GONE_S = 15.0  # of silence, after which a head counts as lost

_watched: list[str] = []


class Head:
    """The head's address, and since when nobody answers there."""

    def __init__(self, address: str) -> None:
        """Begin with a head that lives."""
        host, _, port = address.rpartition(":")
        self._place = host.strip("[]"), int(port)
        self._looked, self._silent_since = time.monotonic(), 0.0

    def refuse(self) -> None:
        """Raise `OSError` where nobody answers now."""
        socket.create_connection(self._place, CONNECT_S).close()

    def is_lost(self) -> bool:
        """Look, if the last look is some time ago; say whether nobody has answered for long."""
        now = time.monotonic()
        if now - self._looked >= WATCH_S:
            self._looked = now
            try:
                self.refuse()
                self._silent_since = 0.0
            except OSError:
                self._silent_since = self._silent_since or now
        return bool(self._silent_since) and now - self._silent_since > GONE_S


def end_without(address: str) -> None:
    """End this process, and so the trial that it runs, once the head at `address` is lost."""
    if _watched:
        return
    _watched.append(address)
    head = Head(address)

    def watch() -> None:
        while not head.is_lost():
            time.sleep(WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
