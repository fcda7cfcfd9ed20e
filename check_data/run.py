#!/usr/bin/env python
"""Check a table against its declaration and for drift from a reference; stop at bad data.

Step 3 of 6. Reads the sample and the reference; runs test_data.py by pytest; writes the artifact
`check_data_log`, the whole output of pytest, whatever the outcome. All failures are named in the
last line, and any failure stops the pipeline. The first data that pass become the reference.
"""

import argparse
import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import pandas as pd
import pytest

from util_lib import cli, dataset, tables, tracking
from util_lib.dataset import Data
from util_lib.errors import UserError
from util_lib.project import resolve_path
from util_lib.tracking.names import parse_reference

logger = logging.getLogger("check_data")

DATASET_CONFIG = "conf/dataset/songs_demo.yaml"
FIRST_ALIAS = "reference"  # the only alias that the first good data get by themselves
NOT_OURS = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")  # the machine's pytest settings
OURS = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "140"}  # wide enough for a reason


class Inputs(NamedTuple):
    """What is checked. `reference` is None where `no_reference` says why there is none.

    `becomes_reference` is the alias that the sample gets once it has passed, or None.
    """

    sample: pd.DataFrame
    reference: pd.DataFrame | None
    no_reference: str = ""
    becomes_reference: str | None = None
    artifact: Any = None


class Outcomes:
    """A pytest plugin that remembers how every check ended."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self.passed: list[str] = []
        self.failed: dict[str, str] = {}
        self.skipped: list[str] = []
        self.failed_for_good = False  # a deterministic check failed

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take note of one phase of one check."""
        if report.failed:
            self.failed[report.nodeid] = report.longreprtext.strip()
            self.failed_for_good |= "deterministic" in report.keywords
        elif report.skipped:
            self.skipped.append(report.nodeid)
        elif report.when == "call":
            self.passed.append(report.nodeid)

    @property
    def n_checks(self) -> int:
        """How many checks gave an answer."""
        return len(self.passed) + len(self.failed)


def load_inputs(run: Any, sample: str, reference: str, data: Data, directory: str) -> Inputs:
    """Fetch and read both tables.

    There may be no reference yet: then the sample is to become it, if it is a version of the
    same artifact and the alias asked for is `reference`. Any other missing reference is an error.
    """
    ours = run.use_artifact(sample)
    texts = [name for name, column in data.columns.items() if column.dtype == "string"]
    table = tables.read(tables.fetch(ours, Path(directory, "sample")), text_columns=texts)
    wanted = parse_reference(reference, run.project)
    same_artifact = (wanted.project, wanted.name) == tuple(parse_reference(sample, run.project))[:2]
    known = tracking.Api().artifact_exists(f"{wanted.project}/{wanted.name}:{wanted.alias}")
    if not known and wanted.alias == FIRST_ALIAS and same_artifact:
        why = f"drift not tested: there is no {reference} yet"
        return Inputs(table, None, why, FIRST_ALIAS, ours)
    theirs = run.use_artifact(reference)
    if theirs.id == ours.id:
        why = (
            f"drift not tested: sample and reference are both {ours.source_name}, and drift "
            "against itself says nothing"
        )
        return Inputs(table, None, why, None, ours)
    path = tables.fetch(theirs, Path(directory, "reference"))
    return Inputs(table, tables.read(path, text_columns=texts), "", None, ours)


def run_checks(arguments: argparse.Namespace, inputs: Inputs, log: Path) -> Outcomes:
    """Run test_data.py on `inputs`, its output to the file `log`.

    The console gets all of it where a check failed, else its closing line. In this process, so
    that the data are loaded once, and with nothing of the machine's own pytest settings: only
    pytest.ini beside this file counts.
    """
    outcomes = Outcomes()
    options = [str(HERE), "-c", str(HERE / "pytest.ini"), f"--rootdir={HERE}"]
    for name in ("reference_artifact", "sample_artifact", "ks_alpha", "dataset_config"):
        options.append(f"--{name}={getattr(arguments, name)}")
    with log.open("w", encoding="utf-8") as file, _own_pytest():
        plugins = [outcomes, _Named(inputs)]
        with contextlib.chdir(HERE), contextlib.redirect_stdout(file):
            code = pytest.main(options, plugins=plugins)
    said = log.read_text(encoding="utf-8").strip()
    last = said.rpartition("\n")[2]
    print(last if code == pytest.ExitCode.OK else said)
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise UserError(f"pytest could not run the checks (exit code {int(code)}): {last}")
    return outcomes


class _Named:
    """Brings `inputs` into conftest.py, which asks for it by name."""

    def __init__(self, inputs: Inputs):
        self._inputs = inputs

    def pytest_configure(self, config: pytest.Config) -> None:
        config.pluginmanager.register(self._inputs, "check_data_inputs")


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
    return f"{count} failed: {'; '.join(outcomes.failed.values())}"


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
    data = dataset.load(resolve_path(args.dataset_config))
    with (
        tracking.init(job_type="check_data", config=vars(args)) as run,
        tempfile.TemporaryDirectory() as tmp,
    ):
        inputs = load_inputs(run, args.sample_artifact, args.reference_artifact, data, tmp)
        if inputs.no_reference:
            logger.warning(inputs.no_reference)
        log = Path(tmp, "pytest.log")
        try:
            outcomes = run_checks(args, inputs, log)
        finally:
            artifact = tracking.Artifact(
                "check_data_log", type="log", description="Output of the data checks"
            )
            artifact.add_file(str(log))
            run.log_artifact(artifact).wait()
        run.summary["n_checks"] = outcomes.n_checks
        run.summary["n_failed"] = len(outcomes.failed)
        run.summary["rows"] = len(inputs.sample)
        if inputs.becomes_reference and not outcomes.failed_for_good:
            accept(inputs.artifact, inputs.becomes_reference)
        if outcomes.failed:
            raise UserError(summarize(outcomes))
        logger.info("%d checks passed on %s rows", outcomes.n_checks, f"{len(inputs.sample):,}")


def accept(artifact: Any, alias: str) -> None:
    """Make a version the reference: move `alias` to it."""
    artifact.aliases = [*dict.fromkeys([*artifact.aliases, alias])]
    artifact.save()
    logger.info("%s is now %s:%s", artifact.source_name, artifact.name.partition(":")[0], alias)


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
