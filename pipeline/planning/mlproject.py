"""What a step's MLproject says that it takes, compared with what the pipeline file gives it."""

import string
from pathlib import Path
from typing import Any

import yaml

from pipeline.planning.step import Step
from util_lib import validation, yaml_files
from util_lib.errors import UserError

NO_MAPPING = (KeyError, TypeError, AttributeError, IndexError)


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
    """Return what the entry point `main` declares; MLflow would raise for another shape."""
    where = f"config: steps.{step.name}: {path}"
    try:
        content = yaml_files.read(path)
        entry = content["entry_points"][step.entry_point]
        declared: dict[str, Any] = entry.get("parameters", {})
        command = entry.get("command")
        others = [other.get("parameters", {}) for other in content["entry_points"].values()]
    except OSError as error:
        raise UserError(
            f"{where} cannot be read ({error.strerror}): a step is a folder with an MLproject, "
            "which says how it is run"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, *NO_MAPPING):
        raise UserError(
            f"{where} declares no entry point 'main' in YAML that can be read: "
            "entry_points: {main: {parameters: ..., command: ...}}"
        ) from None
    if not isinstance(command, str) or not command.strip():
        raise UserError(
            f"{where}: the entry point 'main' has no command: add one, such as python run.py"
        )
    for found in (declared, *others):
        if not isinstance(found, dict) or not all(
            isinstance(name, str) and isinstance(about, str | dict) for name, about in found.items()
        ):
            raise UserError(
                f"{where}: parameters must be a mapping such as {{name: {{type: string}}}}, "
                f"found {validation.shown(found)}"
            )
    _refuse_other_braces(command, {*declared}, where)
    _refuse_no_environment(content, path.parent, where)
    return declared


def _refuse_other_braces(command: str, declared: set[str], where: str) -> None:
    """MLflow fills in `{name}`, and everything else in braces too."""
    try:
        named = {name for _, name, _, _ in string.Formatter().parse(command) if name is not None}
    except ValueError:
        named = {"{"}
    for name in sorted(named - declared):
        raise UserError(
            f"{where}: the command has {name!r} in braces, which is no parameter of it: declare "
            "it, or write {{ and }} for braces that are the command's own"
        )


def _refuse_no_environment(content: dict[str, Any], folder: Path, where: str) -> None:
    for key in ("conda_env", "python_env"):
        name = content.get(key)
        if name and not (isinstance(name, str) and (folder / name).is_file()):
            raise UserError(f"{where}: {key} must name a file beside it, found {name!r}")
