"""Two distributions of a column that moved, now, and in the reference of its model."""

from typing import Any

import pandas as pd

from monitoring.judging.records import Judgement, Recorded
from monitoring.judging.states import Key
from util_lib import monitoring_log
from util_lib.checks.shapes import shapes
from util_lib.model.monitoring_reference import ModelReference

ANSWERS = {"answers": "prediction", "confidence": "confidence"}  # tests, and their columns


def shapes_of(
    tests: list[Judgement], recorded: Recorded, reference: ModelReference
) -> dict[Key, dict[str, Any]]:
    """Return the shapes of all inputs that drifted, and of answers that did."""
    frame, found = recorded.frame, {}
    answered = frame["rejected"].isna() & (frame["role"] != monitoring_log.SHADOW)
    mine = answered & (frame["version"] == reference.version)
    for test in tests:
        now: Any = None
        before, name, dates = reference.inputs, test.column, False
        if test.outcome != "failed":
            continue
        if test.test == "drift" and name is not None and name in recorded.inputs:
            column = reference.columns.get(name)
            dates = column is not None and column.dtype == "datetime"
            now = recorded.inputs.loc[answered, name]
        elif test.family == "predictions":
            before, name = reference.outputs, ANSWERS.get(test.test)
            values = frame["prediction"] if name == "prediction" else recorded.confidence
            now = pd.Series(values)[mine.to_numpy()]
        if now is not None and before is not None and name in before:
            found[test.key] = shapes(now, before[name], dates)
    return found
