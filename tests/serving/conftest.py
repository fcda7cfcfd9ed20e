import pytest
from serving_support import export_model
from step_support import steps

__all__ = ["steps"]


@pytest.fixture
def exported(steps):
    """The store of one test, with `model_export:latest` and `:prod` in project `tests`."""
    artifact = export_model(steps)
    artifact.aliases.append("prod")
    artifact.save()
    return steps
