"""A connection that a slow or silent client cannot hold.

uvicorn waits without end for the headers of a request, and for a client to take its answer; here
both have a limit. How long a body may take is the gate's affair. Where all places are taken, a new
connection gets that of the one which has been idle for longest, else of one whose request is not
whole yet: who sends nothing keeps nobody out.
"""

import resource
import time
from asyncio import TimerHandle, Transport
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 10.0  # from the connection, or the first byte of a request, to its last header
HEADER_BYTES = 32_768
TAKE_SECONDS = 30.0  # in which a client takes some of an answer that waits for it
MOST = 1_000  # connections; those whose requests are being answered may be more
NEW_SECONDS = 1.0  # so long a new connection is given for its request, before it counts as idle
SPARE_FILES = 200  # that a process may open, kept for everything but connections


class ConnectionPlaces:
    """The connections that nobody would miss, those first that have been so for longest."""

    def __init__(self, most: int):
        """Keep up to `most` connections."""
        self.most = most
        self._idle: dict[Connection, float] = {}  # no request, or not all of its headers: since
        self._unfinished: dict[Connection, None] = {}  # a part of a body

    def is_idle(self, connection: "Connection") -> None:
        """Count a connection as idle from now on."""
        self.is_busy(connection)
        self._idle[connection] = time.monotonic()

    def is_unfinished(self, connection: "Connection") -> None:
        """Count a connection as one whose request is on its way."""
        self.is_busy(connection)
        self._unfinished[connection] = None

    def is_busy(self, connection: "Connection") -> None:
        """Count a connection as one that is answered, or gone."""
        self._idle.pop(connection, None)
        self._unfinished.pop(connection, None)

    def make_room(self, taken: set[Any]) -> None:
        """Drop the connections that would be missed least, where more than `most` are taken."""
        while len(taken) > self.most and (least := self._least()) is not None:
            self.is_busy(least)
            taken.discard(least)
            least.transport.abort()

    def _least(self) -> "Connection | None":
        idle, since = next(iter(self._idle.items()), (None, 0.0))
        if idle is None or time.monotonic() - since < NEW_SECONDS:
            return next(iter(self._unfinished), idle)
        return idle


class Connection(HttpToolsProtocol):
    """uvicorn's connection with limits on headers, on unread answers and on how many there are."""

    places: ConnectionPlaces

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._header_bytes = 0
        self._timer: TimerHandle | None = None
        self._within(HEADER_SECONDS)
        self.places.make_room(self.connections)
        self.places.is_idle(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the time limits, and its place."""
        self._at_ease()
        self.places.is_busy(self)
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin to wait for the headers."""
        self._header_bytes = 0
        super().on_message_begin()
        if self._timer is None:
            self._within(HEADER_SECONDS)

    def on_url(self, url: bytes) -> None:
        """Count a part of the address as headers."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count one header."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Pass the request on."""
        self._at_ease()
        self.places.is_unfinished(self)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Pass on that the request is whole."""
        answered = self.cycle is not None and self.cycle.response_complete  # without its body
        (self.places.is_idle if answered else self.places.is_busy)(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the connection; a client that does not read its answer loses it."""
        super().on_response_complete()
        if self.cycle.response_complete:  # else the next request of this client is being answered
            self.places.is_idle(self)
        if self._timer is None:
            self._is_taking(None)

    def _is_taking(self, before: int | None) -> None:
        """Look again and again whether the client takes what is left of its answer."""
        self._timer = None
        left = self.transport.get_write_buffer_size()
        if left and before is not None and left >= before:
            self.transport.abort()
        elif left:
            self._timer = self.loop.call_later(TAKE_SECONDS, self._is_taking, left)

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > HEADER_BYTES:
            raise ValueError("headers are too long")  # httptools makes a parser's error of it

    def _within(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self.transport.abort)

    def _at_ease(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def options() -> dict[str, Any]:
    """Return the settings of uvicorn that belong to it, for one server."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MOST + SPARE_FILES  # those that are answered may be as many again
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    most = MOST if soft == resource.RLIM_INFINITY else min(MOST, max(1, (soft - SPARE_FILES) // 2))
    return {
        "http": type("Connection", (Connection,), {"places": ConnectionPlaces(most)}),
        "ws": "none",
        "timeout_keep_alive": 30,
        "server_header": False,
        "access_log": False,
        "timeout_graceful_shutdown": 30,
    }
