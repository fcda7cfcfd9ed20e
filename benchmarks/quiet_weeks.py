"""How often monitoring cries wolf, and how soon it finds a change: simulated half-years.

A half-year is 26 weeks of rows that a model answers, drawn from the same distributions as the rows
that it was trained and measured on; each half-year has a model of its own. Every week is judged by
`monitoring.judging.judge`, as the monitor does it, labels of all rows included. Printed are

    quiet weeks   the share of half-years with any alarm, at several numbers of rows a week
    a shift       one column moves by 0.25 standard deviations from week 14 on
    a drop        10 points fewer answers are right from week 14 on, as sure as ever

the last two at 1,000 rows a week.

    python benchmarks/quiet_weeks.py [--half-years 500] [--rows 300 1000 10000]
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scipy import stats

from monitoring.judging import judge
from monitoring.judging.records import Recorded, Thresholds, Window
from monitoring.judging.states import States
from util_lib.dataset.columns import Column
from util_lib.model.monitoring_reference import ModelReference, OwnScore

WEEKS, CHANGE = 26, 14  # of a half-year; the first that differs
SHIFT, DROP = 0.25, 0.1
ROWS_OF_CHANGES = 1_000
TRAINED_ON, MEASURED_ON = 10_000, 3_000  # rows
CLASSES = np.array(["pop", "rock", "jazz", "folk", "other"], dtype=object)
SHARES = [0.4, 0.3, 0.15, 0.1, 0.05]
COLOURS = np.array(list("abcde"), dtype=object)
COLUMNS = {
    "normal": Column(dtype="float", role="numerical"),
    "skewed": Column(dtype="float", role="numerical"),
    "gaps": Column(dtype="float", role="numerical", nullable=True),
    "colour": Column(dtype="string", role="categorical"),
    "note": Column(dtype="string", role="text", nullable=True),
}
MONDAY = pd.Timestamp("2026-01-05")


def inputs(rng: np.random.Generator, n: int, shift: float = 0.0) -> pd.DataFrame:
    """Return rows as the log keeps them: of texts the lengths; `shift` moves a column."""
    return pd.DataFrame(
        {
            "normal": rng.normal(shift, 1, n),
            "skewed": rng.lognormal(size=n),
            "gaps": np.where(rng.random(n) < 0.05, np.nan, rng.random(n)),
            "colour": COLOURS[rng.choice(5, n, p=[0.5, 0.3, 0.15, 0.04, 0.01])],
            "note": pd.Series(rng.poisson(20, n), dtype="Int32"),
        }
    )


def answers(rng: np.random.Generator, n: int, drop: float = 0.0) -> tuple[Any, Any, Any]:
    """Return classes, how sure the model is of each, and the truth; 7 of 10 are right."""
    confidence = rng.beta(4, 1.7, n).astype("float32")
    place = rng.choice(5, n, p=SHARES)
    right = rng.random(n) < confidence - drop
    truth = np.where(right, place, (place + rng.integers(1, 5, n)) % 5)
    return CLASSES[place], confidence, CLASSES[truth]


def model(rng: np.random.Generator) -> ModelReference:
    """Return what one model is judged by: drawn as the weeks are."""
    classes, confidence, truth = answers(rng, MEASURED_ON)
    outputs = pd.DataFrame({"prediction": classes, "confidence": confidence, "target": truth})
    classes, _, truth = answers(rng, MEASURED_ON)
    right = classes == truth
    error = float(right.std(ddof=1) / np.sqrt(MEASURED_ON))
    return ModelReference(
        version="project/model_export:v0",
        task="classification",
        target="kind",
        modes={name: column.monitored for name, column in COLUMNS.items()},
        columns=COLUMNS,
        inputs=inputs(rng, TRAINED_ON),
        outputs=outputs,
        score=OwnScore("accuracy", float(right.mean()), error, MEASURED_ON, "test"),
    )


def judged(
    rng: np.random.Generator, n_rows: int, weeks: range, shift: float = 0.0, drop: float = 0.0
) -> Iterator[States]:
    """Yield the states of some weeks of one model."""
    reference, history, rates = model(rng), [], []
    for week in weeks:
        changed = week >= CHANGE
        n = int(rng.poisson(n_rows))
        start = MONDAY + pd.Timedelta(weeks=week - 1)
        window = Window(f"{start:%G-W%V}", "week", start, start + pd.Timedelta(weeks=1), n)
        classes, confidence, truth = answers(rng, n, drop * changed)
        requests = np.arange(n).astype(str).astype(object)
        frame = pd.DataFrame(
            {
                "time": start,
                "request": requests,
                "row": 0,
                "role": "champion",
                "version": reference.version,
                "share": 1.0,
                "rejected": None,
                "prediction": classes,
            }
        )
        labels = pd.DataFrame({"request": requests, "row": 0, "label": truth, "time": start})
        rows = Recorded(frame, inputs(rng, n, shift * changed), confidence)
        found = judge.window(rows, labels, reference, Thresholds(), window, rates)
        history.append((window, found))
        rates += [each.statistic for each in found if each.family == "traffic"]
        yield judge.states(history)[-1]


def quiet(n_rows: int, half_years: int) -> Counter[str]:
    """Return how many half-years have any alarm, any by family, and any test watched."""
    counts: Counter[str] = Counter()
    for number in range(half_years):
        rng, seen = np.random.default_rng([n_rows, number]), set()
        for states in judged(rng, n_rows, range(1, WEEKS + 1)):
            seen |= {("any", states.state), *((key[0], s) for key, s in states.tests.items())}
        counts.update({family for family, state in seen if state == "alarm"})
        counts["watch"] += ("any", "watch") in seen
    return counts


def delays(half_years: int, last: int, family: str, column: str | None, **change: float) -> Any:
    """Return for each half-year after how many windows the change is found, `last` + 1 if not."""
    found = []
    for number in range(half_years):
        rng, delay = np.random.default_rng([number]), last + 1
        weeks = range(CHANGE - 1, CHANGE + last)
        for week, states in zip(weeks, judged(rng, ROWS_OF_CHANGES, weeks, **change), strict=True):
            alarms = {key for key, state in states.tests.items() if state == "alarm"}
            if week >= CHANGE and any(key[0] == family and key[2] == column for key in alarms):
                delay = week - CHANGE + 1
                break
        found.append(delay)
    return np.array(found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--half-years", type=int, default=500)
    parser.add_argument("--rows", type=int, nargs="+", default=[300, 1_000, 10_000])
    args = parser.parse_args()
    n = args.half_years
    shifts = delays(n, 2, "inputs", "normal", shift=SHIFT)
    drops = delays(n, 3, "performance", None, drop=DROP)
    print(f"{n} half-years, {ROWS_OF_CHANGES:,} rows a week: found within ... windows")
    for what, found, last in (
        (f"{SHIFT} standard deviations in one column", shifts, 2),
        (f"{DROP:.0%} fewer right answers", drops, 3),
    ):
        shares = [f"{k}: {(found <= k).mean():.1%}" for k in range(1, last + 1)]
        print(f"{what:>42}   {'   '.join(shares)}", flush=True)
    low, high = stats.binom.interval(0.99, n, 0.05)
    print(f"quiet half-years with an alarm (of {n}, at 5 % {low:.0f} to {high:.0f} are expected)")
    for rows in args.rows:
        found = quiet(rows, n)
        families = ", ".join(
            f"{name} {found[name]}" for name in ("inputs", "predictions", "performance", "traffic")
        )
        print(
            f"{rows:>9,} rows a week: {found['any'] / n:.1%} ({families}); watched in "
            f"{found['watch'] / n:.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
