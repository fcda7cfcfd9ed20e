"""What house-keeping removes is gone for good, by name and with a date, and nothing else is."""

import sqlite3
from pathlib import Path

import pytest

from pipeline.housekeeping import removal
from util_lib import tracking
from util_lib.errors import UserError
from util_lib.tracking.mlflow_mirror import publish_own
from util_lib.tracking.store import contents
from util_lib.tracking.store.database import Store

TWO = {"one": 0, "two": 1}


@pytest.fixture
def logged(log_text):
    """Two versions of songs: v0, which a run used, and v1, which is the latest."""
    with tracking.init(project="p", name="maker") as run:
        for text in TWO:
            log_text(tracking, run, "songs", text)
    with tracking.init(project="p", name="user") as run:
        run.use_artifact("songs:v0")
    return run


def remove(store, keep=()):
    """Remove all that nothing needs, and that is not among `keep` (ids)."""
    with store.files.removing():
        with store.transaction() as db:
            found = removal.unneeded(store, removal.in_use(store) | set(keep))
            removal.mark(db, [version for version, _ in found.versions])
        removal.delete(store, found.contents)
    return [version.reference for version, _ in found.versions]


def test_a_removed_version_says_when_and_by_whom_it_was_removed(store, logged):
    assert remove(store) == ["p/songs:v0"]
    assert [v.reference for v in store.versions("p", "songs")] == ["p/songs:v1"]
    assert [*store.files.all_contents()] == [
        file.sha256 for file in store.version_files(store.versions("p", "songs")[0].id)
    ]
    with tracking.init(project="p") as run:
        with pytest.raises(UserError, match=r"'p/songs:v0' was removed by gc on 20\d\d-\d\d-\d\d"):
            run.use_artifact("songs:v0")
        assert Path(run.use_artifact("songs:v1").file()).read_text() == "two"
    assert not tracking.Api().artifact_exists("p/songs:v0")


def test_one_that_was_found_before_it_was_removed_says_so_too(store, logged):
    early = tracking.Api().artifact("p/songs:v0")
    remove(store)
    for use in (early.download, early.file, early.save):
        with pytest.raises(UserError, match="was removed by gc on"):
            use()
    with (
        tracking.init(project="p") as run,
        pytest.raises(UserError, match=r"is not in the store any more .*: make the artifact again"),
    ):
        run.log_artifact(early)
    assert store.versions("p", "songs")[0].reference == "p/songs:v1"
    (gone,) = (v for v in store.versions("p", "songs", removed=True) if v.number == 0)
    assert "was removed by gc" in store.damage(gone)[0]


def test_the_runs_that_made_and_used_it_can_still_be_read(store, logged):
    remove(store)
    runs = {run.name: run for run in tracking.Api().runs("p")}
    assert [a.source_name for a in runs["maker"].logged_artifacts()] == ["songs:v0", "songs:v1"]
    (used,) = runs["user"].used_artifacts()
    assert (used.source_name, used.state, used.size) == ("songs:v0", "DELETED", 3)
    assert used.logged_by().name == "maker" and used.used_by()[0].name == "user"


def test_a_version_that_was_promoted_once_stays_for_the_way_back(store, logged):
    version = tracking.Api().artifact("p/songs:v0")
    version.metadata = {"promotions": [{"alias": "prod", "number": 1}]}
    version.save()
    assert remove(store) == []


def test_its_number_is_never_given_to_another_content(store, logged, log_text):
    with tracking.init(project="p") as run:
        log_text(tracking, run, "songs", "three")
    latest = tracking.Api().artifact("p/songs:latest")
    latest.aliases = []
    latest.save()
    assert remove(store) == ["p/songs:v0", "p/songs:v1", "p/songs:v2"]
    assert tracking.Api().artifacts("raw_data", "p/songs") == []
    with tracking.init(project="p") as run:
        assert log_text(tracking, run, "songs", "four").version == "v3"
        # the same content is the same version, which is there again
        again = log_text(tracking, run, "songs", "two", aliases=["prod"])
    assert (again.version, again.state) == ("v1", "COMMITTED")
    assert Path(tracking.Api().artifact("p/songs:prod").file()).read_text() == "two"
    assert [v.number for v in store.versions("p", "songs")] == [3, 1]


def test_what_an_alias_or_a_run_in_progress_needs_stays(store, logged, log_text):
    first = tracking.Api().artifact("p/songs:v0")
    first.aliases.append("reference")
    first.save()
    assert remove(store) == []
    first.aliases.remove("reference")
    first.save()
    with tracking.init(project="p") as run:
        run.use_artifact("songs:v0")
        log_text(tracking, run, "songs", "three")
        log_text(tracking, run, "songs", "four")
        assert remove(store) == ["p/songs:v1"]
    assert remove(store) == ["p/songs:v0", "p/songs:v2"]


def test_what_a_pipeline_has_made_stays_until_it_ends_and_not_when_it_was_killed(
    store, log_text, answer
):
    with store.files.under_way():
        with tracking.init(project="p") as run:
            log_text(tracking, run, "songs", "one")
            log_text(tracking, run, "songs", "two")
        assert remove(store) == []
    begun = "import os, sys; from util_lib.tracking.store.database import open_store\n"
    begun += "with open_store(make=True).files.under_way(): os.kill(os.getpid(), 9)"
    assert answer(begun)[0] == -9
    assert remove(store) == ["p/songs:v0"]


def test_contents_that_are_in_place_but_not_yet_recorded_are_waited_for(
    store, logged, tmp_path, monkeypatch
):
    monkeypatch.setattr(contents, "REMOVING_TIMEOUT_S", 0)
    (tmp_path / "new").write_text("new")
    with store.files.adding():
        content = store.files.put(tmp_path / "new")
        with pytest.raises(UserError, match="without a pause: nothing was removed, try again"):
            remove(store)
        assert store.files.damage(content.sha256) is None
    remove(store)
    assert store.files.damage(content.sha256) == "is missing"


def test_a_run_of_which_a_version_was_removed_is_still_shown_in_mlflow(
    store, logged, monkeypatch, tmp_path
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    from mlflow import MlflowClient

    with tracking.init(project="p", name="pages") as run:
        for text in TWO:
            page = tracking.Artifact("page", type="page")
            with page.new_file("page.html") as file:
                file.write(text)
            run.log_artifact(page)
    assert remove(store) == ["p/page:v0", "p/songs:v0"]
    publish_own(store.run(run.id))
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (shown,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert [file.path for file in client.list_artifacts(shown.info.run_id, "pages")]
    assert "page:v0" in str(shown.data.tags)


def test_a_store_of_the_first_schema_is_brought_up_to_date(store, logged, log_text, python):
    with sqlite3.connect(store.path) as db:
        db.execute("ALTER TABLE versions DROP COLUMN removed_at")
        db.execute("PRAGMA user_version = 1")
    # several at once, as the steps of two pipelines would
    opening = "import sys; sys.stdin.read(); from util_lib.tracking import Api\n"
    opening += "print(Api().artifact('p/songs:v0').digest)"
    started = [python(opening) for _ in range(4)]
    said = [process.communicate(timeout=120) for process in started]
    assert len({digest for digest, _ in said}) == 1, said
    assert [process.returncode for process in started] == [0] * 4, said
    new = Store(store.directory)
    assert [v.reference for v in new.versions("p", "songs")] == ["p/songs:v1", "p/songs:v0"]
    assert remove(new) == ["p/songs:v0"]
