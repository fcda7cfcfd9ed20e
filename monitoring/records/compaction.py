"""Spools become parquet files, one for each day and model: a row is in one or the other, once.

The new files are written under hidden names; then a note says which files they become and which
spools they hold, and from then on whoever finds the note completes the move. Without a note the
hidden files are nobody's and go. The service writes spools and knows nothing of this.
"""

import contextlib
import itertools
import json
import logging
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monitoring.records import private_files
from util_lib import monitoring_log, safe_files
from util_lib.errors import UserError

logger = logging.getLogger("monitoring")

LOCK, NOTE = "monitor.lock", "compacting.json"
GROUP_ROWS = 2**16  # of a row group: what is in memory of each file that is open
BUFFERED_ROWS = 2**18  # of all open files together
YOUNG_S = 60  # an empty spool of this age may belong to a writer that has not locked it yet


class Compacted(NamedTuple):
    """What was moved; `torn` says of each spool that ends in the midst of a row how far it went."""

    rows: int
    spools: int
    torn: list[tuple[str, int]]


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the lock of the log; `UserError` where another monitor has it."""
    lock = safe_files.locked(folder / LOCK, 0, private_files.WAY_OUT, mode=0o600)
    with lock as is_ours:
        if not is_ours:
            raise UserError(f"another monitor works on {folder}: run this one when it has ended")
        yield


def compact(folder: Path, project: str) -> Compacted:
    """Move the rows of all spools that nobody writes any more; call it while `alone`.

    A day's spools are moved together, so that a killed monitor has at most a day to do again.
    """
    rows, spools, torn = 0, 0, list[tuple[str, int]]()
    with safe_files.writing(folder, private_files.WAY_OUT):
        _complete(folder)
        for left in (folder / monitoring_log.ROWS).rglob(".*.partial"):
            left.unlink()
        days: dict[str, list[Path]] = defaultdict(list)
        for spool in monitoring_log.spools(folder, project):
            about = spool.stat()
            if about.st_size or time.time() - about.st_mtime > YOUNG_S:
                days[spool.name[:8]].append(spool)
        for _, found in sorted(days.items()):
            moved, broken = _move(folder, project, found)
            rows, spools, torn = rows + moved, spools + len(found), torn + broken
    return Compacted(rows, spools, torn)


def compact_and_say(folder: Path, project: str) -> None:
    """Compact, and log what was moved and which spools are torn."""
    moved = compact(folder, project)
    if moved.spools:
        logger.info("%s rows of %s streams are compacted", f"{moved.rows:,}", f"{moved.spools:,}")
    for name, n_rows in moved.torn:
        logger.warning(
            "%s ends in the midst of its rows, as its writer was killed: %s rows were read up to "
            "there",
            name,
            f"{n_rows:,}",
        )


def _move(folder: Path, project: str, spools: list[Path]) -> tuple[int, list[tuple[str, int]]]:
    """Move the rows of some spools, all or none; return how many there were, and what is torn."""
    files = _Files(folder / monitoring_log.ROWS / f"project={project}", spools[0].stem)
    torn, total = [], 0
    try:
        for spool in spools:
            stream = monitoring_log.read_spool(spool)
            batches = stream.batches if stream else []
            n_rows = sum(batch.num_rows for batch in batches)
            for batch in batches:
                files.write(batch)
            if stream is None or stream.torn:
                torn.append((spool.name, n_rows))
            total += n_rows
        written = files.close()
    except BaseException:
        files.discard()
        raise
    relative = [[str(path.relative_to(folder)) for path in pair] for pair in written]
    gone = [str(spool.relative_to(folder)) for spool in spools]
    private_files.write(folder / NOTE, json.dumps({"files": relative, "spools": gone}).encode())
    _complete(folder)
    return total, torn


def _complete(folder: Path) -> None:
    """Give the files that the note names their names, and remove the spools they were made of."""
    note = folder / NOTE
    try:
        plan = json.loads(note.read_bytes())
    except FileNotFoundError:
        return
    for partial, final in plan["files"]:
        if (folder / partial).exists():
            os.replace(folder / partial, folder / final)
            safe_files.sync_directory((folder / final).parent)
    for spool in plan["spools"]:
        (folder / spool).unlink(missing_ok=True)
    note.unlink()


class _Files:
    """The parquet files that some spools become: one for each day, model and shape of its rows."""

    def __init__(self, folder: Path, stem: str):
        self._folder, self._stem = folder, stem
        self._parts: dict[tuple[str, bytes], list[Any]] = {}
        self._paths: dict[tuple[str, bytes], Path] = {}
        self._writers: dict[tuple[str, bytes], tuple[Any, Any]] = {}

    def write(self, batch: pa.RecordBatch) -> None:
        schema = batch.schema.serialize().to_pybytes()
        days = pc.strftime(batch.column("time"), "%Y-%m-%d")
        for day in pc.unique(days).to_pylist():
            key = (day, schema)
            if key not in self._paths:
                self._paths[key] = self._new_path(day)
            self._parts.setdefault(key, []).append(batch.filter(pc.equal(days, day)))
            if _rows(self._parts[key]) >= GROUP_ROWS:
                self._flush([key])
        if sum(map(_rows, self._parts.values())) >= BUFFERED_ROWS:
            self._flush(self._parts)

    def close(self) -> list[tuple[Path, Path]]:
        """Bring all to disk; return the hidden name and the name to be of each file."""
        self._flush(self._parts)
        for writer, file in self._writers.values():
            writer.close()
            file.flush()
            os.fsync(file.fileno())
            file.close()
        return [(_partial(path), path) for path in self._paths.values()]

    def discard(self) -> None:
        for key, (writer, file) in self._writers.items():
            with contextlib.suppress(OSError, ValueError):  # of a full disk, which is said already
                writer.close()
            with contextlib.suppress(OSError):
                file.close()
            _partial(self._paths[key]).unlink(missing_ok=True)

    def _new_path(self, day: str) -> Path:
        """Return a name that no file has: a clock set back may give the name of a spool again."""
        folder = self._folder / f"day={day}"
        names = (folder / f"{self._stem}-{number}.parquet" for number in itertools.count())
        return next(
            path for path in names if path not in self._paths.values() and not path.exists()
        )

    def _flush(self, keys: Iterable[tuple[str, bytes]]) -> None:
        for key in keys:
            if not (parts := self._parts[key]):
                continue
            if key not in self._writers:
                path = self._paths[key]
                private_files.make_folder(path.parent)
                file = private_files.create(_partial(path))
                writer = pq.ParquetWriter(file, parts[0].schema, compression="zstd")
                self._writers[key] = (writer, file)
            self._writers[key][0].write_table(pa.Table.from_batches(parts))
            parts.clear()


def _rows(parts: list[Any]) -> int:
    return sum(part.num_rows for part in parts)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")
