"""The record of finished steps: what is known of each, and what is forgotten."""

import sqlite3

import pytest

from pipeline.caching import record
from pipeline.caching.record import Result
from pipeline.caching.version import Version
from util_lib.errors import UserError

ONE = Result("a", {"x": "1"}, [Version("songs", 0, "d0"), Version("m", 3, "d3")], {"auc": 0.5}, 2.0)
TWO = Result("b", {"x": "2", record.PLACE: "W&B"}, [Version("songs", 1, "d1")], {}, 1.5)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A record of two results of one step, of which the second is the newer."""
    times = iter(range(1000, 2000))
    monkeypatch.setattr(record.time, "time", lambda: float(next(times)))
    for result in (ONE, TWO):
        record.add(tmp_path / "store", "mine", "clean", result)
    return tmp_path / "store"


def test_who_only_looks_leaves_no_record_where_no_store_is(tmp_path):
    folder = tmp_path / "tracking_store"
    record.add_imports(folder, {"content": ["os"]})
    assert record.find(folder, "a") is None and record.last(folder, "mine", "clean") is None
    assert record.imports(folder) == {} and record.refusal(folder, "mine", "s", "p", "a") is None
    assert (
        record.entries(folder) == [] and record.that_made(folder, "mine", "s", ONE.outputs[0]) == []
    )
    assert not folder.exists()
    record.add(folder, "mine", "clean", record.Result("a", {}, [], {}, 1.0))
    assert record.find(folder, "a") == record.Result("a", {}, [], {}, 1.0)


def test_the_last_result_of_a_step_is_the_one_that_was_made_or_used_last(folder):
    assert (record.find(folder, "a"), record.find(folder, "b")) == (ONE, TWO)
    assert record.last(folder, "mine", "clean") == TWO
    record.touch(folder, ONE)
    assert record.last(folder, "mine", "clean") == ONE
    assert record.last(folder, "mine", "other") is record.last(folder, "other", "clean") is None


def test_a_result_with_the_same_fingerprint_takes_the_place_of_the_earlier_one(folder):
    again = ONE._replace(seconds=9.0, outputs=[])
    record.add(folder, "mine", "clean", again)
    assert record.find(folder, "a") == again and len(record.entries(folder)) == 2


def test_what_made_a_version_is_told_newest_first(folder):
    later = Result("c", {"x": "3"}, ONE.outputs[:1], {}, 1.0)
    record.add(folder, "mine", "clean", later)
    made = record.that_made(folder, "mine", "clean", ONE.outputs[0])
    assert made == [{"x": "3"}, {"x": "1"}]
    assert record.that_made(folder, "mine", "clean", Version("songs", 0, "other")) == []
    assert record.that_made(folder, "other", "clean", ONE.outputs[0]) == []


def test_house_keeping_sees_every_result_and_forgets_those_that_nobody_used_since(folder):
    newer, older = record.entries(folder)
    assert (newer.fingerprint, newer.project, newer.step, newer.at) == ("b", "mine", "clean", 1001)
    assert (older.fingerprint, older.outputs) == ("a", [("songs", 0), ("m", 3)])
    assert [entry.is_local for entry in (newer, older)] == [False, True] and newer.place == "W&B"
    assert older.size > len("a") + len('{"x": "1"}') + len('{"auc": 0.5}')
    record.touch(folder, ONE)
    record.forget(folder, [newer, older])
    assert [entry.fingerprint for entry in record.entries(folder)] == ["a"]


def test_what_a_gate_refused_is_known_until_it_passes(folder):
    def why(given: str, place: str = "here") -> str | None:
        return record.refusal(folder, "mine", "check", place, given)

    record.refuse(folder, "mine", "check", "here", ["songs d0", "m d3"], "too old")
    record.refuse(folder, "mine", "check", "here", ["m d3"], "worse")
    assert (why("songs d0"), why("m d3"), why("songs d1")) == ("too old", "worse", None)
    assert why("songs d0", "there") is None
    record.refuse(folder, "mine", "check", "here", ["songs d0"], None)
    assert (why("songs d0"), why("m d3")) == (None, "worse")
    record.refuse(folder / "new", "mine", "check", "here", ["m d3"], "worse")
    assert record.refusal(folder / "new", "mine", "check", "here", "m d3") == "worse"


def test_the_imports_of_files_are_known_by_their_content(folder):
    record.add_imports(folder, {"one": ["util_lib", "util_lib.cli"], "two": []})
    record.add_imports(folder, {"two": ["util_lib"]})
    assert record.imports(folder) == {"one": ["util_lib", "util_lib.cli"], "two": ["util_lib"]}


@pytest.mark.parametrize("column", ["parts", "outputs", "metrics"])
@pytest.mark.parametrize("content", ['{"a', "[1, 2]", "null"])
def test_of_a_damaged_row_nobody_knows(folder, column, content):
    record.add_imports(folder, {"one": ["util_lib"]})
    with sqlite3.connect(folder / record.FILE) as db:
        db.execute(f"UPDATE results SET {column} = ? WHERE fingerprint = 'b'", (content,))
        db.execute("UPDATE imports SET names = '[' || names")
    assert record.find(folder, "b") is record.last(folder, "mine", "clean") is None
    assert record.find(folder, "a") == ONE and record.imports(folder) == {}
    if column == "outputs":
        assert [entry.fingerprint for entry in record.entries(folder)] == ["a"]
    if column == "parts":
        assert record.that_made(folder, "mine", "clean", TWO.outputs[0]) == []


def test_a_record_that_is_no_database_is_named_with_the_way_out(folder):
    (folder / record.FILE).write_text("scribble" * 1000)
    with pytest.raises(
        UserError, match=f"{folder}/cache.db: .*delete that file .*main.cache=false"
    ):
        record.find(folder, "a")
