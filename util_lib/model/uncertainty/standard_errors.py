"""How far a score would move with other rows of the same kind: one standard error of it."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

MOST_BUNDLES = 50  # of groups, each left out once
DRAWS = 200  # of a bootstrap: its standard error is then known to some 5 %


def of_roc_auc(truth: ArrayLike, probabilities: np.ndarray, classes: ArrayLike) -> float:
    """Return the standard error of the AUC as `metrics.scores` measures it; NaN if not known.

    By the placement values of DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988): a row's
    placement is the share of the other class's rows that it is ranked above. The mean over all
    ordered pairs of classes is a U-statistic too, whose variance is, to first order, the sum over
    the classes of the variance of their rows' summed placements by their number of rows. A class
    with a single row has no variance to estimate: NaN.
    """
    truth, classes = np.asarray(truth), np.asarray(classes)
    rows = {place: np.flatnonzero(truth == name) for place, name in enumerate(classes)}
    rows = {place: rows_of_class for place, rows_of_class in rows.items() if len(rows_of_class)}
    if len(rows) < 2 or min(map(len, rows.values())) < 2:
        return float("nan")
    # of two classes one column says it all: the other one's ranks are the same
    ranked = [1] if len(classes) == 2 else [*rows]
    moves = {place: np.zeros(len(rows_of_class)) for place, rows_of_class in rows.items()}
    n_pairs = len(ranked) * (len(rows) - 1)
    for place in ranked:
        for other in rows:
            if place != other:
                ours = probabilities[rows[place], place]
                theirs = probabilities[rows[other], place]
                moves[place] += _share_below(ours, theirs) / n_pairs
                moves[other] += (1 - _share_below(theirs, ours)) / n_pairs
    return float(np.sqrt(sum(np.var(each, ddof=1) / len(each) for each in moves.values())))


def _share_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return for each value the share of `others` below it; equal ones count half."""
    others = np.sort(others)
    below = np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")
    return below / (2 * len(others))


def of_r2(truth: ArrayLike, predicted: np.ndarray) -> float:
    """Return the standard error of R², by the delta method; NaN where R² is not defined.

    R² is 1 - a/b with a the mean squared error and b the variance; to first order a row moves it by
    (its squared error - a/b times its squared distance from the mean) / b.
    """
    truth = np.asarray(truth, dtype="float64")
    errors, distances = (truth - predicted) ** 2, (truth - truth.mean()) ** 2
    if len(truth) < 2 or not distances.any():
        return float("nan")
    moves = (errors - errors.mean() / distances.mean() * distances) / distances.mean()
    return float(np.std(moves, ddof=1) / np.sqrt(len(truth)))


def of_accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the standard error of the share of right answers."""
    return _of_mean((truth == predicted).astype(float))


def of_f1_macro(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the standard error of the mean F1 over the classes, by a bootstrap over the rows.

    Rows with the same class and the same answer are alike, so a draw is one of their counts (a
    multinomial). The draws are the same in every process.
    """
    codes, classes = pd.factorize(np.concatenate([truth, predicted]).astype(str))
    true, said = codes[: len(truth)], codes[len(truth) :]
    cells, counts = np.unique(np.stack([true, said]), axis=1, return_counts=True)
    random, values = np.random.default_rng(0), []
    for _ in range(DRAWS):
        drawn = random.multinomial(len(truth), counts / len(truth))
        hits = np.bincount(cells[0], drawn * (cells[0] == cells[1]), len(classes))
        sizes = np.bincount(cells[0], drawn, len(classes))
        sizes += np.bincount(cells[1], drawn, len(classes))
        values.append(np.mean(2 * hits[sizes > 0] / sizes[sizes > 0]))
    return float(np.std(values, ddof=1))


def of_brier(distances: np.ndarray) -> float:
    """Return the standard error of the Brier score, the mean of `metrics.squared_distances`."""
    return _of_mean(distances)


def of_mae(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the standard error of the mean absolute error."""
    return _of_mean(np.abs(truth - predicted))


def of_rmse(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the standard error of the root of the mean squared error, by the delta method."""
    squares = (truth - predicted) ** 2
    return _of_mean(squares) / (2 * np.sqrt(squares.mean())) if squares.any() else float("nan")


def of_groups(
    score: Callable[[np.ndarray], dict[str, float]], groups: np.ndarray
) -> dict[str, float]:
    """Return the standard error of each score of some rows, where the rows of a group are alike.

    The jackknife over groups (Efron and Tibshirani 1993, chapter 11): `score` is asked for the rows
    without each group, of more than MOST_BUNDLES groups without each bundle of them. NaN where a
    score is not known without one.
    """
    bundles = np.unique(groups, return_inverse=True)[1] % MOST_BUNDLES
    without = [score(np.flatnonzero(bundles != one)) for one in np.unique(bundles)]
    if len(without) < 2:
        return {}
    return {
        name: float(np.sqrt((len(without) - 1) * np.var([found[name] for found in without])))
        for name in without[0]
    }


def _of_mean(values: np.ndarray) -> float:
    n_rows = len(values)
    return float(np.std(values, ddof=1) / np.sqrt(n_rows)) if n_rows > 1 else float("nan")
