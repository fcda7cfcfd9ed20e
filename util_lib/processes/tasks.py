"""One task for each of several files: in this process, in several here, or on a cluster.

`workers` says where. `4`: in so many processes here. `submitit_local`, `slurm`: as jobs of
submitit, here or of Slurm, with a number (`slurm:64`) at most so many at a time. `ray:HOST:PORT`:
on the Ray cluster that is there already. None: one after the other in this process. What comes out
is the same.

On a cluster all machines need the code, the Python environment and the files at the same path.
"""

import logging
import os
import platform
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, NamedTuple

from util_lib.errors import UserError
from util_lib.project import ROOT

logger = logging.getLogger("tasks")

VARIABLE = "PIPELINE_WORKERS"
CONNECT_S = 5
ATTEMPTS = 3  # a task that takes its process down with it must come to an end
JOB_MINUTES = 24 * 60
INSTALL = "pip install -r requirements-cluster.txt"
KNOWN = "a number of processes here, submitit_local, slurm, slurm:64 or ray:HOST:PORT"
Submit = Callable[[Callable[[], Any]], Callable[[], Any]]
Each = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]


class _Lost(Exception):
    """The process or the machine of a task ended before the task."""


class _Outcome(NamedTuple):
    """What a task returned, or why it could not, and what it logged."""

    value: Any
    error: UserError | None
    said: list[logging.LogRecord]


class _Where(NamedTuple):
    kind: str  # processes, submitit_local, slurm or ray
    address: str
    at_once: int | None


def workers(text: str | None) -> str | None:
    """Return a checked `workers`, None where the tasks run in this process: null, or 1."""
    if text is None or text.strip().lower() in ("", "null", "1"):
        return None
    _where(text)
    return text.strip()


def from_environment() -> str | None:
    """Return the `workers` that main.py was told, None where it was told none."""
    return workers(os.environ.get(VARIABLE))


def here(task: Callable[[Any], Any], things: Sequence[Any]) -> list[Any]:
    """Return what `task` makes of each thing, one after the other in this process."""
    return [task(thing) for thing in things]


@contextmanager
def team(workers: str | None, sees: Iterable[Path] = ()) -> Iterator[Each]:
    """Give what does a task for each of several things, and returns what came of them in order.

    Of several that cannot be done the first one's `UserError` is raised. A task whose process or
    machine is lost is begun again, three times in all. All machines must see the folders `sees`.
    """
    if workers is None:
        yield here
        return
    where = _where(workers)
    started = {"ray": _ray, "processes": _processes}.get(where.kind, _submitit)
    with started(where) as submit:  # starts a call elsewhere, and returns what waits for it
        yield lambda task, things: _each(submit, partial(_run, task, [*sees]), things)


def _each(submit: Submit, task: Callable[[Any], _Outcome], things: Sequence[Any]) -> list[Any]:
    found: dict[int, Any] = {}
    for _ in range(ATTEMPTS):
        waiting = [place for place in range(len(things)) if place not in found]
        results = [submit(partial(task, things[place])) for place in waiting]
        for place, result in zip(waiting, results, strict=True):
            try:
                found[place] = _told(result())
            except _Lost as lost:
                logger.warning("%s: it is begun again", lost)
        if len(found) == len(things):
            return [found[place] for place in range(len(things))]
    raise UserError(
        f"{len(things) - len(found)} of {len(things)} tasks lost their process {ATTEMPTS} times "
        "each: they may need more memory than there is; take fewer workers, or larger machines"
    )


def _told(outcome: _Outcome) -> Any:
    """Log what a task logged, and return its value or raise its error."""
    for record in outcome.said:
        logging.getLogger(record.name).handle(record)
    if outcome.error:
        raise outcome.error
    return outcome.value


def _run(task: Callable[[Any], Any], sees: list[Path], thing: Any) -> _Outcome:
    """Do a task where it was sent."""
    for folder in sees:
        if not folder.is_dir():
            return _Outcome(None, UserError(_not_seen(folder)), [])
    kept = _Kept()
    root = logging.getLogger()
    level, before = root.level, root.handlers
    root.setLevel(logging.INFO)
    root.handlers = [kept]
    try:
        return _Outcome(task(thing), None, kept.records)
    except UserError as error:
        return _Outcome(None, error, kept.records)
    finally:
        root.handlers = before
        root.setLevel(level)


def _not_seen(path: Path) -> str:
    return (
        f"{platform.node()} does not see {path}: put it on a disk that all machines share (for "
        "temporary files: TMPDIR=/shared/folder), or leave out workers"
    )


class _Kept(logging.Handler):
    """Keeps what is logged, as it can be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args, record.exc_info = record.getMessage(), None, None
        self.records.append(record)


def _where(text: str) -> _Where:
    kind, _, rest = text.strip().partition(":")
    if kind.isdigit() and int(kind) and not rest:
        return _Where("processes", "", int(kind))
    if kind in ("submitit_local", "slurm") and (not rest or (rest.isdigit() and int(rest))):
        return _Where(kind, "", int(rest) if rest else None)
    if kind == "ray" and rest:
        return _Where(kind, rest, None)
    raise UserError(f"workers must be {KNOWN}, found {text!r}")


@contextmanager
def _processes(where: _Where) -> Iterator[Submit]:
    """Start tasks in processes here, which stay; where one was lost, the others are too."""
    pools: list[ProcessPoolExecutor] = []

    def submit(call: Callable[[], Any]) -> Callable[[], Any]:
        try:
            future = pools[-1].submit(call)
        except (IndexError, BrokenProcessPool):
            context = get_context("spawn")  # a fork would inherit the locks of other threads
            # They search where this process does, and MLflow puts the code of a model that it
            # loads first: a copy of ours, of another day.
            sys.path.insert(0, str(ROOT))
            pools.append(ProcessPoolExecutor(where.at_once, context, _end_with_parent))
            future = pools[-1].submit(call)
        return partial(result, future)

    def result(future: Future) -> Any:
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise _Lost("a process ended in the middle of its task") from error

    try:
        yield submit
    finally:
        for pool in pools:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, however that ended."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _submitit(where: _Where) -> Iterator[Submit]:
    """Start jobs of submitit: each waits in a thread of its own here, which bounds their number."""
    try:
        import submitit
        from submitit.core.utils import UncompletedJobError
    except ImportError as error:
        raise UserError(f"workers={where.kind} needs the package submitit: {INSTALL}") from error
    cluster = where.kind.removeprefix("submitit_")
    at_once = where.at_once or (len(os.sched_getaffinity(0)) if cluster == "local" else 256)
    with tempfile.TemporaryDirectory(prefix="tasks-") as folder:
        try:
            executor = submitit.AutoExecutor(
                folder=folder, cluster=cluster, **{f"{cluster}_max_num_timeout": 0}
            )
        except RuntimeError as error:  # no sbatch
            raise UserError(
                f"workers={where.kind}: {' '.join(str(error).split())}: start it on a machine of "
                "the Slurm cluster, or take submitit_local"
            ) from error
        executor.update_parameters(timeout_min=JOB_MINUTES)
        begun: list[Any] = []

        def job(call: Callable[[], Any]) -> Any:
            begun.append(executor.submit(call))
            mine = begun[-1]
            try:
                return mine.result()
            except UncompletedJobError as error:
                raise _Lost(f"job {mine.job_id} ended in the middle of its task") from error

        threads = ThreadPoolExecutor(at_once)
        try:
            with code_found():
                yield lambda call: threads.submit(job, call).result
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            for one in begun:
                one.cancel(check=False)
            threads.shutdown()


@contextmanager
def code_found() -> Iterator[None]:
    """Let jobs that are submitted here find our code: they inherit the environment."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([before] if before else [])])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


@contextmanager
def _ray(where: _Where) -> Iterator[Submit]:
    """Start tasks on the machines of a Ray cluster."""
    address = where.address
    try:
        import ray
    except ImportError as error:
        raise UserError(f"workers=ray:{address} needs the package ray: {INSTALL}") from error
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns
    host, _, port = address.rpartition(":")
    try:  # Ray itself would wait for minutes
        socket.create_connection((host, int(port)), CONNECT_S).close()
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
        )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        last = [line.strip() for line in str(error).splitlines() if line.strip()][-1:]
        raise UserError(
            f"no Ray cluster lets us in at {address} ({' '.join(last)[:400]}): docs/cluster.md "
            "says how to start one"
        ) from error
    task = ray.remote(max_retries=0)(_called)  # `_each` begins again, and says so

    def submit(call: Callable[[], Any]) -> Callable[[], Any]:
        return partial(result, task.remote(call))

    def result(handle: Any) -> Any:
        try:
            return ray.get(handle)
        except ray.exceptions.RayTaskError:  # a defect of the task, with its own traceback
            raise
        except ray.exceptions.RayError as error:
            raise _Lost(f"a task was lost ({type(error).__name__})") from error

    try:
        yield submit
    finally:
        ray.shutdown()  # with it the tasks that still run


def _called(call: Callable[[], Any]) -> Any:
    return call()
