"""The tests of the rooms that a change touches, as tests/changed.py names them."""

import importlib.util
import subprocess
import sys
import time
from typing import NamedTuple

from pipeline.running import run_elsewhere
from util_lib.errors import UserError
from util_lib.project import ROOT

CHOOSE = ROOT / "tests" / "changed.py"
NONE_FOUND = 5  # pytest's exit code where nothing is to be run


class Tests(NamedTuple):
    """Which tests ran and how they ended; `why_not` says why none did."""

    places: list[str]
    seconds: float = 0.0
    said: str = ""
    failed: bool = False
    why_not: str = ""


def run(base: str) -> Tests:
    """Run the tests of what differs from `base`, and pass on what they say."""
    if not CHOOSE.is_file():
        return Tests([], why_not="there is no tests/changed.py, which names them")
    if importlib.util.find_spec("pytest") is None:
        return Tests(
            [], why_not="pytest is not installed here: make .venv/test, and --env-manager local"
        )
    chosen = subprocess.run(
        [sys.executable, str(CHOOSE), base], cwd=ROOT, capture_output=True, text=True
    )
    if chosen.returncode:
        last = chosen.stderr.strip().splitlines()[-1:]
        raise UserError(f"tests/changed.py does not say which tests to run: {''.join(last)}")
    places = chosen.stdout.split()
    workers = ["-n", "auto", "--dist", "loadfile"] if importlib.util.find_spec("xdist") else []
    started = time.monotonic()
    ended = run_elsewhere.call(
        [sys.executable, "-m", "pytest", "-q", *workers, *places],
        ROOT,
        run_elsewhere.without_others(),
        says_on="stdout",
    )
    seconds = time.monotonic() - started
    return Tests(places, seconds, ended.last_words, ended.code not in (0, NONE_FOUND))
