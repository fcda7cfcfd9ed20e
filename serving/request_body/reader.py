"""Large requests are read in a process of their own: the service answers others meanwhile.

Python reads JSON in one go, and nothing else happens in a process while it does. So what is longer
than a few rows is handed to this process, one request at a time; what comes back is counted, cut
to the columns that the model knows, and arrives in pieces. A request that takes too long is
refused, and the process with it; the next one gets another.
"""

import asyncio
import logging
import os
import pickle
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from serving.request_body import protocol
from serving.request_body.refusals import RequestError

logger = logging.getLogger("serving")

ROOT = Path(__file__).resolve().parents[2]
SIZES = struct.Struct("<QQ")  # of a task and of its body
SIZE = struct.Struct("<Q")  # of a part of the answer
PIPE_BYTES = 65_536
PIECE_VALUES = 20_000  # of an answer, taken over at a time
NICE = 10  # where processors are few the service itself goes first
OTHERS = 100  # columns that the model does not know, kept of the first row alone

Row = dict[str, Any]


class Task(NamedTuple):
    """How a body is to be read; `keep` names what the service itself looks at."""

    content_type: str | None
    known: protocol.Known
    keep: frozenset[str]
    max_text: int


class Reader:
    """The process, from the side of the service; it begins with the first large request."""

    def __init__(self, seconds: float):
        """`seconds` is how long a request may take."""
        self._seconds = seconds
        self._process: asyncio.subprocess.Process | None = None
        self._alone = asyncio.Lock()

    async def read(self, task: Task, body: bytes) -> list[Row]:
        """Return the rows of `body`; `RequestError` as `protocol.read` has it."""
        async with self._alone:
            whole = False
            try:
                if self._process is None:
                    self._process = await _start()
                async with asyncio.timeout(self._seconds):
                    rows = await _ask(self._process, pickle.dumps(task), body)
                whole = True
                return rows
            except RequestError:
                whole = True
                raise
            except TimeoutError:
                raise RequestError(
                    413, f"the body takes more than {self._seconds:g} s to read: send fewer rows"
                ) from None
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                logger.error("the process that reads large requests ended: %r", error)
                raise RequestError(503, "the body could not be read: send fewer rows") from None
            finally:
                if not whole:  # also where the client has gone: nobody waits for the rest
                    await self.close()

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _start() -> asyncio.subprocess.Process:
    # In a session of its own: Ctrl-C is for the service, which reads what has begun to its end.
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "serving.request_body.reader"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,
    )


async def _ask(process: asyncio.subprocess.Process, task: bytes, body: bytes) -> list[Row]:
    sink, source = process.stdin, process.stdout
    assert sink is not None and source is not None  # both are pipes
    sink.write(SIZES.pack(len(task), len(body)) + task)
    for start in range(0, len(body), PIPE_BYTES):
        sink.write(body[start : start + PIPE_BYTES])
        await sink.drain()
    rows: list[Row] = []
    while True:
        (size,) = SIZE.unpack(await source.readexactly(SIZE.size))
        part = pickle.loads(await source.readexactly(size))  # written by this very file
        if part is None:
            return rows
        if isinstance(part, tuple):
            raise RequestError(*part)
        rows += part


def main() -> None:
    """Read what comes in on stdin, until the service closes it."""
    os.nice(NICE)
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else is written between the answers
    try:
        while head := source.read(SIZES.size):
            n_task, n_body = SIZES.unpack(head)
            task, body = pickle.loads(source.read(n_task)), source.read(n_body)
            for part in _parts(task, body):
                content = pickle.dumps(part)
                sink.write(SIZE.pack(len(content)) + content)
            sink.flush()
    except (BrokenPipeError, struct.error, EOFError, pickle.UnpicklingError):
        os._exit(0)  # the service has gone


def _parts(task: Task, body: bytes) -> Iterator[Any]:
    """Give the rows piece by piece and None at the end, or what they are refused for."""
    try:
        rows = narrowed(protocol.read(body, task.content_type, task.known), task)
        step = max(1, PIECE_VALUES // max(1, max(map(len, rows))))
        yield from (rows[start : start + step] for start in range(0, len(rows), step))
        yield None
    except RequestError as error:
        yield (error.status, error.message)
    except MemoryError:
        yield (413, "the body holds too much: send fewer rows")
    except Exception as error:  # its text may quote a value, and this is written to the log
        print(f"reading a large request failed: {type(error).__name__}", file=sys.stderr)
        yield (500, "an error of the service, see its log")


def narrowed(rows: list[Row], task: Task) -> list[Row]:
    """Return the rows with the columns that count, and what no column can hold cut short."""
    known = {*task.known.columns, *task.known.sources, *task.keep}
    known_here = known | {*[name for name in rows[0] if name not in known][:OTHERS]}
    made = []
    for number, row in enumerate(rows):
        for name, value in row.items():
            kind = type(value)
            if name not in known_here or (
                len(value) > task.max_text if kind is str else kind is list or kind is dict
            ):
                names = [name for name in row if name in known_here]
                row = {name: _short(row[name], name, number, task.max_text) for name in names}
                break
        made.append(row)
        known_here = known
    return made


def _short(value: Any, name: str, number: int, most: int) -> Any:
    if isinstance(value, str) and len(value) > most:
        raise RequestError(
            413,
            f"row {number}: column {name[:80]!r} holds a text of {len(value):,} characters, and a "
            f"value may have {most:,}",
        )
    if isinstance(value, list):
        return ["..."] if value else []  # refused in any case: no column holds lists
    return {"...": None} if isinstance(value, dict) and value else value


if __name__ == "__main__":
    main()
