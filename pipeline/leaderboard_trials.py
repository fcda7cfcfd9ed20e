"""The trials of a sweep as they are recorded, and which of them are marked.

Every trial is a run whose config holds `sweep`; either backend is read by the same questions.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from util_lib import tracking, validation
from util_lib.errors import UserError
from util_lib.tracking import choice
from util_lib.tracking.names import default_project
from util_lib.tracking.store import open_store, refuse_no_store

TRAIN = "train_random_forest"
SMALLER_IS_BETTER = ("mae", "rmse", "mb", "seconds")  # words at the end of a metric's name
FINISHED = "finished"


class Trial(NamedTuple):
    """One trial; a figure that was not measured is None.

    `values` has one value for each objective. `error` of the first objective is one standard
    error: of the mean over `folds` where cross-validated, else over the validation rows.
    """

    number: int
    state: str
    overrides: dict[str, Any]
    values: tuple[float, ...]
    error: float | None
    folds: int | None
    seconds: float | None
    megabytes: float | None
    reason: str


class Sweep(NamedTuple):
    """A sweep: its trials, sorted, and what they were judged by."""

    project: str
    name: str
    objectives: tuple[str, ...]
    trials: list[Trial]

    @property
    def varied(self) -> list[str]:
        """The swept keys that did not have the same value in every trial, else all of them."""
        keys = sorted({key for trial in self.trials for key in trial.overrides})
        seen = {key: {str(trial.overrides.get(key)) for trial in self.trials} for key in keys}
        return [key for key in keys if len(seen[key]) > 1] or keys

    @property
    def finished(self) -> list[Trial]:
        """The trials that have a value for every objective, best first."""
        return [t for t in self.trials if t.state == FINISHED and t.values]


def is_minimised(objective: str) -> bool:
    """Say whether a smaller value of this metric is better."""
    return objective.removesuffix("_mean").rpartition("_")[2] in SMALLER_IS_BETTER


def read(name: str, project: str = "") -> Sweep:
    """Return the sweep called `name`; without `project`, that of the one project that has it.

    On W&B it is then looked for in the project that runs go to by default (`WANDB_PROJECT`).
    Raises `UserError` where there is none, naming sweeps that are called nearly so.
    """
    if "/" in name and not project:
        project, _, name = name.rpartition("/")
    if choice.choose().backend == "local":
        refuse_no_store()
    places = [project] if project else _projects()
    found = {place: runs for place in places if (runs := _runs(place, name))}
    if not found:
        raise UserError(_unknown(name, places))
    if len(found) > 1:
        raise UserError(
            f"sweep {name!r} is in the projects {', '.join(sorted(found))}: say which by "
            f"project={min(found)}"
        )
    [(place, runs)] = found.items()
    return made_of(place, name, runs)


def made_of(project: str, name: str, runs: Iterable[Any]) -> Sweep:
    """Return the sweep whose trials are `runs`, sorted: best first, then those without values.

    Where a trial was begun again, the run that finished counts, else the last one.
    """
    counted: dict[int, Any] = {}
    objectives: tuple[str, ...] = ()
    for run in sorted(runs, key=lambda run: str(run.created_at)):
        number = int(run.config["sweep"]["trial"])
        if number not in counted or counted[number].state != FINISHED:
            counted[number] = run
        objectives = tuple(run.config["sweep"]["objectives"])
    trials = [_trial(number, run, objectives) for number, run in sorted(counted.items())]
    sign = 1 if is_minimised(objectives[0]) else -1

    def place(trial: Trial) -> tuple[bool, float, int]:
        judged = trial.state == FINISHED and bool(trial.values)
        return not judged, sign * trial.values[0] if judged else 0, trial.number

    sweep = Sweep(project, name, objectives, sorted(trials, key=place))
    front = pareto(sweep) if len(objectives) > 1 else set()
    if front:  # those that no other beats stand first
        first = sorted(sweep.trials, key=lambda trial: trial.number not in front)
        sweep = sweep._replace(trials=first)
    return sweep


def _trial(number: int, run: Any, objectives: tuple[str, ...]) -> Trial:
    summary, sweep = run.summary, run.config["sweep"]
    values = [_number(summary.get(name)) for name in objectives]
    folds = summary.get("cv_folds")
    return Trial(
        number,
        "pruned" if summary.get("pruned") else run.state,
        dict(sweep.get("overrides") or {}),
        tuple(values) if None not in values else (),
        _standard_error(summary, objectives[0], folds),
        int(folds) if folds else None,
        _number(summary.get("fit_seconds")),
        _number(summary.get("model_mb")),
        str(summary.get("error") or ""),
    )


def _standard_error(summary: Mapping[str, Any], objective: str, folds: Any) -> float | None:
    if objective.startswith("cv_"):
        std = _number(summary.get(f"{objective.removesuffix('_mean')}_std"))
        return None if std is None or not folds else std / math.sqrt(folds)
    return _number(summary.get(f"{objective}_se"))


def _number(value: Any) -> float | None:
    return float(value) if _is_number(value) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def simplest(sweep: Sweep) -> Trial | None:
    """Return the smallest model whose score lies within one standard error of the best score.

    The rule of Breiman et al. 1984, section 3.4.3 (also The Elements of Statistical Learning,
    section 7.10). The standard error is the best trial's; simple means small: the fewest MB of the
    exported model, which are its trees' nodes; of equals, the better score. None where the standard
    error or the sizes are not known, and for several objectives, whose answer is the Pareto front.
    """
    finished = sweep.finished
    if not finished or len(sweep.objectives) > 1 or finished[0].error is None:
        return None
    best = finished[0]
    near = [
        trial
        for trial in finished
        if abs(trial.values[0] - best.values[0]) <= best.error and trial.megabytes is not None
    ]
    return min(near, key=lambda trial: trial.megabytes, default=None)


def pareto(sweep: Sweep) -> set[int]:
    """Return the numbers of the trials that no other trial beats in every objective.

    A beats B where A is nowhere worse and somewhere better; equal trials do not beat each other.
    """
    signs = [-1 if is_minimised(objective) else 1 for objective in sweep.objectives]
    points = {
        trial.number: [sign * value for sign, value in zip(signs, trial.values, strict=False)]
        for trial in sweep.finished
    }
    return {
        number
        for number, point in points.items()
        if not any(_beats(other, point) for other in points.values())
    }


def _beats(a: list[float], b: list[float]) -> bool:
    return a != b and all(x >= y for x, y in zip(a, b, strict=True))


def marks(sweep: Sweep) -> dict[int, str]:
    """Return words for the trials that are marked, by their number."""
    if not sweep.finished:
        return {}
    if len(sweep.objectives) > 1:
        return dict.fromkeys(pareto(sweep), "Pareto front")
    said = {sweep.finished[0].number: "best"}
    if (small := simplest(sweep)) is not None:
        words = "simplest within 1 SE"
        before = f"{said[small.number]}, " if small.number in said else ""
        said[small.number] = before + words
    return said


def explained(sweep: Sweep) -> str:
    """Say in a sentence or two what ± and the marks mean for this sweep."""
    if not sweep.finished:
        return "No trial has finished."
    objective, best = sweep.objectives[0], sweep.finished[0]
    if len(sweep.objectives) > 1:
        return f"Pareto front: no other trial is better in all of {', '.join(sweep.objectives)}."
    if best.error is None:
        return (
            "The simplest model within one standard error of the best is not marked: no standard "
            f"error of {objective} was recorded (sweep.cv=5 gives one)."
        )
    over = "the validation rows' score (DeLong et al. 1988)"
    if objective.startswith("cv_"):
        over = f"the mean over {best.folds} folds"
    return (
        f"± is one standard error (SE) of {over}; simplest: the smallest model (MB) whose "
        f"{objective} lies within the best trial's SE of the best."
    )


def _runs(project: str, name: str) -> list[Any]:
    return [run for run in _all_runs(project, {"group": name}) if _is_trial(run, name)]


def _is_trial(run: Any, name: str) -> bool:
    sweep = run.config.get("sweep")
    return isinstance(sweep, Mapping) and sweep.get("name") == name and "trial" in sweep


def _all_runs(project: str, filters: dict[str, Any]) -> list[Any]:
    try:
        return list(tracking.Api().runs(project, filters={"job_type": TRAIN, **filters}))
    except ValueError as error:  # how the client says that there is no such project
        if "could not find project" in str(error).lower():
            return []
        raise


def _projects() -> list[str]:
    if choice.choose().backend == "wandb":
        return [default_project()]  # an account may hold hundreds
    return sorted({run.project for run in open_store().runs(job_type=TRAIN)})


def _unknown(name: str, places: list[str]) -> str:
    names = {
        str(sweep.get("name"))
        for place in places
        for run in _all_runs(place, {})
        if isinstance(sweep := run.config.get("sweep"), Mapping)
    }
    where = f" in project {places[0]}" if len(places) == 1 else ""
    if not names:
        return (
            f"there is no sweep {name!r}{where}, nor any other: go to the directory where it was "
            "started, or give -m and several values to make one"
        )
    return f"{validation.choose('sweep', name, sorted(names))}{where}"
