"""Hydra's door to the Bayesian search: `hydra/sweeper=optuna`. The search is in pipeline/.

Hydra imports this file at every start, so it imports as little as it can.
"""

from collections.abc import Mapping
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Chooses each batch of trials by what the trials before it reached."""

    def __init__(self, params: DictConfig | None = None, **options: Any) -> None:
        """Keep the settings, which conf/hydra/sweeper/optuna.yaml explains."""
        self.params: Mapping[Any, Any] = params or {}
        self.options = options

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra hands to every sweeper."""
        self.config, self.loader = config, hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run the search; return what every trial that was run returned, batch by batch."""
        from pipeline.sweeps.search import distributions, search

        assert self.config is not None and self.launcher is not None  # by `setup`
        given = [f"{key}={value}" for key, value in self.params.items()]
        space = distributions.read([*given, *arguments], self.loader)
        # Hydra composes a multirun's own configuration without the overrides of its jobs.
        config = self.loader.load_sweep_config(self.config, space.fixed)
        settings = search.settings(config, **self.options)
        return search.search(settings, space, self.launcher.launch)
