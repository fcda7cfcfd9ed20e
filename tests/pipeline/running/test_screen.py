"""What a person sees at the end, on a terminal wide or narrow."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SHOW = """
from pipeline.planning.step import Outcome
from pipeline.running.screen import Screen
metrics = {"val_roc_auc_ovo_macro": 0.94911, "val_accuracy": 0.65}
made = ["a_rather_long_name_of_a_model_export:v12"]
metrics |= {"val_accuracy_se": 0.01}
tested = {"test_accuracy": 0.8, "test_accuracy_se": 0.01, "test_rarest_class_rows": 4}
trained = Outcome("train_random_forest", "done", 11.63, made, metrics)
Screen().table([trained, Outcome("evaluate", metrics=tested)])
"""


PLAN = """
from rich.table import Table
from pipeline.running.screen import Screen
table = Table("step", "will", "inputs", caption="expected: 3.0 s")
table.add_row("clean", "run: a_rather_long_name_of_a_helper.py changed", "one.parquet\\ntwo.csv")
Screen().show(table)
"""


def shown(width: int, show: str = SHOW) -> str:
    """What a terminal of `width` columns gets."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(width), "TERM": "xterm", "NO_COLOR": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", show], cwd=ROOT, env=environment, stdout=theirs
    )
    os.close(theirs)
    text = b""
    try:
        while chunk := os.read(ours, 65536):
            text += chunk
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    return text.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("width", [40, 60, 80, 140])
def test_names_of_steps_artifacts_and_metrics_are_whole_at_any_width(width):
    text = shown(width)
    for words in (
        "train_random_forest",
        "a_rather_long_name_of_a_model_export:v12",
        "val_roc_auc_ovo_macro 0.9491",
        "val_accuracy 0.6500",
        "not run",
        "11.6",
    ):
        assert words in text


def test_few_rows_of_a_class_and_scores_unlike_those_of_validation_stand_below_the_table():
    for width in (60, 140):
        text = " ".join(shown(width).split())
        assert "evaluate: the rarest class has 4 rows in the test split, fewer than 10" in text
        unlike = "evaluate: test_accuracy 0.8000 (val_accuracy 0.6500): apart by more than both"
        assert unlike in text


def test_a_wide_terminal_gets_a_table_and_a_narrow_one_lines():
    assert "│ evaluate" in shown(140)
    assert "evaluate: not run\n" in shown(60) and "│" not in shown(60)


@pytest.mark.parametrize("width", [30, 80, 120])
def test_no_word_of_a_plan_breaks_and_on_a_narrow_terminal_its_rows_become_lines(width):
    text = shown(width, PLAN)
    for words in ("a_rather_long_name_of_a_helper.py", "one.parquet", "expected: 3.0 s"):
        assert words in text
    assert ("\n  inputs: one.parquet, two.csv\n" in text) == (width == 30)
