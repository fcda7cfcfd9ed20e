"""The artifact versions that a pipeline run reads and makes, as its backend has them.

`opened` gives those of the embedded store (`Local`) or of W&B (`versions_on_wandb.Online`). Both
say which version a reference names and whether a recorded one can still be used, and make one the
latest. References are `name:alias` or `project/name:alias`.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from pipeline.caching.versions_in_store import Local
from util_lib.tracking.store.database import Store, open_store
from util_lib.tracking.store.places import has_store, store_directory

if TYPE_CHECKING:
    from pipeline.caching.versions_on_wandb import Online


Versions: TypeAlias = "Local | Online"


@contextmanager
def opened(backend: str, make: bool = False) -> Iterator[Versions]:
    """Give the versions of a backend, `local` or `wandb`, for the length of a pipeline run.

    Who only looks makes no store: where there is none, an empty one stands in for it.
    """
    if backend == "local":
        with ExitStack() as stack:
            if make or has_store(store_directory()):
                store = open_store(make=make)
            else:
                store = Store(Path(stack.enter_context(tempfile.TemporaryDirectory())))
            stack.enter_context(store.files.under_way())
            yield Local(store)
        return
    from pipeline.caching import versions_on_wandb  # imports the client

    with versions_on_wandb.opened() as online:
        yield online
