"""What every job of a sweep must know, told by the process that launched it.

It travels as one environment variable, which processes on this machine inherit and launchers for
other machines can be told to copy: a job needs nothing of its parent's memory.
"""

import json
import os
from dataclasses import asdict, dataclass, field

VARIABLE = "PIPELINE_SWEEP"


@dataclass
class Sweep:
    """A sweep under way.

    `keys` are swept; `objectives` are what trials are compared by, the first one decides.
    `made` maps the digest of a chain of steps (`sweep_space.chain`) to the artifacts (`name:vN`)
    that they made, `failed` to why they failed. `pinned` are the versions of artifacts that no step
    of this sweep makes. `n_jobs` is None where the sweeper decides. `threads` is how many cores one
    trial may use. `first` is added to a job's number, so that two trials never share one.
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
    made: dict[str, list[str]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    pinned: dict[str, str] = field(default_factory=dict)
    mlflow_run: str | None = None

    def publish(self) -> None:
        """Tell it to jobs that are started from now on."""
        os.environ[VARIABLE] = json.dumps(asdict(self))


def current() -> Sweep | None:
    """Return the sweep that this process works for, None outside of one."""
    text = os.environ.get(VARIABLE)
    return Sweep(**json.loads(text)) if text else None


def forget() -> None:
    """End the sweep for this process."""
    os.environ.pop(VARIABLE, None)
