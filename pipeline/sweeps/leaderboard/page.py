"""A sweep as one page that is readable offline: the leaderboard and its pictures."""

import math
from pathlib import Path

from pipeline.sweeps import record
from pipeline.sweeps.leaderboard import importance, pictures
from pipeline.sweeps.leaderboard.ranking import RankedSweep, explained, marks, told_apart
from pipeline.sweeps.record import Trial
from util_lib.pages.page import Number, Verdict, render
from util_lib.pages.pictures import bars

MOST_PICTURES = 12  # parameters drawn against the score


def html(sweep: RankedSweep) -> str:
    """Return the page; the same trials give the same page, byte for byte."""
    keys, several = sweep.varied, len(sweep.measured) > 1
    shares, words = importance.shares(sweep) if several else ({}, "")
    named = {name: shares[key] for key, name in record.short_names([*shares]).items()}
    return render(
        Path(__file__).parent,
        "sweep.html",
        title=f"Sweep {sweep.name}",
        sweep=sweep,
        told=[explained(sweep), *told_apart(sweep)],
        heads=heads(sweep),
        rows=[_cells(sweep, trial) for trial in sweep.trials],
        several=several,
        objectives=pictures.objectives(sweep) if several and len(sweep.objectives) > 1 else "",
        against=[
            (f"{objective} against {name}", pictures.against(sweep, key, i))
            for i, objective in enumerate(sweep.objectives)
            for key, name in [*record.short_names(keys).items()][:MOST_PICTURES]
            if several
        ],
        most=MOST_PICTURES,
        parallel=pictures.parallel(sweep) if several else "",
        importance=words,
        shares=bars(named, "importance of each parameter") if shares else "",
    )


def heads(sweep: RankedSweep) -> tuple[str, ...]:
    """Return the heads of the leaderboard's columns."""
    return (
        *("trial", *sweep.objectives),
        *record.short_names(sweep.varied).values(),
        *("fit s", "MB", "state", "mark"),
    )


def row(sweep: RankedSweep, trial: Trial) -> list[str]:
    """Return a trial's row of the leaderboard, as texts."""
    scores = [_written(value, 4) for value in sweep.values(trial)]
    if scores[0] and (error := sweep.error(trial)) is not None:
        scores[0] += f" ± {error:.4f}"
    given = [
        pictures.shown(trial.overrides[key]) if key in trial.overrides else ""
        for key in sweep.varied
    ]
    return [
        *(str(trial.number), *scores, *given),
        *(_written(trial.value(name), 2) for name in ("fit_seconds", "model_mb")),
        *(trial.state, marks(sweep).get(trial.number, "")),
    ]


def _cells(sweep: RankedSweep, trial: Trial) -> list[str]:
    *cells, state, mark = row(sweep, trial)
    if reason := trial.summary.get("error"):
        state = f"{state}: {reason}"
    return [*map(Number, cells), state, Verdict(mark)]


def _written(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"
