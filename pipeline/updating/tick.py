"""One tick: look, run the pipeline from its cache, ask the gate, write down what came of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from pipeline.planning.plan import plan
from pipeline.planning.step import Outcome, Step
from pipeline.running.failures import StepFailed
from pipeline.settings.redacted import remember_addresses
from pipeline.settings.schema import Settings
from pipeline.updating import gate, log, look, triggers
from pipeline.updating.log import Tick
from pipeline.updating.look import Look
from pipeline.updating.triggers import Fired
from util_lib import tracking
from util_lib.errors import UserError

Compose = Callable[[dict[str, str]], Settings]  # the configuration, with some keys set


class Came(NamedTuple):
    """What came of a tick: the exit code, and in words."""

    code: int
    words: str


def run(settings: Settings, compose: Compose, until: str | None, why: bool = False) -> Came:
    """Do one tick, of the data up to the partition `until`; with `why` only say what would be."""
    if until:
        settings = compose({"data.partition.until": until})
    steps = _steps(settings)
    found, ticks = look.look(settings, steps), log.read(settings.main.project_name)
    fired = triggers.fired(found, ticks, settings.update.triggers, until is None)
    promotion = log.watched(ticks)
    said = _judged_by_labels(promotion, found)
    if why:
        return Came(0, _would(found, fired, said))
    if promotion and said and until is None:
        worse, words = said
        if worse:
            return _roll_back(settings, found, ticks, promotion, words)
        _note(settings, found, ticks, [], log.CONFIRMED, words)
        ticks = log.read(settings.main.project_name)
    if found.waits:
        return Came(0, f"waits: {found.waits}")
    if not fired:
        return Came(0, f"nothing to do: {_at_rest(found, ticks)}")
    return _update(compose, found, ticks, fired)


def _steps(settings: Settings) -> list[Step]:
    remember_addresses(settings)
    steps = plan(settings)
    if look.export_name(settings) not in {name for step in steps for name in step.outputs}:
        raise UserError(
            "update trains a model to promote, and no step that runs exports one: let "
            "main.execute_steps be all, and export_artifact a name"
        )
    return steps


def _update(compose: Compose, found: Look, ticks: list[Tick], fired: list[Fired]) -> Came:
    """Run the pipeline on what was looked at and nothing else, then ask the gate."""
    from pipeline.running import pipeline_run  # slow to import, and most ticks end before

    known = {"data.sha256": found.sha256, "data.partition.until": found.newest}
    fixed = {key: value for key, value in known.items() if value}
    if any(each.name == "drift" for each in fired):
        fixed["data.drift"] = "warn"  # it is in use that the world has changed
    settings = compose(fixed)
    steps = _steps(settings)
    try:
        outcomes = pipeline_run.run_pipeline(settings, steps)
    except StepFailed as error:
        if found.source is None or look.source_of(settings, steps) != found.source:
            if error.step in {step.name for step in steps if step.source}:
                return Came(2, f"data refused: {error}; tried again at the next tick")
            raise
        if not _is_of_the_data(error, steps):
            raise
        return _note(settings, found, ticks, fired, log.DATA_REFUSED, str(error))
    version = _made(outcomes, look.export_name(settings))
    candidate = tracking.Api().artifact(f"{settings.main.project_name}/{version}")
    about = {"candidate": look.full_name(candidate), "digest": candidate.digest}
    return _ask(settings, found, ticks, fired, outcomes, about)


def _ask(
    settings: Settings,
    found: Look,
    ticks: list[Tick],
    fired: list[Fired],
    outcomes: list[Outcome],
    about: dict[str, Any],
) -> Came:
    """Ask the gate of the candidate that `about` names, unless its answer is known."""
    before = found.model and look.full_name(found.model)
    candidate = about["candidate"]
    if why := log.blocked(ticks).get(about["digest"]):
        about |= {"word": "blocked"}
        return _note(settings, found, ticks, fired, log.MODEL_REFUSED, f"{candidate}: {why}", about)
    judged = [tick for tick in ticks if tick.candidate == candidate]
    if judged and (before == candidate or judged[-1].before == before):
        words = f"{candidate} came of it, as before ({judged[-1].outcome}: {judged[-1].reason})"
        return _note(settings, found, ticks, fired, log.UNCHANGED, words, about)
    answer = gate.promote(settings, candidate, _listed(fired))
    about |= {"word": answer.word, "before": before}
    if not answer.promoted:
        words = f"{candidate} is not promoted: {answer.reason}"
        return _note(settings, found, ticks, fired, log.MODEL_REFUSED, words, about)
    gate.give_alias(
        f"{settings.main.project_name}/{_made(outcomes, settings.data.preprocessed_artifact)}",
        "reference",
    )
    if before and before != candidate:
        gate.give_alias(before, "shadow")
        about["labelled"] = (found.verdict or {}).get("labelled") or {}
    words = f"{candidate} is prod: {answer.reason}"
    return _note(settings, found, ticks, fired, log.PROMOTED, words, about)


def _roll_back(
    settings: Settings, found: Look, ticks: list[Tick], promotion: Tick, words: str
) -> Came:
    now = gate.roll_back(settings, words)
    about = {"candidate": promotion.candidate, "digest": promotion.digest, "word": "worse"}
    reason = f"{now} is prod again: {words}"
    fired = [Fired("labels", words)]
    return _note(settings, found, ticks, fired, log.ROLLED_BACK, reason, about)


def _note(
    settings: Settings,
    found: Look,
    ticks: list[Tick],
    fired: list[Fired],
    outcome: str,
    reason: str,
    about: dict[str, Any] | None = None,
) -> Came:
    """Write down what a tick came to, and return it."""
    tick = Tick(
        log.now(),
        [each.name for each in fired],
        found.source,
        found.newest,
        found.code,
        outcome,
        reason,
        window=(found.verdict or {}).get("window"),
        **(about or {}),
    )
    log.write(settings.main.project_name, ticks, tick, list(filter(None, [tick.candidate])))
    because = f" ({_listed(fired)})" if fired else ""
    return Came(log.CODES.get(outcome, 0), f"{outcome}: {reason}{because}")


def _judged_by_labels(promotion: Tick | None, found: Look) -> tuple[bool, str] | None:
    if promotion is None or found.verdict is None or found.model is None:
        return None
    if look.full_name(found.model) != promotion.candidate:
        return None  # someone has moved the alias by hand since
    return gate.labels_say(promotion, found.verdict)


def _is_of_the_data(error: StepFailed, steps: list[Step]) -> bool:
    """Say whether a step up to the gate refused its data: in a sentence, not by breaking down."""
    names = [step.name for step in steps]
    gates = [place for place, step in enumerate(steps) if step.gate]
    looks = error.step in names[: gates[0] + 1] if gates else False
    return looks and error.code == 1 and "unexpected " not in str(error)


def _made(outcomes: list[Outcome], name: str) -> str:
    """Return the version of an artifact that this run has made or reused."""
    made = [each for outcome in outcomes for each in outcome.artifacts]
    return next(each for each in made if each.rpartition(":")[0] == name)


def _listed(fired: list[Fired]) -> str:
    return "; ".join(f"{each.name}: {each.why}" for each in fired)


def _would(found: Look, fired: list[Fired], said: tuple[bool, str] | None) -> str:
    parts = [f"would wait: {found.waits}"] if found.waits else []
    if said and said[0]:
        parts.append(f"would roll back: {said[1]}")
    parts.append(f"would run ({_listed(fired)})" if fired else "would do nothing")
    return "; ".join(parts)


def _at_rest(found: Look, ticks: list[Tick]) -> str:
    """Say what stands as it is: how the last look at these data ended, and what alarms."""
    last = next((tick for tick in reversed(ticks) if tick.source == found.source), None)
    parts = [f"{last.outcome} on {last.at}" if last else "no trigger fires"]
    if found.newest:
        parts.insert(0, f"{found.newest} is the newest partition")
    if (found.verdict or {}).get("state") == "alarm":
        parts.append(f"monitoring's alarm of {(found.verdict or {}).get('window')} stays")
    return ", ".join(parts)
