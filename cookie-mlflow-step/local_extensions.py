"""What cookiecutter needs beside the template: the check of what was asked for, in one sentence."""

import sys
from pathlib import Path
from typing import Any

from cookiecutter.exceptions import FailedHookException
from jinja2 import Environment
from jinja2.ext import Extension

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.commands import step_template
from util_lib.errors import UserError


def new_step(answers: dict[str, Any]) -> step_template.NewStep:
    """Check the answers; cookiecutter prints the sentence of this error and ends."""
    try:
        return step_template.check(answers)
    except UserError as error:
        raise FailedHookException(str(error)) from None


class NewStepExtension(Extension):
    """Make `new_step` known to the template."""

    def __init__(self, environment: Environment) -> None:
        """Add it to the functions that a template may call."""
        super().__init__(environment)
        environment.globals["new_step"] = new_step
