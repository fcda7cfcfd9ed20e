"""The process that runs a job's trials: it answers, it may die, and it does not outlive the job."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from step_support import ROOT

from pipeline.sweeps import warm_worker


@pytest.fixture
def worker(monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "tests")
    yield warm_worker.worker(sys.executable, "train_random_forest")
    warm_worker.end()


FAILED = {"project": "tests", "error": "no such depth", "sweep": {"name": "grid", "trial": 1}}


def test_a_worker_that_is_killed_fails_its_trial_and_another_one_takes_the_next(worker):
    assert worker.ask(FAILED)["error"] == "no such depth"
    os.kill(worker._process.pid, signal.SIGKILL)
    told = worker.ask(FAILED)
    assert told["state"] == "crashed" and "ended (signal 9)" in told["error"]
    other = warm_worker.worker(sys.executable, "train_random_forest")
    assert other is not worker and other.ask(FAILED)["state"] == "failed"


def test_a_worker_ends_with_the_process_that_started_it(tmp_path):
    code = (
        "import os, sys, time; from pipeline.sweeps import warm_worker;"
        "worker = warm_worker.worker(sys.executable, 'train_random_forest');"
        "print(worker._process.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    pid = int(process.stdout.readline())
    assert psutil.pid_exists(pid)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not psutil.pid_exists(pid)
