"""Runs and artifacts, with the names and rules of the W&B client.

    with tracking.init(job_type="get_data", config=vars(args)) as run:
        source = run.use_artifact("raw_data.parquet:latest")
        ...
        tracking.log_file(run, "clean.parquet", "clean.parquet", "clean_data", "What it is")

`init`, `active_run`, `Artifact`, `Image`, `Run` and `Api` are those of the backend in use: the
embedded store's, or the client's own (see choice.py). Nothing is loaded before one of them is asked
for.
"""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from util_lib.errors import UserError
from util_lib.tracking.choice import choose
from util_lib.tracking.names import DEFAULT_PROJECT

_MODULES = {"local": "util_lib.tracking.local", "wandb": "util_lib.tracking.online.client"}

_SHARED = ("Api", "Artifact", "Image", "Run", "active_run", "init")

__all__ = ["DEFAULT_PROJECT", "init_reader", "lineage", "log_file", *_SHARED]


def backend() -> ModuleType:
    """Return the module that does the work in this process."""
    return importlib.import_module(_MODULES[choose().backend])


def init_reader(**about: Any) -> Any:
    """Begin a run whose inputs are artifacts, as `init` does.

    Raises `UserError` where there is no store: an empty one, made now, would not have them.
    """
    if choose().backend == "local":
        from util_lib.tracking.store.places import refuse_no_store

        refuse_no_store()
    return backend().init(**about)


def log_file(
    run: Any,
    path: str | os.PathLike,
    name: str,
    type: str,
    description: str,
    metadata: dict[str, Any] | None = None,
    aliases: list[str] | None = None,
) -> Any:
    """Log a file, or the files of a folder, as an output of `run`; return the stored version.

    It is stored when this returns. A function, because the run of the wandb backend is the client's
    own object.
    """
    artifact = backend().Artifact(name, type=type, description=description, metadata=metadata)
    add = artifact.add_dir if os.path.isdir(path) else artifact.add_file
    add(os.fspath(path))
    return run.log_artifact(artifact, aliases=aliases).wait()


@contextmanager
def lineage() -> Iterator[None]:
    """Ask within this block which runs made and used what.

    W&B's client makes a folder for each run that it looks at: here one that goes again.
    """
    if choose().backend == "local":
        yield
        return
    with backend().no_folder():
        yield


@contextmanager
def whole_step() -> Iterator[None]:
    """Close the backend at the end of a step; what its service has against the step is explained.

    The embedded store's runs only need to be finished; the W&B client must not outlive the step.
    """
    try:
        yield
    except BaseException as error:
        if local := sys.modules.get("util_lib.tracking.local.run"):
            local.close(error)
        if (online := _client()) is None:
            raise
        # The client may raise again while a run is closed because of an error of the step.
        ours = error.__context__ if isinstance(error.__context__, UserError) else None
        sentence = None
        if isinstance(error, Exception) and not isinstance(error, UserError):
            sentence = online.explain(error) if online.is_from_client(error) else None
        online.close(failed=True)
        if sentence is None:
            raise
        if ours is None:
            raise UserError(sentence) from error
        print(f"tracking: {sentence}", file=sys.stderr)
        raise ours from None
    else:
        if online := _client():
            online.close(failed=False)


def _client() -> ModuleType | None:
    """Return the module of the wandb backend if this process has used it."""
    return sys.modules.get("util_lib.tracking.online.client")


def __getattr__(name: str) -> Any:
    if name in _SHARED:
        return getattr(backend(), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
