"""How sure a difference between two models is: a paired bootstrap over the rows of one table.

Rows are drawn with replacement, the same ones for both models, and the metric's difference is
taken on each draw; the middle 95 % of the differences are the interval (the percentile interval of
Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13). Rows of a class are drawn
from that class, as pROC does for paired ROC curves (Robin et al., BMC Bioinformatics 12:77, 2011):
so no draw lacks a class. A draw is a row of weights - how often each row was drawn - and every
metric is computed for many draws at once.
"""

from collections.abc import Callable, Iterator

import numpy as np

from util_lib.model import metrics

RESAMPLES = 1000
LEVEL = 0.95
SEED = 42
MAX_CELLS = 1_000_000  # of the weights at once: 8 MB, so that one pair of classes fits the cache

# Of the weights (rows by draws) and what a model answered, to one value for each draw.
Metric = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def interval(
    metric: Metric,
    truth: np.ndarray,
    one: np.ndarray,
    other: np.ndarray,
    by_class: bool,
    groups: np.ndarray | None = None,
) -> tuple[float, float]:
    """Return low and high end of the interval of metric(one) - metric(other).

    `truth` holds class numbers (`by_class`), -1 for a class that the models do not know, or values;
    `one` and `other` what the models answered,
    as `metric` takes it. The draws are the same in every process. With `groups`, the number of each
    row's, whole groups are drawn, of whatever class: rows that are alike say no more than one does.
    """
    differences = [
        metric(weights, truth, one) - metric(weights, truth, other)
        for weights in _draws(truth, by_class, groups)
    ]
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(np.concatenate(differences), [tail, 1 - tail])
    return float(low), float(high)


def accuracy(weights: np.ndarray, truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the share of rows whose most probable class is theirs."""
    correct = probabilities.argmax(axis=1) == truth
    return correct.astype(float) @ weights / weights.sum(axis=0)


def f1_macro(weights: np.ndarray, truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the mean F1 over the classes that are there or were predicted."""
    classes = np.union1d(np.arange(probabilities.shape[1]), truth)
    is_class = (truth[:, None] == classes).astype(float)
    predicted = (probabilities.argmax(axis=1)[:, None] == classes).astype(float)
    hits, size = (is_class * predicted).T @ weights, (is_class + predicted).T @ weights
    with np.errstate(invalid="ignore"):
        return np.nanmean(np.where(size > 0, 2 * hits / size, np.nan), axis=0)


def f1_of(number: int) -> Metric:
    """Return the F1 of one class as a metric; 0 where it is neither there nor predicted."""

    def f1(weights: np.ndarray, truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        is_class, predicted = truth == number, probabilities.argmax(axis=1) == number
        size = (is_class.astype(float) + predicted) @ weights
        return 2 * ((is_class & predicted).astype(float) @ weights) / np.maximum(size, 1)

    return f1


def roc_auc_ovo_macro(
    weights: np.ndarray, truth: np.ndarray, probabilities: np.ndarray
) -> np.ndarray:
    """Return the mean AUC over all pairs of classes that are there, as scikit-learn defines it.

    Hand and Till 2001: each pair counts by its two directions, each by its own class's probability.
    Of two classes only the second one's is used.
    """
    present = np.unique(truth[truth >= 0])
    if probabilities.shape[1] == 2:
        return _auc(weights, probabilities[:, 1], np.flatnonzero(truth == 1), truth == 0)
    pairs = [(a, b) for a in present for b in present if a != b]
    total = np.zeros(weights.shape[1])
    for a, b in pairs:
        total += _auc(weights, probabilities[:, a], np.flatnonzero(truth == a), truth == b)
    return total / len(pairs)


def brier(weights: np.ndarray, truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the mean squared distance of the probabilities from 1 and 0, as `metrics` has it."""
    distances = metrics.squared_distances(truth, probabilities, np.arange(probabilities.shape[1]))
    return distances @ weights / weights.sum(axis=0)


def r2(weights: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return 1 - squared errors / squared distances from the draw's own mean."""
    spread = truth**2 @ weights - (truth @ weights) ** 2 / weights.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - (truth - predicted) ** 2 @ weights / spread


def mae(weights: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the mean absolute error."""
    return np.abs(truth - predicted) @ weights / weights.sum(axis=0)


def rmse(weights: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the root of the mean squared error."""
    return np.sqrt((truth - predicted) ** 2 @ weights / weights.sum(axis=0))


METRICS: dict[str, Metric] = {
    "roc_auc_ovo_macro": roc_auc_ovo_macro,
    "accuracy": accuracy,
    "f1_macro": f1_macro,
    "brier": brier,
    "r2": r2,
    "mae": mae,
    "rmse": rmse,
}


def _auc(
    weights: np.ndarray, scores: np.ndarray, positive: np.ndarray, is_negative: np.ndarray
) -> np.ndarray:
    """Return, for each draw, the chance that a positive scores above a negative; ties are half."""
    negative = np.flatnonzero(is_negative)
    negative = negative[np.argsort(scores[negative], kind="stable")]
    below = np.zeros((len(negative) + 1, weights.shape[1]))  # negatives drawn, up to each rank
    np.cumsum(weights[negative], axis=0, out=below[1:])
    left = np.searchsorted(scores[negative], scores[positive], "left")
    right = np.searchsorted(scores[negative], scores[positive], "right")
    drawn = weights[positive]
    wins = np.einsum("ij,ij->j", below[left], drawn) + np.einsum("ij,ij->j", below[right], drawn)
    with np.errstate(invalid="ignore"):  # groups were drawn, and none with one of the two classes
        return wins / (2 * below[-1] * drawn.sum(axis=0))


def _draws(truth: np.ndarray, by_class: bool, groups: np.ndarray | None) -> Iterator[np.ndarray]:
    """Give weights: rows by draws, how often each row was drawn."""
    random = np.random.default_rng(SEED)
    strata = [np.arange(len(truth))]
    if by_class:
        strata = [np.flatnonzero(truth == number) for number in np.unique(truth)]
    # Whatever the chunks, the draws are the same: each is drawn on its own.
    at_once = max(1, MAX_CELLS // len(truth))
    for start in range(0, RESAMPLES, at_once):
        weights = np.zeros((len(truth), min(at_once, RESAMPLES - start)))
        for draw in range(weights.shape[1]):
            if groups is not None:
                n_groups = groups.max() + 1
                drawn = random.integers(0, n_groups, n_groups)
                weights[:, draw] = np.bincount(drawn, minlength=n_groups)[groups]
                continue
            for rows in strata:
                drawn = random.integers(0, len(rows), len(rows))
                weights[rows, draw] = np.bincount(drawn, minlength=len(rows))
        yield weights
