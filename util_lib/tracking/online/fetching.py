"""Limits on how long the client waits for a file that it fetches.

It fetches by itself, without the service process that the other limits are for: it would wait for
hours where a server says so, for ever where one says nothing, and ask sixteen times in between.
"""

import os
from typing import Any, Self

from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from util_lib.tracking.online.client import LIMITS

TIMEOUT = "WANDB_HTTP_TIMEOUT"
RETRIES, BACKOFF_S = 3, 0.5
LONGEST_PAUSE_S = 3  # of those that a server asks for; each file has two addresses to ask
AT_ONCE = 64  # connections, as the client has


class _Patience(Retry):
    """Ask again, but not where the server says to come back after a long time."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: Any = None,
        *given: Any,
        **named: Any,
    ) -> Self:
        told = self.get_retry_after(response) if response is not None else None
        patience = self if (told or 0) <= LONGEST_PAUSE_S else self.new(total=0)
        return super(_Patience, patience).increment(method, url, response, *given, **named)


class _Adapter(HTTPAdapter):
    def send(self, request: PreparedRequest, *given: Any, **named: Any) -> Response:
        if named.get("timeout") is None:
            named["timeout"] = float(os.environ.get(TIMEOUT, LIMITS[TIMEOUT]))
        return super().send(request, *given, **named)


def limited(session: Session) -> Session:
    """Let a session of the client keep the limits; return it."""
    patience = _Patience(
        RETRIES,
        backoff_factor=BACKOFF_S,
        status_forcelist=(408, 429, 500, 502, 503, 504),
        raise_on_status=False,  # the client looks at the status itself
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(AT_ONCE, AT_ONCE, patience))
    return session
