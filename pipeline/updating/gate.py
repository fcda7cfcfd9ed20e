"""The gate and the way back: serving's entry points, in an environment of their own.

What came of them is read from the backend, not from what they printed.
"""

import math
from typing import Any, NamedTuple

from pipeline.planning.step import Step
from pipeline.running.failures import StepFailed
from pipeline.settings.schema import Settings
from pipeline.updating import look
from pipeline.updating.log import Tick
from util_lib import tracking
from util_lib.errors import UserError

CLOSE = 1.96  # standard errors to either side of a 95 % interval


class Ruled(NamedTuple):
    """What the gate said of a candidate; `word` is for programs."""

    promoted: bool
    word: str
    reason: str


def promote(settings: Settings, candidate: str, why: str) -> Ruled:
    """Ask the gate; raise `StepFailed` where it does not come to an answer."""
    if (now := look.holder(settings)) is not None and look.full_name(now) == candidate:
        return Ruled(True, "prod_already", "it is prod already")
    asked = settings.promotion
    parameters = {
        "model": candidate,
        "rule": asked.rule,
        "metric": asked.metric or "null",
        "min_gain": str(asked.min_gain),
        "max_class_drop": str(asked.max_class_drop),
        "reason": why,
        "trust_pickle": str(settings.main.trust_pickle).lower(),
    }
    before = _comparison(settings)
    failure = None
    try:
        _run(settings, "promote", parameters, f"{look.export_name(settings)}_comparison")
    except StepFailed as error:
        failure = error
    found = _comparison(settings)
    is_new = found is not None and (before is None or found.id != before.id)
    if found is not None and is_new and found.metadata.get("candidate") == candidate:
        about = found.metadata
        if about["promote"] and failure:
            raise failure  # the alias could not be moved
        return Ruled(about["promote"], about["code"], about["reason"])
    if failure:
        raise failure
    raise UserError(f"{candidate}: the gate ended without an answer; run it again")


def roll_back(settings: Settings, reason: str) -> str:
    """Give the alias back to the version before; return that."""
    name = look.export_name(settings)
    trust = str(settings.main.trust_pickle).lower()
    _run(settings, "rollback", {"model": name, "reason": reason, "trust_pickle": trust})
    return look.full_name(look.holder(settings))


def give_alias(version: str, alias: str) -> None:
    """Give a version an alias that is not moved by serving."""
    artifact = tracking.Api().artifact(version)
    artifact.aliases = [*dict.fromkeys([*artifact.aliases, alias])]
    artifact.save()


def labels_say(tick: Tick, verdict: dict[str, Any]) -> tuple[bool, str] | None:
    """Compare a promoted model with the one before it by labels; None where too little is known.

    Best on the same rows, where the one before answered them too (`labelled.others`); else by the
    scores of both, the older one's from the window before it was replaced. Says whether the
    promoted one is worse, its interval excluding 0, and in words.
    """
    labelled = verdict.get("labelled") or {}
    for other in labelled.get("others") or ():
        if str(other.get("version")).rpartition(":")[2] == str(tick.before).rpartition(":")[2]:
            return _said(-other["gain"], other["low"], other["high"], tick, verdict, "same rows")
    now, then = _known(labelled), _known(tick.labelled)
    if now is None or then is None:
        return None
    (score, n), (before, n_before) = now, then
    gain = score - before
    error = math.sqrt(score * (1 - score) / n + before * (1 - before) / n_before)
    low, high = gain - CLOSE * error, gain + CLOSE * error
    return _said(gain, -high, -low, tick, verdict, "its last window")


def _said(
    gain: float, worse_low: float, worse_high: float, tick: Tick, verdict: dict[str, Any], on: str
) -> tuple[bool, str]:
    window = verdict["labelled"].get("window", verdict.get("window"))
    words = (
        f"by the labels of {window} {tick.candidate} is {abs(gain):.4f} "
        f"{'worse' if gain < 0 else 'better'} than {tick.before} ({on}; 95 % interval of the gain "
        f"{-worse_high:+.4f} to {-worse_low:+.4f})"
    )
    return worse_low > 0, words


def _known(labelled: dict[str, Any]) -> tuple[float, int] | None:
    """Return a share of right answers and of how many, None for anything else."""
    score, n = labelled.get("score"), labelled.get("n")
    if not isinstance(score, int | float) or not isinstance(n, int) or n < 1:
        return None
    return (float(score), n) if 0 <= score <= 1 else None


def _comparison(settings: Settings) -> Any | None:
    reference = f"{settings.main.project_name}/{look.export_name(settings)}_comparison:latest"
    api = tracking.Api()
    return api.artifact(reference) if api.artifact_exists(reference) else None


def _run(settings: Settings, entry_point: str, parameters: dict[str, str], *outputs: str) -> None:
    from pipeline.running import pipeline_run  # slow to import, and most ticks end before

    step = Step(entry_point, parameters, (), outputs, "serving", entry_point=entry_point)
    pipeline_run.run_alone(settings.main, step)
