"""The pipeline on the genuine W&B client in a folder of its own, for the tests that need that."""

import os
import subprocess
import sys
from pathlib import Path

from tests import warm

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = Path(sys.executable).parent


class OnWandb:
    """A folder in which the pipeline is run on W&B, with an account of the double."""

    def __init__(self, folder, account):
        self.folder, self.account = folder, account

    def environment(self):
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("WANDB_", "MLFLOW_", "TRACKING_", "PIPELINE_"))
        }
        ours = {**self.account.environment, "HOME": self.account.environment["WANDB_DIR"]}
        del ours["WANDB_DIR"]  # main.py has to choose it
        return warm.first_on_path({**kept, **ours, "PYTHONPATH": str(ROOT)})

    def run(self, *given):
        return self.start(warm.python(), ROOT / "main.py", *given)

    def command(self, *given):
        return self.start(SCRIPTS / "wandb", *given)

    def start(self, *command):
        return subprocess.run(
            [*map(str, command)],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=600,
        )
