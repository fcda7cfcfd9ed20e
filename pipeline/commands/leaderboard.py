"""Print a sweep's leaderboard, and log it as a page.

Started by `mlflow run . -e leaderboard -P sweep=<name>`, or by
`python -m pipeline.commands.leaderboard`. The artifact `sweep_report` holds the page (HTML) and the
same figures as JSON.
"""

import argparse
import json
import os
import sys

from rich import box
from rich.table import Table

from pipeline.running.exit_code import exit_code
from pipeline.running.screen import Screen
from pipeline.sweeps import record
from pipeline.sweeps.leaderboard import page, ranking
from pipeline.sweeps.leaderboard.ranking import Sweep
from util_lib import cli, tracking
from util_lib.tracking import choice

REPORT = "sweep_report"


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; the root MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument("--sweep", required=True, help="name of the sweep (sweep.name)")
    parser.add_argument(
        "--project",
        default="",
        help="where it is; empty = the one that has it, on W&B WANDB_PROJECT",
    )
    parser.add_argument("--tracking", default="auto", help="where it is recorded, as main.tracking")
    return parser


def go(argv: list[str]) -> None:
    """Read the sweep, print it and log the page."""
    arguments = build_parser().parse_args(argv)
    os.environ[choice.VARIABLE] = choice.choose(arguments.tracking).backend
    with tracking.whole_step():
        sweep = ranking.read(arguments.sweep, arguments.project)
        show(sweep, Screen())
        print(f"page: {log(sweep)[0]}")


def show(sweep: Sweep, screen: Screen) -> None:
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


def log(sweep: Sweep) -> tuple[str, str]:
    """Log the page as an artifact; return its version and the id of the run that logged it.

    An unchanged page is the version there was.
    """
    with tracking.init(
        project=sweep.project,
        job_type="leaderboard",
        name=f"{sweep.name}-leaderboard",
        config={"sweep": {"name": sweep.name}},
    ) as run:
        artifact = tracking.Artifact(
            REPORT,
            type=REPORT,
            description=f"Leaderboard of sweep {sweep.name}",
            metadata={"sweep": sweep.name, "trials": len(sweep.trials)},
        )
        with artifact.new_file(f"{REPORT}.html") as file:
            file.write(page.html(sweep))
        with artifact.new_file("trials.json") as file:
            json.dump(as_json(sweep), file, indent=1)
        logged = run.log_artifact(artifact).wait()
        return f"{sweep.project}/{logged.source_name}", run.id


def as_json(sweep: Sweep) -> dict:
    """Return the leaderboard as JSON holds it, in its order."""
    marked = ranking.marks(sweep)
    return {
        **{"project": sweep.project, "sweep": sweep.name, "objectives": [*sweep.objectives]},
        "trials": [
            {
                "trial": trial.number,
                "run": trial.run_id,
                "state": trial.state,
                "overrides": trial.overrides,
                "summary": trial.summary,
                "mark": marked.get(trial.number),
            }
            for trial in sweep.trials
        ],
    }


if __name__ == "__main__":
    sys.exit(exit_code(lambda: go(sys.argv[1:])))
