"""Tell somebody of an alarm: a command gets it on its input, a webhook as the body of a request.

A failure is one sentence and changes no verdict: what the monitor found stands in its run, its
files and its exit code.
"""

import base64
import json
import logging
import shlex
import subprocess
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import unquote, urlsplit

from util_lib import redaction
from util_lib.errors import UserError
from util_lib.tracking.store.places import user_directory

logger = logging.getLogger("monitoring")

VARIABLE = "MONITORING_NOTIFY"  # whom to tell, where it is not to be typed
SECONDS = 30
SHOWN = 200  # characters of what a command said


def is_address(notify: str) -> bool:
    """Say whether it is a webhook and no command."""
    return notify.lower().startswith(("http://", "https://"))


def check(notify: str) -> None:
    """Raise `UserError` for an address that nothing can be posted to."""
    scheme = notify.partition("://")[0]
    if "://" in notify and scheme.isalnum() and not is_address(notify):
        raise UserError(
            f"notify must be a command or an http(s) address, found an address of {scheme}://"
        )


def remember(notify: str) -> None:
    """Let the secrets of an address be hidden wherever they turn up from now on.

    Of a webhook the path is one too.
    """
    if is_address(notify):
        redaction.remember_address(notify)
        parts = urlsplit(notify)
        redaction.remember(parts.path.strip("/"), parts.path.rpartition("/")[2])


def shown(notify: str) -> str:
    """Return whom it is that is notified, without secrets."""
    if not is_address(notify):
        return redaction.redacted(notify)
    parts = urlsplit(notify)
    return f"{parts.scheme}://{parts.hostname}/***"


def send(notify: str, verdict: dict[str, Any]) -> None:
    """Hand a verdict on as JSON."""
    body = json.dumps(verdict).encode()
    try:
        (_post if is_address(notify) else _call)(notify, body)
    except Exception as error:  # whatever it is: the verdict is what counts
        logger.error("nobody was notified: %s", redaction.redacted(" ".join(str(error).split())))
    else:
        logger.info("notified %s", shown(notify))


def _post(address: str, body: bytes) -> None:
    try:
        parts = urlsplit(address)
        if not parts.hostname:
            raise ValueError("the address names no host")
        headers = {"Content-Type": "application/json"}
        user, at, host = parts.netloc.rpartition("@")
        if at:
            given = base64.b64encode(unquote(user).encode()).decode()
            headers["Authorization"] = f"Basic {given}"
        plain = parts._replace(netloc=host, fragment="").geturl()
        request = urllib.request.Request(plain, body, headers, method="POST")
        with urllib.request.urlopen(request, timeout=SECONDS):
            pass
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{shown(address)} answered {error.code} {error.reason}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise RuntimeError(f"{shown(address)} could not be asked: {reason}") from None


def _call(command: str, body: bytes) -> None:
    argv = shlex.split(command)
    try:
        done = subprocess.run(
            argv, input=body, capture_output=True, timeout=SECONDS, cwd=user_directory()
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{argv[0]} did not end within {SECONDS} s and was stopped") from None
    except OSError as error:
        raise RuntimeError(f"{argv[0]} cannot be started: {error.strerror}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or "it said nothing"
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}: {said[-SHOWN:]}")
