"""The house keeps its rules: who may import whom, how large a room and a file may be."""

import ast
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from step_support import ROOT

MOST_FILES, MOST_LINES = 15, 450
# Files that are longer, each with its reason; the numbers may only shrink.
LONGER = {
    "util_lib/tracking/store/database.py": 577,  # one class: each statement is about its tables
    "util_lib/tracking/local/artifact.py": 568,  # the members that W&B's Artifact has, in one class
}
ROOMS = sorted(
    {path.parent.name for path in ROOT.glob("*/MLproject")}
    | {path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("tools/*/MLproject")}
    | {"pipeline"}
)
# Found by name at run time, or started by a person.
NOT_IMPORTED = ("__main__", "__init__")


def python_files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it, also those only types need."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def module_of(path: Path) -> str:
    name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    return name.removesuffix(".__init__")


def test_the_contracts_between_rooms_are_kept_without_exception():
    assert "ignore_imports" not in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    done = subprocess.run(["lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_itself_and_util_lib(room):
    others = {other.replace("/", ".") for other in ROOMS} - {room.replace("/", ".")}
    for path in python_files(room):
        found = {
            name
            for name in imported(path)
            if any(name == other or name.startswith(f"{other}.") for other in others)
        }
        assert not found, f"{path.relative_to(ROOT)} imports {', '.join(sorted(found))}"


def test_util_lib_imports_no_room():
    rooms = {room.replace("/", ".") for room in ROOMS}
    for path in python_files("util_lib"):
        found = {name for name in imported(path) if name.partition(".")[0] in rooms}
        assert not found, f"{path.relative_to(ROOT)} imports {', '.join(sorted(found))}"


def test_no_folder_has_more_files_than_a_reader_takes_in():
    count = Counter(
        path.parent.relative_to(ROOT).as_posix()
        for path in python_files("util_lib", *ROOMS)
        if path.name != "__init__.py"
    )
    assert {folder: n for folder, n in count.items() if n > MOST_FILES} == {}


def test_no_file_is_longer_than_its_reader_has_patience_for():
    for path in python_files("util_lib", "hydra_plugins", *ROOMS):
        name = path.relative_to(ROOT).as_posix()
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= LONGER.get(name, MOST_LINES), f"{name} has {lines} lines"


def test_a_module_of_util_lib_that_one_room_alone_uses_lies_in_that_room():
    users: dict[str, set[str]] = {}
    for folder in ("util_lib", *ROOMS, "exercises", "benchmarks"):
        for path in python_files(folder):
            for name in imported(path):
                users.setdefault(name, set()).add(
                    module_of(path) if folder == "util_lib" else folder
                )
    for path in python_files("util_lib"):
        if path.stem in NOT_IMPORTED:
            continue
        module = module_of(path)
        found = users.get(module, set()) | {
            user for name, by in users.items() if name.startswith(f"{module}.") for user in by
        }
        found -= {module}
        shared = len(found) > 1 or any(user.startswith("util_lib") for user in found)
        assert shared, f"only {', '.join(found) or 'nobody'} uses {module}: it belongs there"


def test_no_public_class_name_is_used_twice():
    names: dict[str, list[str]] = {}
    for path in python_files("util_lib", *ROOMS):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                names.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    assert {name: paths for name, paths in names.items() if len(paths) > 1} == {}


def test_the_start_of_main_loads_nothing_that_only_steps_need():
    code = (
        "import sys, pipeline.startup; "
        "print([m for m in ('pandas', 'numpy', 'pyarrow', 'sklearn', 'mlflow', 'wandb', 'optuna') "
        "if m in sys.modules])"
    )
    done = subprocess.run(["python", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stdout + done.stderr
