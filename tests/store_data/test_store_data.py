"""An artifact's table in a database: whole or not at all, and not twice."""

import fcntl
import os
import sqlite3
import subprocess
import sys
import threading
from datetime import date
from decimal import Decimal

import pandas as pd
import pytest
from sql_support import Database
from step_support import DECLARED, make_songs, small_disk

from preprocess import run as preprocess
from store_data import run
from util_lib.errors import UserError
from util_lib.sql import connection

CLEAN = "preprocessed_data.parquet"
SONGS = pd.DataFrame(
    {
        "id": [1, 2, 3],
        "title": ["a", None, "c's"],
        "tempo": [120.5, float("nan"), 90.0],
        "loud": [True, False, True],
        "day": pd.to_datetime(["2026-01-01", None, "2026-01-03"]),
    }
)
AS_READ = [(1, "a", 120.5), (2, None, None), (3, "c's", 90.0)]
HOLD = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""
READ = "SELECT id, title, tempo FROM songs ORDER BY id"


def store(steps, database, frame=None, **given) -> None:
    """Put a table into the database by the step's own command line."""
    if frame is not None:
        steps.put(frame, CLEAN)
    given = {"table": "songs", "wait_s": 0.3, **given}
    words = [word for key, value in given.items() for word in (f"--{key}", str(value))]
    run.main(["--input_artifact", f"{CLEAN}:latest", "--database", database.address, *words])


def noted(database) -> list[tuple]:
    return database.rows('SELECT "table", "rows", mode FROM pipeline_loads ORDER BY "time"')


def test_the_table_is_there_with_a_note_and_the_same_rows_are_not_written_twice(
    database, steps, caplog
):
    store(steps, database, SONGS)
    assert database.rows(READ) == AS_READ
    assert noted(database) == [("songs", 3, "create")]
    store(steps, database)
    assert "already: nothing written" in caplog.text and len(noted(database)) == 1
    assert database.tables() == {"songs", "pipeline_loads"}
    assert steps.run("store_data").summary["rows_in_table"] == 3


def test_rows_that_somebody_has_removed_are_loaded_again(database, steps):
    store(steps, database, SONGS)
    database.execute("DELETE FROM songs WHERE id = 2")
    store(steps, database)
    assert database.rows(READ) == AS_READ


def test_a_replaced_table_keeps_its_indexes_and_views_where_its_columns_are_the_same(
    database, steps
):
    store(steps, database, SONGS)
    database.execute("CREATE VIEW loud AS SELECT id FROM songs WHERE loud")
    store(steps, database, SONGS.assign(id=[7, 8, 9]))
    assert sorted(database.rows("SELECT id FROM loud")) == [(7,), (9,)]


def test_a_replaced_table_may_have_other_columns(database, steps):
    store(steps, database, SONGS)
    store(steps, database, SONGS[["id"]].assign(fresh="yes"))
    assert database.rows("SELECT id, fresh FROM songs ORDER BY id") == [
        (1, "yes"),
        (2, "yes"),
        (3, "yes"),
    ]


def test_rows_are_appended_once(database, steps):
    store(steps, database, SONGS)
    more = SONGS.assign(id=[4, 5, 6])
    for _ in range(2):
        store(steps, database, more, mode="append")
    assert [n for (n,) in database.rows("SELECT id FROM songs ORDER BY id")] == [1, 2, 3, 4, 5, 6]


def test_times_with_a_zone_are_appended_to_a_table_that_was_made_for_them(database, steps):
    for day in (1, 2):
        times = pd.DataFrame({"heard": [pd.Timestamp(2026, 1, day, tz="Europe/Paris")]})
        store(steps, database, times, mode="append")
    assert len(database.rows("SELECT DISTINCT heard FROM songs")) == 2


def test_an_upsert_of_what_changed_equals_a_full_replace(database, steps):
    before = make_songs(200).assign(id=range(200), half=0.5)
    changed = before.iloc[::10].assign(tempo=1.0, title="new")
    added = before.tail(5).assign(id=range(1000, 1005))
    upserted = pd.concat([changed, added])
    after = pd.concat([before[~before["id"].isin(changed["id"])], upserted])
    for table in ("upserted", "replaced"):
        store(steps, database, before, table=table)
    store(steps, database, upserted, table="upserted", mode="upsert", key="id, half")
    store(steps, database, after, table="replaced")
    found = [database.rows(f"SELECT * FROM {t} ORDER BY id") for t in ("upserted", "replaced")]
    assert found[0] == found[1] and len(found[0]) == 205


def test_an_upsert_leaves_the_columns_alone_that_the_artifact_does_not_have(database, steps):
    database.execute(
        "CREATE TABLE songs (id BIGINT, title VARCHAR(9), liked INTEGER)",
        "INSERT INTO songs VALUES (1, 'old', 5)",
    )
    store(steps, database, SONGS[["id", "title"]], mode="upsert", key="id")
    found = database.rows("SELECT id, title, liked FROM songs ORDER BY id")
    assert found == [(1, "a", 5), (2, None, None), (3, "c's", None)]


@pytest.mark.parametrize(
    ("frame", "given", "says"),
    [
        (SONGS.assign(id="x"), {"mode": "append"}, "id has texts and the table's column is"),
        (SONGS.assign(more=1), {"mode": "append"}, "more is no column of the table"),
        (SONGS[["title"]], {"mode": "append"}, "id is needed by the table"),
        (SONGS.assign(id=[1, 1, 2]), {"mode": "upsert", "key": "id"}, "stand for several rows"),
        (SONGS, {"mode": "upsert", "key": "title"}, "some rows of the artifact have none"),
        (SONGS, {"mode": "upsert", "key": "titel"}, "'titel' is no column among id"),
        (SONGS, {"mode": "upsert"}, "for mode upsert alone"),
        (SONGS.assign(tags=[[1], [2], [3]]), {}, "cannot hold tags"),
    ],
)
def test_what_does_not_fit_is_named_and_the_table_is_what_it_was(
    database, steps, frame, given, says
):
    database.execute(
        "CREATE TABLE songs (id BIGINT NOT NULL, title TEXT, tempo DOUBLE PRECISION, "
        "loud BOOLEAN, day TIMESTAMP)",
        "INSERT INTO songs (id, title) VALUES (9, 'old')",
    )
    with pytest.raises(UserError, match=says):
        store(steps, database, frame, **given)
    assert database.rows("SELECT id, title FROM songs") == [(9, "old")]
    assert database.tables() - {"pipeline_loads"} == {"songs"}


@pytest.mark.parametrize("mode", ["append", "replace", "upsert"])
@pytest.mark.parametrize(
    ("dtype", "value", "says"),
    [
        ("NUMERIC(10, 2)", 0.125, "would store as others"),
        ("REAL", 0.1, "would store as others"),
        ("DOUBLE PRECISION", Decimal("12345678901234567.89"), "beyond 9,007,199,254,740,992"),
        ("REAL", 2**24 + 1, "beyond 16,777,216"),
        ("DOUBLE PRECISION", 2**53 + 1, "beyond 9,007,199,254,740,992"),
        ("TIMESTAMP", pd.Timestamp("2026-01-01 12:00", tz="Europe/Paris"), "with a time zone"),
        ("TIMESTAMP WITH TIME ZONE", date(2026, 1, 1), "days without a time zone"),
    ],
)
def test_no_value_becomes_another_in_a_column_that_is_there(
    database, steps, dtype, value, says, mode
):
    kept = dtype in ("NUMERIC(10, 2)", "REAL") or isinstance(value, Decimal)
    if database.kind == "sqlite" and kept:
        pytest.skip("SQLite stores these as they are")
    if dtype.startswith("TIMESTAMP") and mode == "replace":
        pytest.skip("the table is made anew")
    database.execute(f"CREATE TABLE songs (id BIGINT, value {dtype})")
    database.execute("INSERT INTO songs VALUES (9, NULL)")
    key = {"key": "id"} if mode == "upsert" else {}
    with pytest.raises(UserError, match=says):
        store(steps, database, pd.DataFrame({"id": [1], "value": [value]}), mode=mode, **key)
    assert database.rows("SELECT id, value FROM songs") == [(9, None)]


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (SONGS.assign(id=[1, 1, 2]), "stand for several rows"),
        (SONGS.assign(id=[1, None, 2]), "some rows of the artifact have none"),
    ],
)
def test_a_key_must_tell_rows_apart_also_where_the_table_is_made_by_it(
    database, steps, frame, says
):
    with pytest.raises(UserError, match=says):
        store(steps, database, frame, mode="upsert", key="id")
    assert "songs" not in database.tables()


def test_a_table_of_another_case_is_the_same_but_in_postgresql(database, steps):
    database.execute('CREATE TABLE "Songs" (id BIGINT)', 'INSERT INTO "Songs" VALUES (9)')
    for table in ("songs", "SONGS"):
        store(steps, database, SONGS[["id"]], mode="append", table=table)
    assert len(database.rows('SELECT id FROM "Songs"')) == (
        1 if database.kind == "postgresql" else 4
    )


def test_a_table_is_looked_for_on_the_search_path_and_no_other_is_touched(postgres, steps):
    database = Database(postgres.new_database())
    database.execute(
        "CREATE TABLE public.songs (id BIGINT, note TEXT)",
        "INSERT INTO public.songs VALUES (9, 'kept')",
        "CREATE SCHEMA tester",  # of the user, and first on the search path
    )
    store(steps, database, SONGS[["id"]], table="tester.songs")
    assert database.rows("SELECT * FROM public.songs") == [(9, "kept")]
    database.execute("DROP TABLE tester.songs")
    store(steps, database, SONGS[["id"]].assign(note="new"), mode="append")
    assert len(database.rows("SELECT * FROM public.songs")) == 4
    assert database.rows("SELECT to_regclass('tester.songs')::text") == [(None,)]


@pytest.mark.parametrize("schema", ["pg_temp", "temp", "nowhere", "made"])
def test_a_schema_that_keeps_no_table_is_refused_and_leaves_nothing(database, steps, schema):
    with pytest.raises(UserError, match=f"has no schema '{schema}'"):
        store(steps, database, SONGS, table=f"{schema}.songs")
    assert database.tables() == set()


def test_a_full_disk_is_said_and_the_table_is_what_it_was(database, steps):
    if database.kind == "postgresql":
        pytest.skip("its server has a disk of its own")
    store(steps, database, SONGS)
    steps.put(pd.DataFrame({"id": range(50_000), "title": "x" * 99}), CLEAN)
    with small_disk(2**20), pytest.raises(UserError, match="disk|write") as refused:
        store(steps, database)
    assert "transaction" not in str(refused.value).partition("Failed to commit")[0]
    assert database.rows(READ) == AS_READ
    store(steps, database, SONGS.assign(id=[7, 8, 9]))
    assert database.tables() == {"songs", "pipeline_loads"}


def test_an_artifact_without_rows_is_not_stored_twice(database, steps, caplog):
    for _ in range(2):
        store(steps, database, SONGS.head(0))
    assert "already: nothing written" in caplog.text and len(noted(database)) == 1


def test_a_table_that_was_emptied_gets_its_rows_again(database, steps):
    for mode, key in (("append", {}), ("upsert", {"key": "id"})):
        for _ in range(2):
            store(steps, database, SONGS, mode=mode, table=mode, **key)
            database.execute(f"DELETE FROM {mode}")
        store(steps, database, SONGS, mode=mode, table=mode, **key)
        assert database.rows(f"SELECT count(*) FROM {mode}") == [(3,)]


def test_rows_that_sqlite_takes_for_the_same_are_refused(steps, tmp_path):
    path = tmp_path / "case.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE songs (k TEXT COLLATE NOCASE PRIMARY KEY, v INTEGER)")
        db.execute("INSERT INTO songs VALUES ('a', 0)")
    steps.put(pd.DataFrame({"k": ["a", "A"], "v": [1, 2]}), CLEAN)
    given = ["--input_artifact", f"{CLEAN}:latest", "--database", f"sqlite:///{path}"]
    with pytest.raises(UserError, match="meant by several of the artifact"):
        run.main([*given, "--table", "songs", "--mode", "upsert", "--key", "k"])
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT * FROM songs").fetchall() == [("a", 0)]


def test_the_table_that_notes_loads_is_none_to_load_into(database, steps):
    with pytest.raises(UserError, match="holds what is noted of loads"):
        store(steps, database, SONGS, table="Pipeline_loads")


def test_names_are_names_whatever_is_in_them(database, steps):
    odd = 'x"; DROP TABLE songs; --'
    store(steps, database, SONGS)
    store(steps, database, SONGS.rename(columns={"title": odd}), table=odd.replace(".", ""))
    quoted = odd.replace('"', '""')
    assert database.rows(f'SELECT "{quoted}" FROM "{quoted}" WHERE id = 1') == [("a",)]
    assert database.rows("SELECT count(*) FROM songs") == [(3,)]


def test_what_a_killed_load_has_left_is_removed_and_other_tables_are_not(database, steps):
    left, other = "songs__new_0123456789ab", "songs__new_year"
    database.execute(f"CREATE TABLE {left} (id INTEGER)", f"CREATE TABLE {other} (id INTEGER)")
    store(steps, database, SONGS)
    assert database.tables() == {"songs", "pipeline_loads", other}


def test_a_locked_sqlite_database_is_waited_for_and_then_said(steps, tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'made.db'}")
    store(steps, database, SONGS)
    # Another process: within one, SQLite's locks do not hold between two copies of it.
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "made.db"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(UserError, match=r"locked by another program, and was for 0.3 s"):
        store(steps, database, SONGS.assign(id=[7, 8, 9]))
    threading.Timer(0.5, holder.stdin.close).start()
    store(steps, database, SONGS.assign(id=[7, 8, 9]), wait_s=30)
    holder.wait()
    holder.stdout.close()
    assert database.rows("SELECT id FROM songs ORDER BY id") == [(7,), (8,), (9,)]


def test_a_locked_table_of_postgresql_is_waited_for_and_then_said(postgres, steps):
    database = Database(postgres.new_database())
    store(steps, database, SONGS)
    with connection.opened(database.address) as other:
        other.execute("LOCK TABLE songs IN ACCESS SHARE MODE")
        with pytest.raises(UserError, match=r"locked by another program, and was for 0.3 s"):
            store(steps, database, SONGS[["id"]])
    assert database.rows(READ) == AS_READ


def test_two_loads_at_once_do_not_meet(steps, tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'made.db'}")
    store(steps, database, SONGS)
    descriptor = os.open(tmp_path / ".made.db.loading", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="another load into .* was running"):
        store(steps, database, SONGS.assign(id=[7, 8, 9]))
    (tmp_path / "linked.db").symlink_to("made.db")
    with pytest.raises(UserError, match="another load into .* was running"):
        store(steps, Database(f"sqlite:///{tmp_path / 'linked.db'}"), SONGS.assign(id=[7, 8, 9]))
    os.close(descriptor)
    store(steps, database, SONGS.assign(id=[7, 8, 9]))
    assert not (tmp_path / ".made.db.loading").exists()


def test_only_parquet_says_what_its_columns_are(database, steps):
    steps.put(SONGS, "clean.csv")
    given = ["--database", database.address, "--table", "songs"]
    with pytest.raises(UserError, match="only parquet says what its columns are"):
        run.main(["--input_artifact", "clean.csv:latest", *given])


def test_what_preprocess_makes_goes_into_every_database(database, steps):
    songs = make_songs()
    steps.put(songs, "raw_data.parquet")
    given = ["--artifact_name", CLEAN, "--dataset_config", steps.yaml(DECLARED)]
    preprocess.main(["--input_artifact", "raw_data.parquet:latest", *given])
    store(steps, database)
    made = steps.table(f"{CLEAN}:latest")
    found = database.rows("SELECT key, genre, text_feature FROM songs")
    expected = made[["key", "genre", "text_feature"]].itertuples(index=False, name=None)
    assert found == [*expected]


def test_a_password_is_refused_on_the_command_line(steps):
    with pytest.raises(UserError, match="password on the command line") as refused:
        given = ["--database", "postgresql://zaphod:s3cretBeeble@127.0.0.1/x", "--table", "songs"]
        run.main(["--input_artifact", f"{CLEAN}:latest", *given])
    assert "s3cretBeeble" not in str(refused.value)
    assert not (steps.folder / "store").exists()
