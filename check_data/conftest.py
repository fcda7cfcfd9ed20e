"""Command-line options of the data checks, and the tests that are made of them.

`run.py` brings the checks along as a plugin. `pytest .` alone opens a run of its own: it checks,
and neither moves an alias nor logs an artifact.
"""

import argparse
import functools
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from check_data import checks, examine
from check_data import run as step
from util_lib import cli, tracking
from util_lib.dataset import declaration
from util_lib.errors import UserError
from util_lib.project import resolve_path

REQUIRED = ("reference_artifact", "sample_artifact", "ks_alpha")
# With how each ended: that is known before pytest reports it.
CHECKS = pytest.StashKey[list[checks.Check]]()


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
    """Bring the checks and how they ended, from run.py or from a run of our own."""
    config = session.config
    brought = config.pluginmanager.get_plugin("check_data_checks")
    config.stash[CHECKS] = brought if brought is not None else _look(config.getoption)


def pytest_pycollect_makeitem(collector, name, obj):
    """Make a test of each check, called after its rule and column."""
    if name != "test_data":
        return None
    items = []
    for check in collector.config.stash[CHECKS]:
        test = functools.partial(obj, check=check)
        items.append(pytest.Function.from_parent(collector, name=check.test, callobj=test))
        items[-1].add_marker(check.kind)
    return items


def _look(option):
    """Check the data that the command line names, in a run of our own."""
    missing = [f"--{name}" for name in REQUIRED if not option(name)]
    if missing:
        raise pytest.UsageError(f"missing on the command line: {', '.join(missing)}")
    try:
        data = declaration.load(resolve_path(option("dataset_config")))
        alpha = cli.fraction(option("ks_alpha"))
        asked = {name: option(name) for name in REQUIRED}
        with (
            tracking.init_reader(job_type="check_data", config=asked) as run,
            tempfile.TemporaryDirectory() as tmp,
        ):
            inputs = examine.load_inputs(
                run, option("sample_artifact"), option("reference_artifact"), data, tmp
            )
            results = examine.examine(inputs.sample, inputs.reference, data, alpha)
            return checks.all_checks(inputs, results, data)
    except UserError as error:
        raise pytest.UsageError(str(error)) from error
    except argparse.ArgumentTypeError as error:
        raise pytest.UsageError(f"--ks_alpha {error}") from error
