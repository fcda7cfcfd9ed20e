"""Print the tests of what differs from origin/main, or from the last tag: `make check` runs them.

    python tests/changed.py [BASE]      # from another commit: `review` runs them

The tests of a folder lie in the folder of the same name below tests. Uncommitted changes count. The
tests by which all rooms agree are always among them; those that run whole pipelines never are,
unless they or what they share have changed: `make test` runs everything.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ALWAYS = ["tests/test_house.py", "tests/test_steps_agree.py"]
# What has no folder of its own below tests, and who tests it; the first that fits counts.
ELSEWHERE = {
    "conf/dataset": "tests/dataset",
    "conf": "tests/pipeline/settings",
    "config.yaml": "tests/pipeline/settings",
    "main.py": "tests/pipeline/test_main.py",
    "cookie-mlflow-step": "tests/pipeline/commands/test_new_step.py",
    "hydra_plugins": "tests/pipeline/sweeps/search",
    "serving/batch": "tests/serving/test_predict.py",
    "tests/conftest.py": "tests",
    "tests/wandb_service": "tests/test_on_wandb.py",
    ".github": "tests/test_deploy.py",
    "deploy": "tests/test_deploy.py",
    "docs": "tests/test_docs.py",
    "README.md": "tests/test_docs.py",
}


def main() -> None:
    """Print what pytest is to run, a line each; what differs goes to stderr."""
    base = sys.argv[1] if len(sys.argv) > 1 else _base()
    changed = _changed(base)
    print(f"{len(changed)} files differ from {base}", file=sys.stderr)
    print(*sorted({*ALWAYS, *(place for path in changed for place in tests_of(path))}), sep="\n")


def tests_of(path: str) -> list[str]:
    """Return the test files, or the folder of them, for a changed file of the project."""
    for start, place in ELSEWHERE.items():
        if (path == start or path.startswith(f"{start}/")) and (ROOT / place).exists():
            return [place]
    file = Path(path)
    if file.parts[0] != "tests":
        file = Path("tests", file)
    elif file.name.startswith("test_"):
        return [path] if (ROOT / file).exists() else []
    elif file.parent == Path("tests") and file.suffix == ".py":
        loads = re.compile(rf"^(from|import) {file.stem}\b", re.MULTILINE)
        tests = sorted((ROOT / "tests").rglob("test_*.py"))
        users = [test for test in tests if loads.search(test.read_text(encoding="utf-8"))]
        return [user.relative_to(ROOT).as_posix() for user in users]
    folder = file.parent
    while not (ROOT / folder).is_dir():
        folder = folder.parent
    if folder == Path("tests"):  # nothing but what all rooms agree on
        return []
    # Of a room with rooms in it, what lies directly there.
    direct = [p.relative_to(ROOT).as_posix() for p in sorted((ROOT / folder).glob("test_*.py"))]
    return direct or [folder.as_posix()]


def _base() -> str:
    for command in (("merge-base", "HEAD", "origin/main"), ("describe", "--tags", "--abbrev=0")):
        if said := _git(*command, check=False):
            return said[0]
    return "HEAD"


def _changed(base: str) -> list[str]:
    new = _git("ls-files", "--others", "--exclude-standard")
    return sorted({*_git("diff", "--name-only", "--no-renames", base), *new})


def _git(*words: str, check: bool = True) -> list[str]:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=check)
    return done.stdout.splitlines()


if __name__ == "__main__":
    main()
