"""Records written to the monitoring log, whatever becomes of its disk; what is lost is counted."""

import errno
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa

from serving.capture import batches
from serving.capture.batches import Record
from serving.model.served_model import ServedModel
from util_lib import monitoring_log
from util_lib.monitoring_log import SpoolFile

logger = logging.getLogger("serving")

QUEUE_FULL, DISK_FULL, NO_FOLDER = "queue full", "disk full", "folder missing"
NOT_WRITTEN, DEFECT, WRITER_DEAD = "not written", "defect", "writer dead"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Count = Callable[[str, int], object]


class Streams:
    """The streams that one process writes: one of each role, of the version that answers."""

    def __init__(self, root: Path, share: float, written: Count, lost: Count):
        """`written(role, rows)` and `lost(reason, rows)` hear what became of all rows."""
        self.root = root
        self.share = share
        self._written, self._lost = written, lost
        self._open: dict[str, tuple[ServedModel, pa.Schema, SpoolFile]] = {}
        self._trouble: str | None = None

    def write(self, records: Iterable[Record]) -> None:
        """Append records, those of one model together; never raises for what the disk does."""
        groups: dict[tuple[str, int, bool], list[Record]] = {}
        for record in records:
            key = record.role, id(record.model), record.rejected is None
            groups.setdefault(key, []).append(record)
        sizes = {key: sum(len(r.numbers) for r in group) for key, group in groups.items()}
        left = sum(sizes.values())
        for key, group in groups.items():
            role, n_rows = key[0], sizes[key]
            left -= n_rows
            if not n_rows:
                continue
            try:
                self._append(role, group)
            except BaseException as error:
                ends = not isinstance(error, Exception)  # the thread: nothing is lost unseen
                self._note(error, n_rows + left * ends)
                if _reason(error) != DISK_FULL:  # it has room again: the stream goes on
                    self._close(role)
                if ends:
                    raise
            else:
                self._written(role, n_rows)
                if self._trouble:
                    logger.info("rows are recorded again in %s", self.root)
                self._trouble = None

    def rotate(self) -> None:
        """End the streams that are old or long enough, so that the monitor can take them."""
        for role in [role for role, (*_, file) in self._open.items() if file.is_full]:
            self._close(role)

    def close(self) -> None:
        """End all streams."""
        for role in [*self._open]:
            self._close(role)

    def _append(self, role: str, records: list[Record]) -> None:
        model = records[0].model
        if role in self._open and self._open[role][0] is not model:
            self._close(role)
        if role in self._open:
            _, columns, file = self._open[role]
        else:
            columns = batches.schema(model)
            file = SpoolFile(self.root, columns, role)
            self._open[role] = model, columns, file
        secret = monitoring_log.key(self.root)
        file.write(batches.batch(records, columns, self.share, secret))

    def _close(self, role: str) -> None:
        if role in self._open:
            self._open.pop(role)[2].close()

    def _note(self, error: BaseException, n_rows: int) -> None:
        reason = _reason(error)
        self._lost(reason, n_rows)
        if reason != self._trouble:  # once, not for every row
            self._trouble = reason
            told = error.strerror if isinstance(error, OSError) else None
            told = told or type(error).__name__  # other words may quote a value
            logger.warning("rows are not recorded in %s: %s (%s)", self.root, reason, told)


def _reason(error: BaseException) -> str:
    if not isinstance(error, Exception):
        return WRITER_DEAD
    if not isinstance(error, OSError):
        return DEFECT
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NO_FOLDER
    return DISK_FULL if error.errno in FULL else NOT_WRITTEN
