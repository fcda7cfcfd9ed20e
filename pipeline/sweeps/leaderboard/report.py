"""A sweep's leaderboard: printed, logged as a page, written as JSON."""

import json
import tempfile
from pathlib import Path

from rich import box
from rich.table import Table

from pipeline.running.screen import Screen
from pipeline.sweeps import record
from pipeline.sweeps.leaderboard import page, ranking
from pipeline.sweeps.leaderboard.ranking import RankedSweep
from pipeline.sweeps.record import Trial
from util_lib import tracking

REPORT = "sweep_report"


def show(sweep: RankedSweep, screen: Screen) -> None:
    """Print the leaderboard and what its marks mean."""
    title = f"sweep {sweep.name}, project {sweep.project}"
    shown = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    given = record.short_names(sweep.varied).values()
    for head in page.heads(sweep):
        left = head in ("state", "")
        # values of parameters may be long texts, and marks are words; numbers stay whole
        shown.add_column(
            head,
            overflow="fold",
            justify="left" if left else "right",
            no_wrap=head not in ("", *given),
            min_width=min(len(head), 12),
        )
    for trial in sweep.trials:
        shown.add_row(*page.row(sweep, trial))
    screen.show(shown)
    for trial in sweep.trials:
        if reason := trial.summary.get("error"):
            screen.say(f"  trial {trial.number} {trial.state}: {reason}")
    screen.say(ranking.explained(sweep))
    for line in ranking.told_apart(sweep):
        screen.say(line)


def log(sweep: RankedSweep) -> tuple[str, str]:
    """Log the page as an artifact; return its version and the id of the run that logged it.

    An unchanged page is the version there was.
    """
    with (
        tracking.init(
            project=sweep.project,
            job_type="leaderboard",
            name=f"{sweep.name}-leaderboard",
            config={"sweep": {"name": sweep.name}},
        ) as run,
        tempfile.TemporaryDirectory() as folder,
    ):
        Path(folder, f"{REPORT}.html").write_text(page.html(sweep), encoding="utf-8")
        Path(folder, "trials.json").write_text(json.dumps(as_json(sweep), indent=1))
        metadata = {"sweep": sweep.name, "trials": len(sweep.trials)}
        text = f"Leaderboard of sweep {sweep.name}"
        logged = tracking.log_file(run, folder, REPORT, REPORT, text, metadata)
        return f"{sweep.project}/{logged.source_name}", run.id


def as_json(sweep: RankedSweep) -> dict:
    """Return the leaderboard as JSON holds it, in its order."""
    marked = ranking.marks(sweep)
    return {
        **{"project": sweep.project, "sweep": sweep.name, "objectives": [*sweep.objectives]},
        "trials": [_trial(trial) | {"mark": marked.get(trial.number)} for trial in sweep.trials],
        "apart": [_trial(trial) for trial in sweep.apart],
    }


def _trial(trial: Trial) -> dict:
    return {
        "trial": trial.number,
        "run": trial.run_id,
        "state": trial.state,
        "overrides": trial.overrides,
        "summary": trial.summary,
    }
