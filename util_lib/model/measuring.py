"""Scores and figures of a fitted pipeline on the rows of one split, by task."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, f1_score

from util_lib.model import inference_pipeline, metrics
from util_lib.model.uncertainty import standard_errors


def score(
    pipeline: Any,
    rows: pd.DataFrame,
    truth: np.ndarray,
    task: str,
    split: str,
    errors: bool = False,
    answers: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> tuple[dict[str, float], Callable[[], dict[str, Any]]]:
    """Return the metrics `<split>_...`, and what draws the figures, by name: that takes longer.

    With `errors` what a metric stands on is among them: its standard error (`<metric>_se`), what
    the same answer for every row reaches (`<metric>_baseline`), and how many rows there are, of the
    rarest class too. What is not known is left out. Of a classifier also how far its probabilities
    are off (`metrics.calibration_gap`), and what the trees alone reach where it is calibrated.
    `answers` are to be measured in place of the pipeline's own; `groups` numbers the
    rows' groups where the split keeps them together: errors are then those between groups.
    """
    if task == "regression":
        predicted = answer(pipeline, rows, task) if answers is None else answers
        scores = metrics.regression_scores(truth, predicted, split)
        if errors:
            scores |= _grounds_of_numbers(truth, predicted, split)
            _count_groups(
                scores,
                lambda kept: metrics.regression_scores(truth[kept], predicted[kept], split),
                groups,
                split,
            )
        return scores, lambda: {"residuals": _plots().residuals(truth, predicted)}
    classes = pipeline.classes_
    probabilities = answer(pipeline, rows, task) if answers is None else answers
    drawn = {"as answered": probabilities}
    if inference_pipeline.is_calibrated(pipeline):
        drawn["not calibrated"] = answer(inference_pipeline.uncalibrated(pipeline), rows, task)
    predicted = classes[probabilities.argmax(axis=1)]
    scores = metrics.scores(truth, probabilities, classes, split)
    if errors:
        scores |= _grounds_of_classes(truth, probabilities, predicted, classes, split)
        scores |= _of_trees_alone(truth, drawn.get("not calibrated"), classes, split)
        _count_groups(
            scores,
            lambda kept: metrics.scores(truth[kept], probabilities[kept], classes, split),
            groups,
            split,
        )
    return scores, lambda: {
        "confusion_matrix": _plots().confusion_matrix(truth, predicted, classes),
        "reliability": _plots().reliability(
            {name: metrics.reliability(truth, given, classes) for name, given in drawn.items()}
        ),
    }


def answer(pipeline: Any, rows: pd.DataFrame, task: str) -> np.ndarray:
    """Return the probabilities of `rows`, or the numbers that are predicted for them."""
    with inference_pipeline.predicting(pipeline, rows):
        return pipeline.predict(rows) if task == "regression" else pipeline.predict_proba(rows)


def _count_groups(
    scores: dict[str, float],
    score_of: Callable[[np.ndarray], dict[str, float]],
    groups: np.ndarray | None,
    split: str,
) -> None:
    """Put the errors between groups in the place of those between rows."""
    if groups is None:
        return
    scores[f"{split}_groups"] = len(np.unique(groups))
    for name, error in standard_errors.of_groups(score_of, groups).items():
        scores.pop(f"{name}_se", None)
        if np.isfinite(error):
            scores[f"{name}_se"] = error


def _grounds_of_classes(
    truth: np.ndarray,
    probabilities: np.ndarray,
    predicted: np.ndarray,
    classes: np.ndarray,
    split: str,
) -> dict[str, float]:
    names, counts = np.unique(truth, return_counts=True)
    same = np.full(len(truth), names[counts.argmax()], dtype=truth.dtype)
    distances = metrics.squared_distances(truth, probabilities, classes)
    shares = np.broadcast_to((truth[:, None] == classes).mean(axis=0), probabilities.shape)
    found = {
        "roc_auc_ovo_macro_se": standard_errors.of_roc_auc(truth, probabilities, classes),
        "roc_auc_ovo_macro_baseline": 0.5,
        "accuracy_se": standard_errors.of_accuracy(truth, predicted),
        "accuracy_baseline": accuracy_score(truth, same),
        "f1_macro_se": standard_errors.of_f1_macro(truth, predicted),
        "f1_macro_baseline": f1_score(truth, same, average="macro"),
        "brier_se": standard_errors.of_brier(distances),
        "brier_baseline": metrics.squared_distances(truth, shares, classes).mean(),
        "calibration_gap": metrics.calibration_gap(truth, probabilities, classes),
        "rows": len(truth),
        "rarest_class_rows": int(counts.min()),
    }
    return _known(found, split)


def _of_trees_alone(
    truth: np.ndarray, probabilities: np.ndarray | None, classes: np.ndarray, split: str
) -> dict[str, float]:
    if probabilities is None:
        return {}
    found = {
        "uncalibrated_brier": metrics.squared_distances(truth, probabilities, classes).mean(),
        "uncalibrated_calibration_gap": metrics.calibration_gap(truth, probabilities, classes),
    }
    return _known(found, split)


def _grounds_of_numbers(truth: np.ndarray, predicted: np.ndarray, split: str) -> dict[str, float]:
    mean = np.full(len(truth), truth.mean())
    same = metrics.regression_scores(truth, mean, "")
    found = {
        "r2_se": standard_errors.of_r2(truth, predicted),
        "r2_baseline": 0.0,
        "mae_se": standard_errors.of_mae(truth, predicted),
        "mae_baseline": same["_mae"],
        "rmse_se": standard_errors.of_rmse(truth, predicted),
        "rmse_baseline": same["_rmse"],
        "rows": len(truth),
    }
    return _known(found, split)


def _known(found: dict[str, float], split: str) -> dict[str, float]:
    return {
        f"{split}_{name}": value if isinstance(value, int) else float(value)
        for name, value in found.items()
        if np.isfinite(value)
    }


def _plots() -> Any:
    from util_lib.model import plots  # half a second of imports, for who draws

    return plots
