"""Scores and figures of a fitted pipeline on the rows of one split, by task."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from util_lib import metrics, plots


def measure(
    pipeline: Any, rows: pd.DataFrame, truth: np.ndarray, task: str, split: str
) -> tuple[dict[str, float], dict[str, Figure]]:
    """Return the metrics `<split>_...` and a figure by its name: what training and test measure."""
    if task == "regression":
        predicted = pipeline.predict(rows)
        scores = metrics.regression_scores(truth, predicted, split)
        return scores, {"residuals": plots.residuals(truth, predicted)}
    classes, probabilities = pipeline.classes_, pipeline.predict_proba(rows)
    predicted = classes[probabilities.argmax(axis=1)]
    scores = metrics.scores(truth, probabilities, classes, split)
    return scores, {"confusion_matrix": plots.confusion_matrix(truth, predicted, classes)}
