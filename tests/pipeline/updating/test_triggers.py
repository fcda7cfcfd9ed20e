"""What makes a tick run, and what labels say of a promotion: without a run."""

import pytest

from pipeline.settings.updates import Triggers
from pipeline.updating import gate, log
from pipeline.updating.log import Tick
from pipeline.updating.look import Look
from pipeline.updating.triggers import fired

CODE = {"get_data": "1", "evaluate": "1"}
ALARM = {
    "state": "alarm",
    "window": "2026-W14",
    "alarms": [{"family": "performance", "reason": "accuracy fell."}],
}


def look(source="a", code=CODE, verdict=None, newest="2026-W14"):
    return Look(source, None, newest, code, "", None, verdict)


def tick(outcome="promoted", at=None, **known):
    base = {"triggers": ["new_data"], "source": "a", "newest": "2026-W14", "code": CODE}
    return Tick(at=at or log.now(), outcome=outcome, reason="it is so", **{**base, **known})


@pytest.mark.parametrize(
    ("found", "ticks", "wanted", "why"),
    [
        (look(), [], "new_data", "these are the first data"),
        (look(), [tick()], None, ""),
        (look("b", newest="2026-W15"), [tick()], "new_data", "2026-W15 is new"),
        (look("b"), [tick()], "new_data", "the content of the data is new"),
        (look("a"), [tick(), tick(source="b")], None, "back to what was decided on"),
        (look(None), [tick(source=None)], None, "nobody can tell"),
        (look(code={**CODE, "evaluate": "2"}), [tick()], "code", "configuration of evaluate"),
        (look(verdict=ALARM), [tick()], "performance", "alarm of 2026-W14: accuracy fell"),
        (look(verdict=ALARM), [tick(), tick(triggers=["performance"])], None, "not repeated"),
        (look(verdict=ALARM | {"state": "watch"}), [tick()], None, ""),
        (look(), [tick(at="2026-01-01T00:00:00Z")], "every", "days ago"),
    ],
)
def test_one_trigger_fires_or_none(found, ticks, wanted, why):
    names = [(each.name, why in each.why) for each in fired(found, ticks, Triggers(), True)]
    assert names == ([(wanted, True)] if wanted else [])
    off = Triggers(new_data=False, drift=False, performance=False, code=False, every=None)
    assert fired(found, ticks, off, True) == []


def test_until_then_nothing_has_an_age():
    assert fired(look(), [tick(at="2026-01-01T00:00:00Z")], Triggers(), False) == []


@pytest.mark.parametrize(
    ("now", "then", "worse"),
    [
        ({"score": 0.80, "n": 400}, {"score": 0.90, "n": 400}, True),
        ({"score": 0.88, "n": 400}, {"score": 0.90, "n": 400}, False),
        ({"score": 0.95, "n": 400}, {"score": 0.90, "n": 400}, False),
        ({"score": None, "n": 12}, {"score": 0.90, "n": 400}, None),
        ({"score": 4.2, "n": 400}, {"score": 0.90, "n": 400}, None),
        ({"score": 0.9, "n": 400}, {}, None),
    ],
)
def test_labels_say_whether_the_promoted_model_is_worse(now, then, worse):
    promotion = tick(candidate="p/model:v1", before="p/model:v0", labelled=then)
    found = gate.labels_say(promotion, {"window": "2026-W15", "labelled": now})
    assert (found and found[0]) == worse


def test_answers_to_the_same_rows_count_more_than_two_windows():
    promotion = tick(candidate="p/m:v1", before="p/m:v0", labelled={"score": 0.9, "n": 400})
    other = {"version": "p/m:v0", "gain": 0.05, "low": 0.02, "high": 0.08}
    labelled = {"score": 0.9, "n": 400, "others": [other]}
    worse, words = gate.labels_say(promotion, {"window": "2026-W15", "labelled": labelled})
    assert worse and "0.0500 worse" in words and "-0.0800 to -0.0200" in words


def test_a_promotion_is_watched_until_labels_have_spoken_and_what_went_back_is_blocked():
    first, second = tick(candidate="v0"), tick(candidate="v1", before="v0", digest="d")
    refused = tick("model refused", candidate="v2")
    assert log.watched([first]) is None
    assert log.watched([first, second, refused]) is second
    assert log.watched([first, second, tick("confirmed")]) is None
    back = tick("rolled back", candidate="v1", digest="d")
    assert log.watched([first, second, back]) is None
    assert [*log.blocked([first, second, back])] == ["d"] and not log.blocked([first, second])
