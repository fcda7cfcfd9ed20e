"""What the tests of serving share: a model that the training step has exported."""

import pytest
from service_support import model_directory, office_directory, service
from serving_support import export_model
from step_support import steps

__all__ = ["model_directory", "office_directory", "service", "steps"]


@pytest.fixture
def exported(steps):
    """The store of one test, with `model_export:latest` and `:prod` in project `tests`."""
    artifact = export_model(steps)
    artifact.aliases.append("prod")
    artifact.save()
    return steps
