"""The space that a Bayesian search looks through, from overrides in Hydra's words.

max_depth=range(5,50)        whole numbers 5 to 49, or with a step
max_features=interval(0.1,1) any number between; of whole numbers whole ones, both ends included
ccp_alpha=tag(log,interval(1e-6,1e-2))  evenly over the magnitudes
criterion=gini,entropy       one of these; also choice(gini,entropy)
"""

import itertools
import math
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from pipeline.settings.overrides import swept_values
from util_lib.errors import UserError

MOST_POINTS = 100_000


class SearchSpace(NamedTuple):
    """What is searched, by key, and the overrides that every trial has."""

    searched: dict[str, BaseDistribution]
    fixed: list[str]


def read(overrides: list[str], loader: Any = None) -> SearchSpace:
    """Return the space of `overrides`; of two for the same key the later one counts.

    `loader` is Hydra's, which knows what `glob(*)` stands for.
    """
    parser = OverridesParser.create(config_loader=loader)
    last = {each.key_or_group: each for each in parser.parse_overrides(overrides)}
    searched, fixed = {}, []
    for override in last.values():
        if override.is_sweep_override():
            searched[override.get_key_element()] = _distribution(override)
        else:
            fixed.append(str(override.input_line))
    if not searched:
        raise UserError(
            "hydra/sweeper=optuna needs a space to search: give a key several values, for example "
            "random_forest_pipeline.random_forest.max_depth='range(5,50)'"
        )
    return SearchSpace(searched, fixed)


def as_overrides(space: SearchSpace, params: dict[str, Any]) -> list[str]:
    """Return the overrides of one trial."""
    return searched_overrides(space, params) + space.fixed


def searched_overrides(space: SearchSpace, params: dict[str, Any]) -> list[str]:
    """Return the overrides that tell one trial from the others."""
    return [f"{key}={params[key]}" for key in space.searched]


def points(space: SearchSpace) -> list[dict[str, Any]]:
    """Return every point of a space, of which there are at most `MOST_POINTS`; else none."""
    lists = {key: _values(distribution) for key, distribution in space.searched.items()}
    if not all(lists.values()) or math.prod(map(len, lists.values())) > MOST_POINTS:
        return []
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def _values(distribution: BaseDistribution) -> list[Any]:
    """Return the values of a distribution, none where they cannot be counted."""
    if isinstance(distribution, CategoricalDistribution):
        return [*distribution.choices]
    if isinstance(distribution, IntDistribution):
        if (distribution.high - distribution.low) / distribution.step < MOST_POINTS:
            return [*range(distribution.low, distribution.high + 1, distribution.step)]
    return []


def _distribution(override: Override) -> BaseDistribution:
    value, line = override.value(), override.input_line
    if isinstance(value, IntervalSweep):
        low, high, log = value.start, value.end, "log" in value.tags
        if low is None or high is None or low >= high or (log and low <= 0):
            raise UserError(
                f"{line}: interval needs a start below its end{', above 0 for log' if log else ''}"
            )
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(float(low), float(high), log=log)
    choices = swept_values(override)
    if not choices:
        raise UserError(f"{line} names no value: give at least one")
    if isinstance(value, RangeSweep) and not value.shuffle:
        step, ends = abs(value.step), (float(choices[0]), float(choices[-1]))
        if isinstance(step, int) and isinstance(value.start, int):
            numbers = [int(text) for text in choices]
            return IntDistribution(min(numbers), max(numbers), step=step)
        return FloatDistribution(min(ends), max(ends), step=float(step))
    return CategoricalDistribution(sorted(choices) if getattr(value, "shuffle", False) else choices)
