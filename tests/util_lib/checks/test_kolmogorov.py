import numpy as np
import pytest
from scipy import stats

from util_lib.kolmogorov import EXACT_UP_TO, ks_2samp


@pytest.mark.parametrize("n", [50, EXACT_UP_TO + 1])
@pytest.mark.parametrize("m", [1, 70, EXACT_UP_TO + 500])
@pytest.mark.parametrize("shift", [0, 0.02, 5])
@pytest.mark.parametrize("decimals", [0, 1, 15])
def test_statistic_and_p_value_are_those_of_scipy_whatever_the_size_and_the_ties(
    n, m, shift, decimals
):
    random = np.random.default_rng(n + m)
    sample = random.normal(size=n).round(decimals)
    reference = (random.normal(size=m) + shift).round(decimals)
    expected = stats.ks_2samp(sample, reference)
    statistic, p = ks_2samp(sample, reference)
    assert statistic == pytest.approx(expected.statistic, abs=1e-12)
    assert p == pytest.approx(expected.pvalue, rel=1e-9, abs=1e-300)


def test_values_beyond_all_numbers_are_compared_too():
    many = np.r_[np.full(EXACT_UP_TO, np.inf), 0.0]
    assert ks_2samp(many, -many)[0] == pytest.approx(EXACT_UP_TO / (EXACT_UP_TO + 1))
    assert ks_2samp(many, many) == (0.0, 1.0)
