"""What a step's MLproject says that it takes, compared with what the pipeline file gives it."""

from pathlib import Path
from typing import Any

import yaml

from pipeline.planning.step import Step
from util_lib import validation
from util_lib.errors import UserError

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # six files cost a cached run too much else


def refuse_misfit(step: Step, folder: Path) -> None:
    """Raise `UserError` for a parameter that the step in `folder` does not take, or misses."""
    declared = _parameters(step, folder / "MLproject")
    given = {*step.parameters, *step.files}
    for name in sorted(given - {*declared}):
        where = f"config: steps.{step.name}: the step's MLproject has no such parameter:"
        raise UserError(f"{where} {validation.choose('parameter', name, [*declared])}")
    for name, about in declared.items():
        has_default = isinstance(about, dict) and about.get("default") is not None
        if not has_default and name not in given:
            raise UserError(
                f"config: steps.{step.name}: the step needs the parameter {name!r} and has no "
                f"default for it: give it in the pipeline file, as steps.{step.name}.parameters."
                f"{name}, or as one of its inputs or files"
            )


def _parameters(step: Step, path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)
        return content["entry_points"]["main"].get("parameters") or {}
    except OSError as error:
        raise UserError(
            f"config: steps.{step.name}: {path} cannot be read ({error.strerror}): a step is a "
            "folder with an MLproject, which says how it is run"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"config: steps.{step.name}: {path} declares no entry point 'main' in YAML that can "
            "be read: entry_points: {main: {parameters: ..., command: ...}}"
        ) from None
