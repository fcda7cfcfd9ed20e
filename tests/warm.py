"""A `python` for tests that has imported MLflow, Hydra, pandas and the like before it is started.

One process per test session imports the packages of others, never our own modules, and waits.
`python()` is a program that asks it for a fork. The fork becomes what was to be run: with its own
folder, environment, arguments, open files and exit code, and with our code read afresh. Whatever
starts a `python` from the PATH, as MLflow does for a step, takes it too: see `first_on_path`.

SIGTERM, SIGINT, SIGHUP and SIGKILL are passed on to the fork. A test of other signals, of what is
imported when, or of how a user's first run begins uses `sys.executable`; so does one run of the
whole pipeline by `mlflow run`.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import types
from pathlib import Path

MODULES = (
    *("hydra.main", "hydra.compose", "hydra._internal.config_loader_impl", "hydra.core.plugins"),
    *("hydra._internal.core_plugins.basic_launcher", "hydra._internal.core_plugins.basic_sweeper"),
    *("psutil", "pydantic", "requests", "rich.console", "rich.live", "rich.progress", "rich.table"),
    *("mlflow.cli", "mlflow.projects", "mlflow.store.tracking.sqlalchemy_store", "mlflow.sklearn"),
    *("mlflow.store.model_registry.sqlalchemy_store", "sqlalchemy.dialects.sqlite"),
    *("pandas", "pyarrow.parquet", "sklearn.ensemble", "sklearn.compose", "sklearn.pipeline"),
    *("sklearn.feature_extraction.text", "sklearn.model_selection", "skops.io", "scipy.stats"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.pyplot"),
    *("fastapi", "optuna", "s3fs", "uvicorn", "wandb"),
)
_waiting: list[tuple[subprocess.Popen, Path]] = []


def python() -> str:
    """Return the program; the first call starts the process that waits, which ends with `end`."""
    if not hasattr(os, "pidfd_open"):  # Linux has it
        return sys.executable
    if not _waiting:
        folder = Path(tempfile.mkdtemp(prefix="warm"))
        program = folder / "bin" / "python"
        program.parent.mkdir()
        ask = f"{sys.executable} -S -E {Path(__file__).with_name('warm_ask.py')} {folder}/socket"
        program.write_text(f'#!/bin/sh\nexec {ask} "$@"\n')
        program.chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        process = subprocess.Popen(
            [sys.executable, __file__, str(folder / "socket")],
            cwd=folder,
            env=kept,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        _waiting.append((process, folder))
    return str(_waiting[0][1] / "bin" / "python")


def first_on_path(environment: dict[str, str]) -> dict[str, str]:
    """Return the environment of somebody whose `python` is this one, and `mlflow` the tests'."""
    folders = [Path(python()).parent, Path(sys.executable).parent, environment["PATH"]]
    return {**environment, "PATH": os.pathsep.join(map(str, folders))}


def end() -> None:
    """End the process that waits, if there is one."""
    for process, folder in _waiting:
        process.communicate()
        shutil.rmtree(folder)
    _waiting.clear()


def _wait(place: str) -> dict:
    """Fork for everybody who asks, until standard input ends; return, in a fork, what was asked."""
    for name in MODULES:
        with contextlib.suppress(ImportError):  # no test needs all of them
            importlib.import_module(name)
    sys.path[:] = [entry for entry in sys.path if entry != str(Path(__file__).parent)]
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(place)
    listening.listen(64)
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    watched = selectors.DefaultSelector()
    watched.register(listening, selectors.EVENT_READ)
    watched.register(0, selectors.EVENT_READ)
    forks: dict[int, tuple[int, socket.socket]] = {}
    while True:
        for key, _ in watched.select():
            if key.fileobj == 0:
                os._exit(0)
            if key.data is not None:
                if forks.get(key.data, (0, None))[1] is key.fileobj:  # who asked was killed
                    watched.unregister(key.fileobj)
                    signal.pidfd_send_signal(key.data, signal.SIGKILL)
                continue
            if key.fileobj is not listening:
                pid, asking = forks.pop(key.fd)
                watched.unregister(key.fd)
                with contextlib.suppress(KeyError):
                    watched.unregister(asking)
                os.close(key.fd)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with contextlib.suppress(OSError), asking:
                    asking.send(str(code).encode())
                continue
            asking, _ = listening.accept()
            text, fds, *_ = socket.recv_fds(asking, 2**20, 3)
            pid = os.fork()
            if pid == 0:
                for number, fd in enumerate(fds):
                    os.dup2(fd, number)
                watched.close()
                for end in (listening, asking, *(end for _, end in forks.values())):
                    end.close()
                for fd in (*fds, *forks):
                    os.close(fd)
                return json.loads(text)
            for fd in fds:
                os.close(fd)
            ended = os.pidfd_open(pid)
            forks[ended] = (pid, asking)
            watched.register(ended, selectors.EVENT_READ)
            watched.register(asking, selectors.EVENT_READ, ended)
            asking.send(str(pid).encode())


def _become(words: list[str], folder: str, environment: dict[str, str]) -> None:
    """Be the Python program that `words` name, from here to the end of this process."""
    os.setsid()
    os.chdir(folder)
    if media := sys.modules.get("wandb.sdk.data_types._private"):
        # Its folder for pictures is removed by the first fork that ends: each needs its own.
        media.MEDIA_TMP.name = tempfile.mkdtemp("wandb-media")
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))
    sys.stdin = sys.__stdin__ = open(0)
    by_line = 1 if environment.get("PYTHONUNBUFFERED") else -1
    sys.stdout = sys.__stdout__ = open(1, "w", buffering=by_line)
    sys.stderr = sys.__stderr__ = open(2, "w", errors="backslashreplace", buffering=1)
    sys.argv = words[1:] if words[0] in ("-c", "-m") else words
    home = os.getcwd() if words[0] == "-m" else ""
    if words[0] not in ("-", "-c", "-m"):
        home = str(Path(words[0]).resolve().parent)
    given = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[:0] = [home, *map(os.path.abspath, given)]
    importlib.invalidate_caches()
    code: object = 0
    try:
        if words[0] == "-m":
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            program = sys.modules["__main__"] = types.ModuleType("__main__")
            name = words[0]
            if name == "-c":
                source, sys.argv[0] = words[1], name
            elif name == "-":
                source = sys.stdin.read()
            else:
                source, name = Path(name).read_text(), os.path.abspath(name)
                program.__file__ = name
            exec(compile(source, name, "exec"), program.__dict__)
    except SystemExit as error:
        code = error.code
    except Exception:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
    # As Python ends, without the quarter of a second for taking down what all forks share.
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    _become(**_wait(sys.argv[1]))
