"""Scores of a classifier or a regressor, the same ones on every split."""

import itertools
import logging

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from util_lib.errors import UserError

ENOUGH = 100  # probabilities, of which a share is off by up to 0.05 (one standard error)

logger = logging.getLogger("metrics")


def scores(
    truth: ArrayLike, probabilities: np.ndarray, classes: ArrayLike, split: str
) -> dict[str, float]:
    """Return `<split>_roc_auc_ovo_macro`, `<split>_accuracy`, `<split>_f1_macro`, `<split>_brier`.

    `probabilities` has one column for each entry of `classes`, in that order. What a split lacks:

    - a class that no row of the split has: its pairs are left out of the AUC's mean; it is left
      out of F1's too, unless it was predicted, which counts as F1 = 0;
    - a class that the model does not know: its rows count as wrong in accuracy and F1 (with F1 = 0
      for that class), have the probability 0 in the Brier score and are left out of the AUC.
    """
    truth, classes = np.asarray(truth), np.asarray(classes)
    predicted = classes[np.argmax(probabilities, axis=1)]
    known = np.isin(truth, classes)
    unknown = np.unique(truth[~known])
    if len(unknown):
        logger.warning(
            "%d of %d rows have a class that the model does not know (%s): they count as wrong",
            (~known).sum(),
            len(truth),
            ", ".join(map(str, unknown)),
        )
    present = np.unique(truth[known])
    if len(present) < 2:
        found = f"only {str(present[0])!r}" if len(present) else "none"
        raise UserError(
            f"the {split} split holds {found} of the model's classes and ROC AUC compares two: "
            "take a larger split, or stratify by the target"
        )
    return {
        f"{split}_roc_auc_ovo_macro": _roc_auc(truth[known], probabilities[known], classes),
        f"{split}_accuracy": float(accuracy_score(truth, predicted)),
        f"{split}_f1_macro": float(
            f1_score(
                truth,
                predicted,
                labels=np.concatenate([classes, unknown]),
                average="macro",
                zero_division=np.nan,
            )
        ),
        f"{split}_brier": float(squared_distances(truth, probabilities, classes).mean()),
    }


def squared_distances(
    truth: np.ndarray, probabilities: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """Return of each row how far its probabilities are from 1 for its class and 0 for the others.

    Their mean is the Brier score as scikit-learn has it: of two classes from 0 to 1, the half of
    what it is of more.
    """
    is_class = truth[:, None] == classes
    distances = ((probabilities - is_class) ** 2).sum(axis=1) + ~is_class.any(axis=1)
    return distances / 2 if len(classes) == 2 else distances


def reliability(
    truth: np.ndarray, probabilities: np.ndarray, classes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each tenth from 0 to 1 the mean probability in it, how often it held, how many.

    Of two classes the second one's probabilities, of more those of all classes together; tenths
    without any are left out.
    """
    given, held = probabilities, truth[:, None] == classes
    if len(classes) == 2:
        given, held = given[:, 1], held[:, 1]
    given, held = given.ravel(), held.ravel()
    tenth = np.minimum((given * 10).astype(int), 9)
    numbers = np.bincount(tenth, minlength=10)
    there = numbers > 0
    means = np.bincount(tenth, given, 10)[there] / numbers[there]
    return means, np.bincount(tenth, held, 10)[there] / numbers[there], numbers[there]


def calibration_gap(truth: np.ndarray, probabilities: np.ndarray, classes: np.ndarray) -> float:
    """Return the largest gap of `reliability` in a tenth of at least `ENOUGH`, else NaN."""
    means, shares, numbers = reliability(truth, probabilities, classes)
    gaps = np.abs(means - shares)[numbers >= ENOUGH]
    return float(gaps.max()) if len(gaps) else float("nan")


def regression_scores(truth: np.ndarray, predicted: np.ndarray, split: str) -> dict[str, float]:
    """Return `<split>_r2`, and `<split>_mae` and `<split>_rmse` in units of the target.

    R² is 1 - (sum of squared errors) / (sum of squared distances from the split's own mean): 0 is
    what the mean achieves. Where all values are equal it is 1 if they are met and else 0.
    """
    if len(truth) < 2:
        raise UserError(f"the {split} split holds {len(truth)} row and R² needs two: take a larger")
    return {
        f"{split}_r2": float(r2_score(truth, predicted)),
        f"{split}_mae": float(mean_absolute_error(truth, predicted)),
        f"{split}_rmse": float(root_mean_squared_error(truth, predicted)),
    }


def _roc_auc(truth: np.ndarray, probabilities: np.ndarray, classes: np.ndarray) -> float:
    if len(classes) == 2:
        return float(roc_auc_score(truth == classes[1], probabilities[:, 1]))
    if not np.allclose(probabilities.sum(axis=1), 1):  # scikit-learn says what is wrong
        return float(roc_auc_score(truth, probabilities, multi_class="ovo", labels=classes))
    rows = {place: truth == name for place, name in enumerate(classes)}
    pairs = itertools.combinations([place for place, mask in rows.items() if mask.any()], 2)
    return float(np.mean([_auc_of_pair(rows, probabilities, *pair) for pair in pairs]))


def _auc_of_pair(
    rows: dict[int, np.ndarray], probabilities: np.ndarray, one: int, other: int
) -> float:
    """Return the mean of two AUCs: of `one` among the rows of both classes, and of `other`.

    They are those of scikit-learn to the last bit, whose checks of each pair's arguments take
    longer than many a fit: there are 210 of 15 classes.
    """
    both = rows[one] | rows[other]
    return (
        _area(rows[one][both], probabilities[both, one])
        + _area(rows[other][both], probabilities[both, other])
    ) / 2


def _area(truth: np.ndarray, score: np.ndarray) -> float:
    """Return the area under the ROC curve, by the steps of `roc_curve` and `auc`."""
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.nonzero(np.diff(score[order]))[0], len(score) - 1)
    hits = np.cumsum(truth[order], dtype=float)[ends]
    alarms = 1.0 + ends - hits
    if len(ends) > 2:
        corner = (np.diff(alarms, 2) != 0) | (np.diff(hits, 2) != 0)
        kept = np.concatenate([[True], corner, [True]])
        hits, alarms = hits[kept], alarms[kept]
    hits, alarms = np.append(0.0, hits), np.append(0.0, alarms)
    return float(np.trapezoid(hits / hits[-1], alarms / alarms[-1]))
