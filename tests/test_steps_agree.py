import importlib
import subprocess
import sys

import pytest
from step_support import ROOT, steps

from tests import step_rules
from tests.step_rules import packages, requirements
from util_lib import tracking
from util_lib.errors import UserError
from util_lib.tracking.store.places import store_directory

__all__ = ["steps"]

from pipeline.commands import describe, diff, gc, leaderboard, new_step, reproduce, review

TRAINERS = ("train_random_forest", "train_gradient_boosting")
STEPS = ("get_data", "preprocess", "check_data", "segregate", *TRAINERS, "evaluate")
