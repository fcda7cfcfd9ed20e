"""Closed windows of time: which rows are judged together."""

import re

import numpy as np
import pandas as pd

from monitoring.judging.records import Window
from util_lib.errors import UserError

LATE = pd.Timedelta(hours=1)  # after its end a window is closed
NAMES = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "week": "%G-W%V"}
STEPS = {"hour": pd.Timedelta(hours=1), "day": pd.Timedelta(days=1), "week": pd.Timedelta(days=7)}
PATTERNS = {"hour": r"\d{4}-\d\d-\d\dT\d\d", "day": r"\d{4}-\d\d-\d\d", "week": r"\d{4}-W\d\d"}
MONDAY = np.datetime64("1970-01-05", "us")


def windows(
    times: pd.Series | np.ndarray, kind: str, until: str | pd.Timestamp, least: int = 300
) -> list[Window]:
    """Return the closed windows of `kind` hour, day or week that hold the `times`, in order.

    `times` are those of requests, in UTC. `until` is the present, or the name of the last window,
    which then counts as closed. One with fewer than `least` rows is judged with the next, under
    the next one's name; what is too few at the end waits.
    """
    step = STEPS[kind].to_timedelta64().astype("timedelta64[us]")
    moments = _in_utc(times)
    if isinstance(until, str):
        end = end_of(until, kind)
    else:
        end = pd.Timestamp(_in_utc(pd.Series([until]))[0]) - LATE
    numbers = (moments - MONDAY) // step
    counts = pd.Series(numbers).value_counts().sort_index()
    found, waiting, start = [], 0, None
    for number, count in counts.items():
        begin = pd.Timestamp(MONDAY + number * step)
        if begin + STEPS[kind] > end:
            break
        start, waiting = begin if start is None else start, waiting + int(count)
        if waiting >= least:
            name = begin.strftime(NAMES[kind])
            found.append(Window(name, kind, start, begin + STEPS[kind], waiting))
            waiting, start = 0, None
    return found


def end_of(name: str, kind: str) -> pd.Timestamp:
    """Return when the window `name` ends."""
    example = pd.Timestamp("2026-04-05T13").strftime(NAMES[kind])
    refusal = UserError(f"{name!r} is no name of a {kind}: expected one such as {example}")
    if not re.fullmatch(PATTERNS[kind], name):
        raise refusal
    try:
        written, form = (f"{name}-1", "%G-W%V-%u") if kind == "week" else (name, NAMES[kind])
        return pd.Timestamp(pd.to_datetime(written, format=form)) + STEPS[kind]
    except ValueError:
        raise refusal from None


def _in_utc(times: pd.Series | np.ndarray) -> np.ndarray:
    moments = pd.to_datetime(pd.Series(times), utc=True)
    return moments.dt.tz_localize(None).to_numpy().astype("datetime64[us]")
