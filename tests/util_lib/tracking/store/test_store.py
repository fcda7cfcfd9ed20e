"""The store itself: where it is, what it opens, and what it clears away."""

import os
import shutil
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from util_lib import project, safe_files, tracking
from util_lib.errors import UserError
from util_lib.tracking.names import MAX_METADATA_KEYS
from util_lib.tracking.store import contents, places, values
from util_lib.tracking.store.database import Store, open_store
from util_lib.tracking.store.places import store_directory


@pytest.fixture
def unset(monkeypatch):
    monkeypatch.delenv("TRACKING_STORE")


def test_the_store_lies_where_tracking_store_says(monkeypatch, tmp_path):
    monkeypatch.setenv("TRACKING_STORE", str(tmp_path / "here"))
    assert store_directory() == tmp_path / "here"


def test_the_store_lies_beside_the_mlflow_database(unset, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/a b/mlflow.db?timeout=60")
    assert store_directory() == tmp_path / "a b" / "tracking_store"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    assert store_directory() == tmp_path / "work" / "tracking_store"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert store_directory() == tmp_path / "work" / "tracking_store"


def test_the_store_lies_in_the_current_directory_otherwise(unset, tmp_path):
    assert store_directory() == tmp_path / "work" / "tracking_store"


def test_a_step_folder_shares_the_store_of_its_project(unset, monkeypatch, tmp_path):
    step = tmp_path / "checkout" / "get_data"
    step.mkdir(parents=True)
    monkeypatch.chdir(step)
    monkeypatch.setattr(places, "ROOT", tmp_path / "checkout")
    assert store_directory() == step / "tracking_store"
    (step / "MLproject").write_text("name: get_data")
    assert store_directory() == tmp_path / "checkout" / "tracking_store"


def test_a_step_of_ones_own_shares_the_store_beside_it_until_it_has_one(
    unset, monkeypatch, tmp_path
):
    step = tmp_path / "mine" / "my_step"
    step.mkdir(parents=True)
    (step / "MLproject").write_text("name: my_step")
    monkeypatch.chdir(step)
    assert store_directory() == step / "tracking_store"  # nothing lies beside it
    (tmp_path / "mine" / "tracking_store").mkdir()
    assert store_directory() == tmp_path / "mine" / "tracking_store"
    assert places.user_directory() == tmp_path / "mine"
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/results/mlflow.db")
        assert places.user_directory() == tmp_path / "results"
    (step / "tracking_store").mkdir()
    assert store_directory() == step / "tracking_store" and places.user_directory() == step


def test_a_relative_path_starts_at_the_project_root():
    assert (project.ROOT / "util_lib" / "project.py").is_file()
    assert project.resolve_path("conf/a.yaml") == project.ROOT / "conf" / "a.yaml"
    assert str(project.resolve_path("/etc/hosts")) == "/etc/hosts"


@pytest.mark.parametrize("version", [99, 0])
def test_a_store_of_a_newer_schema_or_of_none_is_not_touched(tmp_path, version):
    Store(tmp_path / "s")
    with sqlite3.connect(tmp_path / "s" / "tracking.db") as db:
        db.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(UserError, match=f"has schema version {version}, this checkout reads 2"):
        Store(tmp_path / "s")


def test_another_programs_database_is_not_touched(tmp_path):
    (tmp_path / "s").mkdir()
    with sqlite3.connect(tmp_path / "s" / "tracking.db") as db:
        db.execute("CREATE TABLE theirs (a)")
    said = (
        "tracking.db was not made by util_lib.tracking; use .* TRACKING_STORE to another directory$"
    )
    with pytest.raises(UserError, match=said):
        Store(tmp_path / "s")


def test_what_is_no_database_is_named(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "tracking.db").write_text("words " * 1000)
    with pytest.raises(UserError, match=r"s/tracking.db: file is not a database"):
        Store(tmp_path / "s")


def test_a_process_that_is_late_to_make_the_database_leaves_the_first_one(store):
    with tracking.init() as run:
        pass
    n_open = len(os.listdir("/dev/fd"))
    store._create()  # as if it had looked before the first one was there
    assert len(os.listdir("/dev/fd")) == n_open
    assert store.is_current()
    assert [record.id for record in Store(store.directory).runs()] == [run.id]
    assert list(store.files.tmp.iterdir()) == []


def test_a_store_that_was_removed_is_made_again(store):
    shutil.rmtree(store.directory)
    with tracking.init() as run:
        pass
    assert open_store().run(run.id).state == "finished"


def test_the_database_writes_ahead_and_waits_for_other_writers_and_the_disk(store):
    assert store._rows("PRAGMA journal_mode")[0][0] == "wal"
    assert store._rows("PRAGMA busy_timeout")[0][0] == 60_000
    with store.transaction() as db:
        assert db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL


def test_what_is_measured_and_drawn_does_not_wait_for_the_disk(store, tmp_path):
    (tmp_path / "picture.txt").write_text("words")
    with tracking.init() as run:
        for spare in (
            lambda: run.log({"a": 1}),
            lambda: run.save(tmp_path / "picture.txt"),
            lambda: run.config.update({"b": 2}),
        ):
            with store.transaction():
                pass
            spare()
            assert store._rows("PRAGMA synchronous")[0][0] == 1  # NORMAL
    assert store._rows("PRAGMA synchronous")[0][0] == 2  # FULL: how it ended does


def test_left_overs_of_the_dead_are_removed_and_those_of_the_living_kept(python, store):
    process = python(
        """
import time
from util_lib import tracking
draft = tracking.Artifact("x", type="t")
with draft.new_file("a") as file:
    file.write("a")
print(draft._workspace, flush=True)
time.sleep(60)
"""
    )
    workspace = process.stdout.readline().strip()
    Store(store.directory)
    assert os.path.isdir(workspace) and store.files.left_over() == {}
    process.kill()
    process.communicate()
    [(left, n_bytes)] = store.files.left_over().items()
    assert os.path.isdir(workspace) and left == Path(workspace) and n_bytes > 0
    Store(store.directory)
    assert not os.path.exists(workspace)


@pytest.mark.parametrize("call", ["open", "flock"])
@pytest.mark.parametrize("directory", [True, False])
def test_what_a_sweep_takes_before_it_is_locked_is_made_again(store, monkeypatch, call, directory):
    module = {"open": contents.os, "flock": contents.fcntl}[call]
    original, path = getattr(module, call), store.files.tmp / "held"

    def after_a_sweep(*arguments):
        monkeypatch.setattr(module, call, original)
        store.files._sweep()
        return original(*arguments)

    monkeypatch.setattr(module, call, after_a_sweep)
    lock = safe_files.hold(path, directory)
    assert path.exists()
    assert safe_files.is_held(path)
    safe_files.release(lock)


def test_who_only_reads_is_told_that_there_is_no_store(tmp_path):
    said = f"there is no store at {tmp_path}/none: go to .* or set TRACKING_STORE .* for them$"
    with pytest.raises(UserError, match=said):
        open_store(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_run_that_ends_while_it_is_looked_at_has_not_crashed(store, monkeypatch):
    original = safe_files.is_held
    with tracking.init() as run:

        def after_its_end(path):
            monkeypatch.setattr(safe_files, "is_held", original)
            run.finish()
            return original(path)

        monkeypatch.setattr(safe_files, "is_held", after_its_end)
        assert store.run(run.id).state == "finished"


def test_a_content_that_cannot_be_removed_is_said_with_what_becomes_of_it(store):
    store.files.path("ab" * 32).mkdir(parents=True)
    said = f"cannot read or write {store.files.final}/ab/.*; what is left goes the next time$"
    with store.files.removing():
        store.files.remove(["cd" * 32])  # is gone already
        with pytest.raises(UserError, match=said):
            store.files.remove(["ab" * 32])


def test_metadata_are_a_mapping_of_at_most_so_many_keys():
    most = {str(number): number for number in range(MAX_METADATA_KEYS)}
    assert values.check_metadata(most) == most and values.check_metadata(None) == {}
    with pytest.raises(UserError, match="must not have more than 100 metadata keys"):
        values.check_metadata(most | {"one": "more"})
    with pytest.raises(TypeError, match="Cannot parse <class 'list'> as artifact metadata"):
        values.check_metadata([])


def test_times_are_those_of_utc_wherever_the_machine_stands(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        assert values.utc(0) == "1970-01-01T00:00:00Z"
    time.tzset()


def test_files_of_others_are_no_contents_and_those_of_the_dead_are_counted(store):
    assert store.files.final == store.directory / "files"
    assert store.files.tmp == store.directory / "tmp"
    (store.files.final / "ab").mkdir()
    for name in ("notes", "c" * 64, "ab" * 32):
        (store.files.final / "ab" / name).write_text("words")
    assert store.files.all_contents() == {"ab" * 32: 5}
    (store.files.tmp / "left").write_text("12")
    assert store.files.left_over() == {store.files.tmp / "left": 2}


def test_a_store_that_is_not_there_has_nothing_left_over(tmp_path):
    assert contents.Files(tmp_path / "none").left_over() == {}


def test_other_threads_log_into_a_run(store):
    with tracking.init() as run, ThreadPoolExecutor(1) as pool:
        pool.submit(run.log, {"a": 1}).result()
    assert store.history(run.id)[0]["a"] == 1


def test_runs_are_found_by_the_mlflow_run_they_ran_in(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "abc")
    with tracking.init(job_type="get_data") as inside:
        pass
    monkeypatch.delenv("MLFLOW_RUN_ID")
    with tracking.init():
        pass
    (record,) = store.runs(mlflow_run_id="abc")
    assert (record.id, record.job_type, record.state) == (inside.id, "get_data", "finished")
    assert len(store.runs()) == 2
