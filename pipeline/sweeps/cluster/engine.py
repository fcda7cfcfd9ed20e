"""What starts a sweep's jobs on machines: Ray or submitit."""

from typing import Any, Protocol

from pipeline.sweeps.cluster.node import Answer, Job, Surroundings


class Lost(Exception):
    """A job's machine or process ended before the job; the text says how."""


class Engine(Protocol):
    """What starts jobs on machines.

    `at_once` is how many may run at a time, None where the cluster sees to that. `wait` returns
    some of the `running` jobs that have ended, perhaps none; `result` raises `Lost`.
    """

    at_once: int | None

    def check(self, surroundings: Surroundings) -> bool:
        """Return whether jobs may run on other machines than this one.

        Raises `UserError` where one of them cannot run trials, as far as is known now.
        """

    def start(self, jobs: list[Job]) -> list[Any]: ...  # noqa: D102

    def wait(self, running: list[Any]) -> list[Any]: ...  # noqa: D102

    def result(self, handle: Any) -> Answer: ...  # noqa: D102

    def stop(self, running: list[Any]) -> None: ...  # noqa: D102

    def close(self) -> None: ...  # noqa: D102
