"""A sweep's leaderboard: printed, logged as a page, written as JSON."""

import json
import tempfile
from pathlib import Path
from typing import Any

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
        left = head in ("state", "mark")
        # values of parameters may be long texts, and marks are words; numbers stay whole
        shown.add_column(
            head,
            overflow="fold",
            justify="left" if left else "right",
            no_wrap=head not in ("mark", *given),
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

    Where nothing changed both are those there were, and no run is made.
    """
    entity, _, project = sweep.project.rpartition("/")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"{REPORT}.html").write_text(page.html(sweep), encoding="utf-8")
        Path(folder, "trials.json").write_text(json.dumps(as_json(sweep), indent=1))
        metadata = {"sweep": sweep.name, "trials": len(sweep.trials)}
        text = f"Leaderboard of sweep {sweep.name}"
        report = tracking.Artifact(REPORT, type=REPORT, description=text, metadata=metadata)
        report.add_dir(folder)
        if (same := _same(sweep, report.digest)) is not None:
            return f"{sweep.project}/{same.source_name}", same.logged_by().id
        with tracking.init(
            entity=entity or None,
            project=project,
            group=sweep.name,
            job_type=record.LEADERBOARD,
            name=f"{sweep.name}-leaderboard",
            config={"sweep": {"name": sweep.name}},
        ) as run:
            logged = run.log_artifact(report).wait()
        return f"{sweep.project}/{logged.source_name}", run.id


def _same(sweep: RankedSweep, digest: str) -> Any | None:
    """Return the version that holds this page, None where there is none."""
    api, name = tracking.Api(), f"{sweep.project}/{REPORT}"
    if not api.artifact_exists(f"{name}:latest"):
        return None
    pages = api.artifacts(REPORT, name)
    with tracking.lineage():
        return next((page for page in pages if page.digest == digest and page.logged_by()), None)


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
