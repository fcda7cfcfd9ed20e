"""The way through the steps: each is reused, or executed and recorded."""

from collections.abc import Callable

from pipeline import reuse
from pipeline.plan import Step
from pipeline.screen import Outcome
from pipeline.settings import Settings
from pipeline.versions import Versions

# Runs one step and fills in its outcome; the mapping says what was made so far, name to `name:vN`.
Execute = Callable[[Step, Outcome, dict[str, str]], None]


def walk(
    settings: Settings,
    steps: list[Step],
    outcomes: list[Outcome],
    versions: Versions,
    say: Callable[[str], None],
    execute: Execute,
    made: dict[str, str] | None = None,
) -> None:
    """Go through `steps` in order and fill in `outcomes`, one for each.

    Whatever `execute` raises ends the walk; what was recorded before is reused the next time.
    `made` maps artifacts that were made before the first step to `name:vN`.
    """
    made = dict(made or {})
    for step, outcome in zip(steps, outcomes, strict=True):
        decision = reuse.decide(step, settings, versions, made)
        outcome.inputs = decision.inputs
        taken = None
        if decision.result:
            taken = reuse.take(settings, versions, decision.result)
            if taken is None:
                decision = decision._replace(reason="its outputs were removed just now")
        if taken is not None:
            outcome.outcome = "cached"
            outcome.artifacts = [*taken]
            outcome.digests |= taken
            outcome.metrics = decision.result.metrics
            held = f", has {', '.join(outcome.artifacts)}" if outcome.artifacts else ""
            say(f"{position(steps, step)}: cached{held}")
        else:
            if settings.main.explain:
                say(f"{position(steps, step)}: runs, because: {decision.reason}")
            execute(step, outcome, made)
            reuse.record(step, settings, versions, decision, made, outcome)
        made |= {name.split(":")[0]: name for name in outcome.artifacts}


def position(steps: list[Step], step: Step) -> str:
    """Return the step's name with its place: `[2/6] preprocess`."""
    return f"[{steps.index(step) + 1}/{len(steps)}] {step.name}"
