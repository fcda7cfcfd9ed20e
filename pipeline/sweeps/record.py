"""The record of a sweep: its trials as runs of the tracking backend, and which one is best.

A trial is a run in the group that is called like the sweep, of the step that the sweep names. Its
config holds `sweep`: name, trial (a number from 1), overrides (swept key: value), arguments (the
same as Hydra reads them), objectives, question (the digest of all that a trial depends on beside
them), cv, made (artifact: version that the trial used) and fingerprint. Its summary holds what was
measured, `fit_seconds`, `model_mb`, `model` and `objective`, or `error`.
Several runs may have the same question and overrides (one was killed, or failed, and was repeated):
the latest finished one counts.
"""

import json
import math
from dataclasses import dataclass, field
from typing import Any

from util_lib import tracking, validation
from util_lib.errors import UserError
from util_lib.model import metric_names

LEADERBOARD = "leaderboard"  # type of the run that logs the page; it is in the group too
COSTS = ("fit_seconds", "model_mb")  # of a trial, beside its scores: less is better


@dataclass(frozen=True)
class Trial:
    """One trial; `state` is finished, failed, killed, crashed or running, as the run's is.

    pruned is the state of one that finished early: a cross-validation given up between two folds.
    """

    number: int
    state: str
    overrides: dict[str, Any]
    summary: dict[str, Any]
    run_id: str
    run_name: str
    sweep: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    url: str | None = None

    @property
    def question(self) -> str:
        """Tell trials that compare from others; empty for those of versions that knew of none."""
        return self.sweep.get("question", "")

    def value(self, metric: str) -> float:
        """Return what was measured, NaN where nothing was."""
        found = self.summary.get(metric)
        if isinstance(found, int | float) and not isinstance(found, bool):
            return float(found)
        return math.nan


def as_text(value: Any) -> str:
    """Return JSON that is the same for equal values."""
    return json.dumps(value, sort_keys=True, default=str)


def trials(project: str, name: str, question: str | None = None) -> list[Trial]:
    """Return the trials of a sweep by their number; of those with the same overrides, one.

    With a `question` only those that answer it.
    """
    runs = tracking.Api().runs(project, filters={"group": name})
    found: dict[str, Trial] = {}
    for run in runs:  # oldest first
        config = dict(run.config)
        sweep = config.get("sweep") or {}
        if sweep.get("name") != name or "trial" not in sweep:  # the winner's has none
            continue
        summary = {key: value for key, value in run.summary.items() if not key.startswith("_")}
        trial = Trial(
            sweep["trial"],
            "pruned" if summary.get("pruned") else run.state,
            sweep["overrides"],
            summary,
            run.id,
            run.name,
            sweep,
            config,
            run.url,
        )
        key = as_text([trial.question, trial.overrides])
        if key not in found or trial.state == "finished" or found[key].state != "finished":
            found[key] = trial
    asked = [trial for trial in found.values() if question in (None, trial.question)]
    return sorted(asked, key=lambda trial: trial.number)


def latest_question(project: str, name: str) -> str:
    """Return the question of the sweep's newest run, be it a trial or its winner's."""
    runs = tracking.Api().runs(project, filters={"group": name})
    told = [dict(run.config) for run in runs if run.job_type != LEADERBOARD]
    asked = [config.get("sweep") or {} for config in told]
    return next((sweep.get("question", "") for sweep in reversed(asked) if sweep), "")


def objectives(metric: str | list[str] | None, task: str, cv: int, val_size: float) -> list[str]:
    """Return the metrics that `sweep.metric` names, checked against what a trial will measure."""
    kinds = [f"cv_{score}_mean" for score in metric_names.of_task(task)] if cv else []
    kinds += [f"val_{score}" for score in metric_names.of_task(task)] if val_size else []
    if not kinds:
        raise UserError(
            "a sweep compares its trials, and data.val_size=0 leaves no rows to measure them on: "
            "set sweep.cv=5, or data.val_size"
        )
    if metric is None:
        return kinds[:1]
    names = [metric] if isinstance(metric, str) else list(metric)
    if not names:
        raise UserError("config: sweep.metric must name a metric, found an empty list")
    allowed = [*kinds, *COSTS]
    for name in names:
        if name not in allowed:
            raise UserError(f"config: sweep.metric: {validation.choose('metric', name, allowed)}")
    return names


def is_maximised(metric: str) -> bool:
    """Say whether more of a metric is better."""
    base = metric.removesuffix("_mean").removeprefix("val_").removeprefix("cv_")
    return base not in COSTS and metric_names.GREATER_IS_BETTER.get(base, True)


def ranked(found: list[Trial], metrics: list[str]) -> list[Trial]:
    """Return the finished trials that measured all `metrics`, by the first one, best first.

    Equal ones are told apart by the next metrics, then by the smaller model, then by the lower
    number.
    """

    def rank(trial: Trial) -> tuple:
        values = [trial.value(name) * (-1 if is_maximised(name) else 1) for name in metrics]
        mb = trial.value("model_mb")
        return (*values, math.inf if math.isnan(mb) else mb, trial.number)

    measured = [
        trial
        for trial in found
        if trial.state == "finished" and not any(math.isnan(trial.value(m)) for m in metrics)
    ]
    return sorted(measured, key=rank)


def best(found: list[Trial], metrics: list[str]) -> Trial | None:
    """Return the first of the `ranked` trials, None where there is none."""
    return next(iter(ranked(found, metrics)), None)


def short_names(keys: list[str]) -> dict[str, str]:
    """Map dotted keys to their shortest ends that are still told apart."""
    names = {}
    for key in keys:
        parts = key.split(".")
        ends = (".".join(parts[-n:]) for n in range(1, len(parts) + 1))
        names[key] = next(
            end
            for end in ends
            if end == key or not any(k != key and f".{k}".endswith(f".{end}") for k in keys)
        )
    return names


def described(overrides: dict[str, Any]) -> str:
    """Say which values a trial has: `max_depth=10 tfidf.max_features=50`."""
    names = short_names([*overrides])
    return " ".join(
        f"{names[key]}={'null' if value is None else value}" for key, value in overrides.items()
    )
