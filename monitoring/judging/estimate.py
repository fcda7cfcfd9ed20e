"""The accuracy of a model before labels come, by how sure it is.

Where labels are known - the reference's outputs - it is measured how often answers of each
confidence are right: rising steps (isotonic regression). The mean of these shares over the answers
of a window is its accuracy, as long as rows of a confidence are as often right as they were.
"""

from functools import lru_cache

import numpy as np
from scipy import optimize, stats

from monitoring.judging.records import Judgement, Recorded, Thresholds, not_judged
from util_lib.model.monitoring_reference import ModelReference

BLIND = "an estimate from confidence cannot see a change of the labels' meaning"


class Calibration:
    """How often answers of a confidence are right, as steps, and how many rows each stands on."""

    def __init__(self, confidence: np.ndarray, right: np.ndarray):
        """Fit the steps."""
        order = np.argsort(confidence, kind="stable")
        self._edges, first, n_rows = np.unique(
            confidence[order], return_index=True, return_counts=True
        )
        n_right = np.add.reduceat(right[order].astype(float), first)
        rising = optimize.isotonic_regression(n_right / n_rows, weights=n_rows).x
        self.shares, self._step = np.unique(rising, return_inverse=True)
        self.sizes = np.bincount(self._step, n_rows)
        self.known = self.steps(confidence)

    def steps(self, confidence: np.ndarray) -> np.ndarray:
        """Return the step of each confidence: that of the nearest one below, or of the lowest."""
        places = np.searchsorted(self._edges, confidence, "right") - 1
        return self._step[np.maximum(places, 0)]


def estimate(
    rows: Recorded,
    mine: np.ndarray,
    reference: ModelReference,
    thresholds: Thresholds,
    level: float,
) -> Judgement:
    """Estimate the accuracy of the rows marked `mine`, and test whether it falls."""
    if reference.task == "regression":
        return _not("a model that predicts numbers says nothing of how sure it is")
    if reference.outputs is None:
        return _not("there are no validation rows to learn from how sure answers are right")
    if rows.confidence is None or not np.isfinite(given := rows.confidence[mine]).any():
        return _not("no probabilities were recorded")
    given = given[np.isfinite(given)].astype("float64")
    calibration = _calibration(reference)
    shares, sizes, known = calibration.shares, calibration.sizes, calibration.known
    found = calibration.steps(given)
    value, own = float(shares[found].mean()), float(shares[known].mean())
    # the rows of the window, and the steps, each of which stands on some rows
    weights = np.bincount(found, minlength=len(shares)) / len(given)
    moves = weights - np.bincount(known, minlength=len(shares)) / len(known)
    of_steps = shares * (1 - shares) / sizes
    of_rows = (shares[found] * (1 - shares[found])).mean() / len(given)
    error = float(np.sqrt(of_rows + (weights**2 * of_steps).sum()))
    spread = shares[found].var() / len(given) + shares[known].var() / len(known)
    doubt = float(np.sqrt(spread + (moves**2 * of_steps).sum()))
    drop = own - value
    p = float(stats.norm.sf(drop / doubt)) if doubt else float(drop <= 0)
    least = thresholds.min_estimated_drop
    failed = p < level and drop >= least
    return Judgement(
        family="performance",
        test="estimated score",
        column=None,
        outcome="failed" if failed else "passed",
        reason=f"accuracy is estimated at {value:.4f} ± {error:.4f} for {len(given):,} rows "
        f"without their labels, after {own:.4f} on {len(known):,} validation rows; {BLIND}",
        n=len(given),
        statistic=value,
        effect=drop,
        p_value=p,
        alpha=level,
        threshold=least,
        low=own - max(least, doubt * float(stats.norm.isf(level))),
        high=1.0,
        error=error,
    )


def _not(why: str) -> Judgement:
    return not_judged("performance", "estimated score", f"{why}; {BLIND}")


@lru_cache(maxsize=2)
def _calibration(reference: ModelReference) -> Calibration:
    outputs = reference.outputs
    assert outputs is not None  # asked for where there are some
    right = (outputs["prediction"] == outputs["target"]).to_numpy()
    return Calibration(outputs["confidence"].to_numpy(dtype="float64"), right)
