"""A small step on W&B in a process of its own, to see how it ends and what it leaves running."""

import os
import subprocess
import time

import psutil

from tests import warm
from tests.wandb_service.process import ROOT

LIMIT_S = 30
SOURCE = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from util_lib import cli, tracking

def main():
    config = {{f"word_{{number}}": word for number, word in enumerate(sys.argv[3:])}}
    with tracking.init(project=sys.argv[1] or None, config=config) as run:
        run.log({{"loss": 1.0}})
        print("started", flush=True)
        sys.stdin.readline()
        if sys.argv[2] == "log":
            artifact = tracking.Artifact("songs", type="raw_data")
            with artifact.new_file("a.txt") as file:
                file.write("one")
            run.log_artifact(artifact).wait()
        if sys.argv[2] in ("use", "fetch"):
            used = run.use_artifact("songs:latest")
            if sys.argv[2] == "fetch":
                used.file("fetched")
        if sys.argv[2] == "fail":
            raise cli.UserError("column 'tempo' is missing")

sys.exit(cli.exit_code(main))
"""


class Step:
    """A small step in a process of its own, on an account of the double.

    `words` are more of its command line. `pytest -rP` shows how each one ended, as a line
    `test | seconds | message`.
    """

    def __init__(self, folder, account, does="log", project="failures", words=(), **changes):
        (folder / "small_step").mkdir(exist_ok=True)
        (folder / "small_step" / "run.py").write_text(SOURCE)
        # WANDB_SERVICE would have it share the service process of a client of the test's own.
        more = {"TRACKING_BACKEND": "wandb", "TRACKING_PUBLISH": "parent", "WANDB_SERVICE": None}
        more |= changes
        given = {**os.environ, **account.environment, **more}
        self.name = account.entity
        self.process = subprocess.Popen(
            [warm.python(), str(folder / "small_step" / "run.py"), project, does, *words],
            cwd=folder,
            env={key: value for key, value in given.items() if value is not None}
            | {"WANDB_TAGS": self.name},  # tells its service process from others
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_until_started(self):
        assert self.process.stdout.readline() == "started\n"

    def end(self):
        """Let it go on; return exit code, last line and seconds. Nothing it started is left."""
        begun = time.monotonic()
        _, said = self.process.communicate("\n", timeout=100)
        seconds = time.monotonic() - begun
        last = said.strip().rpartition("\n")[2]
        case = os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2].removesuffix(" (call)")
        print(f"{case} | {seconds:.1f} | {last}")
        assert not self.left()
        return self.process.returncode, last, seconds

    def left(self):
        """Return the processes of this step that still run."""
        return [process for process in psutil.process_iter() if self._is_mine(process)]

    def _is_mine(self, process):
        try:
            return process.environ().get("WANDB_TAGS") == self.name
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            return False
