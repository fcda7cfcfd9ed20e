"""What went wrong with a run or a step, as one sentence."""

import os
import signal
import traceback
from typing import Any

from pipeline.environments.lacking import said_of_lack
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

    def __init__(self, step: str, reason: str, code: int | None = None) -> None:
        """Keep how it ended; a `code` below 0 is the signal that killed it."""
        super().__init__(f"step {step} failed: {reason if code is None else ending(code)}")
        self.step, self.code = step, code

    def add_last_words(self, words: str, lacks: list[str]) -> None:
        """Say what the step itself said last, where it said anything.

        Of a step that says in one sentence why it failed, and of an error of Python, that is all,
        unless it misses a module: `lacks` are packages that it asks for and that are not there.
        """
        label = f"{self.step}: "
        if words.startswith(label) or (words and self.code in (1, None)):
            more = f"; {said_of_lack(lacks)}" if lacks and "No module named" in words else ""
            self.args = (f"step {self.step} failed: {words.removeprefix(label)}{more}",)
        else:
            said = f"it last said {words!r}, and" if words else "it said nothing, or"
            self.args = (f"{self}; {said} all that it wrote stands above",)


def ending(code: int) -> str:
    """Say how a process ended; a shell tells the signal that killed its command as 128 + signal."""
    number = -code if code < 0 else code - 128
    if number not in {*signal.Signals}:
        return f"it ended with exit code {code}"
    why = " (perhaps memory ran out)" if number == signal.SIGKILL else ""
    return f"it was killed by {signal.Signals(number).name}{why}"


def exit_code(error: BaseException) -> int | None:
    """Return how the process ended of which MLflow says only that its run failed.

    Neither the error nor what `mlflow.run` returns has it: the frame that waited does.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        process = getattr(frame.f_locals.get("submitted_run_obj"), "command_proc", None)
        if process is not None:
            return process.returncode
    return None


def one_line(error: Any) -> str:
    """Return what was said, on one line and without credentials."""
    said = str(error).partition("[SQL: ")[0]  # SQLAlchemy adds the statement, a page long
    return redacted(" ".join(said.split()))
