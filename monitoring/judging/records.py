"""What is judged, by which rules, and what comes of it: plain records."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

FAMILIES = ("inputs", "predictions", "performance", "traffic")
PER_YEAR = {"hour": 24 * 365, "day": 365, "week": 52}  # windows
ALPHA = 0.05  # chance of a false alarm of a family in a year
State = Literal["quiet", "watch", "alarm", "not judged"]


@dataclass(frozen=True)
class Window:
    """A closed stretch of time, from `start` to before `end`, both in UTC; it may be several.

    `name` is that of its last: `2026-W14`, `2026-04-05`, `2026-04-05T13`. `promoted` marks the
    first window in which this version of the model answered.
    """

    name: str
    kind: str  # hour, day or week
    start: pd.Timestamp
    end: pd.Timestamp
    n: int = 0
    promoted: bool = False

    @property
    def hours(self) -> float:
        """Its length."""
        return (self.end - self.start) / pd.Timedelta(hours=1)


@dataclass(frozen=True)
class Recorded:
    """The rows of one window, as the log holds them.

    `frame` has the columns time, request, row, role, version, share, rejected, prediction;
    `inputs` the columns of the model for the same rows in the same order: a DataFrame, or anything
    with `columns`, `pieces(name)` and a length. `confidence` is the largest probability of each
    row, NaN where there is none; None for a regression. The rows may be of several roles and
    versions.
    """

    frame: pd.DataFrame
    inputs: Any
    confidence: np.ndarray | None = None


class Thresholds(NamedTuple):
    """What a change must reach to be one, besides being unlikely; the defaults of `data`."""

    min_effect: float = 0.05  # KS statistic, differences of shares
    kl_threshold: float = 0.02  # bits
    min_labels: int = 100  # rows with a label, below which there is no verdict
    min_drop: float = 0.02  # of accuracy; of a mean absolute error the share of it
    min_estimated_drop: float = 0.04  # as far as an estimate of accuracy may be off
    traffic_factor: float = 2.0  # requests an hour, to the median of the windows before


@dataclass(frozen=True)
class Judgement:
    """One test of one window, and how it ended.

    `statistic` is what a page draws over time, `low` to `high` the band in which it is
    unremarkable and `error` its standard error, each where it is known. `effect` is compared with
    `threshold`, `p_value` with `alpha`; a test fails by both. `n` counts the rows it is about.
    """

    family: str
    test: str
    column: str | None
    outcome: Literal["passed", "failed", "not judged"]
    reason: str
    n: int = 0
    statistic: float | None = None
    effect: float | None = None
    p_value: float | None = None
    alpha: float | None = None
    threshold: float | None = None
    low: float | None = None
    high: float | None = None
    error: float | None = None

    @property
    def key(self) -> tuple[str, str, str | None]:
        """What makes it the same test in another window."""
        return self.family, self.test, self.column


def not_judged(family: str, test: str, reason: str, column: str | None = None) -> Judgement:
    """Return a test that says nothing, and why."""
    return Judgement(family, test, column, "not judged", reason)
