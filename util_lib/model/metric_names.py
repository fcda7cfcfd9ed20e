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
FEW = 10  # rows of a class, of which a measured share is off by up to 0.16 (one standard error)
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


def said_of(scores: Mapping[str, float], split: str, before: Mapping[str, float]) -> list[str]:
    """Say where scores of a `split` stand on little, calibration harms, or validation differs.

    `before` is what the model's own run measured. A difference counts where it is larger than both
    standard errors together.
    """
    said = []
    rarest = scores.get(f"{split}_rarest_class_rows", FEW)
    if rarest < FEW:
        said.append(
            f"the rarest class has {rarest} rows in the {split} split, fewer than {FEW}: what is "
            "measured of it may be far off"
        )
    raw, brier = scores.get(f"{split}_uncalibrated_brier"), scores.get(f"{split}_brier")
    if raw is not None and brier is not None and brier > raw:
        said.append(
            f"{split}_brier {brier:.4f} is worse than without calibration ({raw:.4f}): set "
            "calibrate to null, or take a larger val_size"
        )
    unlike = []
    for name, value in scores.items():
        other = name.replace(f"{split}_", "val_", 1)
        ours, theirs = scores.get(f"{name}_se"), before.get(f"{other}_se")
        if other not in before or ours is None or theirs is None:
            continue
        if abs(value - before[other]) > ours + theirs:
            unlike.append(f"{name} {value:.4f} ({other} {before[other]:.4f})")
    if unlike:
        said.append(
            f"{', '.join(unlike)}: apart by more than both standard errors together: chance, or "
            "rows that are not alike"
        )
    return said


def _figure(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
