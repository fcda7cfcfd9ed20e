"""The two-sample Kolmogorov-Smirnov test, in half of scipy's time where tables are large."""

import warnings

import numpy as np

EXACT_UP_TO = 10_000  # rows of the larger sample; beyond, scipy's p-value is asymptotic too


def ks_2samp(sample: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Return the statistic and the two-sided p-value of `scipy.stats.ks_2samp`; no NaN, not empty.

    The statistic is the largest gap between the two distribution functions, ties taken together.
    scipy looks each value up in both samples. Here both are sorted and merged: a stable sort of two
    sorted runs is a merge. Counted in whole numbers, so that no rounding adds up.
    """
    from scipy import stats

    n, m = len(sample), len(reference)
    if max(n, m) <= EXACT_UP_TO:
        with warnings.catch_warnings():
            # Where the exact p-value overflows, scipy says so and takes the asymptotic one.
            warnings.filterwarnings("ignore", "ks_2samp: Exact calculation", RuntimeWarning)
            result = stats.ks_2samp(sample, reference)
        return float(result.statistic), float(result.pvalue)
    both = np.concatenate([np.sort(sample), np.sort(reference)])
    order = np.argsort(both, kind="stable")
    gaps = np.cumsum(np.where(order < n, m, -n))
    both = both[order]
    last_of_ties = np.append(both[1:] != both[:-1], True)
    statistic = float(np.abs(gaps[last_of_ties]).max() / (n * m))
    return statistic, float(np.clip(stats.kstwo.sf(statistic, np.round(n * m / (n + m))), 0, 1))
