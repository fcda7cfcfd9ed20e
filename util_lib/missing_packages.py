"""A script whose packages are not installed says which environment has them: no traceback."""

import sys
from pathlib import Path
from types import TracebackType

from util_lib.project import ROOT


def explain() -> None:
    """From now on an import that fails for a package that is not there ends in one sentence.

    For scripts: called before anything that an environment brings is imported.
    """
    sys.excepthook = _explained


def sentence(error: ModuleNotFoundError, script: Path) -> str | None:
    """Say what lacks and where it is; None for a module of the project itself, a defect."""
    top = (error.name or "").partition(".")[0]
    if not top or (ROOT / top).exists() or (script.parent / f"{top}.py").exists():
        return None
    folder = script.parent
    if (folder / "conda.yml").is_file() and folder != ROOT:
        shown = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
        way = (
            f"run it by `mlflow run {shown} --env-manager uv -P name=value ...`, which makes the "
            f"environment of {shown}/conda.yml, or install {shown}/requirements.lock yourself"
        )
    else:
        way = "run it in the environment that `make run` makes, .venv, or install requirements.txt"
    return f"this Python ({sys.executable}) has no package {top!r}: {way}"


def _explained(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    script = Path(getattr(sys.modules["__main__"], "__file__", "")).resolve()
    said = sentence(error, script) if isinstance(error, ModuleNotFoundError) else None
    if said is None:
        sys.__excepthook__(kind, error, trace)
    else:
        name = script.parent.name if script.parent != ROOT else script.name
        print(f"{name}: {said}", file=sys.stderr)
