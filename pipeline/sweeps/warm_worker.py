"""The warm process that runs a job process's trials: `worker.py` in the folder of their step.

One for each job process, kept until that ends. It has a session of its own, so that Ctrl-C at a
terminal does not reach it; it ends when it is told to, and when the process that asks is gone.
"""

import atexit
import json
import os
import subprocess
from typing import Any

from pipeline.settings.redacted import without_variables
from pipeline.settings.surroundings import step_folder

SCRIPT = "worker.py"  # in the folder of a step whose runs can be trials
END_S = 10  # for a worker to end by itself

_kept: list["Worker"] = []


class Worker:
    """A running worker; `ask` waits for its answer."""

    def __init__(self, python: str, uri: str) -> None:
        """Start the script of the step at `uri` with the interpreter `python`."""
        # a client of W&B starts a service process of its own, not this process's, which may end
        with without_variables():
            environment = {name: v for name, v in os.environ.items() if name != "WANDB_SERVICE"}
        self._process = subprocess.Popen(
            [python, str(step_folder(uri) / SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
            env={**environment, "TRACKING_PUBLISH": "parent"},
        )
        assert self._process.stdin and self._process.stdout  # they are pipes
        self._requests, self._answers = self._process.stdin, self._process.stdout

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Hand over a request and return the answer; a worker that dies failed the trial."""
        line = ""
        try:
            self._requests.write(json.dumps(request) + "\n")
            self._requests.flush()
            line = self._answers.readline()
        except BrokenPipeError:
            pass
        if line:
            return json.loads(line)
        code = self._process.wait()
        end()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return {
            "state": "crashed",
            "error": f"the process that ran it ended ({how}): too little memory is the usual cause",
        }

    def close(self) -> None:
        """Let it end; one that does not is killed."""
        self._requests.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()


def worker(python: str, uri: str) -> Worker:
    """Return this process's worker; the first call starts it."""
    if not _kept:
        _kept.append(Worker(python, uri))
        atexit.register(end)
    return _kept[0]


def end() -> None:
    """End this process's worker, if it has one."""
    while _kept:
        _kept.pop().close()
