"""A tick of the pipeline, for Dagster: `dagster dev -f deploy/dagster/pipeline_update.py`.

The sensor's run key is the identity of the source, so that Dagster starts one run for each state
of the folder; the schedule is for what is no file, such as age and drift.
"""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import dagster

FOLDER = Path(os.environ.get("PIPELINE_FOLDER", "/srv/pipeline"))
INCOMING = Path(os.environ.get("PIPELINE_INCOMING", FOLDER / "incoming"))
OPTIONS = os.environ.get("PIPELINE_OPTIONS", "dataset=songs_demo")
COMMAND = (".venv/bin/python", "-m", "pipeline.commands.update", f"--hydra_options={OPTIONS}")
MEANING = {2: "the data were refused", 3: "the model was refused or rolled back"}
QUIET_S = 61  # a file that changed less than 60 s ago counts as still growing


@dagster.op
def update() -> None:
    """Call the command; its reasons stand in the run's log."""
    code = subprocess.run(COMMAND, cwd=FOLDER, check=False).returncode
    if code:
        why = MEANING.get(code, f"exit code {code}")
        raise dagster.Failure(f"update: {why}", allow_retries=False)


@dagster.job
def pipeline_update() -> None:
    """Do a tick."""
    update()


def identity(folder: Path) -> str:
    """Return 64 digits that are others as soon as a file comes, goes or changes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    known = [(path, path.stat()) for path in files]
    lines = [f"{path.relative_to(folder)} {now.st_size} {now.st_mtime_ns}" for path, now in known]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@dagster.sensor(job=pipeline_update, minimum_interval_seconds=QUIET_S)
def new_data(context: dagster.SensorEvaluationContext) -> Iterator[dagster.RunRequest]:
    """Ask for a run once the folder has stayed as it is from one look to the next."""
    now = identity(INCOMING)
    if context.cursor == now:
        yield dagster.RunRequest(run_key=now)
    context.update_cursor(now)


weekly = dagster.ScheduleDefinition(job=pipeline_update, cron_schedule="17 5 * * 1")
definitions = dagster.Definitions(jobs=[pipeline_update], sensors=[new_data], schedules=[weekly])
