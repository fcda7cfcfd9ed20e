"""In which order a store is replayed; no service is needed to know."""

from util_lib.tracking.store.database import open_store
from util_lib.tracking.sync.plan import plan


def add_run(store, run_id, state="finished"):
    record, lock = store.start_run(
        run_id, "p", config="{}", environment="{}", tags="[]", name=run_id
    )
    if state != "running":
        store.update_run(run_id, state=state)
        store.end_run(run_id, lock)


def add_version(store, run_id, text, at, name="songs"):
    version = store.add_version(run_id, "p", name, "t", text, [], [])
    with store.transaction() as db:
        db.execute("UPDATE versions SET created_at = ? WHERE id = ?", (at, version.id))
        db.execute(
            "UPDATE lineage SET at = ? WHERE version_id = ? AND run_id = ?",
            (at, version.id, run_id),
        )
    return version


def order(planned):
    return [(event.run_id, event.direction, event.version.number) for event in planned.events]


def test_events_of_parallel_runs_interleave_by_time():
    store = open_store(make=True)
    add_run(store, "a"), add_run(store, "b")
    add_version(store, "a", "0", at=1.0)
    add_version(store, "b", "1", at=2.0)
    add_version(store, "a", "2", at=3.0)
    assert order(plan(store, None)) == [("a", "out", 0), ("b", "out", 1), ("a", "out", 2)]


def test_numbers_count_more_than_clocks_that_contradict_them():
    store = open_store(make=True)
    add_run(store, "a"), add_run(store, "b")
    add_version(store, "a", "0", at=5.0)
    later = add_version(store, "b", "1", at=4.0)  # it read the clock first and got the lock last
    with store.transaction() as db:
        db.execute("INSERT INTO lineage VALUES ('a', 'in', ?, 4.5)", (later.id,))
    assert order(plan(store, None)) == [("a", "out", 0), ("b", "out", 1), ("a", "in", 1)]


def test_what_cannot_go_before_a_run_that_still_runs_waits_with_it():
    store = open_store(make=True)
    for run_id, state in {"a": "finished", "b": "running", "c": "finished", "d": "failed"}.items():
        add_run(store, run_id, state)
    add_version(store, "a", "0", at=1.0)
    add_version(store, "b", "1", at=2.0)
    add_version(store, "c", "2", at=3.0)
    other = add_version(store, "c", "x", at=4.0, name="other")
    store.use_version("d", other.id)
    planned = plan(store, None)
    assert [run.id for run in planned.runs] == ["a"]
    assert planned.left_out == {
        "b": "is still running",
        "c": "logged p/songs:v2, which comes after p/songs:v1, made by run b, which is left out",
        "d": "used p/other:v0, made by run c, which is left out",
    }
