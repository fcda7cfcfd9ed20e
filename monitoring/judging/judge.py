"""One window judged: its inputs, its answers, its performance, its traffic."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from monitoring.judging import inputs, performance, predictions
from monitoring.judging.records import (
    ALPHA,
    PER_YEAR,
    Judgement,
    Recorded,
    Thresholds,
    Window,
    not_judged,
)
from monitoring.judging.states import states
from monitoring.judging.windows import windows
from util_lib.checks.drift import sidak
from util_lib.model.monitoring_reference import ModelReference

__all__ = ["states", "window", "windows"]

MEMORY = 8  # windows before, of which the median of the request rate is taken
FEWEST = 4


def window(
    rows: Recorded,
    labels: pd.DataFrame | None,
    reference: ModelReference,
    thresholds: Thresholds,
    about: Window,
    rates_before: Sequence[float] = (),
) -> list[Judgement]:
    """Return every test of one window, in the order of the families.

    `labels` has the columns request, row, label and time, when each became known. `rates_before`
    are the requests an hour of earlier windows, the newest last. Each family errs in a year with
    chance ALPHA: a test is held to 1 - (1 - ALPHA)^(1 / (tests of the family x windows a year)).
    """
    alpha = sidak(ALPHA, PER_YEAR[about.kind])
    return [
        *inputs.judge(rows, reference, thresholds, alpha),
        *predictions.judge(rows, reference, thresholds, alpha),
        *performance.judge(rows, labels, reference, thresholds, alpha),
        _traffic(rows.frame, thresholds, about, rates_before),
    ]


def _traffic(
    frame: pd.DataFrame, thresholds: Thresholds, about: Window, before: Sequence[float]
) -> Judgement:
    """Compare the requests an hour with those of the windows before.

    How much traffic differs from week to week only its owner knows: there is a factor and no p.
    """
    asked = frame[frame["role"].isin(["champion", "challenger"])].drop_duplicates("request")
    rate = float((1 / asked["share"]).sum()) / about.hours
    if len(before) < FEWEST:
        why = f"{rate:,.2f} requests an hour; {len(before)} windows before, {FEWEST} are needed"
        return replace(not_judged("traffic", "request rate", why), statistic=rate)
    usual, factor = float(np.median(before[-MEMORY:])), thresholds.traffic_factor
    if not usual:
        why = f"{rate:,.2f} requests an hour; most windows before had none"
        return replace(not_judged("traffic", "request rate", why), statistic=rate)
    failed = not usual / factor <= rate <= usual * factor
    return Judgement(
        family="traffic",
        test="request rate",
        column=None,
        outcome="failed" if failed else "passed",
        reason=f"{rate:,.2f} requests an hour, in the windows before {usual:,.2f}: "
        f"{'more' if failed else 'no more'} than a factor of {factor:g}",
        n=len(asked),
        statistic=rate,
        effect=max(rate, usual) / min(rate, usual) if rate else None,
        threshold=factor,
        low=usual / factor,
        high=usual * factor,
    )
