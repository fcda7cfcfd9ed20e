#!/usr/bin/env python
"""Judge what a model was asked and answered, window by window, and say what has changed.

Reads the monitoring log and the reference of the model's version; writes `windows.parquet` and
`monitoring.prom` beside the rows, and logs the artifact `monitoring_report` (a page and
`verdict.json`). A window is judged once, when it is over. The exit code is 3 for an alarm.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

from monitoring import closed_windows
from monitoring.closed_windows import Log
from monitoring.judging.records import Thresholds
from monitoring.judging.windows import end_of
from monitoring.records import compaction, history, rows
from monitoring.records.history import Judged, Series
from monitoring.telling import html, notify, prometheus, screen, verdict
from util_lib import cli, monitoring_log, tracking
from util_lib.errors import UserError
from util_lib.redaction import redacted
from util_lib.tracking import databases, mlflow_runs
from util_lib.tracking.mlflow_mirror import tracking_uri
from util_lib.tracking.store.places import store_directory

logger = logging.getLogger("monitoring")

KINDS = ("hour", "day", "week")
ARTIFACT = "monitoring_report"
MOST_STEPS = 120  # windows in the series of metrics of one run


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument("--window", choices=KINDS, default="week", help="hour, day or week")
    parser.add_argument(
        "--until",
        type=cli.optional,
        default="null",
        help="last window to judge, e.g. 2026-W14, which counts as over; null = the last one over",
    )
    parser.add_argument(
        "--project", type=cli.optional, default="null", help="null = the only one in the log"
    )
    parser.add_argument(
        "--model",
        type=cli.optional,
        default="null",
        help="name without a version, e.g. model_export; null = the only one that answers",
    )
    parser.add_argument(
        "--min_labels",
        type=cli.positive_int,
        default="100",
        help="labels of a window below which its score is not judged",
    )
    parser.add_argument(
        "--notify",
        type=cli.optional,
        default="null",
        help="a command or an http(s) address that gets an alarm; null = MONITORING_NOTIFY",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Judge what is over; return the exit code. `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    args.notify = args.notify or os.environ.get(notify.VARIABLE)
    if args.notify:
        notify.check(args.notify)
        notify.remember(args.notify)
        _hide_in_mlflow()
    if args.until:
        end_of(args.until, args.window)
    folder = monitoring_log.folder()
    project = rows.choose_project(folder, args.project)
    with compaction.alone(folder):
        compaction.compact_and_say(folder, project)
        return _watch(args, folder, project)


def _watch(args: argparse.Namespace, folder: Path, project: str) -> int:
    found = rows.files(folder, project)
    known = history.load(folder)
    series = Series(project, rows.choose_model(found, args.model), args.window)
    log = Log(folder, series, found, Thresholds(min_labels=args.min_labels))
    done = known.get(series, [])
    if done and (n_late := closed_windows.came_after(log, done[-1])):
        logger.warning(
            "%s rows of %s came after it was judged, and are not judged",
            f"{n_late:,}",
            done[-1].window.name,
        )
    fresh, late = closed_windows.new(log, done, args.until), closed_windows.waiting(log, done)
    if not fresh and not late:
        if not done:
            raise UserError(_nothing(log, args.until))
        logger.info("no %s is over that was not judged before", args.window)
        shown = _shown(done, args.until)
        return _say(series, shown, shown[-1])
    config = vars(args) | {"notify": args.notify and notify.shown(args.notify)}
    last = fresh[-1] if fresh else late[-1].window
    name = f"monitoring: {series.model}, {last.name}"
    with (
        tracking.init(project=project, job_type="monitoring", config=config, name=name) as run,
        tempfile.TemporaryDirectory() as tmp,
    ):
        done, told = closed_windows.judged(log, done, fresh, late, run)
        shown = _shown(done, args.until)
        spoken = verdict.told(shown, told)
        _log_run(run, series, shown, spoken, Path(tmp))
    code = _say(series, shown, spoken)
    if args.notify and code and spoken.window.name in told:
        notify.send(args.notify, verdict.of(series, shown, spoken))
    known[series] = done
    prometheus.write(known, folder)
    history.save(known, folder)  # the last thing: what stands there was told
    return code


def _shown(done: list[Judged], until: str | None) -> list[Judged]:
    """Return the windows up to the one asked for."""
    names = [judged.window.name for judged in done]
    return done[: names.index(until) + 1] if until in names else done


def _nothing(log: Log, until: str | None) -> str:
    times = rows.times(log.files, log.series.model)
    n, kind = f"{len(times):,}", log.series.kind
    if not len(times):
        return f"{log.series.model} has answered no row in the log: expected some to judge"
    first, last = (str(at)[:16].replace("T", " ") for at in (min(times), max(times)))
    return (
        f"no {kind} can be judged yet: {n} rows from {first} to {last} are there, and a "
        f"{kind} needs 300 and must be over for an hour"
        + (f" or named by until ({until} ends before the rows or has too few)" if until else "")
    )


def _log_run(run: Any, series: Series, windows: list[Judged], spoken: Judged, folder: Path) -> None:
    """Log the page, the verdict and every test as a series of metrics."""
    for judged in windows[-MOST_STEPS:]:
        run.log(verdict.metrics(judged), step=verdict.step(judged.window.name))
    run.summary["state"], run.summary["window"] = spoken.state, spoken.window.name
    write_page(series, windows, spoken, folder)
    found = verdict.of(series, windows, spoken)
    reasons = [f"- {alarm['reason']}" for alarm in found["alarms"]]
    run.notes = "\n".join([f"{spoken.window.name}: **{spoken.state}**", "", *reasons])
    text = json.dumps(found, indent=1) + "\n"
    (folder / verdict.FILE).write_text(text, encoding="utf-8")
    tracking.log_file(run, folder, ARTIFACT, "report", "What the monitor found")


def write_page(series: Series, windows: list[Judged], spoken: Judged, folder: Path) -> Path:
    """Write the page of a series into a folder; return its path."""
    path = folder / html.FILE
    page = html.html(series, windows, spoken)
    path.write_text(page, encoding="utf-8", errors="backslashreplace", newline="\n")
    return path


def _say(series: Series, windows: list[Judged], spoken: Judged) -> int:
    """Print a window, and last its verdict in one line; return the exit code."""
    found = verdict.of(series, windows, spoken)
    print(screen.as_text(series, spoken), flush=True)
    print(json.dumps(found), flush=True)
    return verdict.CODES.get(spoken.state, 0)


def _hide_in_mlflow() -> None:
    """Take the secrets of an address out of the parameters that `mlflow run` has written."""
    if run_id := os.environ.get("MLFLOW_RUN_ID"):
        if database := databases.path_of(tracking_uri(store_directory())):
            mlflow_runs.hide_in_parameters(database, run_id, redacted)


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
