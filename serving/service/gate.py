"""What every request passes before the app sees it, and every answer on its way out.

A request is given an id; it must name this host and, where a token is set, carry it; its body must
come within limits of size and time. Whatever happens it is answered, counted, and logged in one
line that holds nothing of its data.
"""

import asyncio
import hmac
import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from serving.request_body.refusals import RequestError, body_of
from serving.service.counters import Metrics
from serving.service.limits import SMALL_BODY, ServiceLimits

logger = logging.getLogger("serving.requests")

OPEN_PATHS = ("/ping", "/health")  # a health check has no token
STATIC_PREFIX = "/page/"  # neither has a browser that asks for the page
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (
        b"content-security-policy",
        b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    ),
]

Scope = dict[str, Any]


class Gate:
    """The ASGI app around the app."""

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        metrics: Metrics,
        limits: ServiceLimits,
        token: str | None,
        only_loopback: bool,
    ):
        """`only_loopback` refuses other host names: a web page elsewhere must not get in by DNS."""
        self.app = app
        self.metrics = metrics
        self.limits = limits
        self._token = token.encode() if token else None
        self._only_loopback = only_loopback
        self._held = 0
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        begin = time.perf_counter()
        headers = dict(scope["headers"])
        request_id = _request_id(headers)
        facts = {"endpoint": "other", "request_id": request_id}
        scope.setdefault("state", {})["facts"] = facts
        answer = _Answer(send, request_id)
        self.metrics.in_flight.inc()
        self._requests += 1
        held = 0
        try:
            self._admit(scope, headers)
            body = await self._body(headers, receive)
            held = len(body)
            self._held += held
            async with asyncio.timeout(self.limits.answer_seconds):
                await self.app(scope, replay_body(body, receive), answer.send)
        except RequestError as error:
            await answer.refuse(error)
        except TimeoutError:
            seconds = self.limits.answer_seconds
            await answer.refuse(RequestError(504, f"no answer within {seconds:g} s"))
        except _Gone:
            answer.status = 499  # as nginx calls a client that went away
        except Exception as error:
            logger.error("unexpected error", exc_info=error, extra={"fields": facts})
            await answer.refuse(RequestError(500, "an error of the service, see its log"))
        finally:
            self._held -= held
            self._requests -= 1
            self.metrics.in_flight.dec()
            self._record(scope, facts, answer, time.perf_counter() - begin, held)

    def _admit(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Raise `RequestError` for a request that is for another host, too many or has no token."""
        if self._only_loopback:
            host = headers.get(b"host", b"").decode("latin-1").lower()
            name = host if host.endswith("]") else host.rpartition(":")[0] or host
            if name not in LOOPBACK_NAMES:
                raise RequestError(
                    421,
                    "this service answers on the loopback address only, and the request is for "
                    "another host: use http://127.0.0.1, or set SERVING_TOKEN",
                )
        path = scope["path"]
        if self._requests > self.limits.requests and path not in OPEN_PATHS:
            raise RequestError(503, "too many requests at a time: send it again later")
        if self._token is None or path in OPEN_PATHS or path == "/" or _is_static(path):
            return
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        # Compared in constant time: how long a refusal takes tells nothing of the token.
        if not hmac.compare_digest(given.strip(), self._token) or kind.lower() != b"bearer":
            raise RequestError(401, "send the header `Authorization: Bearer <SERVING_TOKEN>`")

    async def _body(self, headers: dict[bytes, bytes], receive: Any) -> bytes:
        """Return the whole body; `RequestError` if it is too long, too slow or compressed."""
        limit = self.limits.body_bytes
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise RequestError(415, "Content-Encoding is not supported: send the body as it is")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > limit:
            raise RequestError(413, f"a body may have {limit:,} bytes, found {int(length):,}")
        parts, size, own = [], 0, 0
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    part = message.get("body", b"")
                    size += len(part)
                    if size > limit:
                        raise RequestError(413, f"a body may have {limit:,} bytes")
                    large = size > SMALL_BODY  # who sends little is not kept out by who sends much
                    if large and self._held + len(part) > self.limits.held_bytes:
                        raise RequestError(503, "too many large requests: send it again later")
                    self._held += len(part)
                    own += len(part)
                    parts.append(part)
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            raise RequestError(
                408, f"the body did not arrive within {self.limits.body_seconds:g} s"
            ) from None
        finally:
            self._held -= own

    def _record(
        self, scope: Scope, facts: dict[str, Any], answer: "_Answer", seconds: float, size: int
    ) -> None:
        route = scope.get("route")
        if _is_static(scope["path"]):
            facts["endpoint"] = STATIC_PREFIX
        elif route is not None:
            facts["endpoint"] = route.path
        endpoint = facts["endpoint"]
        self.metrics.requests.labels(endpoint, answer.status).inc()
        self.metrics.seconds.labels(endpoint).observe(seconds)
        facts |= {
            "method": scope["method"],
            "status": answer.status,
            "ms": round(seconds * 1000, 3),
            "bytes": size,
        }
        logger.info("answered", extra={"fields": facts})


class _Gone(Exception):
    """The client closed the connection before its request was whole."""


class _Answer:
    """The way out: adds the headers that every answer has, and knows what was sent."""

    def __init__(self, send: Any, request_id: str):
        self._send = send
        self._headers = [(b"x-request-id", request_id.encode()), *SECURITY_HEADERS]
        self._request_id = request_id
        self.status = 0

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", []), *self._headers]
        await self._send(message)

    async def refuse(self, error: RequestError) -> None:
        if self.status:  # an answer has begun: it can only be cut off
            return
        body = json.dumps(body_of(error, self._request_id)).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        if error.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if error.status == 503:
            headers.append((b"retry-after", b"1"))
        if error.status in (408, 413):  # the rest of the body is not read
            headers.append((b"connection", b"close"))
        await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def _request_id(headers: dict[bytes, bytes]) -> str:
    """Return the caller's id where it has one that is fit for a log, else a new one."""
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _is_static(path: str) -> bool:
    return path.startswith(STATIC_PREFIX)


def replay_body(body: bytes, receive: Any) -> Any:
    """Return a `receive` that gives the body that was read, then what else the client does."""
    given = False

    async def again() -> dict[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
