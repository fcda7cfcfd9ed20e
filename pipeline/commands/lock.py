"""Write the locks: every package that an environment gets, exactly, with the digests of its files.

    python -m pipeline.commands.lock             # all of them: `make lock`
    python -m pipeline.commands.lock --check     # exit code 1 where one is not current
    python -m pipeline.commands.lock ../my_step  # that of a folder with a conda.yml

`requirements*.txt` and the `conda.yml` of a step pin what is imported; what those packages bring
along is pinned by a `requirements.lock` beside them, for every platform (docs/security.md). The
packages' registry is asked, and nobody else.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from pipeline.environments import locks
from pipeline.running.exit_code import exit_code
from util_lib import cli
from util_lib.errors import UserError
from util_lib.project import ROOT

EVERYTHING = ROOT / "requirements-dev.txt"  # has the packages of all steps
PYTHON = "3.11.7"  # and newer ones: the locks hold what each version needs
# A registry's address is everybody's own business.
COMPILE = (
    *("uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes"),
    *("--python-version", PYTHON, "--no-annotate", "--no-header", "--no-emit-index-url"),
    *("--no-emit-find-links", "--no-config"),
)


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs."""
    parser = cli.parser(__doc__)
    parser.add_argument("folders", nargs="*", help="with a conda.yml; none = the whole project")
    parser.add_argument("--check", action="store_true", help="write nothing; say what is old")
    parser.add_argument("--upgrade", action="store_true", help="newer packages where pins allow")
    return parser


def go(argv: list[str]) -> None:
    """Write or check the locks."""
    arguments = build_parser().parse_args(argv)
    sources = _sources([Path(folder) for folder in arguments.folders])
    old = []
    for source, target in sources.items():
        text = _locked(source, target, arguments.upgrade)
        if target.exists() and target.read_text(encoding="utf-8") == text:
            continue
        old.append(_shown(target))
        if not arguments.check:
            target.write_text(text, encoding="utf-8")
            print(f"wrote {_shown(target)}: {text.count('==')} packages", flush=True)
    if old and arguments.check:
        raise UserError(f"not current: {', '.join(old)}; write them again with `make lock`")
    if not old:
        print(f"{len(sources)} locks are current")


def _sources(folders: list[Path]) -> dict[Path, Path]:
    """Map what pins packages to its lock."""
    if folders:
        found = [folder / "conda.yml" for folder in folders]
        if missing := [path for path in found if not path.is_file()]:
            raise UserError(f"{missing[0]} does not exist: give folders with a conda.yml")
    else:
        found = [EVERYTHING, ROOT / "requirements.txt"]
        steps = sorted({*ROOT.glob("*/conda.yml"), *ROOT.glob("*/*/conda.yml")})
        found += [path for path in steps if not path.relative_to(ROOT).as_posix().startswith(".")]
    return {path: locks.beside(path) for path in found}


def _locked(source: Path, target: Path, upgrade: bool) -> str:
    """Return the lock of `source`; packages stay as the lock there has them while pins allow it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if source.suffix == ".yml":
            pins = folder / "requirements.txt"
            pins.write_text("\n".join(_pins(source)) + "\n", encoding="utf-8")
        else:
            pins = source
        written = folder / locks.NAME
        if target.exists() and not upgrade:
            shutil.copy(target, written)
        # One version of a package everywhere: what the tests ran with.
        others = locks.beside(EVERYTHING)
        same = [] if source == EVERYTHING else ["--constraints", str(others)]
        # uv comes with this environment, which need not be the active one.
        places = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
        try:
            done = subprocess.run(
                [*COMPILE, str(pins), *same, "--output-file", str(written)],
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "UV_NO_PROGRESS": "1", "PATH": os.pathsep.join(places)},
            )
        except FileNotFoundError:
            raise UserError("uv is not installed, and it makes the locks: pip install uv") from None
        if done.returncode:
            raise UserError(f"{_shown(source)} cannot be locked: {' '.join(done.stderr.split())}")
        return written.read_text(encoding="utf-8")


def _pins(path: Path) -> list[str]:
    """Return what pip installs for a `conda.yml`, pip itself among it."""
    found = []
    for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["dependencies"]:
        if isinstance(entry, dict):
            found += entry["pip"]
        elif entry.startswith("pip="):
            found.append(entry.replace("=", "==", 1))
    return found


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: go(sys.argv[1:])))
