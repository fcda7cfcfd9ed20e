"""Where the store is missing nobody who looks for something makes an empty one in its place."""

import importlib
import os
import subprocess

import pytest
from step_support import ROOT

from tests import warm
from util_lib import tracking
from util_lib.errors import UserError
from util_lib.tracking import __main__ as tracking_commands
from util_lib.tracking.mlflow_mirror import mlflow_lock
from util_lib.tracking.store.places import store_directory

READERS = {
    "evaluate.run": "--model_export m:latest --test_data t:latest",
    "segregate.run": "--input_artifact t:v0 --artifact_root d --test_size 0.3 --random_state 1"
    " --stratify null",
    "preprocess.run": "--input_artifact t:latest --artifact_name t.csv",
    "check_data.run": "--sample_artifact t:v1 --reference_artifact t:v0 --ks_alpha 0.05",
    "check_data.accept_reference": "--sample_artifact t:latest",
    "serving.predict": "--input t:latest --output o.csv --model m:prod",
    "serving.promote": "--model m:latest",
    "serving.rollback": "--model m",
    "serving.image": "--model m:prod",
}


def refusal(act) -> str:
    with pytest.raises(UserError) as refused:
        act()
    return str(refused.value)


@pytest.mark.parametrize("reader", READERS)
def test_what_reads_an_artifact_says_where_it_looked_and_makes_nothing(reader):
    main = importlib.import_module(reader).main
    assert f"there is no store at {store_directory()}" in refusal(
        lambda: main(READERS[reader].split())
    )
    assert not store_directory().exists()


@pytest.mark.parametrize(
    "words", [["sync"], ["publish", "abc"], ["download", "t:latest", "folder"]], ids=" ".join
)
def test_a_command_about_the_store_makes_none(words, capfd):
    assert tracking_commands.main(words) != 0
    assert f"there is no store at {store_directory()}" in capfd.readouterr().err
    assert not store_directory().exists()


def test_a_look_through_the_api_makes_no_store():
    for look in (lambda: tracking.Api().artifact("p/t:latest"), lambda: tracking.Api().runs("p")):
        assert "there is no store at" in refusal(look)
    assert not store_directory().exists()


@pytest.mark.parametrize("database_is_elsewhere", [False, True])
def test_a_store_that_was_there_is_not_made_anew_by_a_writer_either(
    database_is_elsewhere, tmp_path, monkeypatch
):
    home = store_directory().parent
    if database_is_elsewhere:  # and the whole disk with the store is gone
        home = tmp_path / "home"
        home.mkdir()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
    with tracking.init(project="p") as run:
        pass
    (home / "mlflow.db").touch()
    gone = store_directory().parent if database_is_elsewhere else store_directory()
    os.rename(gone, tmp_path / "unmounted")
    said = refusal(lambda: tracking.init(project="p"))
    assert f"there is no store at {store_directory()}, and there was one: mount its disk" in said
    assert str(home / ".tracking_stores") in said and not store_directory().exists()
    assert "and there was one" in refusal(lambda: mlflow_lock(store_directory()).__enter__())
    assert not store_directory().exists()  # also where its disk goes in the midst of a run
    os.rename(tmp_path / "unmounted", gone)
    with tracking.init(project="p"):
        pass
    assert len(tracking.Api().runs("p")) == 2 and run.id


def test_a_script_beside_no_results_leaves_no_note_where_it_is_run(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("TRACKING_STORE", str(tmp_path / "disk" / "store"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with tracking.init(project="p"):
        pass
    assert not any(here.iterdir()) and (tmp_path / "disk" / ".tracking_stores").exists()


def test_who_removes_all_results_begins_anew_without_being_asked():
    code = "from util_lib import tracking; tracking.init(project='p').finish()"
    database = store_directory().parent / "mlflow.db"
    for before in (0, 1):
        assert database.exists() == bool(before)
        if before:
            os.rename(store_directory(), store_directory().with_name("old"))
            database.unlink()
        subprocess.run([warm.python(), "-c", code], cwd=ROOT, check=True)
    assert len(tracking.Api().runs("p")) == 1
