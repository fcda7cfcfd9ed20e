"""The engine that runs trials on a Ray cluster which is there already.

Ray itself is in a process of its own (ray_process.py): what becomes of that, or of the cluster's
head, ends the sweep with a sentence and not this process without one.
"""

import importlib.util
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

from pipeline.sweeps import context
from pipeline.sweeps.cluster.engine import Lost
from pipeline.sweeps.cluster.head import Head
from pipeline.sweeps.cluster.node import Answer, Job, Surroundings
from pipeline.sweeps.cluster.ray_process import INSTALL
from util_lib.errors import UserError
from util_lib.project import ROOT

IMPORT_S = 120  # for the process to import ray
GREET_S = 10  # for a head to answer as Ray does
CONNECT_S = 180  # for Ray to let us in, and to take the code
LOOK_S = 1.0  # between two looks at the head
END_S = 10  # for the process to end
SERVE = "import sys; from pipeline.sweeps.cluster import ray_process; ray_process.serve({})"


class RayEngine:
    """A cluster that a process of ours is connected to; `close` ends that."""

    at_once: int | None = None

    def __init__(self, address: str) -> None:
        """Start the process; it has not connected yet."""
        self._address = address
        self._head: Head | None = None  # known when connected
        self._ended: dict[str, Answer | Lost | UserError] = {}
        ours, its = socket.socketpair()
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        with its, open(os.environ["PIPELINE_LOG"], "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", SERVE.format(its.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[its.fileno()],
                start_new_session=True,  # Ctrl-C at a terminal is this process's business
                env=os.environ | {"PYTHONPATH": path},
            )
        self._pipe = Connection(ours.detach())

    def connect(self, init: dict[str, Any], remote: dict[str, Any]) -> None:
        """Connect; `UserError` within seconds where that is not to be."""
        self._receive(IMPORT_S, "Ray was not imported")
        address = init["address"]
        if address != "auto":
            stranger = (
                f"what listens at {address} does not answer as the head of a Ray cluster does: "
                "correct hydra.launcher.ray.init.address (docs/cluster.md says how to start one)"
            )
            self._ask("greet", address, within=GREET_S, otherwise=stranger)
        silent = (
            f"the Ray cluster at {address} did not let us in within {CONNECT_S} s; what Ray says "
            f"of it stands in {os.environ['PIPELINE_LOG']}"
        )
        self._address = self._ask("connect", init, remote, within=CONNECT_S, otherwise=silent)
        self._head = Head(self._address)

    def _ask(self, name: str, *given: Any, within: float | None = None, otherwise: str = "") -> Any:
        """Have the process call a method of `Driver`; return what it returned.

        Raises `UserError`: its own, `otherwise` after `within` seconds, or that the head is lost.
        """
        try:
            self._pipe.send((name, given))
        except OSError:
            raise UserError(otherwise or self._how_lost()) from None
        return self._receive(within, otherwise)

    def _receive(self, within: float | None, otherwise: str) -> Any:
        until = None if within is None else time.monotonic() + within
        try:
            while not self._pipe.poll(LOOK_S):
                late = until is not None and time.monotonic() > until
                if late or (self._head and self._head.is_lost()):
                    raise EOFError
            done, value = self._pipe.recv()
        except (EOFError, OSError):
            self._kill()
            raise UserError(otherwise or self._how_lost()) from None
        if self._head and self._head.is_lost():
            self._kill()
            raise UserError(self._how_lost())
        if not done:
            raise value
        return value

    def _how_lost(self) -> str:
        """Say that the cluster is gone, and how the sweep goes on."""
        words = [*sys.argv]
        name = f"sweep.name={context.required().name}"
        words += [name] if name not in words else []
        return (
            f"the head of the Ray cluster at {self._address} was lost, and the sweep with it; what "
            "was finished is recorded. With a cluster again, this goes on: python "
            f"{shlex.join(words)}"
        )

    def check(self, surroundings: Surroundings) -> bool:
        """Have every machine look around."""
        elsewhere, said = self._ask("check", surroundings)
        print(said, flush=True)
        return elsewhere

    def start(self, jobs: list[Job]) -> list[Any]:
        """Hand the jobs to Ray."""
        attempts = {f"{job.number}.{job.attempt}": job for job in jobs}
        self._ask("start", attempts)
        return [*attempts]

    def wait(self, _running: list[Any]) -> list[Any]:
        """Return the jobs that have ended or were lost, if any has within a second."""
        ended, said = self._ask("wait")
        if said:
            print(said, file=sys.stderr, flush=True)
        self._ended |= dict(ended)
        return [attempt for attempt, _ in ended]

    def result(self, handle: Any) -> Answer:
        """Return what a job returned; `Lost` where Ray lost its process or its machine."""
        found = self._ended.pop(handle)
        if isinstance(found, Exception):
            raise found
        return found

    def stop(self, running: list[Any]) -> None:
        """End the jobs that still run."""
        if running and self._process.poll() is None:
            self._ask("stop")

    def close(self) -> None:
        """End the process: Ray then ends what it still runs for it."""
        self._pipe.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._kill()

    def _kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


def connect(settings: dict[str, Any]) -> RayEngine:
    """Connect to the cluster that `settings` or RAY_ADDRESS names; `UserError` where that fails."""
    if importlib.util.find_spec("ray") is None:
        raise UserError(f"hydra/launcher=ray needs the package ray: {INSTALL}")
    remote = {key: value for key, value in settings["remote"].items() if value is not None}
    given = {key: value for key, value in settings["init"].items() if value is not None}
    address = given.setdefault("address", os.environ.get("RAY_ADDRESS", ""))
    refuse_address(address)
    engine = RayEngine(address)
    try:
        engine.connect(given, remote)
    except BaseException:
        engine.close()
        raise
    if os.environ.get("RAY_AUTH_MODE") != "token":
        print(
            f"warning: the Ray cluster at {address} asks nobody for a token: whoever reaches its "
            "ports runs programs as you (docs/cluster.md says how to protect it)",
            file=sys.stderr,
            flush=True,
        )
    return engine


def refuse_address(address: str) -> None:
    """See that somebody listens there: Ray itself would wait for minutes."""
    if not address or address == "local":
        raise UserError(
            "hydra/launcher=ray needs the address of a cluster that is there already: "
            "hydra.launcher.ray.init.address=<head>:6379 (docs/cluster.md says how to start one)"
        )
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    if "://" in address or not host or not port.isdigit():
        raise UserError(
            "hydra.launcher.ray.init.address must be <host>:<port> of the cluster's head, as "
            f"`ray start --head` prints it, or auto on a machine of the cluster, found {address!r}"
        )
    try:
        Head(address).refuse()
    except OSError as error:
        raise UserError(
            f"no Ray cluster answers at {address} ({error}): correct "
            "hydra.launcher.ray.init.address, or start it (docs/cluster.md)"
        ) from error
