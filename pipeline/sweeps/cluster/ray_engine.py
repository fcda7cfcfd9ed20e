"""The engine that runs trials on a Ray cluster which is there already."""

import os
import socket
import sys
import time
from typing import Any

from pipeline.sweeps.cluster.engine import Lost
from pipeline.sweeps.cluster.node import Answer, Job, Machine, Surroundings, look, run
from util_lib.errors import UserError

INSTALL = "pip install -r requirements-cluster.txt"
CONNECT_S = 5
WAIT_S = 1.0  # between two looks at signals
NODES_S = 5.0  # between two looks at which machines live
LOOK_S = 300  # for a machine to unpack the code and import it
NEVER_SENT = [".git", "tracking_store", "mlruns", "outputs", "multirun", "*.db", "*.log"]


class Places:
    """An actor that knows on which machine each attempt runs, as that machine told it.

    Ray says that a machine is dead within about a minute, but of a call to one that fell silent
    (no power, no network) only after several: whoever knows the machine need not wait for that.
    """

    def __init__(self) -> None:
        """Begin with no attempt."""
        self._found: dict[str, str] = {}

    def note(self, attempt: str, node: str) -> None:
        """Note that an attempt runs on the machine that Ray calls `node`."""
        self._found[attempt] = node

    def all(self) -> dict[str, str]:
        """Return the machine of every attempt."""
        return self._found


class RayEngine:
    """A cluster that this process is connected to."""

    at_once: int | None = None

    def __init__(self, ray: Any, remote: dict[str, Any]) -> None:
        """Keep the module `ray`, and what `ray.remote` is given for each trial."""
        self._ray = ray
        # An attempt that a machine took with it is repeated by cluster.py, which says so.
        self._remote = {"num_cpus": 1} | remote | {"max_retries": 0}
        here = self._on(ray.get_runtime_context().get_node_id())  # where it lives as long as we do
        self._places = ray.remote(**here)(Places).remote()
        self._attempts: dict[Any, str] = {}
        self._lost: set[Any] = set()
        self._looked = time.monotonic()

    def _on(self, node: str) -> dict[str, Any]:
        """Return options for what runs on one machine and takes no core from trials."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return {
            "num_cpus": 0,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node_id=node, soft=False),
        }

    def check(self, surroundings: Surroundings) -> bool:
        """Have every machine look around, and see that one is large enough for a trial."""
        cpus = self._remote["num_cpus"]
        alive = [node for node in self._ray.nodes() if node["Alive"]]
        usable = [node for node in alive if node["Resources"].get("CPU", 0) >= cpus]
        if not usable:
            most = max((node["Resources"].get("CPU", 0) for node in alive), default=0)
            raise UserError(
                f"hydra.launcher.ray.remote.num_cpus={cpus} is more than any machine of the Ray "
                f"cluster has: the largest of {len(alive)} has {most:g}"
            )
        asked = []
        for node in usable:
            task = self._ray.remote(max_retries=0, **self._on(node["NodeID"]))(_look_there)
            asked.append((node["NodeManagerAddress"], task.remote(surroundings)))
        machines = [self._look(address, task) for address, task in asked]
        if refused := [machine.refusal for machine in machines if machine.refusal]:
            raise UserError(refused[0])
        slots = sum(int(node["Resources"]["CPU"] // cpus) for node in usable)
        names = ", ".join(node["NodeManagerAddress"] for node in usable)
        print(f"Ray: {len(usable)} machines ({names}), {slots} trials at once", flush=True)
        return any(machine.kernel != surroundings.kernel for machine in machines)

    def _look(self, address: str, task: Any) -> Machine:
        try:
            return self._ray.get(task, timeout=LOOK_S)
        except self._ray.exceptions.RayError as error:
            raise UserError(
                f"the machine {address} of the Ray cluster cannot run trials: {_words(error)}; it "
                f"needs what this one has ({INSTALL}, the same Python)"
            ) from error

    def start(self, jobs: list[Job]) -> list[Any]:
        """Hand the jobs to Ray."""
        task = self._ray.remote(**self._remote)(_run_there)
        started = []
        for job in jobs:
            attempt = f"{job.number}.{job.attempt}"
            started.append(task.remote(job, attempt, self._places))
            self._attempts[started[-1]] = attempt
        return started

    def wait(self, running: list[Any]) -> list[Any]:
        """Return a job that has ended, if one has within a second, or those that were lost."""
        if ended := self._ray.wait(running, num_returns=1, timeout=WAIT_S)[0]:
            return ended
        if time.monotonic() - self._looked < NODES_S:
            return []
        self._looked = time.monotonic()
        dead = {node["NodeID"] for node in self._ray.nodes() if not node["Alive"]}
        places = self._ray.get(self._places.all.remote()) if dead else {}
        lost = [handle for handle in running if places.get(self._attempts[handle]) in dead]
        self._lost |= {*lost}
        return lost

    def result(self, handle: Any) -> Answer:
        """Return what a job returned; `Lost` where Ray lost its process or its machine."""
        if handle in self._lost:
            raise Lost("its machine was lost")
        try:
            return self._ray.get(handle)
        except self._ray.exceptions.RayTaskError as error:
            raise UserError(
                f"a trial could not be run on its machine of the Ray cluster: {_words(error)}; it "
                f"needs what this one has ({INSTALL}, the same Python)"
            ) from error
        except self._ray.exceptions.RayError as error:
            raise Lost(f"its machine or process was lost ({type(error).__name__})") from error

    def stop(self, running: list[Any]) -> None:
        """End the jobs that still run."""
        for handle in running:
            self._ray.cancel(handle, force=True)


def _look_there(surroundings: Surroundings) -> Machine:
    return look(surroundings, _address())


def _run_there(job: Job, attempt: str, places: Any) -> Answer:
    from ray import get_runtime_context

    places.note.remote(attempt, get_runtime_context().get_node_id())
    return run(job, _address())


def _address() -> str:
    """Return the address by which Ray knows this machine; several may share a name."""
    from ray.util import get_node_ip_address

    return get_node_ip_address()


def connect(settings: dict[str, Any]) -> RayEngine:
    """Connect to the cluster that `settings` or RAY_ADDRESS names; `UserError` where that fails."""
    try:
        import ray
    except ImportError as error:
        raise UserError(f"hydra/launcher=ray needs the package ray: {INSTALL}") from error
    remote = {key: value for key, value in settings["remote"].items() if value is not None}
    if ray.is_initialized():  # by an earlier batch of trials
        return RayEngine(ray, remote)
    given = {key: value for key, value in settings["init"].items() if value is not None}
    address = given.setdefault("address", os.environ.get("RAY_ADDRESS", ""))
    refuse_address(address)
    _send_code(given)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns
    try:
        ray.init(**{"log_to_driver": False, "logging_level": "ERROR"} | given)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UserError(
            f"the Ray cluster at {address} does not let us in: {_words(error)}; where it asks for "
            "a token (it should: docs/cluster.md), set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN here"
        ) from error
    if os.environ.get("RAY_AUTH_MODE") != "token":
        print(
            f"warning: the Ray cluster at {address} asks nobody for a token: whoever reaches its "
            "ports runs programs as you (docs/cluster.md says how to protect it)",
            file=sys.stderr,
            flush=True,
        )
    return RayEngine(ray, remote)


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
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except OSError as error:
        raise UserError(
            f"no Ray cluster answers at {address} ({error}): correct "
            "hydra.launcher.ray.init.address, or start it (docs/cluster.md)"
        ) from error


def _send_code(init: dict[str, Any]) -> None:
    """Leave out of the code that Ray sends what runs leave in its folder."""
    environment = {k: v for k, v in (init.get("runtime_env") or {}).items() if v is not None}
    if environment.get("working_dir"):
        environment["excludes"] = [*environment.get("excludes", []), *NEVER_SENT]
    init["runtime_env"] = environment


def _words(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:400] if lines else type(error).__name__
