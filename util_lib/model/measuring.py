"""Scores and figures of a fitted pipeline on the rows of one split, by task."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from util_lib.model import metrics, standard_errors


def measure(
    pipeline: Any, rows: pd.DataFrame, truth: np.ndarray, task: str, split: str
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the metrics `<split>_...` and a figure by its name: what training and test measure."""
    scores, draw = score(pipeline, rows, truth, task, split)
    return scores, draw()


def score(
    pipeline: Any,
    rows: pd.DataFrame,
    truth: np.ndarray,
    task: str,
    split: str,
    errors: bool = False,
) -> tuple[dict[str, float], Callable[[], dict[str, Any]]]:
    """Return the metrics of `measure`, and what draws its figures: that takes longer.

    With `errors` the first metric's standard error is among them, as `<metric>_se`.
    """
    if task == "regression":
        predicted = pipeline.predict(rows)
        scores = metrics.regression_scores(truth, predicted, split)
        if errors:
            scores[f"{split}_r2_se"] = standard_errors.of_r2(truth, predicted)
        return scores, lambda: {"residuals": _plots().residuals(truth, predicted)}
    classes, probabilities = pipeline.classes_, pipeline.predict_proba(rows)
    predicted = classes[probabilities.argmax(axis=1)]
    scores = metrics.scores(truth, probabilities, classes, split)
    if errors:
        error = standard_errors.of_roc_auc(truth, probabilities, classes)
        scores[f"{split}_roc_auc_ovo_macro_se"] = error
    return scores, lambda: {
        "confusion_matrix": _plots().confusion_matrix(truth, predicted, classes)
    }


def _plots() -> Any:
    from util_lib.model import plots  # half a second of imports, for who draws

    return plots
