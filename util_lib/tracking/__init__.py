"""Runs and artifacts, with the names and rules of the W&B client.

    with tracking.init(job_type="get_data", config=vars(args)) as run:
        artifact = tracking.Artifact("raw_data.parquet", type="raw_data")
        artifact.add_file("raw_data.parquet")
        run.log_artifact(artifact).wait()

`init`, `active_run`, `Artifact`, `Image`, `Run` and `Api` are those of the backend in use: the
embedded store's, or the client's own (see choice.py). Nothing is loaded before one of them is asked
for.
"""

import importlib
from types import ModuleType
from typing import Any

from util_lib.tracking.choice import choose
from util_lib.tracking.names import DEFAULT_PROJECT

_MODULES = {"local": "util_lib.tracking.local", "wandb": "util_lib.tracking.online"}

_SHARED = ("Api", "Artifact", "Image", "Run", "active_run", "init")

__all__ = ["DEFAULT_PROJECT", *_SHARED]


def backend() -> ModuleType:
    """Return the module that does the work in this process."""
    return importlib.import_module(_MODULES[choose().backend])


def __getattr__(name: str) -> Any:
    if name in _SHARED:
        return getattr(backend(), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
