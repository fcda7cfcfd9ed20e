"""Whoever leaves the block leaves no process behind, and asks before he kills."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[3]
# MLflow keeps git's helpers, which end when they are told to and not by themselves.
HELPER = """
import pathlib, signal, sys, time
def told(*_):
    pathlib.Path("told").touch()
    sys.exit()
signal.signal(signal.SIGTERM, told)
print("ready", flush=True)
time.sleep(120)
"""
FAILS = """
import subprocess, sys
from pipeline.running.stopping import stoppable
from util_lib.errors import UserError
with stoppable():
    helper = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
    helper.stdout.readline()
    print(helper.pid, flush=True)
    raise UserError("a step failed")
"""


def test_after_a_failure_processes_that_would_stay_are_told_to_end(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FAILS, HELPER],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert "a step failed" in done.stderr
    assert (tmp_path / "told").exists(), "it was waited for, and killed in the end"
    assert not psutil.pid_exists(int(done.stdout))
