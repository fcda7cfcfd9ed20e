"""The address of a database leads back to it, whatever its folder is called."""

import os
import sqlite3
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mlflow.utils.file_utils import local_file_uri_to_path
from sqlalchemy import create_engine, make_url, text

from util_lib.errors import UserError
from util_lib.tracking import databases
from util_lib.tracking.store.database import Store
from util_lib.tracking.store.places import store_directory

NAMES = st.text(
    st.sampled_from("?%#&=+ :;@[]{}$~'\"\\é日\n41aF.")
    | st.characters(exclude_categories=["Cs", "Cc"]),
    min_size=1,
    max_size=12,
).filter(lambda name: name not in (".", "..") and "/" not in name and len(os.fsencode(name)) < 200)


@settings(max_examples=300, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=3))
@example(["a?b"])
@example(["100%41", "?uri=true"])
def test_an_address_is_read_as_it_was_made_and_as_sqlalchemy_reads_it(names):
    path = Path("/", *names, "mlflow.db")
    address = databases.address_of(path)
    assert databases.path_of(address) == path
    assert make_url(address).database == str(path) and not make_url(address).query


@settings(max_examples=25, deadline=None)
@given(NAMES)
@example("a?b")
@example("100%41")
def test_database_and_store_lie_in_the_folder_that_was_named(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("home") / name
    folder.mkdir()
    engine = create_engine(databases.address_of(folder / "mlflow.db"))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE kept (x)"))
    engine.dispose()
    with sqlite3.connect(folder / "mlflow.db") as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("kept",)]
    files = local_file_uri_to_path(databases.files_of(folder))  # as MLflow reads it
    assert Path(files) == folder / "mlruns"
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("TRACKING_STORE")
        patched.setenv("MLFLOW_TRACKING_URI", databases.address_of(folder / "mlflow.db"))
        assert store_directory() == folder / "tracking_store"
        assert Store(store_directory()).runs() == []
    assert {path.name for path in folder.iterdir()} == {"mlflow.db", "tracking_store"}


def test_an_address_that_mlflow_takes_for_another_place_is_refused_with_the_right_one():
    right = "sqlite:////home/a%3Fb/mlflow.db"
    with pytest.raises(UserError, match="leads to /home/a, because of the .") as refused:
        databases.path_of("sqlite:////home/a?b/mlflow.db")
    assert f"MLFLOW_TRACKING_URI='{right}'" in str(refused.value)
    assert databases.path_of(right) == Path("/home/a?b/mlflow.db")


@pytest.mark.parametrize("address", ["", "http://host", "sqlite:///:memory:", "postgresql://h/x"])
def test_an_address_of_no_file_has_no_path(address):
    assert databases.path_of(address) is None
