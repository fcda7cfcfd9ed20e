"""How well a model answers: by labels that came, without them, and beside another model."""

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from monitoring.judging import predictions
from monitoring.judging.estimate import estimate
from monitoring.judging.records import Judgement, Recorded, Thresholds, not_judged
from util_lib.checks import sentences
from util_lib.checks.drift import sidak
from util_lib.model.monitoring_reference import ModelReference

PERFORMANCE = "performance"
KEYS = ["request", "row"]
NO_SCORE = "no score of the model's own is known: run evaluate on it, or set data.val_size above 0"
N_TESTS = {"classification": 2, "regression": 1}  # by labels, and without
CLOSE = 0.95  # of the intervals that are said


def judge(
    rows: Recorded,
    labels: pd.DataFrame | None,
    reference: ModelReference,
    thresholds: Thresholds,
    alpha: float,
) -> list[Judgement]:
    """Return the tests of performance; `alpha` is the chance of a false alarm that they share."""
    frame = rows.frame
    labelled = _labelled(frame, labels)
    mine = predictions.answered(frame, reference.version)
    level = sidak(alpha, N_TESTS[reference.task])
    return [
        _by_labels(labelled[mine], reference, thresholds, level),
        estimate(rows, mine, reference, thresholds, level),
        *_beside_others(labelled, mine, reference, thresholds),
    ]


def _labelled(frame: pd.DataFrame, labels: pd.DataFrame | None) -> pd.DataFrame:
    """Return the rows with their labels; of several the newest is taken.

    Rows that share request and number, as where a client uses an id again, get none: whose label
    it is nobody knows.
    """
    if labels is None or labels.empty:
        return frame.assign(label=None)
    newest = labels.sort_values("time", kind="stable").drop_duplicates(KEYS, keep="last")
    found = frame[KEYS].merge(newest[[*KEYS, "label"]], on=KEYS, how="left")["label"]
    return frame.assign(label=found.where(~_ambiguous(frame).to_numpy()).to_numpy())


def _ambiguous(frame: pd.DataFrame) -> pd.Series:
    return frame.duplicated([*KEYS, "role"], keep=False)


def _by_labels(
    answered: pd.DataFrame, reference: ModelReference, thresholds: Thresholds, level: float
) -> Judgement:
    """Test whether the model answers worse than it did on the rows that it was measured on.

    By a normal approximation, one-sided, in which the model's own score errs too.
    """
    known = answered[answered["label"].notna()]
    n, own = len(known), reference.score
    if not len(answered):
        return not_judged(PERFORMANCE, "score", predictions.NOTHING_ANSWERED)
    coverage = f"{n:,} of {len(answered):,} answered rows have a label ({n / len(answered):.1%})"
    if n_ambiguous := int(_ambiguous(answered).sum()):
        coverage += f"; {n_ambiguous:,} share request and row number and are left out"
    if own is None or n < max(2, thresholds.min_labels):
        why = NO_SCORE if own is None else f"at least {thresholds.min_labels:,} are needed"
        return not_judged(PERFORMANCE, "score", f"{coverage}; {why}")
    losses = _losses(known, reference.task)
    if reference.task == "classification":
        value, drop = 1 - losses.mean(), own.value - (1 - losses.mean())
        share = (own.value * own.n + 1) / (own.n + 2)  # neither 0 nor 1, which had no error
        spread, least = share * (1 - share), thresholds.min_drop
    else:
        value, drop = losses.mean(), losses.mean() - own.value
        spread, least = losses.var(ddof=1), thresholds.min_drop * own.value
    error = float(np.sqrt(spread / n + own.error**2))
    p = float(stats.norm.sf(drop / error)) if error else float(drop <= 0)
    room = max(least, error * float(stats.norm.isf(level)))
    is_share = reference.task == "classification"
    failed = p < level and drop >= least
    return Judgement(
        family=PERFORMANCE,
        test="score",
        column=None,
        outcome="failed" if failed else "passed",
        reason=f"{own.metric} {value:.4g} {'is worse than' if failed else 'is not worse than'} "
        f"{own.value:.4g} on {own.n:,} {own.split} rows{'' if failed else ', beyond chance'}: "
        f"{sentences.chance(p, level)}; {coverage}",
        n=n,
        statistic=float(value),
        effect=float(drop),
        p_value=p,
        alpha=level,
        threshold=float(least),
        low=own.value - room if is_share else 0.0,
        high=1.0 if is_share else own.value + room,
        error=float(np.sqrt(losses.var(ddof=1) / n)),
    )


def _losses(known: pd.DataFrame, task: str) -> np.ndarray:
    """Return what each answer lacks: 1 for a wrong class, the distance of a number."""
    if task == "regression":
        numbers = known[["label", "prediction"]].astype("float64")
        return (numbers["label"] - numbers["prediction"]).abs().to_numpy()
    right = known["label"].map(str) == known["prediction"].map(str)
    return 1.0 - right.to_numpy(dtype=float)


def _beside_others(
    labelled: pd.DataFrame, mine: np.ndarray, reference: ModelReference, thresholds: Thresholds
) -> list[Judgement]:
    """Compare with each other version that answered the same rows; this never alarms.

    Whether another model is better is for a promotion to decide.
    """
    answered = labelled["rejected"].isna() & labelled["prediction"].notna()
    others = labelled[answered & labelled["role"].isin(["challenger", "shadow"]) & ~mine]
    return [
        _paired(labelled[mine], one, str(version), reference, thresholds)
        for version, one in others.groupby("version", sort=True)
    ]


def _paired(
    ours: pd.DataFrame,
    theirs: pd.DataFrame,
    version: str,
    reference: ModelReference,
    thresholds: Thresholds,
) -> Judgement:
    ours, theirs = (each.drop_duplicates(KEYS) for each in (ours, theirs))
    theirs = theirs[[*KEYS, "prediction"]]
    both = ours[[*KEYS, "prediction", "label"]].merge(theirs, on=KEYS, suffixes=("", "_other"))
    if both.empty:
        why = f"{version} answered none of the rows that {reference.version} did"
        return not_judged(PERFORMANCE, "challenger", why, version)
    if reference.task == "classification":
        same = float((both["prediction"] == both["prediction_other"]).mean())
        words = f"{version} answers {same:.1%} of {len(both):,} rows alike"
    else:
        apart = float((both["prediction"] - both["prediction_other"]).abs().mean())
        words = f"{version} is {apart:.4g} away on average, in {len(both):,} rows"
    known = both[both["label"].notna()]
    if len(known) < max(2, thresholds.min_labels):
        few = f"{words}; {len(known):,} of them have a label, {thresholds.min_labels:,} are needed"
        return not_judged(PERFORMANCE, "challenger", few, version)
    other = known.assign(prediction=known["prediction_other"])
    gains = _losses(known, reference.task) - _losses(other, reference.task)
    gain, error = float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(len(gains)))
    reach = float(stats.norm.isf((1 - CLOSE) / 2)) * error
    metric = "accuracy" if reference.task == "classification" else "mean absolute error"
    return Judgement(
        family=PERFORMANCE,
        test="challenger",
        column=version,
        outcome="passed",
        reason=f"{words}; by {len(known):,} labels its {metric} is {abs(gain):.4g} "
        f"{'better' if gain > 0 else 'worse'} than that of {reference.version} "
        f"({CLOSE:.0%} interval of the gain {gain - reach:+.4g} to {gain + reach:+.4g})",
        n=len(known),
        statistic=gain,
        effect=gain,
        p_value=_two_sided(gain, error),
        low=-reach,
        high=reach,
        error=error,
    )


def _two_sided(gain: float, error: float) -> Any:
    return float(2 * stats.norm.sf(abs(gain) / error)) if error else float(gain == 0)
