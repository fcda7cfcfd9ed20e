"""Figures of a classifier. They are made without pyplot, so no display and no global state."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

LARGEST_LABELLED = 40  # classes; beyond, the numbers in the cells would overlap


def confusion_matrix(truth: Sequence, predicted: Sequence, classes: Sequence) -> Figure:
    """Draw how the rows of each true class were predicted, as fractions of that class.

    The row of a class that `truth` does not have stays empty.
    """
    from sklearn.metrics import confusion_matrix as count

    labels = [*classes, *sorted(set(map(str, truth)) - set(map(str, classes)))]
    names = [str(label) for label in labels]
    counts = count([str(t) for t in truth], [str(p) for p in predicted], labels=names)
    totals = counts.sum(axis=1, keepdims=True)
    fractions = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)

    figure = Figure(figsize=(10, 10), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(fractions, cmap="viridis", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title("Fraction of each true class")
    if len(names) <= LARGEST_LABELLED:
        for (row, column), value in np.ndenumerate(fractions):
            colour = "black" if value > 0.5 else "white"
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=colour)
    return figure


def feature_importance(importances: dict[str, float]) -> Figure:
    """Draw one bar for each feature, the most important first."""
    ordered = sorted(importances.items(), key=lambda item: item[1])
    figure = Figure(figsize=(10, max(4.0, 0.35 * len(ordered))), layout="constrained")
    axes = figure.add_subplot()
    axes.barh([name for name, _ in ordered], [value for _, value in ordered])
    axes.set_xlabel("importance (all together 1)")
    axes.set_title("Feature importance")
    return figure
