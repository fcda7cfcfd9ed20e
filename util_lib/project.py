"""Where this checkout lies, and which environment has the packages of its scripts."""

import re
import sys
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent


def resolve_path(text: str | Path) -> Path:
    """Return `text` as an absolute path; a relative one starts at the project root.

    Steps run in their own folder, `main.py` at the root: both must read the same file.
    """
    return ROOT / text


def explain_missing_packages() -> None:
    """From now on an import that fails for a package that is not there ends in one sentence.

    For scripts: called before anything that an environment brings is imported.
    """
    sys.excepthook = _explained


def missing_package(error: ModuleNotFoundError, script: Path) -> str | None:
    """Say what lacks and where it is; None for a module of the project itself, a defect."""
    top = (error.name or "").partition(".")[0]
    folder = script.parent
    own = (ROOT / top / "__init__.py", ROOT / top / "MLproject", folder / f"{top}.py")
    if not top or any(path.exists() for path in own):
        return None
    if (folder / "conda.yml").is_file() and folder != ROOT:
        shown = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
        way = (
            f"run it by `mlflow run {shown} --env-manager uv {_entry(script)}-P name=value ...`, "
            "which makes the "
            f"environment of {shown}/conda.yml, or install {shown}/requirements.lock yourself"
        )
    else:
        way = "run it in the environment that `make run` makes, .venv, or install requirements.txt"
    return f"this Python ({sys.executable}) has no package {top!r}: {way}"


def _entry(script: Path) -> str:
    """Return the option by which `mlflow run` starts a script that is not the main entry point."""
    name = "main"
    for line in (script.parent / "MLproject").read_text(encoding="utf-8").splitlines():
        if begun := re.fullmatch(r"  (\w+):", line.rstrip()):
            name = begun[1]
        elif f"python {script.name} " in f"{line} ":
            return "" if name == "main" else f"-e {name} "
    return ""


def _explained(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    script = Path(getattr(sys.modules["__main__"], "__file__", "")).resolve()
    said = missing_package(error, script) if isinstance(error, ModuleNotFoundError) else None
    if said is None:
        sys.__excepthook__(kind, error, trace)
    else:
        of_folder = script.parent != ROOT and (script.parent / "conda.yml").is_file()
        name = script.parent.name if of_folder else script.name
        print(f"{name}: {said}", file=sys.stderr)
