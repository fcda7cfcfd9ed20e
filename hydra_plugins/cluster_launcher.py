"""Hydra's door to other machines: `hydra/launcher=ray`, `submitit_slurm`, `submitit_local`.

What they do is in pipeline/cluster*.py. Hydra imports this file at every start, so it imports as
little as it can.
"""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ClusterLauncher(Launcher):
    """Runs the trials of a sweep through an engine; conf/hydra/launcher/ explains its settings."""

    def __init__(self, **_settings: Any) -> None:
        """Leave the settings to the sweep, which has connected by them before its first steps."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra hands to every launcher."""
        self.config, self.loader = config, hydra_context.config_loader

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run one trial for each list of overrides; a trial that failed returns NaN."""
        from pipeline.sweeps.cluster import launcher

        overrides = [list(words) for words in job_overrides]
        jobs = launcher.jobs(self.config, self.loader, overrides, initial_job_idx)
        return launcher.launch(jobs)
