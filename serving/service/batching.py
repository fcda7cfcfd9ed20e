"""Requests that wait together are predicted together.

Nobody waits for company: a prediction begins as soon as the one before has ended, and takes along
what has arrived meanwhile. A single request on an idle server is predicted at once.
"""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serving.model.loaded import Loaded
from serving.model.prediction import Prediction, predict
from serving.request_body.refusals import RequestError

logger = logging.getLogger("serving")

MOST_ROWS = 4_096  # predicted in one go; a larger request is one of its own
# Few rows are predicted where requests are received: handing them to a thread and back takes
# longer, and two threads of Python take turns only every 5 ms.
FEW_ROWS = 64
MOST_WAITING = 100_000  # rows; who comes then is asked to come again


@dataclass
class _Waiting:
    loaded: Loaded
    rows: list[dict[str, Any]]
    answer: asyncio.Future = field(repr=False)


class Batcher:
    """One queue in front of the models, in the event loop of the server."""

    def __init__(self, on_batch: Any = None):
        """`on_batch(loaded, rows, seconds)` hears of every prediction."""
        self._waiting: deque[_Waiting] = deque()
        self._rows = 0
        self._task: asyncio.Task | None = None
        self._on_batch = on_batch or (lambda *_: None)

    @property
    def waiting_rows(self) -> int:
        """Rows that wait or are being predicted."""
        return self._rows

    async def predict(self, loaded: Loaded, rows: list[dict[str, Any]]) -> Prediction:
        """Return the answer of `loaded` to checked rows; `RequestError` if it refuses them."""
        if self._rows and self._rows + len(rows) > MOST_WAITING:
            raise RequestError(503, "too many rows are waiting: send the request again later")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(loaded, rows, loop.create_future())
        self._waiting.append(waiting)
        self._rows += len(rows)
        if self._task is None:
            self._task = loop.create_task(self._work())
        try:
            return await waiting.answer
        finally:
            self._rows -= len(rows)

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self.drain_event_loop()
                await self._answer(self._next())
        finally:
            self._task = None

    async def drain_event_loop(self) -> None:
        """Let the event loop take in what has arrived, until nothing more has; no time is waited.

        A request needs two turns of the loop from its connection to this queue.
        """
        idle = 0
        while idle < 2:
            before = len(self._waiting)
            await asyncio.sleep(0)
            idle = idle + 1 if len(self._waiting) == before else 0

    def _next(self) -> list[_Waiting]:
        """Take what waits for the model of the first one, in order, up to `MOST_ROWS`."""
        batch: list[_Waiting] = []
        rows = 0
        while self._waiting:
            first = self._waiting[0]
            if first.answer.cancelled():  # its client has gone, or it took too long
                self._waiting.popleft()
                continue
            if batch and (
                first.loaded is not batch[0].loaded or rows + len(first.rows) > MOST_ROWS
            ):
                break
            batch.append(self._waiting.popleft())
            rows += len(first.rows)
        return batch

    async def _answer(self, batch: list[_Waiting]) -> None:
        if not batch:
            return
        try:
            labels, probabilities = await self._predict(batch)
        except Exception as error:
            if len(batch) > 1:  # the rows of one request must not fail its neighbours
                for waiting in batch:
                    await self._answer([waiting])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(_refusal(error))
            return
        start = 0
        for waiting in batch:
            end = start + len(waiting.rows)
            if not waiting.answer.done():
                part = None if probabilities is None else probabilities[start:end]
                found = Prediction(waiting.loaded, labels[start:end], part, waiting.rows)
                waiting.answer.set_result(found)
            start = end

    async def _predict(self, batch: list[_Waiting]) -> tuple[list[Any], np.ndarray | None]:
        loaded = batch[0].loaded
        rows = [row for waiting in batch for row in waiting.rows]
        begin = asyncio.get_running_loop().time()
        if len(rows) <= FEW_ROWS:
            labels, probabilities = predict(loaded, rows)
        else:
            labels, probabilities = await asyncio.to_thread(predict, loaded, rows)
        self._on_batch(loaded, len(rows), asyncio.get_running_loop().time() - begin)
        return labels, probabilities


def _refusal(error: Exception) -> Exception:
    """Take what a pipeline says of its values for the fault of the request."""
    if isinstance(error, ValueError | TypeError):
        return RequestError(422, f"the model refuses these rows: {' '.join(str(error).split())}")
    return error
