"""The metrics of a model by name: for which task they are, and which way is better.

`metrics` measures them. Apart from it, because importing this costs nothing.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Metric(NamedTuple):
    """One metric, as it is called after its split: `val_accuracy`, `test_accuracy`."""

    name: str
    task: str
    greater_is_better: bool


METRICS = (
    Metric("roc_auc_ovo_macro", "classification", True),
    Metric("accuracy", "classification", True),
    Metric("f1_macro", "classification", True),
    Metric("brier", "classification", False),
    Metric("r2", "regression", True),
    Metric("mae", "regression", False),
    Metric("rmse", "regression", False),
)
GREATER_IS_BETTER = {metric.name: metric.greater_is_better for metric in METRICS}


def of_task(task: str) -> list[str]:
    """Return the metrics of a task; the first one decides where nothing else is said."""
    return [metric.name for metric in METRICS if metric.task == task]


def lines(measured: Mapping[str, object]) -> list[str]:
    """Return a line for each metric, with its standard error and its baseline where there are."""
    said = []
    for name, value in measured.items():
        stem, _, kind = name.rpartition("_")
        if kind in ("se", "baseline") and stem in measured:
            continue
        error, baseline = (measured.get(f"{name}_{kind}") for kind in ("se", "baseline"))
        more = "" if error is None else f" ± {_figure(error)}"
        more += "" if baseline is None else f" (baseline {_figure(baseline)})"
        said.append(f"{name} {_figure(value)}{more}")
    return said


def _figure(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
