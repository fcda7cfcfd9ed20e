"""From tests of windows to states: quiet, watch, alarm."""

from collections.abc import Iterable
from typing import NamedTuple

from monitoring.judging.records import Judgement, State, Window

AT_ONCE = 100  # an alarm without a second window: p below alpha by this factor
Key = tuple[str, str, str | None]


class States(NamedTuple):
    """The state of a window, and of each of its tests by `Judgement.key`."""

    window: Window
    state: State
    tests: dict[Key, State]


def states(history: Iterable[tuple[Window, list[Judgement]]]) -> list[States]:
    """Return the states of windows, given from the oldest on.

    A test that fails is watched; it alarms where it failed in the window before too, or where its
    p is below alpha / AT_ONCE. A window in which it is not judged counts neither way. In the first
    window of a new version nothing has a state, and nothing that failed before counts.
    """
    failed_before: set[Key] = set()
    found = []
    for window, judgements in history:
        tests: dict[Key, State] = {}
        if window.promoted:
            failed_before = set()
        for each in judgements:
            if window.promoted or each.outcome == "not judged":
                tests[each.key] = "not judged"
            elif each.outcome == "passed":
                tests[each.key] = "quiet"
                failed_before.discard(each.key)
            else:
                p, alpha = each.p_value, each.alpha
                at_once = p is not None and alpha is not None and p < alpha / AT_ONCE
                tests[each.key] = "alarm" if at_once or each.key in failed_before else "watch"
                failed_before.add(each.key)
        found.append(States(window, _worst(tests), tests))
    return found


def _worst(tests: dict[Key, State]) -> State:
    order: tuple[State, ...] = ("alarm", "watch", "quiet")
    return next((state for state in order if state in tests.values()), "not judged")
