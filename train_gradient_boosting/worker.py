#!/usr/bin/env python
"""Run trials of a sweep in one process that stays (`util_lib/model/trial_worker.py`)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from train_gradient_boosting.run import TRAINER
from util_lib import cli
from util_lib.model import trial_worker

if __name__ == "__main__":
    sys.exit(cli.exit_code(lambda: trial_worker.serve(TRAINER)))
