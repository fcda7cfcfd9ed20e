"""Command-line options and fixtures of the data checks; the data are loaded once.

`run.py` brings its run and the loaded data along as a plugin. `pytest .` alone opens a run of its
own: it checks, and neither moves an alias nor logs an artifact.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from check_data import run as step
from util_lib import checks, cli, dataset, tracking
from util_lib.errors import UserError
from util_lib.project import resolve_path

REQUIRED = ("reference_artifact", "sample_artifact", "ks_alpha")
DATA = pytest.StashKey()  # the declaration, read before the tests are made from it


def pytest_addoption(parser):
    """Name the same inputs as run.py."""
    group = parser.getgroup("check_data")
    group.addoption("--reference_artifact", help="what new data are compared with")
    group.addoption(
        "--sample_artifact", help="the data to check, e.g. preprocessed_data.parquet:latest"
    )
    group.addoption("--ks_alpha", help="chance of at least one false alarm for drift, in (0, 1)")
    group.addoption(
        "--dataset_config", default=step.DATASET_CONFIG, help="YAML file that declares the columns"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session):
    """Refuse to collect anything while an option is missing."""
    missing = [f"--{name}" for name in REQUIRED if not session.config.getoption(name)]
    if missing:
        raise pytest.UsageError(f"missing on the command line: {', '.join(missing)}")
    try:
        session.config.stash[DATA] = dataset.load(
            resolve_path(session.config.getoption("dataset_config"))
        )
        cli.fraction(session.config.getoption("ks_alpha"))
    except UserError as error:
        raise pytest.UsageError(str(error)) from error
    except argparse.ArgumentTypeError as error:
        raise pytest.UsageError(f"--ks_alpha {error}") from error


def pytest_generate_tests(metafunc):
    """Make one test for each column that a check applies to."""
    data = metafunc.config.stash[DATA]
    if "name" in metafunc.fixturenames:
        applies = getattr(metafunc.function, "applies", lambda column: True)
        names = [name for name, column in data.columns.items() if applies(column)]
        metafunc.parametrize("name", names, ids=str)


def pytest_collection_modifyitems(items):
    """Drop checks that no column declares, instead of showing them as skipped."""
    items[:] = [item for item in items if not item.name.endswith("[NOTSET]")]


@pytest.fixture(scope="session")
def declared(request):
    """The declaration of the columns."""
    return request.config.stash[DATA]


@pytest.fixture(scope="session")
def inputs(request):
    """The sample, the reference or why there is none to test against."""
    brought = request.config.pluginmanager.get_plugin("check_data_inputs")
    if brought is not None:
        yield brought
        return
    option = request.config.getoption
    try:
        with (
            tracking.init(job_type="check_data", config={n: option(n) for n in REQUIRED}) as run,
            tempfile.TemporaryDirectory() as tmp,
        ):
            yield step.load_inputs(
                run,
                option("sample_artifact"),
                option("reference_artifact"),
                request.config.stash[DATA],
                tmp,
            )
    except UserError as error:
        pytest.exit(f"check_data: {error}", returncode=1)


@pytest.fixture(scope="session")
def sample(inputs):
    """The table to check."""
    return inputs.sample


@pytest.fixture(scope="session")
def reference(inputs):
    """The table to compare with; what needs it is skipped where there is none."""
    if inputs.reference is None:
        pytest.skip(inputs.no_reference)
    return inputs.reference


@pytest.fixture(scope="session")
def level(request, declared):
    """The level of one column's drift test: `ks_alpha` after Šidák's correction."""
    n_columns = sum(column.role == "numerical" for column in declared.columns.values())
    return checks.sidak(cli.fraction(request.config.getoption("ks_alpha")), n_columns)
