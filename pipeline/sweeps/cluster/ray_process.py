"""The process that speaks with Ray for the launching one (ray_engine.py), which outlives it.

Ray ends a process that has lost its head, without a word to Python, and writes to its terminal
whatever it likes: here that ends this process, and the lines go to the log.
"""

import contextlib
import os
import platform
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from pipeline.sweeps.cluster import head
from pipeline.sweeps.cluster.engine import Lost
from pipeline.sweeps.cluster.node import Answer, Job, Machine, Surroundings, look, run
from util_lib.errors import UserError
from util_lib.project import ROOT

INSTALL = "pip install -r requirements-cluster.txt"
SAME = f"it needs what this one has ({INSTALL}, the same Python, the code)"
WAIT_S = 1.0  # for a trial to end, before the launching process is told that none has
NODES_S = 5.0  # between two looks at which machines live
SAY_S = 60.0  # between two lines on what is waited for
LOOK_S = 300  # for a machine to unpack the code and import it
NEVER_SENT = [".git", "tracking_store", "mlruns", "outputs", "multirun", "*.db", "*.log"]
NAMES = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}  # as machines call them

Ended = tuple[str, Answer | Lost | UserError]  # an attempt and what became of it


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


class Driver:
    """What the launching process may ask; every method answers it."""

    def __init__(self) -> None:
        """Begin without a cluster: `import ray` is what takes long."""
        import ray

        self._ray = ray
        self._handles: dict[str, Any] = {}  # by attempt
        self._looked = self._said = time.monotonic()

    def greet(self, address: str) -> None:
        """See that a Ray cluster of our version answers; anything else may take for ever."""
        from ray._common.usage.usage_lib import get_cluster_metadata

        try:
            found = get_cluster_metadata(self._ray._raylet.GcsClient(address=address)) or {}
        except self._ray.exceptions.AuthenticationError as error:
            raise UserError(_why_not_in(address, error)) from error
        ours = {"ray_version": self._ray.__version__, "python_version": platform.python_version()}
        if found and any(found.get(name) != version for name, version in ours.items()):
            raise UserError(
                f"the Ray cluster at {address} runs Ray {found.get('ray_version')} on Python "
                f"{found.get('python_version')}, and this process Ray {ours['ray_version']} on "
                f"Python {ours['python_version']}: have the same on all machines ({INSTALL})"
            )

    def connect(self, init: dict[str, Any], remote: dict[str, Any]) -> str:
        """Connect as `ray.init` does; return the head's address.

        Raises `UserError` where the cluster lets nobody in, or could never run what `remote` says.
        """
        ray = self._ray
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns
        try:
            ray.init(**{"log_to_driver": False, "logging_level": "ERROR"} | _code_to_send(init))
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise UserError(_why_not_in(init["address"], error)) from error
        # An attempt that a machine took with it is repeated by launcher.py, which says so.
        self._remote = {"num_cpus": 1} | remote | {"max_retries": 0}
        try:
            self._task = ray.remote(**self._remote)(_run_there)
        except (TypeError, ValueError) as error:
            raise UserError(f"hydra.launcher.ray.remote: {_words(error)}") from error
        self._wanted = _wanted(self._remote)
        if not self._usable():
            raise UserError(self._lack())
        here = self._on(ray.get_runtime_context().get_node_id())  # where it lives as long as we do
        self._places = ray.remote(**here)(Places).remote()
        return ray.get_runtime_context().gcs_address

    def _on(self, node: str) -> dict[str, Any]:
        """Return options for what runs on one machine and takes no core from trials."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return {
            "num_cpus": 0,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node_id=node, soft=False),
        }

    def _alive(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def _usable(self) -> list[dict[str, Any]]:
        """Return the machines that are large enough for a trial."""
        return [
            node
            for node in self._alive()
            if all(node["Resources"].get(name, 0) >= n for name, n in self._wanted.items())
        ]

    def _lack(self) -> str:
        found = [
            f"{node['NodeManagerAddress']} has {_amounts(node['Resources'], self._wanted)}"
            for node in self._alive()[:5]
        ]
        return (
            "no machine of the Ray cluster has what hydra.launcher.ray.remote asks for one trial, "
            f"{_amounts(self._wanted, self._wanted)}: {'; '.join(found)}; ask for less, or start a "
            "machine that has it (docs/cluster.md)"
        )

    def check(self, surroundings: Surroundings) -> tuple[bool, str]:
        """Have every machine look around; return whether one is not this one, and what to say."""
        usable = self._usable()
        asked = []
        for node in usable:
            task = self._ray.remote(max_retries=0, **self._on(node["NodeID"]))(_look_there)
            asked.append((node["NodeManagerAddress"], task.remote(surroundings)))
        machines = [self._look(address, task) for address, task in asked]
        if refused := [machine.refusal for machine in machines if machine.refusal]:
            raise UserError(refused[0])
        slots = sum(self._slots(node["Resources"]) for node in usable)
        names = ", ".join(node["NodeManagerAddress"] for node in usable)
        said = f"Ray: {len(usable)} machines ({names}), {slots} trials at once"
        return any(machine.kernel != surroundings.kernel for machine in machines), said

    def _slots(self, resources: dict[str, float]) -> int:
        """Say how many trials a machine runs at a time; one, where a trial asks for nothing."""
        return min((int(resources[name] // n) for name, n in self._wanted.items()), default=1)

    def _look(self, address: str, task: Any) -> Machine:
        try:
            return self._ray.get(task, timeout=LOOK_S)
        except self._ray.exceptions.RayError as error:
            raise UserError(
                f"the machine {address} of the Ray cluster cannot run trials: {_words(error)}; "
                f"{SAME}"
            ) from error

    def start(self, jobs: dict[str, Job]) -> None:
        """Hand attempts to Ray."""
        for attempt, job in jobs.items():
            self._handles[attempt] = self._task.remote(job, attempt, self._places)

    def wait(self) -> tuple[list[Ended], str]:
        """Return the attempts that have ended within a second, or were lost, and what to say."""
        by_handle = {handle: attempt for attempt, handle in self._handles.items()}
        ended, _ = self._ray.wait([*by_handle], num_returns=1, timeout=WAIT_S)
        if ended:  # others may have, too
            ended, _ = self._ray.wait([*by_handle], num_returns=len(by_handle), timeout=0)
            self._said = time.monotonic()
        found: list[Ended] = [(by_handle[handle], self._result(handle)) for handle in ended]
        said = ""
        if not found and time.monotonic() - self._looked >= NODES_S:
            self._looked = time.monotonic()
            alive = {node["NodeID"] for node in self._alive()}
            places = self._ray.get(self._places.all.remote())
            placed = [attempt for attempt in self._handles if attempt in places]
            lost = Lost("its machine was lost")
            found = [(attempt, lost) for attempt in placed if places[attempt] not in alive]
            said = "" if placed else self._what_is_waited_for()
        for attempt, _ in found:
            del self._handles[attempt]
        return found, said

    def _what_is_waited_for(self) -> str:
        """Return what to say now and then while no trial runs; nothing in between."""
        if time.monotonic() - self._said < SAY_S:
            return ""
        self._said = time.monotonic()
        why = "the machines start, or others use them" if self._usable() else self._lack()
        return f"Ray: {len(self._handles)} trials wait: {why}"

    def _result(self, handle: Any) -> Answer | Lost | UserError:
        try:
            return self._ray.get(handle)
        except self._ray.exceptions.RayTaskError as error:
            return UserError(
                f"a trial could not be run on its machine of the Ray cluster: {_words(error)}; "
                f"{SAME}"
            )
        except self._ray.exceptions.RayError as error:
            return Lost(f"its machine or process was lost ({type(error).__name__})")

    def stop(self) -> None:
        """End the attempts that still run."""
        for handle in self._handles.values():
            self._ray.cancel(handle, force=True)
        self._handles = {}


def _look_there(surroundings: Surroundings) -> Machine:
    return look(surroundings, _address())


def _run_there(job: Job, attempt: str, places: Any) -> Answer:
    from ray import get_runtime_context

    context = get_runtime_context()
    head.end_without(context.gcs_address)
    places.note.remote(attempt, context.get_node_id())
    return run(job, _address())


def _address() -> str:
    """Return the address by which Ray knows this machine; several may share a name."""
    from ray.util import get_node_ip_address

    return get_node_ip_address()


def _wanted(remote: dict[str, Any]) -> dict[str, float]:
    """Return what a trial needs of a machine, by Ray's names."""
    given = {name: remote.get(key) for key, name in NAMES.items()} | (remote.get("resources") or {})
    return {name: n for name, n in given.items() if n}


def _amounts(resources: dict[str, float], names: dict[str, float]) -> str:
    return ", ".join(f"{name}={resources.get(name, 0):g}" for name in names)


def _code_to_send(init: dict[str, Any]) -> dict[str, Any]:
    """Let machines find the code: sent without what runs leave in its folder, or at its path."""
    environment = {k: v for k, v in (init.get("runtime_env") or {}).items() if v is not None}
    if environment.get("working_dir"):
        environment["excludes"] = [*environment.get("excludes", []), *NEVER_SENT]
    else:
        variables = environment.get("env_vars") or {}
        environment["env_vars"] = {"PYTHONPATH": str(ROOT)} | variables
    return init | {"runtime_env": environment}


def _why_not_in(address: str, error: Exception) -> str:
    return (
        f"the Ray cluster at {address} does not let us in: {_words(error)}; where it asks for "
        "a token (it should: docs/cluster.md), set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN here"
    )


def _words(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:400] if lines else type(error).__name__


def serve(descriptor: int) -> None:
    """Answer, over a socket, what the launching process asks, until it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the launching process sees to Ctrl-C
    pipe = Connection(descriptor)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        driver = Driver()
        pipe.send((True, None))
        while True:
            name, given = pipe.recv()
            pipe.send(_answer(getattr(driver, name), given))


def _answer(ask: Callable[..., Any], given: tuple) -> tuple[bool, Any]:
    try:
        return True, ask(*given)
    except UserError as error:
        return False, error
