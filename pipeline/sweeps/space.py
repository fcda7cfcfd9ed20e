"""What a multirun sweeps: its keys and values, its jobs, and which steps they touch."""

import hashlib
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig, flag_override

from pipeline.planning.plan import plan
from pipeline.planning.step import Step
from pipeline.settings import overrides, schema
from pipeline.settings.schema import Settings
from pipeline.settings.surroundings import is_address, step_folder
from pipeline.sweeps.record import as_text
from pipeline.sweeps.warm_worker import SCRIPT
from util_lib.errors import UserError

GRID = "BasicSweeper"


@dataclass(frozen=True)
class Space:
    """The swept keys with values of each: all of a grid's, the ends of an interval.

    `values` are as Hydra reads them; `is_grid` says whether the jobs are their product. `given` are
    the overrides that every job has.
    """

    values: dict[str, list[str]]
    given: list[str]
    is_grid: bool

    def n_jobs(self) -> int | None:
        """Count the jobs, None where the sweeper decides."""
        if not self.is_grid:
            return None
        n_jobs = 1
        for values in self.values.values():
            n_jobs *= len(values)
        return n_jobs


def space(config: DictConfig, loader: ConfigLoader) -> Space:
    """Read what the command line and `hydra.sweeper.params` sweep."""
    sweeper = config.hydra.sweeper
    params = sweeper.get("params") or {}
    words = [f"{key}={value}" for key, value in params.items()] + overrides.of_job(config.hydra)
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(words)
    # what comes later wins, as in Hydra
    last = {override.get_key_element(): override for override in parsed}
    values = {key: _values(o) for key, o in last.items() if o.is_sweep_override()}
    given = [str(override.input_line) for key, override in last.items() if key not in values]
    found = Space(values, given, sweeper.get("_target_", "").endswith(GRID))
    overrides.refuse_many([found.n_jobs() or 0], "the multirun")
    return found


def _values(override: Override) -> list[str]:
    if override.is_discrete_sweep():
        return overrides.swept_values(override)
    found = override.value()
    return [str(found.start), str(found.end)] if isinstance(found, IntervalSweep) else []


def value_of(argument: str) -> Any:
    """Return the value of `key=value`, as plain data."""
    value = OverridesParser.create().parse_override(argument).value()
    return json.loads(json.dumps(value, default=str))


def key_of(argument: str) -> str:
    """Return the key of `key=value`, without Hydra's marks."""
    return argument.partition("=")[0].lstrip("+~")


class Composer:
    """Composes and checks the configuration of single jobs, as the launcher will."""

    def __init__(self, config: DictConfig, loader: ConfigLoader, swept: Space) -> None:
        """Keep the multirun's `config` and the overrides that are not swept."""
        self._config, self._loader, self._given = config, loader, swept.given
        self._composed: dict[tuple[str, ...], tuple[DictConfig, str | None]] = {}

    def __call__(self, *arguments: str) -> Settings:
        """Return the settings with `arguments`, which replace the swept ones."""
        if arguments not in self._composed:
            composed = self._loader.load_sweep_config(self._config, [*self._given, *arguments])
            dataset = composed.hydra.runtime.choices.get("dataset")
            with flag_override(composed, ["struct", "readonly"], [False, False]):
                del composed["hydra"]
            self._composed[arguments] = composed, dataset
        return schema.check(*self._composed[arguments])


def before_training(found: Settings) -> list[Step]:
    """List the steps that run before the training step."""
    steps = plan(found)
    return steps[: steps.index(trial_step(found, steps))]


def trial_step(found: Settings, steps: list[Step] | None = None) -> Step:
    """Return the step whose runs are the sweep's trials."""
    return next(step for step in steps or plan(found) if step.name == found.sweep.step)


def chain(steps: list[Step]) -> list[str]:
    """Return for each step a digest of it and of all steps before it."""
    digests, before = [], ""
    for step in steps:
        text = as_text([before, vars(step)])
        before = hashlib.sha256(text.encode()).hexdigest()[:16]
        digests.append(before)
    return digests


def early_keys(swept: Space, base: Settings, compose: Composer) -> list[str]:
    """List the swept keys that a step before training depends on."""
    usual = chain(before_training(base))
    return [key for key in swept.values if _any(swept, key, compose, lambda s: _chain(s) != usual)]


def first_early(swept: Space, early: list[str], base: Settings, compose: Composer) -> int:
    """Return the place of the first step that depends on one of the keys `early`."""
    usual, first = chain(before_training(base)), len(before_training(base))
    for key in early:
        for value in swept.values[key]:
            try:
                other = _chain(compose(f"{key}={value}"))
            except UserError:
                continue
            same = [one == two for one, two in zip(usual, other, strict=False)]
            first = min(first, same.index(False) if False in same else first)
    return first


def is_of_trials(swept: Space, base: Settings, compose: Composer) -> bool:
    """Say whether the jobs are trials of the training step, which can be compared.

    They are not where they run other steps or go elsewhere, or where that step cannot run trials in
    one process: where no worker.py lies in its folder, or the folder in another repository.
    """

    def place(found: Settings) -> dict[str, Any]:
        main = found.main.model_dump(exclude={"random_seed"})
        return {"main": main, "task": found.data.task}

    if base.sweep.step not in base.main.execute_steps or base.main.plan:
        return False
    step = trial_step(base)
    # A step that is named by its address is run as any MLflow project, once for each job.
    is_near = not is_address(step.uri) and not Path(step.uri).is_absolute()
    if not is_near or not (step_folder(step.uri) / SCRIPT).is_file():
        return False
    usual = place(base)
    return not any(_any(swept, k, compose, lambda s: place(s) != usual) for k in swept.values)


def combinations(swept: Space, keys: list[str]) -> list[list[str]]:
    """Return every combination of the values of `keys`, as overrides."""
    lists = [[f"{key}={value}" for value in swept.values[key]] for key in keys]
    return [[*words] for words in itertools.product(*lists)]


def _chain(found: Settings) -> list[str]:
    return chain(before_training(found))


def _any(swept: Space, key: str, compose: Composer, test: Callable[[Settings], bool]) -> bool:
    for value in swept.values[key]:
        try:
            found = compose(f"{key}={value}")
        except UserError:  # a trial that fails, and says so
            continue
        if test(found):
            return True
    return False
