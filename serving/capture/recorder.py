"""Answers on their way to the monitoring log, at no cost to who asks.

The event loop puts references into one bounded queue and goes on; a thread makes rows of them and
appends these to the log, a little more than once a second. Where the queue is full or the disk
fails, rows are lost and counted: an answer is never slower, nor another, for being recorded.
"""

import logging
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from serving.capture.batches import Record
from serving.capture.streams import QUEUE_FULL, WRITER_DEAD, Count, Streams
from util_lib import monitoring_log

logger = logging.getLogger("serving")

MOST_ROWS = 20_000  # in the queue
WRITE_SECONDS = 0.85  # from one look into it to the next: what a killed process loses, below 1
WAKE_ROWS = MOST_ROWS // 4  # so many rows are not kept waiting
PIECE_ROWS = 2_000  # made into rows of the log in one go
DEAD_SECONDS = 2.0  # without a look into the queue: is the thread still there?
END_SECONDS = 10.0  # to write what is left when the service ends


class Recorder:
    """One queue and one thread behind it."""

    def __init__(self, root: Path, share: float, written: Count, lost: Count):
        """`share` of the requests are recorded; for `written` and `lost` see `Streams`."""
        self.share = share
        self._lost = lost
        self._streams = Streams(root, share, written, lost)
        self._queue: deque[Record] = deque()
        self._put = self._taken = 0  # rows; each has one thread that changes it
        self._wake = threading.Event()
        self._ending = False
        self._looked = time.time()
        self._thread: threading.Thread | None = None

    def wants(self, request: str) -> bool:
        """Say whether a request is one of those that are recorded."""
        return monitoring_log.sampled(request, self.share)

    def add(self, record: Record) -> None:
        """Put a request into the queue, or count its rows as lost; called in the event loop."""
        n_rows = len(record.numbers)
        waiting = self._put - self._taken + n_rows
        if waiting > MOST_ROWS:
            self._lost(QUEUE_FULL if self._is_alive() else WRITER_DEAD, n_rows)
        else:
            self._queue.append(record)
            self._put += n_rows
        if waiting > WAKE_ROWS:
            self._wake.set()
        if record.time - self._looked > DEAD_SECONDS:
            self.start()

    def start(self) -> None:
        """Start the thread, if it is not there or has died."""
        if not self._is_alive():
            self._looked = time.time()
            self._thread = threading.Thread(target=self._work, name="capture", daemon=True)
            with suppress(RuntimeError):  # no thread can be had: the next time
                self._thread.start()

    def close(self) -> None:
        """Write what is left, and end the streams."""
        self._ending = True
        self._wake.set()
        self.start()
        if self._thread is not None and self._thread.ident is not None:
            self._thread.join(END_SECONDS)
        if left := self._put - self._taken:
            logger.warning("%s rows were not recorded before the end", f"{left:,}")

    def _is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _work(self) -> None:
        while True:
            self._wake.wait(WRITE_SECONDS)
            self._wake.clear()
            ending = self._ending
            self._looked = time.time()
            while piece := self._next():
                try:
                    self._streams.write(piece)
                finally:
                    self._taken += sum(len(record.numbers) for record in piece)
            self._streams.rotate()
            if ending:
                self._streams.close()
                return

    def _next(self) -> list[Record]:
        piece: list[Record] = []
        n_rows = 0
        while self._queue and n_rows < PIECE_ROWS:
            piece.append(self._queue.popleft())
            n_rows += len(piece[-1].numbers)
        return piece
