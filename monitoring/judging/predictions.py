"""What a model answered, beside what it answered to rows that it was measured on."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd

from monitoring.judging.inputs import NO_REFERENCE, compare, of_drift, of_version
from monitoring.judging.records import Judgement, Recorded, Thresholds, not_judged
from util_lib.checks import drift
from util_lib.dataset.columns import Column
from util_lib.model.monitoring_reference import ModelReference

PREDICTIONS = "predictions"
NUMBER = Column(dtype="float", role="numerical")
CLASS = Column(dtype="string", role="categorical")
NO_OUTPUTS = "the model was exported without validation rows: set data.val_size above 0"
NOTHING_ANSWERED = "this version answered no row"


def answered(frame: pd.DataFrame, version: str) -> np.ndarray:
    """Mark the rows that a version answered, and not as a shadow."""
    there = frame["rejected"].isna() & frame["prediction"].notna()
    return of_version(frame, version) & there.to_numpy(dtype=bool)


def judge(
    rows: Recorded, reference: ModelReference, thresholds: Thresholds, alpha: float
) -> list[Judgement]:
    """Return the tests of the answers; `alpha` is the chance of a false alarm that they share."""
    tests = ["answers"] + ["confidence"] * (reference.task == "classification")
    if reference.outputs is None:
        why = NO_REFERENCE if reference.inputs is None else NO_OUTPUTS
        return [not_judged(PREDICTIONS, test, why) for test in tests]
    mine = answered(rows.frame, reference.version)
    if not mine.any():
        return [not_judged(PREDICTIONS, test, NOTHING_ANSWERED) for test in tests]
    is_number = reference.task == "regression"
    sample, before = rows.frame.loc[mine, ["prediction"]], _remembered(reference)
    sample.columns = ["answers"]
    columns = {"answers": NUMBER if is_number else CLASS}
    if not is_number:
        columns["confidence"] = NUMBER
        given = np.full(len(mine), np.nan) if rows.confidence is None else rows.confidence
        sample["confidence"] = np.asarray(given, dtype="float64")[mine]
    judged = [
        of_drift(PREDICTIONS, found.column, found, len(sample), len(before), thresholds)
        for found in compare(sample, before, columns, thresholds, alpha)
    ]
    return [replace(each, column=None) for each in judged]


@lru_cache(maxsize=2)
def _remembered(reference: ModelReference) -> drift.Remembered:
    assert reference.outputs is not None  # asked for where there are some
    return drift.Remembered(reference.outputs.rename(columns={"prediction": "answers"}))
