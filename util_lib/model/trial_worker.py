"""Run trials of a sweep in one process that stays: imports and data are loaded once.

Reads one request a line on stdin (JSON) and answers each with one line on stdout; ends with stdin.
Started by the pipeline as `worker.py` of a training step, with the interpreter of that step's
environment; what a trial is stands in trials.py.
"""

import json
import logging
import os
import queue
import signal
import sys
import threading
import traceback
from typing import IO, Any

from util_lib.errors import UserError
from util_lib.model import trials
from util_lib.model.training import Trainer

END = ""  # what reading a line gives at the end of stdin


class Parent:
    """The process that asks; when it is gone, so is the worker."""

    def __init__(self) -> None:
        """Take stdin and stdout; what else is printed goes to stderr."""
        self._answers: IO[str] = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._lines: queue.Queue[str] = queue.Queue()
        self._busy = False
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while line := sys.stdin.readline():
            self._lines.put(line)
        if self._busy:  # nobody waits for the trial any more
            os.kill(os.getpid(), signal.SIGTERM)
        self._lines.put(END)

    def ask(self) -> dict[str, Any] | None:
        """Return the next request, None when there are no more."""
        self._busy = False
        line = self._lines.get()
        self._busy = True
        return json.loads(line) if line else None

    def answer(self, answer: dict[str, Any]) -> None:
        """Answer a request."""
        self._answers.write(json.dumps(answer, default=str) + "\n")
        self._answers.flush()


def answer(request: dict[str, Any], warm: trials.Warm, known: dict[str, Any]) -> dict[str, Any]:
    """Do what a request asks; a failure is an answer too."""
    try:
        if "error" in request:
            return trials.log_failure(request, warm.trainer)
        if "parameters_file" in request:
            return {"state": "finished"} | trials.log_winner(request, warm)
        fingerprint = request["sweep"].get("fingerprint")
        if fingerprint in known and (
            taken := trials.take(request, known[fingerprint], warm.trainer)
        ):
            return {"state": "finished"} | taken
        done = trials.run_trial(request, warm)
        known[fingerprint] = done | {"sweep": request["sweep"]}
        return {"state": "finished"} | done
    except UserError as error:
        return {"state": "failed", "error": " ".join(str(error).split())}
    except Exception as error:
        traceback.print_exc()
        return {"state": "failed", "error": f"unexpected {type(error).__name__}: {error}"}


def serve(trainer: Trainer) -> None:
    """Answer requests for trials of a training step until there are no more."""
    parent, warm = Parent(), trials.Warm(trainer)
    known: dict[str, Any] | None = None  # finished trials by fingerprint
    for handler in logging.getLogger().handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.WARNING)  # many trials write to one terminal
    while request := parent.ask():
        if known is None:
            known = trials.recorded(request["project"], trainer) if request.get("reuse") else {}
        parent.answer(answer(request, warm, known))
