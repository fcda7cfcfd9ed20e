"""One window judged: its inputs, its answers, its performance, its traffic."""

from collections.abc import Sequence

import pandas as pd

from monitoring.judging.records import Judgement, Recorded, Thresholds, Window
from monitoring.judging.states import states
from monitoring.judging.windows import windows
from util_lib.model.monitoring_reference import ModelReference

__all__ = ["states", "window", "windows"]


def window(
    rows: Recorded,
    labels: pd.DataFrame | None,
    reference: ModelReference,
    thresholds: Thresholds,
    window: Window,
    rates_before: Sequence[float] = (),
) -> list[Judgement]:
    """Return every test of one window, in the order of the families.

    `labels` has the columns request, row, label and time, when each became known. `rates_before`
    are the requests an hour of earlier windows, the newest last.
    """
    raise NotImplementedError
