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

from check_data import examine
from check_data import run as step
from util_lib import cli, tracking
from util_lib.dataset import declaration
from util_lib.dataset.declaration import Data
from util_lib.errors import UserError
from util_lib.project import resolve_path

REQUIRED = ("reference_artifact", "sample_artifact", "ks_alpha")
DATA = pytest.StashKey[Data]()  # the declaration, read before the tests are made from it


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
        session.config.stash[DATA] = declaration.load(
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


def pytest_collection_modifyitems(config, items):
    """Drop checks that are not asked for, instead of showing them as skipped."""
    data = config.stash[DATA]
    items[:] = [item for item in items if _asked_for(item, data)]


def _asked_for(item, data):
    if data.leakage == "off" and item.get_closest_marker("leakage"):
        return False
    if hasattr(item, "callspec"):
        return item.callspec.params["name"] in data.columns  # else no column asks for it
    return getattr(item.function, "applies", lambda data: True)(data)


@pytest.fixture(scope="session")
def declared(request):
    """The declaration of the columns."""
    return request.config.stash[DATA]


@pytest.fixture(scope="session")
def given(request):
    """The two tables, and what was found in them."""
    brought = request.config.pluginmanager.get_plugin("check_data_given")
    if brought is not None:
        yield brought
        return
    option, data = request.config.getoption, request.config.stash[DATA]
    try:
        with (
            tracking.init(job_type="check_data", config={n: option(n) for n in REQUIRED}) as run,
            tempfile.TemporaryDirectory() as tmp,
        ):
            inputs = examine.load_inputs(
                run, option("sample_artifact"), option("reference_artifact"), data, tmp
            )
            alpha = cli.fraction(option("ks_alpha"))
            yield inputs, examine.examine(inputs.sample, inputs.reference, data, alpha)
    except UserError as error:
        pytest.exit(f"check_data: {error}", returncode=1)


@pytest.fixture(scope="session")
def sample(given):
    """The table to check."""
    return given[0].sample


@pytest.fixture(scope="session")
def results(given):
    """What was found."""
    return given[1]


@pytest.fixture(scope="session")
def compared(given):
    """The comparisons with the reference; what needs them is skipped where there is none."""
    inputs, results = given
    if inputs.reference is None:
        pytest.skip(inputs.no_reference)
    return results.comparisons
