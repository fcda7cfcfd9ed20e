import log_support
import pytest
from step_support import steps

__all__ = ["steps", "watched"]


@pytest.fixture
def watched(steps):
    """The store of one test, with `model_export:v0` and its reference, and no row recorded."""
    log_support.export(steps)
    return steps
