"""A sweep as one page that is readable offline: the leaderboard and its pictures."""

import math
from html import escape

from pipeline.sweeps import record
from pipeline.sweeps.leaderboard import importance, pictures
from pipeline.sweeps.leaderboard.ranking import RankedSweep, explained, marks, told_apart
from pipeline.sweeps.record import Trial
from util_lib.page import Number, Verdict, document, table

MOST_PICTURES = 12  # parameters drawn against the score

STYLE = """
:root{color-scheme:light dark;--ink:#1d2430;--paper:#fff;--rule:#c9ced6;--point:#5b7db1;
--faint:#b7bec7;--marked:#c2374f}
@media(prefers-color-scheme:dark){:root{--ink:#e4e7ec;--paper:#15181d;--rule:#444b56;
--point:#7fa3da;--faint:#4b535f;--marked:#ff7d92}}
body{color:var(--ink);background:var(--paper)}
th,td{border-bottom-color:var(--rule)}svg text{fill:var(--ink);
paint-order:stroke;stroke:var(--paper);stroke-width:3px}
svg{max-width:100%;height:auto}.wide{overflow-x:auto}.wide svg{max-width:none}
.axis{stroke:var(--rule);fill:none}.point{fill:var(--point)}.marked{fill:var(--marked)}
.bar{stroke-width:1.2}.bar.point{stroke:var(--point)}.bar.marked{stroke:var(--marked)}
polyline{fill:none;stroke-width:1.3}polyline.marked{fill:none;stroke:var(--marked);stroke-width:2.6}
polyline.line{stroke:var(--point)}polyline.faint{stroke:var(--faint)}.share{fill:var(--point)}
.best,.simplest,.Pareto{color:var(--marked);font-weight:600}
"""


def html(sweep: RankedSweep) -> str:
    """Return the page; the same trials give the same page, byte for byte."""
    n_finished, n = len(sweep.measured), len(sweep.trials)
    parts = [
        f"<h1>Sweep {escape(sweep.name)}</h1>",
        f"<p>Project {escape(sweep.project)}: {n} trials, {n_finished} finished; judged by "
        f"{escape(', '.join(sweep.objectives))}.</p>",
        "<h2>Leaderboard</h2>",
        f"<p>{escape(explained(sweep))}</p>",
        f'<div class="wide">{table(heads(sweep), [_cells(sweep, t) for t in sweep.trials])}</div>',
    ]
    parts += [f"<p>{escape(line)}</p>" for line in told_apart(sweep)]
    if n_finished > 1:
        parts += _pictures(sweep)
    return document(f"Sweep {sweep.name}", STYLE, parts)


def _pictures(sweep: RankedSweep) -> list[str]:
    parts = []
    if len(sweep.objectives) > 1:
        parts += ["<h2>Objectives</h2>", _figure("", pictures.objectives(sweep))]
    parts.append("<h2>Parameters against the score</h2>")
    keys = sweep.varied
    for i, objective in enumerate(sweep.objectives):
        for key in keys[:MOST_PICTURES]:
            picture = pictures.against(sweep, key, i)
            parts.append(_figure(f"{objective} against {key}", picture))
    if len(keys) > MOST_PICTURES:
        parts.append(f"<p>Drawn: the first {MOST_PICTURES} of {len(keys)} parameters.</p>")
    parts += [
        "<h2>All trials</h2>",
        "<p>One line for each trial; blue: the better half, red: the marked ones.</p>",
        f'<div class="wide">{pictures.parallel(sweep)}</div>',
        "<h2>Importance</h2>",
    ]
    shares, words = importance.shares(sweep)
    parts.append(f"<p>{escape(words)}</p>")
    if shares:
        parts.append(_figure("", pictures.bars(shares, "importance of each parameter")))
    return parts


def _figure(caption: str, picture: str) -> str:
    return f"<figure><figcaption>{escape(caption)}</figcaption>{picture}</figure>"


def heads(sweep: RankedSweep) -> tuple[str, ...]:
    """Return the heads of the leaderboard's columns."""
    return (
        *("trial", *sweep.objectives),
        *record.short_names(sweep.varied).values(),
        *("fit s", "MB", "state", ""),
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
