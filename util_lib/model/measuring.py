"""Scores and figures of a fitted pipeline on the rows of one split, by task."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, f1_score

from util_lib.model import inference_pipeline, metrics, standard_errors

FEW = 10  # rows of a class, of which a measured share is off by up to 0.16 (one standard error)


def measure(
    pipeline: Any, rows: pd.DataFrame, truth: np.ndarray, task: str, split: str
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the metrics `<split>_...` and a figure by its name: what training and test measure."""
    scores, draw = score(pipeline, rows, truth, task, split, errors=True)
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

    With `errors` what a metric stands on is among them: its standard error (`<metric>_se`), what
    the same answer for every row reaches (`<metric>_baseline`), and how many rows there are, of the
    rarest class too. What is not known is left out.
    """
    if task == "regression":
        with inference_pipeline.predicting(pipeline, rows):
            predicted = pipeline.predict(rows)
        scores = metrics.regression_scores(truth, predicted, split)
        if errors:
            scores |= _grounds_of_numbers(truth, predicted, split)
        return scores, lambda: {"residuals": _plots().residuals(truth, predicted)}
    with inference_pipeline.predicting(pipeline, rows):
        classes, probabilities = pipeline.classes_, pipeline.predict_proba(rows)
    predicted = classes[probabilities.argmax(axis=1)]
    scores = metrics.scores(truth, probabilities, classes, split)
    if errors:
        scores |= _grounds_of_classes(truth, probabilities, predicted, classes, split)
    return scores, lambda: {
        "confusion_matrix": _plots().confusion_matrix(truth, predicted, classes)
    }


def said_of(scores: dict[str, float], split: str, before: dict[str, Any]) -> list[str]:
    """Say where scores of a `split` stand on little, and where those of validation differ.

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
    for name, value in scores.items():
        other = name.replace(f"{split}_", "val_", 1)
        ours, theirs = scores.get(f"{name}_se"), before.get(f"{other}_se")
        if other not in before or ours is None or theirs is None:
            continue
        if abs(value - before[other]) > ours + theirs:
            said.append(
                f"{name} {value:.4f} and {other} {before[other]:.4f} differ by more than their "
                f"standard errors together ({ours + theirs:.4f}): chance, or rows that are not "
                "alike"
            )
    return said


def _grounds_of_classes(
    truth: np.ndarray,
    probabilities: np.ndarray,
    predicted: np.ndarray,
    classes: np.ndarray,
    split: str,
) -> dict[str, float]:
    names, counts = np.unique(truth, return_counts=True)
    same = np.full(len(truth), names[counts.argmax()], dtype=truth.dtype)
    found = {
        "roc_auc_ovo_macro_se": standard_errors.of_roc_auc(truth, probabilities, classes),
        "roc_auc_ovo_macro_baseline": 0.5,
        "accuracy_se": standard_errors.of_accuracy(truth, predicted),
        "accuracy_baseline": accuracy_score(truth, same),
        "f1_macro_se": standard_errors.of_f1_macro(truth, predicted),
        "f1_macro_baseline": f1_score(truth, same, average="macro"),
        "rows": len(truth),
        "rarest_class_rows": int(counts.min()),
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
