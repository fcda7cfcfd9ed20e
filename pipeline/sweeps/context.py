"""What every job of a sweep must know, told by the process that launched it.

It travels as one environment variable, which processes on this machine inherit and launchers for
other machines can be told to copy: a job needs nothing of its parent's memory.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from util_lib import safe_files
from util_lib.errors import UserError
from util_lib.tracking.store.places import store_directory

VARIABLE = "PIPELINE_SWEEP"


@dataclass
class Sweep:
    """A sweep under way.

    `keys` are swept; `objectives` are what trials are compared by, the first one decides.
    `made` maps the digest of a chain of steps (`sweep_space.chain`) to the artifacts (`name:vN`)
    that they made, `failed` to why they failed. `pinned` are the versions of artifacts that no step
    of this sweep makes. `question` is the digest of what all its trials depend on (question.py),
    `stands_on` those parts of it that no setting shows. `n_jobs` is None where the sweeper decides.
    `threads` is how many cores one trial may use. `uri` is where the step lies whose runs are
    trials. `first` is added to a job's number, so that two trials never share one.
    """

    name: str
    keys: list[str]
    objectives: list[str]
    python: str
    manager: str
    pid: int
    host: str
    n_jobs: int | None = None
    threads: int = 1
    first: int = 0
    uri: str = ""
    made: dict[str, list[str]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    pinned: dict[str, str] = field(default_factory=dict)
    mlflow_run: str | None = None
    question: str = ""
    stands_on: dict[str, str] = field(default_factory=dict)

    def publish(self) -> None:
        """Tell it to jobs that are started from now on."""
        os.environ[VARIABLE] = json.dumps(asdict(self))


def current() -> Sweep | None:
    """Return the sweep that this process works for, None outside of one."""
    text = os.environ.get(VARIABLE)
    return Sweep(**json.loads(text)) if text else None


def required() -> Sweep:
    """Return the sweep that this process works for, in what only a sweep runs."""
    sweep = current()
    assert sweep is not None
    return sweep


@contextmanager
def alone(project: str, name: str, kind: str = "sweep") -> Iterator[None]:
    """Raise `UserError` while the same sweep runs in another process that uses this store.

    Both would run the same trials. Locks of another `kind` do not exclude each other.
    """
    with safe_files.locked(store_directory() / f"{kind}.{project}.{name}.lock", 0) as is_ours:
        if not is_ours:
            raise UserError(
                f"the sweep {name!r} is running in another process: wait for its end, or "
                "give this one another sweep.name"
            )
        yield


def forget() -> None:
    """End the sweep for this process."""
    os.environ.pop(VARIABLE, None)
