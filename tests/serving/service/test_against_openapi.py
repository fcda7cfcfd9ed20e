"""Requests made from the OpenAPI document, right and wrong ones: never an error of the service."""

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from service_support import ROW, running

from serving.service.limits import ServiceLimits

schemathesis = pytest.importorskip(
    "schemathesis", reason="schemathesis is not installed: see requirements-dev.txt"
)
from schemathesis.specs.openapi import checks  # noqa: E402

# One typed row is taken if it is right, and only then. Lists and CSV are not typed, so some are
# refused; too many rows are refused with 413, which the second check does not know.
LOOSE = [checks.positive_data_acceptance, checks.negative_data_rejection]


def ask(operation, mode, examples: int) -> int:
    """Send made requests to one operation; return how many there were."""
    excluded = [] if operation.path == "/explain" else LOOSE
    asked = 0

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def answers_as_described(case):
        nonlocal asked
        asked += 1
        case.call_and_validate(excluded_checks=excluded)

    with contextlib.suppress(Unsatisfiable):  # nothing can be wrong in a request without parts
        answers_as_described()
    return asked


def ask_everything(directory, examples: int) -> int:
    with running(directory, limits=ServiceLimits(rows=20)) as started:
        document = schemathesis.openapi.from_url(f"{started.url}/openapi.json")
        operations = [found.ok() for found in document.get_all_operations()]
        modes = schemathesis.GenerationMode
        asked = sum(ask(one, mode, examples) for one in operations for mode in modes)
        assert started.predict(ROW).status_code == 200
    return asked


def test_every_operation_answers_as_its_document_says(model_directory):
    assert ask_everything(model_directory, 5) > 30


@pytest.mark.slow
def test_every_operation_answers_many_requests_as_its_document_says(model_directory):
    assert ask_everything(model_directory, 300) > 1_000
