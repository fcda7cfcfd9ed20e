"""A candidate against the model in use: both measured on the same rows, and what follows from it.

Nothing is decided by rows that either model was fitted on: they are left out. The result is one
plain dict, which is stored as it is.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import precision_recall_fscore_support

from serving.model.served_model import ServedModel
from util_lib import tracking, validation
from util_lib.dataset.columns import Column
from util_lib.errors import UserError
from util_lib.model import held_out, metric_names, metrics
from util_lib.model.uncertainty import bootstrap
from util_lib.tables import reading, splitting

SINGLE_ROWS = 20  # predictions of one row each, of which the median counts
ROUNDING = 1e-12  # what two sums of the same numbers may differ by
RULES = ("gain", "interval")
NOT_COMPARABLE, FORCED = "not_comparable", "forced"  # codes that `decide` does not give


class NotComparableError(UserError):
    """The candidate and the model in use cannot be measured on the same rows."""


@dataclass(frozen=True)
class Rules:
    """When a candidate is better: see `decide`."""

    metric: str
    min_gain: float
    max_class_drop: float
    rule: str = "gain"


class Ruling(NamedTuple):
    """Whether a candidate is promoted; why, as a word for programs and as a sentence."""

    promote: bool
    code: str
    reason: str


@dataclass(frozen=True)
class Rows:
    """The rows of one test artifact: `version` is `project/name:vN`, `chosen` says by whom."""

    frame: pd.DataFrame
    version: str
    digest: str
    chosen: str


def primary_metric(asked: str | None, task: str) -> str:
    """Return the metric that decides; by default the first one of the task."""
    known = metric_names.of_task(task)
    if asked is not None and asked not in known:
        raise UserError(validation.choose(f"metric of task {task}", asked, known))
    return asked or known[0]


def test_split(candidate: Any) -> str:
    """Return the test artifact that was split off together with a model's training rows.

    Raises `NotComparableError` where the lineage does not lead to one.
    """
    way_out = "name it: -P test_data=data_test.parquet:latest"
    if (trained := held_out.training_rows(candidate)) is None:
        raise NotComparableError(
            f"the lineage of {candidate.source_name} names no training data that are still there, "
            f"so there is no test split to find: {way_out}"
        )
    with tracking.lineage():
        split_by = trained.logged_by()
        found = [
            other
            for other in (split_by.logged_artifacts() if split_by else [])
            if other.type == trained.type and _name(other) != _name(trained)
        ]
    if len(found) != 1 or found[0].state == "DELETED":
        raise NotComparableError(
            f"{trained.source_name}, on which {candidate.source_name} was trained, was not made "
            f"together with one test split that is still there: {way_out}"
        )
    return f"{found[0].project}/{found[0].source_name}"


def refuse_unlike(candidate: ServedModel, champion: ServedModel) -> None:
    """Raise `NotComparableError` if the two models do not answer the same question."""
    for what in ("task", "target"):
        new, old = getattr(candidate, what), getattr(champion, what)
        if new != old:
            raise NotComparableError(
                f"{what} differs: {candidate.version} has {new!r}, {champion.version} has {old!r}, "
                "so they cannot be compared"
            )
    new, old = (
        {str(c) for c in (m.classes if m.classes is not None else ())}
        for m in (candidate, champion)
    )
    if new != old:
        changed = [f"without {name!r}" for name in sorted(old - new)]
        changed += [f"with {name!r}" for name in sorted(new - old)]
        raise NotComparableError(
            f"the classes differ: {candidate.version} is {', '.join(changed[:5])}, compared with "
            f"{champion.version}, so they cannot be compared"
        )


def leave_out_seen(rows: Rows, models: list[tuple[ServedModel, Any]], folder: Path) -> tuple:
    """Return the rows that none of the models was fitted on, how many are left out, and notes.

    `models` come with their artifacts. Raises `NotComparableError` if hardly anything is left.
    """
    seen, notes = np.zeros(len(rows.frame), dtype=bool), []
    for model, artifact in models:
        trained = held_out.training_rows(artifact)
        if trained is not None and trained.digest == rows.digest:
            raise NotComparableError(
                f"{model.version} was trained on {rows.version} itself: compare on rows that it "
                "has not seen"
            )
        if held_out.split_off_together(trained, tracking.Api().artifact(rows.version)):
            continue
        names = model.features.names()
        held_out.check_columns(rows.frame, names, model.target, model.task)
        columns = [*names, model.target]
        digests = _digests(model, artifact, trained, columns, folder)
        if digests is None:
            notes.append(f"the training rows of {model.version} are gone: not looked for here")
            continue
        same = held_out.seen(rows.frame, digests, columns)
        if same.any():
            notes.append(f"{model.version} was trained on {same.sum():,} of them: left out")
        seen |= same
    left, n_seen = rows.frame[~seen], int(seen.sum())
    try:
        held_out.refuse_few(len(left), n_seen, rows.version)
    except UserError as error:
        raise NotComparableError(str(error)) from error
    return left, n_seen, notes


def _digests(
    model: ServedModel, artifact: Any, trained: Any | None, columns: list[str], folder: Path
) -> np.ndarray | None:
    """Return the digests of a model's training rows: its own, else those of the rows themselves."""
    folder = folder / f"training_of_{_name(artifact)}_{artifact.version}"
    if held_out.ROWS_FILE in artifact.manifest.entries:
        artifact.get_entry(held_out.ROWS_FILE).download(folder)
        return held_out.read_digests(folder)
    if trained is None:
        return None
    training = reading.read_own(reading.fetch(trained, folder), _columns(model))
    return held_out.hashes(training, columns) if {*columns} <= {*training.columns} else None


def read_rows(artifact: Any, chosen: str, candidate: ServedModel, folder: Path) -> Rows:
    """Fetch the test rows and check that the candidate can be measured on them."""
    frame = reading.read_own(reading.fetch(artifact, folder), _columns(candidate))
    held_out.check_columns(frame, candidate.features.names(), candidate.target, candidate.task)
    version = f"{artifact.project}/{artifact.source_name}"
    return Rows(frame, version, artifact.digest, chosen)


def measure(
    model: ServedModel, frame: pd.DataFrame, size: int
) -> tuple[dict[str, Any], np.ndarray]:
    """Return what is known of one model, and what it answered: probabilities, or numbers."""
    held_out.check_columns(frame, model.features.names(), model.target, model.task)
    rows, truth = frame[model.features.names()], frame[model.target].to_numpy()
    try:
        started = time.perf_counter()
        labels, probabilities = model.predict(rows)
        seconds = time.perf_counter() - started
    except ValueError as error:
        raise UserError(f"{model.version} cannot predict these rows: {error}") from error
    single = []
    for number in range(SINGLE_ROWS):
        row = rows.iloc[[number % len(rows)]]
        started = time.perf_counter()
        model.predict(row)
        single.append(time.perf_counter() - started)
    about = {
        "version": model.version,
        "digest": model.digest,
        "bytes": size,
        "ms_for_one_row": round(1000 * float(np.median(single)), 3),
        "rows_per_second": round(len(rows) / seconds),
    }
    if model.classes is None or probabilities is None:
        scores = metrics.regression_scores(truth, labels, "test")
        answers = np.asarray(labels, dtype=float)
    else:
        scores = metrics.scores(truth, probabilities, model.classes, "test")
        about["classes"] = _by_class(truth, labels, model.classes)
        answers = probabilities
    about["scores"] = {name.removeprefix("test_"): value for name, value in scores.items()}
    return about, answers


def gain(
    frame: pd.DataFrame, model: ServedModel, metric: str, new: Any, old: Any
) -> dict[str, float]:
    """Return by how much the candidate is better, with the interval; `new`, `old` of `measure`."""
    truth, groups = _truth(frame, model), _groups(frame, model)
    by_class = model.classes is not None
    low, high = bootstrap.interval(
        bootstrap.METRICS[metric], truth, new[1], old[1], by_class, groups
    )
    difference = new[0]["scores"][metric] - old[0]["scores"][metric]
    if not metric_names.GREATER_IS_BETTER[metric]:
        difference, low, high = -difference, -high, -low
    return {"gain": difference, "low": low, "high": high}


def gain_over_baseline(
    frame: pd.DataFrame, model: ServedModel, metric: str, new: Any
) -> dict[str, float]:
    """Return by how much the candidate beats the best same answer for all rows, as `gain` does.

    That answer is the shares of the classes among these very rows, of numbers their mean.
    """
    truth = _truth(frame, model)
    if model.classes is None:
        same = np.full(len(truth), truth.mean())
        scores = metrics.regression_scores(truth, same, "test")
    else:
        shares = (truth[:, None] == np.arange(len(model.classes))).mean(axis=0)
        same = np.broadcast_to(shares, new[1].shape)
        named = frame[model.target].to_numpy()
        scores = metrics.scores(named, same, model.classes, "test")
    about = {"scores": {name.removeprefix("test_"): value for name, value in scores.items()}}
    return gain(frame, model, metric, new, (about, same))


def sure_falls(
    frame: pd.DataFrame, model: ServedModel, names: list[str], new: Any, old: Any
) -> list[str]:
    """Return the classes of `names` whose F1 falls for more than the chance of these rows."""
    truth, groups = _truth(frame, model), _groups(frame, model)
    known = [*map(str, model.classes if model.classes is not None else ())]
    return [
        name
        for name in names
        if bootstrap.interval(
            bootstrap.f1_of(known.index(name)), truth, new[1], old[1], True, groups
        )[1]
        < 0
    ]


def falls_of(compared: dict[str, Any], rules: Rules) -> dict[str, float]:
    """Return by how much the F1 of classes falls, where it is more than `max_class_drop`."""
    falls = {
        name: compared["champion"]["classes"][name]["f1"] - about["f1"]
        for name, about in compared["candidate"].get("classes", {}).items()
    }
    return {name: fall for name, fall in falls.items() if fall > rules.max_class_drop + ROUNDING}


def _truth(frame: pd.DataFrame, model: ServedModel) -> np.ndarray:
    truth = frame[model.target].to_numpy()
    if model.classes is None:
        return truth.astype(float)
    return pd.Index(model.classes).get_indexer(truth)


def _groups(frame: pd.DataFrame, model: ServedModel) -> np.ndarray | None:
    split = splitting.Rule(**model.metadata.get("data", {}).get("split", {}))
    return splitting.groups_of(frame, split)


def decide(compared: dict[str, Any], rules: Rules) -> Ruling:
    """Return whether the candidate is to be promoted, and why.

    Without a predecessor it is. Else it must gain more than `min_gain` in the metric, and no class
    may lose more than `max_class_drop` of its F1. By the rule `interval` chance must be ruled out
    too: the interval of the gain lies above 0, a class counts whose fall is sure, and the first
    model must be better than the same answer for all rows.
    """
    by = compared["difference"]
    if compared["champion"] is None:
        lost = compared.get("lost")
        why = "the predecessor cannot be loaded" if lost else "there is no predecessor"
        if rules.rule == "gain":
            return Ruling(True, "predecessor_lost" if lost else "first", why)
        words = f"{why}; {_words(rules.metric, by)} than the same answer for all rows"
        better = by["low"] > 0
        return Ruling(better, "beats_baseline" if better else "not_above_baseline", words)
    words = _words(rules.metric, by)
    if not by["gain"] > rules.min_gain + ROUNDING:
        needed = f"it must be better by more than {rules.min_gain:g}"
        return Ruling(False, "not_better", f"{words}, and {needed}")
    if rules.rule == "interval" and not by["low"] > 0:
        return Ruling(False, "not_sure", f"{words}, which may be chance")
    falls = falls_of(compared, rules)
    if rules.rule == "interval":
        falls = {name: falls[name] for name in compared["sure_falls"]}
    if falls:
        worst = sorted(falls, key=lambda name: -falls[name])
        named = ", ".join(f"{name} by {falls[name]:.3f}" for name in worst[:3])
        more = f" and {len(worst) - 3} more" if len(worst) > 3 else ""
        allowed = f"at most {rules.max_class_drop:g} is allowed"
        return Ruling(False, "class_falls", f"{words}, but F1 falls for {named}{more}; {allowed}")
    return Ruling(True, "better", words)


def _words(metric: str, by: dict[str, float]) -> str:
    size = f"{abs(by['gain']):.4f} {'better' if by['gain'] > 0 else 'worse'}"
    return (
        f"{metric} is {size if by['gain'] else 'the same'} (95 % interval of the gain "
        f"{by['low']:+.4f} to {by['high']:+.4f})"
    )


def _by_class(
    truth: np.ndarray, labels: np.ndarray, classes: np.ndarray
) -> dict[str, dict[str, float]]:
    """Return rows, recall and F1 of each class; one without rows is left out: it has neither."""
    _, recall, f1, rows = precision_recall_fscore_support(
        truth, labels, labels=classes, zero_division=0
    )
    return {
        str(name): {"rows": int(n), "recall": float(r), "f1": float(f)}
        for name, r, f, n in zip(classes, recall, f1, rows, strict=True)
        if n
    }


def _columns(model: ServedModel) -> dict[str, Column]:
    return model.declaration.of_table(model.features, model.target)


def _name(artifact: Any) -> str:
    return artifact.source_name.partition(":")[0]
