"""The engine that runs each trial as a job of submitit: of Slurm, or a process on this machine."""

import os
import time
from typing import Any

from pipeline.sweeps.cluster.engine import Lost
from pipeline.sweeps.cluster.node import Answer, Job, Surroundings, run
from util_lib.errors import UserError
from util_lib.processes import tasks

INSTALL = "pip install -r requirements-cluster.txt"
OWN = ("_target_", "engine", "submitit_folder", "n_jobs")  # the other settings are submitit's
OF_SLURM = (
    *("partition", "qos", "account", "constraint", "exclude", "array_parallelism", "setup"),
    "additional_parameters",
)
RULE = "-" * 22  # stands in submitit's message above and below the job's traceback
WAIT_S = {"local": 0.2, "slurm": 2.0}  # between two looks at the jobs


class SubmititEngine:
    """Jobs of Slurm (`cluster` is slurm), or processes here (local), at most `at_once`.

    submitit's local executor itself starts all jobs at once.
    """

    def __init__(self, executor: Any, cluster: str, at_once: int | None) -> None:
        """Keep submitit's executor."""
        self._executor, self._cluster, self.at_once = executor, cluster, at_once

    def check(self, _surroundings: Surroundings) -> bool:
        """Return whether jobs run on other machines; which ones nobody knows yet."""
        return self._cluster != "local"

    def start(self, jobs: list[Job]) -> list[Any]:
        """Submit jobs; for Slurm several are one array."""
        from submitit.core.utils import FailedSubmissionError

        try:
            with tasks.code_found():
                if self._cluster == "local" or len(jobs) == 1:
                    return [self._executor.submit(run, job) for job in jobs]
                with self._executor.batch():
                    return [self._executor.submit(run, job) for job in jobs]
        except FailedSubmissionError as error:
            words = " ".join(str(error).split())
            raise UserError(f"Slurm did not take the trials: {words}") from error

    def wait(self, running: list[Any]) -> list[Any]:
        """Return the jobs that have ended."""
        ended = [job for job in running if job.done()]
        if not ended:
            time.sleep(WAIT_S[self._cluster])
        return ended

    def result(self, handle: Any) -> Answer:
        """Return what a job returned; `Lost` where its process ended without."""
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            return handle.result()
        except FailedJobError as error:
            last = str(error).split(RULE)[1].strip().splitlines()[-1]
            raise UserError(
                f"job {handle.job_id} could not run its trial: {last}; all that it "
                f"said is in {handle.paths.stderr}"
            ) from error
        except UncompletedJobError as error:
            raise Lost(f"job {handle.job_id} ended without a result ({handle.state})") from error

    def stop(self, running: list[Any]) -> None:
        """Cancel the jobs that still run."""
        for job in running:
            job.cancel(check=False)

    def close(self) -> None:
        """Leave things as they are: jobs are stopped, and nothing else is open."""


def connect(cluster: str, settings: dict[str, Any]) -> SubmititEngine:
    """Make submitit's executor; `UserError` where it or Slurm is not there."""
    try:
        import submitit
    except ImportError as error:
        launcher = f"hydra/launcher=submitit_{cluster}"
        raise UserError(f"{launcher} needs the package submitit: {INSTALL}") from error
    try:
        executor = submitit.AutoExecutor(
            folder=settings["submitit_folder"],
            cluster=cluster,
            **{f"{cluster}_max_num_timeout": 0},
        )
    except RuntimeError as error:  # no sbatch
        raise UserError(
            f"hydra/launcher=submitit_slurm: {' '.join(str(error).split())}: run main.py on a "
            "machine of the Slurm cluster, or use hydra/launcher=submitit_local"
        ) from error
    named = {
        f"slurm_{key}" if key in OF_SLURM else key: value
        for key, value in settings.items()
        if key not in OWN and value not in (None, {})
    }
    executor.update_parameters(**named)
    at_once = None
    if cluster == "local":
        cpus = settings["cpus_per_task"] or 1
        at_once = settings["n_jobs"] or max(1, len(os.sched_getaffinity(0)) // cpus)
        if not isinstance(at_once, int) or at_once < 1:
            raise UserError(
                "hydra.launcher.n_jobs must be a whole number of trials from 1, or null, found "
                f"{settings['n_jobs']!r}"
            )
    return SubmititEngine(executor, cluster, at_once)
