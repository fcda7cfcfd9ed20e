"""A sweep's trials in their order, and which of them are marked."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from pipeline.sweeps import record
from pipeline.sweeps.record import Trial, is_maximised
from util_lib import tracking, validation
from util_lib.errors import UserError
from util_lib.model import metric_names
from util_lib.tracking import choice
from util_lib.tracking.names import default_project
from util_lib.tracking.store.database import open_store
from util_lib.tracking.store.places import refuse_no_store


class RankedSweep(NamedTuple):
    """A sweep: what its trials are judged by, and the trials, best first, unmeasured ones last.

    `apart` are trials of its name that answer another question: they are not compared.
    """

    project: str
    name: str
    objectives: list[str]
    trials: list[Trial]
    apart: list[Trial]

    @property
    def varied(self) -> list[str]:
        """The swept keys that did not have the same value in every trial, else all of them."""
        keys = sorted({key for trial in self.trials for key in trial.overrides})
        seen = {
            key: {record.as_text(trial.overrides.get(key)) for trial in self.trials} for key in keys
        }
        return [key for key in keys if len(seen[key]) > 1] or keys

    @property
    def measured(self) -> list[Trial]:
        """The trials that finished with a value for every objective."""
        measured = {id(trial) for trial in record.ranked(self.trials, self.objectives)}
        return [trial for trial in self.trials if id(trial) in measured]

    def values(self, trial: Trial) -> list[float]:
        """Return a trial's value for every objective, NaN where there is none."""
        return [trial.value(name) for name in self.objectives]

    def error(self, trial: Trial) -> float | None:
        """Return one standard error of a trial's first objective, None where it is not known.

        That of the mean over the folds where cross-validated, else over the validation rows.
        """
        objective, folds = self.objectives[0], trial.value("cv_folds")
        if objective.startswith("cv_"):
            error = trial.value(f"{objective.removesuffix('_mean')}_std") / math.sqrt(folds)
        else:
            error = trial.value(f"{objective}_se")
        return None if math.isnan(error) else error


def read(name: str, project: str = "") -> RankedSweep:
    """Return the sweep called `name`; without `project`, that of the one project that has it.

    On W&B it is then looked for in the project that runs go to by default (`WANDB_PROJECT`). Raises
    `UserError` where there is none, naming sweeps that are called nearly so.
    """
    if "/" in name and not project:
        project, _, name = name.rpartition("/")
    if choice.choose().backend == "local":
        refuse_no_store()
    places = [project] if project else _projects()
    found = {place: trials for place in places if (trials := _trials(place, name))}
    if not found:
        raise UserError(_unknown(name, places))
    if len(found) > 1:
        raise UserError(
            f"sweep {name!r} is in the projects {', '.join(sorted(found))}: say which by "
            f"project={min(found)}"
        )
    [(place, trials)] = found.items()
    return ordered(place, name, trials, record.latest_question(place, name))


def ordered(project: str, name: str, found: list[Trial], question: str) -> RankedSweep:
    """Return the sweep with its trials in order; of several objectives the front stands first.

    Trials of another question than `question` stand apart. The objectives are those of the latest
    trial: a sweep that goes on may be told others.
    """
    trials = [trial for trial in found if trial.question == question]
    apart = [trial for trial in found if trial.question != question]
    objectives = [*max(trials or found, key=lambda trial: trial.number).sweep["objectives"]]
    measured = record.ranked(trials, objectives)
    others = [trial for trial in trials if trial not in measured]
    sweep = RankedSweep(project, name, objectives, [*measured, *others], apart)
    front = pareto(sweep) if len(objectives) > 1 else set()
    first = sorted(sweep.trials, key=lambda trial: trial.number not in front)
    return sweep._replace(trials=first) if front else sweep


def simplest(sweep: RankedSweep) -> Trial | None:
    """Return the smallest model whose score lies within one standard error of the best score.

    The rule of Breiman et al. 1984, section 3.4.3 (also The Elements of Statistical Learning,
    section 7.10). The standard error is the best trial's; simple means small: the fewest MB of the
    exported model, which are its trees' nodes; of equals, the better score. None where the standard
    error or the sizes are not known, and for several objectives, whose answer is the Pareto front.
    """
    measured = sweep.measured
    if not measured or len(sweep.objectives) > 1:
        return None
    if (error := sweep.error(measured[0])) is None:
        return None
    best, objective = measured[0], sweep.objectives[0]
    near = [
        trial
        for trial in measured
        if abs(trial.value(objective) - best.value(objective)) <= error
        and not math.isnan(trial.value("model_mb"))
    ]
    return min(near, key=lambda trial: trial.value("model_mb"), default=None)


def pareto(sweep: RankedSweep) -> set[int]:
    """Return the numbers of the trials that no other trial beats in every objective.

    A beats B where A is nowhere worse and somewhere better; equal trials do not beat each other.
    """
    signs = [1 if is_maximised(objective) else -1 for objective in sweep.objectives]
    points = {
        trial.number: [s * value for s, value in zip(signs, sweep.values(trial), strict=True)]
        for trial in sweep.measured
    }
    return {
        number
        for number, point in points.items()
        if not any(_beats(other, point) for other in points.values())
    }


def _beats(a: list[float], b: list[float]) -> bool:
    return a != b and all(x >= y for x, y in zip(a, b, strict=True))


def marks(sweep: RankedSweep) -> dict[int, str]:
    """Return words for the trials that are marked, by their number.

    best: the first of `sweep_record.ranked`, which is the winner.
    """
    winner = record.best(sweep.trials, sweep.objectives)
    if winner is None:
        return {}
    found = {winner.number: ["best"]}
    if len(sweep.objectives) > 1:
        for number in pareto(sweep):
            found.setdefault(number, []).append("Pareto front")
    if (small := simplest(sweep)) is not None:
        found.setdefault(small.number, []).append("simplest within 1 SE")
    return {number: ", ".join(words) for number, words in found.items()}


def told_apart(sweep: RankedSweep) -> list[str]:
    """Say which trials are not compared, and what they reached; nothing where all are."""
    if not sweep.apart:
        return []
    said = [
        f"{len(sweep.apart)} of the trials of this name are not compared: their data, settings or "
        "code are not today's"
    ]
    for trial in sweep.apart:
        value = trial.value(sweep.objectives[0])
        reached = trial.state if math.isnan(value) else f"{sweep.objectives[0]} {value:.4f}"
        said.append(f"  trial {trial.number} ({record.described(trial.overrides)}): {reached}")
    return said


def explained(sweep: RankedSweep) -> str:
    """Say in a sentence or two what ± and the marks mean for this sweep."""
    measured, objective = sweep.measured, sweep.objectives[0]
    if not measured:
        return "No trial has finished."
    if len(sweep.objectives) > 1:
        return (
            f"Pareto front: no other trial is better in all of {', '.join(sweep.objectives)}; "
            f"best: in {objective}."
        )
    if sweep.error(measured[0]) is None:
        return (
            "The simplest model within one standard error of the best is not marked: no standard "
            f"error of {objective} was recorded (sweep.cv=5 gives one)."
        )
    first = measured[0].summary
    over = f"the score of the {first.get('val_rows', '')} validation rows".replace("  ", " ")
    if f"{objective}_baseline" in first:
        over += f" (the same answer for all rows: {first[f'{objective}_baseline']:.4f})"
    if objective.startswith("cv_"):
        over = f"the mean over {measured[0].value('cv_folds'):.0f} folds"
    few = "".join(f" To mind: {line}." for line in metric_names.said_of(first, "val", {}))
    return (
        f"± is one standard error (SE) of {over}; simplest: the smallest model (MB) whose "
        f"{objective} lies within the best trial's SE of the best.{few}"
    )


def _trials(project: str, name: str) -> list[Trial]:
    try:
        return record.trials(project, name)
    except ValueError as error:  # how the client says that there is no such project
        if "could not find project" in str(error).lower():
            return []
        raise


def _projects() -> list[str]:
    if choice.choose().backend == "wandb":
        return [default_project()]  # an account may hold hundreds
    return sorted({run.project for run in open_store().runs()})


def _unknown(name: str, places: list[str]) -> str:
    names = {found for place in places for found in _names(place)}
    where = f" in project {places[0]}" if len(places) == 1 else ""
    if not names:
        return (
            f"there is no sweep {name!r}{where}, nor any other: go to the directory where it was "
            "started, or give -m and several values to make one"
        )
    return f"{validation.choose('sweep', name, sorted(names))}{where}"


def _names(project: str) -> set[str]:
    try:
        runs = [*tracking.Api().runs(project)]
    except ValueError as error:
        if "could not find project" in str(error).lower():
            return set()
        raise
    sweeps = [run.config.get("sweep") for run in runs]
    return {
        str(sweep["name"]) for sweep in sweeps if isinstance(sweep, Mapping) and sweep.get("name")
    }
