"""Which triggers fire: each with the reason, as a sentence without a full stop."""

from typing import Any, NamedTuple

from pipeline.settings.updates import Triggers
from pipeline.updating import log
from pipeline.updating.log import Tick
from pipeline.updating.look import Look

FAMILIES = {"inputs": "drift", "predictions": "drift", "performance": "performance"}


class Fired(NamedTuple):
    """A trigger that fired."""

    name: str
    why: str


def fired(found: Look, ticks: list[Tick], wanted: Triggers, as_of_now: bool) -> list[Fired]:
    """Return the triggers that fire; without `as_of_now` the age of the last tick is none."""
    on_these = [tick for tick in ticks if tick.source == found.source]
    with_code = [tick for tick in on_these if tick.code == found.code]
    all_of_them = [*_new_data(found, ticks, on_these), *_code(found, on_these, with_code)]
    all_of_them += _alarms(found.verdict, with_code)
    if as_of_now and ticks and (age := log.age_s(ticks[-1])) >= wanted.seconds:
        days = age / 86_400
        all_of_them.append(Fired("every", f"the last update was {days:.1f} days ago"))
    on = {name for name in ("new_data", "drift", "performance", "code") if getattr(wanted, name)}
    return [each for each in all_of_them if each.name in {*on, "every"}]


def _new_data(found: Look, ticks: list[Tick], on_these: list[Tick]) -> list[Fired]:
    if found.source is None and ticks:
        return []  # nobody can tell without reading them: `every` does
    if on_these:
        return []
    if not ticks:
        return [Fired("new_data", "these are the first data")]
    if found.newest and found.newest not in {tick.newest for tick in ticks}:
        return [Fired("new_data", f"{found.newest} is new")]
    return [Fired("new_data", "the content of the data is new")]


def _code(found: Look, on_these: list[Tick], with_code: list[Tick]) -> list[Fired]:
    if with_code or not on_these:
        return []
    before = on_these[-1].code
    changed = [n for n in {**before, **found.code} if before.get(n) != found.code.get(n)]
    return [Fired("code", f"code or configuration of {', '.join(changed)} changed")]


def _alarms(verdict: dict[str, Any] | None, with_code: list[Tick]) -> list[Fired]:
    """Return what monitoring's alarms trigger, once for the same data and code."""
    if verdict is None or verdict.get("state") != "alarm":
        return []
    done = {name for tick in with_code for name in tick.triggers}
    named: dict[str, list[str]] = {}
    for alarm in verdict.get("alarms", ()):
        if name := FAMILIES.get(alarm.get("family")):
            named.setdefault(name, []).append(str(alarm.get("reason")).rstrip("."))
    return [
        Fired(name, f"monitoring's alarm of {verdict.get('window')}: {reasons[0]}")
        for name, reasons in named.items()
        if name not in done
    ]
