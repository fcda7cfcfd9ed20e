"""The artifact versions that a pipeline run reads and makes, as its backend has them.

`opened` gives those of the embedded store (`Local`) or of W&B (`versions_on_wandb.Online`). Both
say which version a reference names and whether a recorded one can still be used, and make one the
latest. References are `name:alias` or `project/name:alias`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from pipeline.caching.versions_in_store import Local
from util_lib.tracking.store.database import open_store

if TYPE_CHECKING:
    from pipeline.caching.versions_on_wandb import Online


Versions: TypeAlias = "Local | Online"


@contextmanager
def opened(backend: str) -> Iterator[Versions]:
    """Give the versions of a backend, `local` or `wandb`, for the length of a pipeline run."""
    if backend == "local":
        store = open_store()
        with store.files.under_way():
            yield Local(store)
        return
    from pipeline.caching import versions_on_wandb  # imports the client

    with versions_on_wandb.opened() as online:
        yield online
