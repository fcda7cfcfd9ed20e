"""The benchmark of quiet weeks, smaller: few false alarms, and changes are found."""

import numpy as np
import pytest
from step_support import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def quiet_weeks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import quiet_weeks

    return quiet_weeks


def test_quiet_half_years_are_nearly_all_without_an_alarm(quiet_weeks):
    assert quiet_weeks.quiet(300, half_years=20)["any"] <= 4  # at 7 % more in 1 of 100 tries


def test_a_shift_is_found_within_two_weeks_and_a_drop_within_three(quiet_weeks):
    shifts = quiet_weeks.delays(20, 2, "inputs", "normal", shift=quiet_weeks.SHIFT)
    assert np.mean(shifts <= 2) >= 0.9
    drops = quiet_weeks.delays(20, 3, "performance", None, drop=quiet_weeks.DROP)
    assert np.mean(drops <= 1) >= 0.6 and np.mean(drops <= 3) >= 0.9
