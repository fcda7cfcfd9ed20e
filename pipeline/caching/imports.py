"""Which files of `util_lib` a step's code reaches: found by reading its imports, never by hand.

Every import counts, also one inside a function, and so does a text that is nothing but the name of
a module (`"util_lib.tracking.local"`), for `importlib` and readers of model files go by such names.
A text that only begins one (`f"util_lib.{name}"`), or is code that imports, may mean any module.
"""

import ast
import re
from collections.abc import Callable, Iterable
from pathlib import Path

SHARED = "util_lib"
TEMPLATES = (".html", ".css")
ALL = "*"
NAME = re.compile(rf"{SHARED}(\.\w+)*")
ANY = re.compile(rf"{SHARED}(\.\w+)*\.|(.*\W)?(from|import)\s+{SHARED}\W.*", re.DOTALL)


def modules(root: Path) -> dict[str, Path]:
    """Map the modules of `root`/util_lib to their files."""
    found = {}
    for path in sorted((root / SHARED).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def beside(root: Path) -> dict[Path, list[Path]]:
    """Map modules of `root`/util_lib to the templates and styles that lie beside them.

    Each has the name of its module, as page.css has that of page.py.
    """
    found: dict[Path, list[Path]] = {}
    for path in sorted((root / SHARED).rglob("*")):
        if path.suffix in TEMPLATES:
            found.setdefault(path.with_name(f"{path.name.partition('.')[0]}.py"), []).append(path)
    return found


def reached(
    files: Iterable[Path], shared: dict[str, Path], imported: Callable[[Path, str], frozenset[str]]
) -> set[str]:
    """Return those of the modules `shared` that `files` reach, also by way of each other.

    `imported` says which ones a single file imports, as `imported_by` does.
    """
    found: set[str] = set()
    waiting = [(path, "") for path in files]
    while waiting:
        new = imported(*waiting.pop()) - found
        found |= new
        waiting += [(shared[module], module) for module in new]
    return found


def imported_by(
    path: Path, module: str, shared: dict[str, Path], mentioned: Callable[[Path], list[str]]
) -> frozenset[str]:
    """Return those of the modules `shared` that importing a file runs.

    `module` is the file's own name among them, empty for a file of a step. Files that are not
    Python import nothing, but one that names util_lib (a shell script, a command in MLproject)
    counts as importing all of it. `mentioned` reads a Python file, as `read` does.
    """
    if path.suffix == ".py":
        names = mentioned(path)
    else:
        names = [ALL] if SHARED.encode() in path.read_bytes() else []
    if ALL in names:
        return frozenset(shared)
    return frozenset().union(*(_run_by(_absolute(name, path, module), shared) for name in names))


def read(content: bytes) -> list[str]:
    """Return the modules that a Python file's text may import, `ALL` where it cannot be read.

    A relative one keeps its dots.
    """
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return [ALL]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = f"{'.' * node.level}{node.module or ''}"
            dot = "" if module.endswith(".") else "."
            found |= {module} | {f"{module}{dot}{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if ANY.fullmatch(node.value):
                return [ALL]
            found |= {node.value} if NAME.fullmatch(node.value) else set()
        elif isinstance(node, ast.Call):  # import_module(".tracking", "util_lib")
            texts = [str(word.value) for word in _given(node) if isinstance(word, ast.Constant)]
            if len(texts) == 2 and SHARED in texts and texts[0].startswith("."):
                found |= {SHARED + texts[0]}
    return sorted(name for name in found if name.startswith(".") or NAME.fullmatch(name))


def _given(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _absolute(name: str, path: Path, module: str) -> str:
    """Return a module's full name, empty for one of a step's own folder: that is covered anyway."""
    if not name.startswith("."):
        return name
    if not module:
        return ""
    inner = name.lstrip(".")
    up = len(name) - len(inner) - (path.name == "__init__.py")
    above = module.split(".")
    return ".".join([*above[: len(above) - up], inner])


def _run_by(name: str, shared: dict[str, Path]) -> set[str]:
    """Return the modules that importing `name` runs: that one and the packages above it.

    The last parts of a name may be a function or a class of the module before them.
    """
    parts = name.split(".")
    above = (".".join(parts[:count]) for count in range(1, len(parts) + 1))
    return {module for module in above if module in shared}
