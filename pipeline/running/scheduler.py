"""The way through the steps: each is reused, or executed and recorded, as soon as it can be.

A step waits for those before it in the plan that make what it reads, and for those that read or
make what it makes. All that come after a gate wait for it.
"""

import os
import queue
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

from pipeline.caching import decision as reuse
from pipeline.caching.decision import Decision
from pipeline.caching.record import Result
from pipeline.caching.versions import Versions
from pipeline.planning.step import Outcome, Step
from pipeline.running import stopping
from pipeline.settings.schema import Settings
from util_lib.errors import UserError
from util_lib.processes import signals
from util_lib.tracking.names import parse_reference


class Work(NamedTuple):
    """A step that has begun.

    `ended` is done when its process has ended. `finish`, called once and then only, fills in the
    outcome and raises `UserError` for a step that failed; with True (it was stopped) nothing.
    """

    ended: Future[None]
    finish: Callable[[bool], None]


# Begins one step; the mapping says what was made so far, name to `name:vN`.
Execute = Callable[[Step, Outcome, dict[str, str]], Work]


class _Running(NamedTuple):
    work: Work
    decision: Decision
    made: dict[str, str]


def walk(
    settings: Settings,
    steps: list[Step],
    outcomes: list[Outcome],
    versions: Versions,
    say: Callable[[str], None],
    execute: Execute,
    made: dict[str, str] | None = None,
) -> None:
    """Go through `steps` and fill in `outcomes`, one for each; `main.jobs` of them run at a time.

    Raises what the first step that fails raises, after those that run beside it have ended: what
    they made is recorded, and reused the next time. Whatever else is raised stops them. `made`
    maps artifacts that were made before the first step to `name:vN`.
    """
    jobs = settings.main.jobs or cores()
    waits = waits_for(steps) if jobs > 1 else [{*range(place)} for place in range(len(steps))]
    made = dict(made or {})
    decisions: dict[int, Decision] = {}
    running: dict[int, _Running] = {}
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()  # places of steps whose process has
    finished: set[int] = set()
    failures: list[UserError] = []

    def finish(place: int) -> None:
        outcome, (work, decision, before) = outcomes[place], running.pop(place)
        try:
            work.finish(False)
        except UserError as error:
            failures.append(error)
            if steps[place].gate:
                why = failures[-1].args[0]
                reuse.remember_verdict(steps[place], settings, versions, decision, why)
            return
        if steps[place].gate:
            reuse.remember_verdict(steps[place], settings, versions, decision, None)
        reuse.record(steps[place], settings, versions, decision, before, outcome)
        end(place)

    def end(place: int) -> None:
        made.update({name.split(":")[0]: name for name in outcomes[place].artifacts})
        finished.add(place)

    def look_at(place: int) -> None:
        step, outcome = steps[place], outcomes[place]
        decision = decisions.get(place) or reuse.decide(step, settings, versions, made)
        outcome.inputs = decision.inputs
        if decision.result:
            taken = reuse.take(settings, versions, decision.result)
            if taken is not None:
                _reuse(outcome, decision.result, taken)
                held = f", has {', '.join(taken)}" if taken else ""
                say(f"{position(steps, step)}: cached{held}")
                end(place)
                return
            decision = decision._replace(result=None, reason="its outputs were removed just now")
        if len(running) >= jobs:
            decisions[place] = decision
            return
        if settings.main.explain:
            way = reuse.way(step, settings, versions, made)
            say(f"{position(steps, step)}: runs, because: {decision.reason}{way}")
        before = dict(made)
        work = execute(step, outcome, before)
        with signals.held():  # an interrupt would leave the lock of `ended` taken
            running[place] = _Running(work, decision, before)
            work.ended.add_done_callback(lambda _: ended.put(place))

    try:
        while True:
            for place in range(len(steps)):
                if place not in finished | {*running} and waits[place] <= finished and not failures:
                    look_at(place)
            if not running:
                break
            finish(ended.get())
    except BaseException:
        stopped = [each.work for each in running.values()]
        stopping.stop_until(lambda: all(work.ended.done() for work in stopped))
        for work in stopped:
            work.finish(True)
        raise
    if failures:
        raise failures[0]


def waits_for(steps: list[Step]) -> list[set[int]]:
    """Return for each step the places of those that must have finished before it begins."""
    reads = [{parse_reference(text).name for text in step.inputs} for step in steps]
    makes = [{*step.outputs} for step in steps]
    return [
        {
            before
            for before in range(place)
            if steps[before].gate
            or makes[before] & (reads[place] | makes[place])
            or reads[before] & makes[place]
        }
        for place in range(len(steps))
    ]


def cores() -> int:
    """Return how many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def position(steps: list[Step], step: Step) -> str:
    """Return the step's name with its place: `[2/6] <name>`."""
    return f"[{steps.index(step) + 1}/{len(steps)}] {step.name}"


def _reuse(outcome: Outcome, result: Result, taken: dict[str, str]) -> None:
    outcome.outcome = "cached"
    outcome.artifacts = [*taken]
    outcome.digests |= taken
    outcome.metrics = result.metrics
