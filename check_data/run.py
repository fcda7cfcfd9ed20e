#!/usr/bin/env python
"""Check a table against its declaration and for drift from a reference; stop at bad data.

Step 3 of 6. Reads the sample and the reference; test_data.py reports what was found, by pytest.
Writes the artifacts `check_data_log`, the whole output of pytest, and `check_data_report`, what was
found as JSON and as a page, whatever the outcome. All failures are named in the last line, and any
failure stops the pipeline. The first data that pass become the reference.
"""

import argparse
import contextlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

import pytest

from check_data import report
from check_data.checks import Check, all_checks
from check_data.columns_of_file import ColumnsOfFile
from check_data.examine import examine, load_inputs, too_many_repeats
from util_lib import cli, tracking
from util_lib.dataset import declaration
from util_lib.errors import UserError
from util_lib.processes import tasks
from util_lib.project import resolve_path

logger = logging.getLogger("check_data")

DATASET_CONFIG = "conf/dataset/songs_demo.yaml"
SECONDS = re.compile(r" in [\d.]+s( \([\d:]+\))? =+$")  # at the end of pytest's closing line
NOT_OURS = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")  # the machine's pytest settings
OURS = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "140"}  # wide enough for a reason


def report_by_pytest(checks: list[Check], log: Path) -> None:
    """Let test_data.py report the checks, its output to the file `log`.

    The console gets its closing line: what failed is the step's last word. In this process, and
    with nothing of the machine's own pytest settings: only pytest.ini beside this file counts.
    """
    # Its header would name folders of this machine.
    options = [str(HERE), "-c", str(HERE / "pytest.ini"), f"--rootdir={HERE}", "--no-header"]
    with log.open("w", encoding="utf-8") as file, _own_pytest():
        with contextlib.chdir(HERE), contextlib.redirect_stdout(file):
            code = pytest.main(options, plugins=[_Brought(checks)])
    output = log.read_text(encoding="utf-8").strip()
    before, _, last = output.rpartition("\n")
    closing = SECONDS.sub("", last).strip("= ")
    # The same data are the same artifact, however long the checks took.
    log.write_text(f"{before}\n{closing}\n", encoding="utf-8")
    known = code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    print(closing if known else output)
    if not known:
        raise UserError(f"pytest could not run the checks (exit code {int(code)}): {last}")


class _Brought:
    """Brings the checks into conftest.py, which asks for them by name."""

    def __init__(self, checks: list[Check]):
        self._checks = checks

    def pytest_configure(self, config: pytest.Config) -> None:
        config.pluginmanager.register(self._checks, "check_data_checks")


@contextlib.contextmanager
def _own_pytest() -> Iterator[None]:
    saved = {name: os.environ.pop(name, None) for name in NOT_OURS}
    saved |= {name: os.environ.get(name) for name in OURS}
    os.environ.update(OURS)
    try:
        yield
    finally:
        for name, value in saved.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def summarize(failures: list[str]) -> str:
    """Return the one sentence that names every failed check."""
    count = "1 check" if len(failures) == 1 else f"{len(failures)} checks"
    says = "; ".join(failures)
    counted = "; rows are counted from 0" if re.search(r"\brows? \d", says) else ""
    return f"{count} failed: {says}{counted}"


def build_parser() -> argparse.ArgumentParser:
    """Name the step's inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--reference_artifact",
        type=cli.artifact_reference,
        required=True,
        help="what new data are compared with, e.g. preprocessed_data.parquet:reference",
    )
    parser.add_argument(
        "--sample_artifact",
        type=cli.artifact_reference,
        required=True,
        help="the data to check, e.g. preprocessed_data.parquet:latest",
    )
    parser.add_argument(
        "--ks_alpha",
        type=cli.fraction,
        required=True,
        help="chance of at least one false alarm over all columns tested for drift, in (0, 1)",
    )
    parser.add_argument(
        "--dataset_config",
        default=DATASET_CONFIG,
        help="YAML file that declares the columns; relative to the project root",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the step; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    data = declaration.load(resolve_path(args.dataset_config))
    with (
        tracking.init_reader(job_type="check_data", config=vars(args)) as run,
        tempfile.TemporaryDirectory() as tmp,
    ):
        inputs = load_inputs(run, args.sample_artifact, args.reference_artifact, data, tmp)
        if inputs.no_reference:
            logger.warning(inputs.no_reference)
        tables = inputs.sample, inputs.reference
        in_files = all(isinstance(table, ColumnsOfFile | None) for table in tables)
        with tasks.team(tasks.from_environment() if in_files else None, [Path(tmp)]) as each:
            results = examine(inputs.sample, inputs.reference, data, args.ks_alpha, each)
        results.faults.extend(too_many_repeats(inputs.artifact, data))
        checks = all_checks(inputs, results, data)
        for warning in dict.fromkeys(said for check in checks for said in check.warnings):
            logger.warning(warning)
        log = Path(tmp, "pytest.log")
        try:
            report_by_pytest(checks, log)
        finally:
            tracking.log_file(run, log, "check_data_log", "log", "Output of the data checks")
        content = report.build(inputs, results, checks, data, args.ks_alpha)
        pages = Path(tmp, "report")
        pages.mkdir()
        report.write(pages, content, inputs, results, data)
        text = "What was checked and found"
        told = tracking.log_file(run, pages, "check_data_report", "report", text)
        failures = [check.says for check in checks if check.outcome == "failed"]
        run.summary["n_checks"] = content["n_checks"]
        run.summary["n_failed"] = len(failures)
        run.summary["rows"] = len(inputs.sample)
        if failures:
            page = f"{told.project}/{told.source_name}"
            logger.warning("as a page: python -m util_lib.tracking download %s checked", page)
            if any(check.outcome == "failed" and "drift" in check.rule for check in checks):
                accepted = f"-e accept_reference -P sample_artifact={inputs.artifact.source_name}"
                logger.warning(
                    "if the drift is right: mlflow run check_data --env-manager uv %s", accepted
                )
            raise UserError(summarize(failures))
        if inputs.becomes_reference:
            accept(inputs.artifact, inputs.becomes_reference)
        logger.info("%d checks passed on %s rows", content["n_checks"], f"{len(inputs.sample):,}")


def accept(artifact: Any, alias: str) -> None:
    """Make a version the reference: move `alias` to it."""
    artifact.aliases = [*dict.fromkeys([*artifact.aliases, alias])]
    artifact.save()
    logger.info("%s is now %s:%s", artifact.source_name, artifact.name.partition(":")[0], alias)


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
