#!/usr/bin/env python
"""Check a table against its declaration and for drift from a reference; stop at bad data.

Step 3 of 6. Reads the sample and the reference; runs test_data.py by pytest; writes the artifacts
`check_data_log`, the whole output of pytest, and `check_data_report`, what was found as JSON and as
a page, whatever the outcome. All failures are named in the last line, and any failure stops the
pipeline. The first data that pass become the reference.
"""

import argparse
import contextlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import pytest

from check_data import report
from check_data.examine import Inputs, Results, examine, load_inputs
from check_data.report import Check
from util_lib import cli, tracking
from util_lib.dataset import declaration
from util_lib.errors import UserError
from util_lib.project import resolve_path

logger = logging.getLogger("check_data")

DATASET_CONFIG = "conf/dataset/songs_demo.yaml"
SECONDS = re.compile(r" in [\d.]+s( \([\d:]+\))? =+$")  # at the end of pytest's closing line
NOT_OURS = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")  # the machine's pytest settings
OURS = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "140"}  # wide enough for a reason


class Outcomes:
    """A pytest plugin that remembers how every check ended."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self.checks: list[Check] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: Any) -> Generator[None, Any, Any]:
        """Take note of a check that gave an answer or was skipped, or whose fixtures failed."""
        phase = yield
        if phase.when == "call" or phase.outcome != "passed":
            says = phase.longreprtext.strip() if phase.failed else ""
            if phase.skipped:
                says = str(phase.longrepr[2]).removeprefix("Skipped: ")
            name = item.callspec.params.get("name") if hasattr(item, "callspec") else None
            rule = item.originalname.removeprefix("test_").replace("_", " ")
            asks = (item.function.__doc__ or "").strip()
            self.checks.append(Check(rule, name, asks, phase.outcome, says))
        return phase

    @property
    def failed(self) -> list[str]:
        """What each failed check says."""
        return [check.says for check in self.checks if check.outcome == "failed"]

    @property
    def n_checks(self) -> int:
        """How many checks gave an answer."""
        return sum(check.outcome != "skipped" for check in self.checks)


def run_checks(
    arguments: argparse.Namespace, inputs: Inputs, results: Results, log: Path
) -> Outcomes:
    """Run test_data.py on what was found, its output to the file `log`.

    The console gets all of it where a check failed, else its closing line. In this process, so
    that the data are loaded once, and with nothing of the machine's own pytest settings: only
    pytest.ini beside this file counts.
    """
    outcomes = Outcomes()
    # Its header would name folders of this machine.
    options = [str(HERE), "-c", str(HERE / "pytest.ini"), f"--rootdir={HERE}", "--no-header"]
    for name in ("reference_artifact", "sample_artifact", "ks_alpha", "dataset_config"):
        options.append(f"--{name}={getattr(arguments, name)}")
    with log.open("w", encoding="utf-8") as file, _own_pytest():
        plugins = [outcomes, _Given(inputs, results)]
        with contextlib.chdir(HERE), contextlib.redirect_stdout(file):
            code = pytest.main(options, plugins=plugins)
    said = log.read_text(encoding="utf-8").strip()
    before, _, last = said.rpartition("\n")
    closing = SECONDS.sub("", last).strip("= ")
    # The same data are the same artifact, however long the checks took.
    log.write_text(f"{before}\n{closing}\n", encoding="utf-8")
    print(last if code == pytest.ExitCode.OK else said)
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise UserError(f"pytest could not run the checks (exit code {int(code)}): {last}")
    return outcomes


class _Given:
    """Brings what was found into conftest.py, which asks for it by name."""

    def __init__(self, *given: NamedTuple):
        self._given = given

    def pytest_configure(self, config: pytest.Config) -> None:
        config.pluginmanager.register(self._given, "check_data_given")


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


def summarize(outcomes: Outcomes) -> str:
    """Return the one sentence that names every failed check."""
    n_failed = len(outcomes.failed)
    count = "1 check" if n_failed == 1 else f"{n_failed} checks"
    says = "; ".join(outcomes.failed)
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
        tracking.init(job_type="check_data", config=vars(args)) as run,
        tempfile.TemporaryDirectory() as tmp,
    ):
        inputs = load_inputs(run, args.sample_artifact, args.reference_artifact, data, tmp)
        if inputs.no_reference:
            logger.warning(inputs.no_reference)
        results = examine(inputs.sample, inputs.reference, data, args.ks_alpha)
        for leak in results.leaks:
            if not leak.fatal:
                logger.warning(leak.message)
        log = Path(tmp, "pytest.log")
        try:
            outcomes = run_checks(args, inputs, results, log)
        finally:
            tracking.log_file(run, log, "check_data_log", "log", "Output of the data checks")
        said = report.build(inputs, results, outcomes.checks, data, args.ks_alpha)
        pages = Path(tmp, "report")
        pages.mkdir()
        report.write(pages, said, inputs, results, data)
        text = "What was checked and found"
        tracking.log_file(run, pages, "check_data_report", "report", text)
        run.summary["n_checks"] = outcomes.n_checks
        run.summary["n_failed"] = len(outcomes.failed)
        run.summary["rows"] = len(inputs.sample)
        if outcomes.failed:
            raise UserError(summarize(outcomes))
        if inputs.becomes_reference:
            accept(inputs.artifact, inputs.becomes_reference)
        logger.info("%d checks passed on %s rows", outcomes.n_checks, f"{len(inputs.sample):,}")


def accept(artifact: Any, alias: str) -> None:
    """Make a version the reference: move `alias` to it."""
    artifact.aliases = [*dict.fromkeys([*artifact.aliases, alias])]
    artifact.save()
    logger.info("%s is now %s:%s", artifact.source_name, artifact.name.partition(":")[0], alias)


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
