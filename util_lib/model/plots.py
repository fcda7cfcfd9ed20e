"""Figures of a classifier or a regressor, made without pyplot: no display and no global state."""

from collections.abc import Collection
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

LARGEST_LABELLED = 40  # classes; beyond, the numbers in the cells would overlap

LARGEST_SCATTER = 5_000  # points; more would only be a blot, and a large file


def confusion_matrix(
    truth: Collection[Any], predicted: Collection[Any], classes: Collection[Any]
) -> Figure:
    """Draw how the rows of each true class were predicted, as fractions of that class.

    The row of a class that `truth` does not have stays empty.
    """
    from sklearn.metrics import confusion_matrix as count

    labels = [*classes, *sorted(set(map(str, truth)) - set(map(str, classes)))]
    names = [str(label) for label in labels]
    counts = count([str(t) for t in truth], [str(p) for p in predicted], labels=names)
    ticks = [_as_written(name) for name in names]
    totals = counts.sum(axis=1, keepdims=True)
    fractions = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)

    figure = Figure(figsize=(10, 10), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(fractions, cmap="viridis", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8)
    axes.set_xticks(range(len(names)), ticks, rotation=90)
    axes.set_yticks(range(len(names)), ticks)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title("Fraction of each true class")
    if len(names) <= LARGEST_LABELLED:
        for (row, column), value in np.ndenumerate(fractions):
            colour = "black" if value > 0.5 else "white"
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=colour)
    return figure


def reliability(lines: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Figure:
    """Draw how often what was given each probability held, and how many there were of each.

    `lines` are those of `metrics.reliability` by their name; on the diagonal they would be right.
    """
    figure = Figure(figsize=(8, 8), layout="constrained")
    axes, spread = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    axes.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle="--")
    for name, (means, shares, numbers) in lines.items():
        axes.plot(means, shares, marker="o", label=name)
        spread.plot(means, numbers, marker="o")
    axes.set_ylabel("how often it was so")
    axes.set_title("Reliability: probabilities and what came of them, by tenths")
    axes.legend()
    spread.set_xlabel("probability")
    spread.set_ylabel("probabilities")
    spread.set_yscale("log")
    return figure


def residuals(truth: ArrayLike, predicted: ArrayLike) -> Figure:
    """Draw true minus predicted over predicted, with a line at 0, and how the errors spread.

    Of more than 5,000 rows, 5,000 evenly spaced ones are shown; the histogram has all.
    """
    predicted = np.asarray(predicted, dtype=float)
    errors = np.asarray(truth, dtype=float) - predicted
    shown = np.unique(np.linspace(0, len(errors) - 1, LARGEST_SCATTER).astype(int))

    figure = Figure(figsize=(10, 6), layout="constrained")
    axes, spread = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1])
    axes.scatter(predicted[shown], errors[shown], s=8, alpha=0.5)
    axes.axhline(0, color="black", linewidth=1)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true - predicted")
    axes.set_title(f"Errors of {len(shown):,} of {len(errors):,} rows")
    spread.hist(errors, bins=40, orientation="horizontal")
    spread.axhline(0, color="black", linewidth=1)
    spread.set_xlabel("rows")
    return figure


def feature_importance(importances: dict[str, float]) -> Figure:
    """Draw one bar for each feature, the most important first."""
    ordered = sorted(importances.items(), key=lambda item: item[1])
    figure = Figure(figsize=(10, max(4.0, 0.35 * len(ordered))), layout="constrained")
    axes = figure.add_subplot()
    axes.barh([_as_written(name) for name, _ in ordered], [value for _, value in ordered])
    axes.set_xlabel("importance (all together 1)")
    axes.set_title("Feature importance")
    return figure


def _as_written(name: str) -> str:
    """Return a name for a figure that is no formula, as what is between two $ would be."""
    return name.replace("$", r"\$")
