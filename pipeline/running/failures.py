"""What went wrong with a run or a step, as one sentence."""

import os
from typing import Any

from pipeline.planning.step import Step
from util_lib.errors import UserError
from util_lib.redaction import redacted


def explain(error: Exception) -> UserError:
    """Return what MLflow, or its database, had against the run; raise any other `error` again."""
    if not is_from(error, "mlflow", "sqlalchemy", "sqlite3"):
        raise error
    before = error.__context__ if isinstance(error.__context__, UserError) else None
    return UserError(
        f"MLflow cannot record the run in {os.environ['MLFLOW_TRACKING_URI']}: "
        f"{one_line(error)}; see whether the disk is full, or set MLFLOW_TRACKING_URI to another "
        "place" + (f"; before that, {before}" if before else "")
    )


def is_from(error: Exception, *packages: str) -> bool:
    """Say whether a class of one of these packages was raised."""
    return type(error).__module__.partition(".")[0] in packages


def not_fetched(step: Step, error: Exception) -> UserError:
    """Return what git had against fetching a step."""
    return UserError(
        f"step {step.name} could not be fetched from {redacted(step.uri)}"
        f"{f' at version {step.version}' if step.version else ''}: {one_line(error)}"
    )


class StepFailed(UserError):
    """A step ended with an exit code other than 0, or could not be started."""

    def __init__(self, step: str, reason: str) -> None:
        """Keep what MLflow said, which is little: that the run failed."""
        super().__init__(f"step {step} failed: {reason}")
        self.step = step

    def add_last_words(self, words: str) -> None:
        """Say what the step itself said last, where it said anything."""
        if words:
            self.args = (f"step {self.step} failed: {words.removeprefix(f'{self.step}: ')}",)


def one_line(error: Any) -> str:
    """Return what was said, on one line and without credentials."""
    said = str(error).partition("[SQL: ")[0]  # SQLAlchemy adds the statement, a page long
    return redacted(" ".join(said.split()))
