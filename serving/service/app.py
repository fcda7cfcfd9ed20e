"""The service as an ASGI app: its endpoints, around models that are already loaded."""

import asyncio
import contextlib
import json
import logging
import time
from collections import Counter as Tally
from collections.abc import AsyncIterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.routing import Route

from serving.capture.batches import Record
from serving.capture.recorder import Recorder
from serving.model.loaded import Loaded
from serving.model.prediction import Prediction
from serving.model.row_schema import PIECE
from serving.request_body import protocol
from serving.request_body.reader import Reader, Task
from serving.request_body.refusals import RequestError, body_of, broken
from serving.service import answers, card, counters, openapi
from serving.service.batching import FEW_ROWS, Batcher
from serving.service.champion_challenger import Comparison, Routing
from serving.service.counters import Metrics
from serving.service.explain import explain
from serving.service.gate import Gate
from serving.service.limits import SMALL_BODY, ServiceLimits
from serving.service.slots import Slot, follow
from util_lib import monitoring_log
from util_lib.pages.page import STYLE

logger = logging.getLogger("serving")

Capture = tuple[Path, float]  # the monitoring log, and the share of requests that it gets

PAGE = Path(__file__).parents[1] / "page"
MOST_SHADOW_ROWS = 2_000  # waiting; beyond them the challenger misses rows, and callers do not wait


class Service:
    """What the endpoints share: the models, the queue in front of them, and the counters."""

    def __init__(self, routing: Routing, limits: ServiceLimits, capture: Capture | None):
        """Put a queue in front of the models of `routing`, and record what `capture` says."""
        self.routing = routing
        self.slots = [slot for slot in (routing.champion, routing.challenger) if slot]
        self.limits = limits
        self.metrics = Metrics()
        self.comparison = Comparison(routing, self.metrics)
        self.batcher = Batcher(self._count_batch)
        self.reader = Reader(self.limits.read_seconds)
        self._shadows: set[asyncio.Task] = set()
        counts = self.metrics.recorded, self.metrics.unrecorded
        self.recorder = Recorder(*capture, *counts) if capture else None

    async def read(self, request: Request) -> list[dict[str, Any]]:
        """Return the rows of a request, not yet checked."""
        body, kind = await request.body(), request.headers.get("content-type")
        known = self._known(self.routing.champion.loaded)
        if len(body) <= SMALL_BODY:
            return protocol.read(body, kind, known)
        keep = self.routing.columns()
        return await self.reader.read(Task(kind, known, keep, self.limits.text), body)

    def _known(self, loaded: Loaded) -> protocol.Known:
        model, limits = loaded.model, self.limits
        form = model.declaration.csv
        return protocol.Known(model.columns, model.sources, limits.rows, limits.values, form)

    async def predict(self, request: Request) -> tuple[Slot, Prediction, list[str]]:
        """Answer the rows of a request by the model that its key leads to.

        The last of the answer is what may not be meant in the request.
        """
        begin = time.perf_counter()
        refused = "unreadable"
        try:
            rows = await self.read(request)
            refused = "refused"
            slot, prediction = await self._routed(request, rows)
        except RequestError as error:
            self._record_refusal(request, error, refused)
            raise
        self.comparison.add(slot.role, prediction, time.perf_counter() - begin)
        facts = request.scope["state"]["facts"]
        facts |= {"rows": len(rows), "role": slot.role, "version": prediction.loaded.version}
        self._record(facts["request_id"], slot.role, prediction)
        if self.routing.shadows:
            self._shadow(rows, prediction, facts["request_id"])
        warnings = self._warnings(request, await request.body(), prediction.loaded, rows)
        return slot, prediction, warnings

    async def _routed(
        self, request: Request, rows: list[dict[str, Any]]
    ) -> tuple[Slot, Prediction]:
        """Return the answer, and whose it is."""
        body = await request.body()
        slot = await in_thread_if_large(len(body), self.routing.slot, request.headers, rows, body)
        try:
            return slot, await self._answer(slot, rows)
        except Exception as error:
            if slot is self.routing.champion:
                if not isinstance(error, RequestError):  # else the rows are wrong, not the model
                    self.comparison.fail(slot)
                raise
            # What is tried out must not fail a caller, nor be blamed for rows that both refuse.
            prediction = await self._answer(self.routing.champion, rows)
            self._note_failure(slot, error)
            return self.routing.champion, prediction

    def _warnings(
        self, request: Request, body: bytes, loaded: Loaded, rows: list[dict[str, Any]]
    ) -> list[str]:
        warnings = loaded.schema.warnings(rows)
        if "csv" in request.headers.get("content-type", ""):
            differs = protocol.csv_form(body, self._known(loaded)).differs
            warnings += [f"the body is read in another form: {differs}"] if differs else []
        return warnings

    async def check(self, loaded: Loaded, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return rows as the model's declaration wants them; `RequestError` names what is not."""
        large = len(rows) > FEW_ROWS
        check = loaded.schema.check
        right, problems = await asyncio.to_thread(check, rows) if large else check(rows)
        if not problems:
            return right
        tally = Tally((problem.column, problem.rule) for problem in problems)
        for rule, times in tally.items():
            self.metrics.problems.labels(*rule).inc(times)
        raise broken(problems, all_seen=len(rows) <= PIECE)

    async def _answer(self, slot: Slot, rows: list[dict[str, Any]]) -> Prediction:
        loaded = slot.loaded  # this version from here on, whatever is loaded meanwhile
        return await self.batcher.predict(loaded, await self.check(loaded, rows))

    def _record(self, request_id: str, role: str, prediction: Prediction) -> None:
        """Record an answer, if its request is one of those that are."""
        if self.recorder is not None and self.recorder.wants(request_id):
            model, n_rows = prediction.loaded.model, range(len(prediction.rows))
            answer = prediction.rows, prediction.labels, prediction.probabilities
            self.recorder.add(Record(time.time(), request_id, role, model, n_rows, *answer))

    def _record_refusal(self, request: Request, error: RequestError, kind: str) -> None:
        """Record the rows that a refusal names, by the rules they break, else the whole request."""
        request_id = request.scope["state"]["facts"]["request_id"]
        if self.recorder is None or error.status >= 500 or not self.recorder.wants(request_id):
            return
        kinds = {p["row"]: p["rule"] for p in reversed(error.problems)} or {None: kind}
        slot, rules = self.routing.champion, list(kinds.values())
        model = slot.loaded.model
        record = Record(time.time(), request_id, slot.role, model, list(kinds), rejected=rules)
        self.recorder.add(record)

    def _shadow(self, rows: list[dict[str, Any]], champion: Prediction, request_id: str) -> None:
        if self.batcher.waiting_rows + len(rows) > MOST_SHADOW_ROWS:
            self.comparison.miss(len(rows))
            return
        task = asyncio.get_running_loop().create_task(self._compare(rows, champion, request_id))
        self._shadows.add(task)
        task.add_done_callback(self._shadows.discard)

    async def _compare(
        self, rows: list[dict[str, Any]], champion: Prediction, request_id: str
    ) -> None:
        slot, begin = self.routing.challenger, time.perf_counter()
        if slot is None:
            return
        try:
            prediction = await self._answer(slot, rows)
        except Exception as error:
            self._note_failure(slot, error)
            return
        self.comparison.add(slot.role, prediction, time.perf_counter() - begin)
        self.comparison.pair(champion, prediction)
        self._record(request_id, monitoring_log.SHADOW, prediction)

    def _note_failure(self, challenger: Slot, error: Exception) -> None:
        """Count and log what only the challenger could not answer; its words may hold data."""
        self.comparison.fail(challenger)
        logger.warning("the challenger failed: %s", type(error).__name__)

    def _count_batch(self, loaded: Loaded, rows: int, seconds: float) -> None:
        role = next((slot.role for slot in self.slots if slot.loaded is loaded), "champion")
        self.metrics.batch_rows.labels(role).observe(rows)
        self.metrics.batch_seconds.labels(role).observe(seconds)

    def replaced(self, slot: Slot) -> None:
        """Count that a slot has taken up another version."""
        self.metrics.replaced.labels(slot.role).inc()


def create(
    routing: Routing,
    limits: ServiceLimits | None = None,
    token: str | None = None,
    only_loopback: bool = True,
    poll_seconds: float = 5.0,
    capture: Capture | None = None,
) -> Gate:
    """Return the ASGI app; see `Gate` for `only_loopback`."""
    service = Service(routing, limits or ServiceLimits(), capture)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        following = asyncio.create_task(follow(service.slots, poll_seconds, service.replaced))
        if service.recorder is not None:
            service.recorder.start()
        yield
        following.cancel()
        await service.reader.close()
        if service.recorder is not None:
            await asyncio.to_thread(service.recorder.close)

    # FastAPI's own pages of documentation fetch scripts from elsewhere.
    app = FastAPI(title="Model service", docs_url=None, redoc_url=None, lifespan=lifespan)
    _refusals(app)
    _scoring(app, service)
    _about(app, service)
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    app.openapi = lambda: openapi.describe(app, service)  # type: ignore[method-assign] # FastAPI's way
    return Gate(app, service.metrics, service.limits, token, only_loopback)


def _scoring(app: FastAPI, service: Service) -> None:
    """Add what predicts: /invocations, /predict, /explain."""

    @app.post("/invocations", response_model=answers.Predictions)
    async def invocations(request: Request) -> Response:
        """Predict as MLflow's own server does."""
        slot, prediction, warnings = await service.predict(request)
        return _json(protocol.answer(prediction.labels, warnings), slot, prediction.loaded)

    @app.post("/predict", response_model=answers.Detailed)
    async def predict(request: Request, top: Annotated[int, Query(ge=1, le=1_000)] = 3) -> Response:
        """Predict, with the probabilities of all classes, and the `top` ones in order."""
        slot, prediction, warnings = await service.predict(request)
        body = await in_thread_if_large(
            len(prediction.labels) * 1_000, answers.detailed, prediction, top, warnings
        )
        return _json(body, slot, prediction.loaded)

    @app.post("/explain", response_model=answers.Explanation)
    async def explanation(request: Request) -> Response:
        """Say which features pushed the champion's prediction for one row, and how far."""
        rows, slot = await service.read(request), service.routing.champion
        if len(rows) != 1:
            raise RequestError(400, f"one row is explained at a time, found {len(rows)}")
        loaded = slot.loaded
        (row,) = await service.check(loaded, rows)
        pushes = await asyncio.to_thread(explain, loaded, row)
        return _json(json.dumps(pushes).encode(), slot, loaded)


def _about(app: FastAPI, service: Service) -> None:
    """Add what tells of the service: health, the model's card, counters, the page."""

    @app.get("/ping", response_class=Response)
    @app.get("/health", response_class=Response)
    async def ping() -> Response:
        """Say that a model is loaded and answers."""
        return JSONResponse({"status": "ok"})

    @app.get("/version", response_class=Response)
    async def mlflow_version() -> Response:
        """Say which MLflow the service speaks for."""
        return Response(_mlflow_version(), media_type="text/plain")

    @app.get("/model", response_model=answers.Card)
    async def model() -> Response:
        """Show the card of the champion, and the columns that it takes."""
        slot = service.routing.champion
        return _json(json.dumps(answers.card(slot, service.limits)).encode(), slot, slot.loaded)

    @app.get("/card", include_in_schema=False)
    async def model_card() -> Response:
        loaded = service.routing.champion.loaded
        told = answers.card(service.routing.champion, service.limits)
        return HTMLResponse(await asyncio.to_thread(card.as_page, loaded.model, told))

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return HTMLResponse(openapi.as_page(app.openapi(), str(request.base_url).rstrip("/")))

    @app.get("/page/base.css", include_in_schema=False)
    async def style() -> Response:
        return FileResponse(STYLE)

    @app.get("/metrics", response_class=Response)
    async def prometheus() -> Response:
        """Show the counters, for Prometheus."""
        return Response(service.metrics.show(service.slots), media_type=counters.CONTENT_TYPE)

    @app.get("/ab", response_class=Response)
    async def comparison(request: Request) -> Response:
        """Compare champion and challenger: a table for a browser, else JSON."""
        shown = service.comparison.show()
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(answers.comparison(shown))
        return JSONResponse(shown)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(PAGE / "index.html")


def _refusals(app: FastAPI) -> None:
    """Give every refusal the same form, also those of the framework."""

    def refuse(request: Request, error: RequestError, headers: Any = None) -> Response:
        request_id = request.scope["state"]["facts"]["request_id"]
        body = json.dumps(body_of(error, request_id)).encode()
        return Response(body, error.status, headers, media_type="application/json")

    @app.exception_handler(RequestError)
    async def of_ours(request: Request, error: RequestError) -> Response:
        return refuse(request, error)

    @app.exception_handler(HTTPException)
    async def of_starlette(request: Request, error: HTTPException) -> Response:
        known = ", ".join(sorted({route.path for route in app.routes if isinstance(route, Route)}))
        message = f"{error.detail}; this service has {known}"
        return refuse(request, RequestError(error.status_code, message), error.headers)

    @app.exception_handler(RequestValidationError)
    async def of_fastapi(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        message = f"parameter {'.'.join(map(str, first['loc'][1:]))}: {first['msg']}"
        return refuse(request, RequestError(422, message))

    @app.exception_handler(Exception)
    async def of_a_defect(request: Request, error: Exception) -> Response:
        return refuse(request, RequestError(500, "an error of the service, see its log"))


def _json(body: bytes, slot: Slot, loaded: Loaded) -> Response:
    headers = {
        "X-Model-Version": quote(loaded.version, safe="/:"),
        "X-Model-Digest": loaded.model.digest,
        "X-Model-Role": slot.role,
    }
    return Response(body, headers=headers, media_type="application/json")


async def in_thread_if_large(size: int, work: Any, *arguments: Any) -> Any:
    """Do small work here, large work in a thread, so that others are answered meanwhile."""
    if size <= SMALL_BODY:
        return work(*arguments)
    return await asyncio.to_thread(work, *arguments)


def _mlflow_version() -> str:
    for package in ("mlflow-skinny", "mlflow"):
        with contextlib.suppress(PackageNotFoundError):
            return version(package)
    return "unknown"
