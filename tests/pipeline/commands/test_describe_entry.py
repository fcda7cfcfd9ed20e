"""The root's entry point `describe`, before its step begins; test_end_to_end.py runs it."""

import tempfile
from pathlib import Path

import pytest

from pipeline.commands import describe
from pipeline.settings import overrides, resolvers, surroundings
from util_lib.errors import UserError


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The folder where a user stands, with a table in it."""
    (tmp_path / "songs.csv").write_text("a,b\n1,2\n")
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path))
    return tmp_path


def planned(*words):
    return describe.plan(describe.build_parser().parse_args(words)).parameters


def test_a_table_is_looked_for_in_the_project_then_where_the_user_stands(home):
    demo = "dataset/songs_demo.parquet"
    assert planned("--file_url", demo)["file_url"] == demo
    assert planned("--file_url", "songs.csv")["file_url"] == str(home / "songs.csv")
    assert planned("--file_url", "gone.csv")["file_url"] == "gone.csv"
    assert planned("--file_url", "songs.csv")["name"] == "songs"


def test_a_checkout_keeps_its_drafts_and_a_fetched_project_leaves_them_with_the_user(
    home, monkeypatch
):
    assert planned("--file_url", "songs.csv")["folder"] == "conf/dataset"
    monkeypatch.setenv("PIPELINE_ROOT_RUN", "0123")
    assert planned("--file_url", "songs.csv")["folder"] == "conf/dataset"
    monkeypatch.setattr(describe, "ROOT", Path(tempfile.gettempdir()).resolve() / "tmpabcd_123")
    assert planned("--file_url", "songs.csv")["folder"] == str(home / "conf" / "dataset")


def test_the_whole_address_comes_from_the_environment(home, monkeypatch):
    monkeypatch.setenv("GET_DATA_URL", "https://u:secret@host/a.csv?token=T0KEN")
    given = planned("--file_url", "https://host/a.csv?token=***")
    assert given["file_url"] == "https://u:secret@host/a.csv?token=T0KEN"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--env_manager", "pixi"], "env_manager must be"),
        (["--tracking", "wand"], "the nearest is 'wandb'"),
        (["--name", "a/b"], "cannot contain /"),
    ],
)
def test_a_wrong_choice_is_one_sentence(home, monkeypatch, given, sentence):
    monkeypatch.setattr(surroundings, "adopt_surroundings", lambda home: None)
    with pytest.raises(UserError, match=sentence):
        describe.go(["--file_url", "songs.csv", *given])


def test_a_dataset_file_where_the_user_stands_is_found_and_wins(home):
    resolvers.register_resolvers()
    with pytest.raises(Exception, match="mine"):
        overrides.base_config(["dataset=mine"])
    own = home / "conf" / "dataset"
    own.mkdir(parents=True)
    shipped = (overrides.ROOT / "conf" / "dataset" / "songs_demo.yaml").read_text()
    (own / "mine.yaml").write_text(shipped.replace("project_name: songs_demo", "project_name: p1"))
    assert "mine" in overrides.datasets()
    assert overrides.base_config(["dataset=mine"]).main.project_name == "p1"
    (own / "songs_demo.yaml").write_text(
        shipped.replace("project_name: songs_demo", "project_name: p2")
    )
    assert overrides.base_config([]).main.project_name == "p2"
