"""A connection that a slow or silent client cannot hold.

uvicorn waits without end for the headers of a request, and for a client to take its answer; here
both have a limit. How long a body may take is the gate's affair.
"""

from asyncio import TimerHandle, Transport
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 10.0  # from the connection, or the first byte of a request, to its last header
HEADER_BYTES = 32_768
TAKE_SECONDS = 30.0  # in which a client takes some of an answer that waits for it


class Connection(HttpToolsProtocol):
    """uvicorn's connection with limits on headers and on unread answers."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._header_bytes = 0
        self._timer: TimerHandle | None = None
        self._within(HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the time limits."""
        self._at_ease()
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
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Go on with the connection; a client that does not read its answer loses it."""
        super().on_response_complete()
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
    """Return the settings of uvicorn that belong to it."""
    return {
        "http": Connection,
        "ws": "none",
        "timeout_keep_alive": 30,
        "limit_concurrency": 1_000,
        "server_header": False,
        "access_log": False,
        "timeout_graceful_shutdown": 30,
    }
