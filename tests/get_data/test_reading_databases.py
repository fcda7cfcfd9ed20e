"""A table or a query of a database becomes one parquet file, in order, however it is called."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from sql_support import Database
from step_support import ROOT, small_disk

from get_data import run
from pipeline.caching import decision, fingerprint
from pipeline.planning.step import Step
from util_lib.errors import UserError
from util_lib.sql import connection

RAW = "raw_data.parquet"
ODD = 'the "rows"; DROP TABLE songs'
MADE = (
    "CREATE TABLE songs (id INTEGER, title TEXT, tempo DOUBLE PRECISION, changed INTEGER)",
    "INSERT INTO songs VALUES (3, 'c''s', NULL, 7), (1, NULL, 120.5, 5), (2, 'b', 90, 6)",
)
IN_ORDER = [(1, None, 120.5, 5), (2, "b", 90.0, 6), (3, "c's", None, 7)]


def get(database, **sql) -> None:
    given = [word for key, value in sql.items() for word in (f"--sql_{key}", value)]
    run.main(["--file_url", database.address, "--artifact_name", RAW, *given])


def rows(frame: pd.DataFrame) -> list[tuple]:
    return list(frame.astype(object).where(frame.notna(), None).itertuples(index=False, name=None))


def test_a_table_becomes_a_parquet_file_in_the_order_asked_for(database, steps):
    database.execute(*MADE)
    get(database, table="songs", order_by="id", version_query="SELECT max(changed) FROM songs")
    logged = steps.artifact(f"{RAW}:latest")
    assert rows(steps.table(f"{RAW}:latest")) == IN_ORDER
    assert logged.metadata["rows"] == 3 and logged.metadata["sql_version"] == "7"
    get(database, table="songs", order_by="id")
    assert steps.artifact(f"{RAW}:latest").version == logged.version


def test_a_query_gives_its_rows_and_changes_nothing(database, steps):
    database.execute(*MADE)
    get(database, query="SELECT id * 2 AS twice FROM songs;", order_by="twice")
    assert steps.table(f"{RAW}:latest")["twice"].tolist() == [2, 4, 6]
    with pytest.raises(UserError):
        get(database, query="DELETE FROM songs RETURNING id")
    assert database.rows("SELECT count(*) FROM songs") == [(3,)]


def test_a_query_of_duckdb_writes_no_file(steps, tmp_path):
    database, beside = Database(f"duckdb:///{tmp_path / 'made.db'}"), tmp_path / "songs.csv"
    database.execute(*MADE)
    for query in (f"COPY songs TO '{beside}'", f"SELECT 1; COPY songs TO '{beside}'"):
        with pytest.raises(UserError, match="disabled by configuration"):
            get(database, table="songs", version_query=query)
    assert not beside.exists()


def test_names_are_names_whatever_is_in_them(database, steps):
    quoted = ODD.replace('"', '""')
    database.execute(f'CREATE TABLE "{quoted}" ("{quoted}" INTEGER)', *MADE)
    database.execute(f'INSERT INTO "{quoted}" VALUES (2), (1)')
    get(database, table=ODD, order_by=ODD)
    assert steps.table(f"{RAW}:latest")[ODD].tolist() == [1, 2]
    assert database.rows("SELECT count(*) FROM songs") == [(3,)]


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ({"table": "nowhere"}, "nowhere"),
        ({"table": "songs", "order_by": "tittle"}, "no column 'tittle' among id, title"),
        ({"query": "SELECT * FROM songs WHERE id > 9"}, "has no rows"),
        ({"query": "SELECT 1 AS a", "table": "songs"}, "not by both"),
        ({}, "say which rows of it"),
    ],
)
def test_what_cannot_be_read_is_said_and_nothing_is_logged(database, steps, sql, says):
    database.execute(*MADE)
    with pytest.raises(UserError, match=says):
        get(database, **sql)
    assert not steps.exists(f"{RAW}:latest")


def test_the_values_of_a_sqlite_column_need_not_be_of_one_type(steps, tmp_path):
    path = tmp_path / "mixed.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mixed (late TEXT, number INTEGER, code)")
        db.executemany("INSERT INTO mixed VALUES (NULL, ?, 1)", [(n,) for n in range(70_000)])
        db.execute("INSERT INTO mixed VALUES ('at last', 0.5, 'x')")
    given = ["--sql_table", "mixed", "--artifact_name", RAW]
    run.main(["--file_url", f"sqlite:///{path}", *given])
    table = steps.table(f"{RAW}:latest")
    assert len(table) == 70_001 and table["number"].sum() == sum(range(70_000)) + 0.5
    assert table["late"].dropna().tolist() == ["at last"]
    assert table["code"].value_counts().to_dict() == {"1": 70_000, "x": 1}


def test_a_column_of_sqlite_may_be_called_as_anything_and_rows_come_in_order(steps, tmp_path):
    path = tmp_path / "odd.db"
    with sqlite3.connect(path) as db:
        db.execute('CREATE TABLE odd ("first row" INTEGER, "0" TEXT, "1" REAL, "UNION" TEXT)')
        made = [(n * 7919 % 70_001, str(n), n / 2, "x") for n in range(70_001)]
        db.executemany("INSERT INTO odd VALUES (?, ?, ?, ?)", made)
    given = ["--sql_table", "odd", "--sql_order_by", "UNION,first row", "--artifact_name", RAW]
    run.main(["--file_url", f"sqlite:///{path}", *given])
    assert rows(steps.table(f"{RAW}:latest")) == sorted(made)


LARGE = 2**53 + 1


def test_floats_and_large_whole_numbers_in_one_column_of_sqlite_are_refused(steps, tmp_path):
    path = tmp_path / "mixed.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mixed (id)")
        db.executemany("INSERT INTO mixed VALUES (?)", [(LARGE,), (0.5,)])
    given = ["--file_url", f"sqlite:///{path}", "--artifact_name", RAW]
    with pytest.raises(UserError, match='"id" holds floats and whole numbers beyond'):
        run.main([*given, "--sql_table", "mixed"])
    assert not steps.exists(f"{RAW}:latest")
    run.main([*given, "--sql_query", "SELECT CAST(id AS TEXT) AS id FROM mixed"])
    assert steps.table(f"{RAW}:latest")["id"].tolist() == [str(LARGE), "0.5"]


def test_numbers_of_postgresql_that_no_float_holds_are_refused(postgres, steps):
    given = ["--file_url", postgres.new_database(), "--artifact_name", RAW]
    with pytest.raises(UserError, match="id is a numeric that does not say how many digits"):
        run.main([*given, "--sql_query", f"SELECT {LARGE}::numeric AS id"])
    run.main([*given, "--sql_query", f"SELECT {LARGE}::numeric(38, 2) AS id"])
    assert str(steps.table(f"{RAW}:latest")["id"][0]) == f"{LARGE}.00"


@pytest.mark.parametrize(
    "text",
    ["'-infinity'::TIMESTAMP", "'infinity'::DATE", "'infinity'::TIMESTAMPTZ", "'24:00:00'::TIME"],
)
def test_times_that_parquet_does_not_have_are_refused(database, steps, text):
    if database.kind == "sqlite":
        pytest.skip("SQLite has no times")
    database.execute("CREATE TABLE songs (id INTEGER)")
    with pytest.raises(UserError, match='t holds times .* ask for CAST."t" AS TEXT'):
        get(database, query=f"SELECT {text} AS t UNION ALL SELECT NULL")
    assert not steps.exists(f"{RAW}:latest")
    get(database, query=f"SELECT CAST({text} AS TEXT) AS t")
    assert steps.table(f"{RAW}:latest")["t"].tolist() == [text.partition("::")[0].strip("'")]


def test_a_state_that_python_cannot_hold_is_said(postgres, steps):
    address, query = postgres.new_database(), "SELECT 'infinity'::date"
    with pytest.raises(UserError, match="gave what Python cannot hold"):
        connection.version(address, query)


def test_a_full_disk_is_no_fault_of_the_database(steps, tmp_path):
    path = tmp_path / "songs.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE songs (title TEXT)")
        made = ((os.urandom(500).hex(),) for _ in range(5_000))
        db.executemany("INSERT INTO songs VALUES (?)", made)
    given = ["--file_url", f"sqlite:///{path}", "--artifact_name", RAW, "--sql_table", "songs"]
    with small_disk(2**20), pytest.raises(UserError, match="cannot read or write .*set TMPDIR"):
        run.main(given)
    assert not steps.exists(f"{RAW}:latest")


def test_why_a_version_query_fails_is_said(tmp_path):
    path = tmp_path / "songs.db"
    sqlite3.connect(path).close()
    with pytest.raises(UserError, match="no such table: nowhere"):
        connection.version(f"sqlite:///{path}", "SELECT max(id) FROM nowhere")


def test_the_types_of_postgresql_are_those_of_parquet(postgres, steps):
    address = postgres.new_database()
    query = (
        "SELECT 1.25::numeric(8,2) AS exact, 1.5::numeric AS free, 'NaN'::numeric AS nothing,"
        " 'b5c4b3e0-0000-4000-8000-000000000000'::uuid AS uuid, '{}'::jsonb AS json,"
        " '1 day'::interval AS interval, true AS truth, date '2026-01-02' AS day,"
        " '-12.5'::money AS price, 4294967295::oid AS number"
    )
    given = ["--sql_query", query, "--artifact_name", RAW]
    run.main(["--file_url", address, *given])
    row = steps.table(f"{RAW}:latest").iloc[0]
    assert (str(row["exact"]), row["free"], row["truth"]) == ("1.25", 1.5, True)
    assert pd.isna(row["nothing"]) and str(row["day"]) == "2026-01-02"
    assert (row["price"], row["number"]) == (-12.5, 2**32 - 1)
    assert row["uuid"].startswith("b5c4b3e0") and (row["json"], row["interval"]) == ("{}", "1 day")


def test_two_columns_of_one_name_are_refused(database, steps):
    database.execute("CREATE TABLE one (n INTEGER)")
    with pytest.raises(UserError, match="two columns called 'a'"):
        get(database, query="SELECT 1 AS a, 2 AS b, 3 AS a")
    get(database, query="SELECT 1 AS a, 2 AS a_1, 3 AS b")
    assert list(steps.table(f"{RAW}:latest")) == ["a", "a_1", "b"]


@pytest.mark.parametrize("names", [["08:00", "08:15"], ["Ä", "ä"], ["a", "a:1"]])
def test_columns_that_only_look_alike_are_two(database, steps, names):
    columns = ", ".join(f'"{name}" INTEGER' for name in names)
    database.execute(f"CREATE TABLE times ({columns})")
    database.execute("INSERT INTO times VALUES (1, 2)")
    for sql in ({"table": "times"}, {"query": "SELECT * FROM times"}):
        get(database, **sql)
        assert list(steps.table(f"{RAW}:latest")) == names
    twice = f'SELECT "{names[1]}", "{names[1]}" FROM times'
    with pytest.raises(UserError, match=f"two columns called '{names[1]}'"):
        get(database, query=twice)


def step(database, **sql) -> Step:
    parameters = {"file_url": database.address, "sha256": "null"}
    parameters |= {f"sql_{key}": value for key, value in sql.items()}
    return Step("get_data", parameters, (), (RAW,), "get_data", source="file_url")


def test_the_answer_of_the_version_query_is_what_the_cache_knows_the_rows_by(database):
    database.execute(*MADE)
    asked = step(database, table="songs", version_query="SELECT max(changed), count(*) FROM songs")

    def known():
        return decision.source(asked, "file_url", None)

    before = known()
    assert known() == before
    database.execute("UPDATE songs SET title = 'other', changed = 8 WHERE id = 1")
    assert known() != before


def test_without_a_version_query_the_step_always_runs_and_says_so(database, steps, caplog):
    database.execute(*MADE)
    with pytest.raises(fingerprint.UnknownFingerprint, match="version_query can tell"):
        decision.source(step(database, table="songs"), "file_url", None)
    get(database, table="songs", order_by="id")
    assert "no version_query" in caplog.text


def test_a_password_is_refused_on_the_command_line_and_taken_from_the_environment(
    steps, monkeypatch, caplog
):
    whole = "postgresql://zaphod:s3cretBeeble@127.0.0.1:1/songs"
    given = ["--artifact_name", RAW, "--sql_table", "songs"]
    with pytest.raises(UserError, match="password on the command line") as refused:
        run.main(["--file_url", whole, *given])
    monkeypatch.setenv("GET_DATA_URL", whole)
    with pytest.raises(UserError, match="Connection refused") as failed:
        run.main(["--file_url", "postgresql://127.0.0.1:1/songs", *given])
    said = f"{refused.value} {failed.value} {caplog.text}"
    assert "s3cretBeeble" not in said and "zaphod" not in said
    written = [path.read_bytes() for path in steps.folder.rglob("*") if path.is_file()]
    assert written and not any(b"s3cretBeeble" in content for content in written)


def test_a_password_of_postgresql_is_never_written(postgres, steps):
    """The whole address comes by the environment, to a step that is a process."""
    address = postgres.new_database()
    name = address.partition("///")[2].partition("?")[0]
    whole = f"postgresql://tester:s3cretBeeble@/{name}?host={postgres.folder}"
    folder = steps.folder / "here"
    folder.mkdir()
    shown = f"postgresql:///{name}?host=***"
    done = subprocess.run(
        ["python", ROOT / "get_data/run.py", "--file_url", shown, "--artifact_name", RAW]
        + ["--sql_query", "SELECT 1 AS one"],
        cwd=folder,
        env={**os.environ, "GET_DATA_URL": whole, "TRACKING_STORE": str(folder / "store")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "s3cretBeeble" not in done.stdout + done.stderr
    written = [path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()]
    assert written and not any(b"s3cretBeeble" in content for content in written)


def test_a_wrong_password_is_said_without_the_user(postgres, steps, monkeypatch):
    address = postgres.new_database()
    Database(address).execute("CREATE ROLE zaphod LOGIN PASSWORD 'another'")
    name = address.partition("///")[2].partition("?")[0]
    shown = f"postgresql:///{name}?host=***"
    whole = f"postgresql://zaphod:s3cretBeeble@/{name}?host={postgres.folder}"
    monkeypatch.setenv("GET_DATA_URL", whole)
    given = ["--file_url", shown, "--sql_table", "songs", "--artifact_name", RAW]
    with pytest.raises(UserError, match="password authentication failed") as refused:
        run.main(given)
    assert "zaphod" not in str(refused.value) and "s3cret" not in str(refused.value)


def test_the_driver_that_is_not_there_is_named(steps, tmp_path, monkeypatch):
    (tmp_path / "made.db").touch()
    monkeypatch.setitem(sys.modules, "adbc_driver_sqlite.dbapi", None)
    with pytest.raises(UserError, match="pip install adbc-driver-sqlite"):
        given = ["--sql_table", "songs", "--artifact_name", RAW]
        run.main(["--file_url", f"sqlite:///{tmp_path / 'made.db'}", *given])


def test_a_text_of_sqlite_that_is_none_is_said(steps, tmp_path):
    path = tmp_path / "bytes.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE songs (title TEXT)")
        db.execute("INSERT INTO songs VALUES (CAST(x'ff41' AS TEXT))")
    with pytest.raises(UserError, match="UTF8"):
        run.main(
            ["--file_url", f"sqlite:///{path}", "--artifact_name", RAW, "--sql_table", "songs"]
        )
    assert not steps.exists(f"{RAW}:latest")


def test_what_duckdbs_driver_would_give_as_something_else_is_read_right_or_refused(steps, tmp_path):
    import duckdb

    path = tmp_path / "types.duckdb"
    duckdb.connect(str(path)).close()
    given = ["--file_url", f"duckdb:///{path}", "--artifact_name", RAW]
    large = 2**127 - 1
    for text in (f"{large}::HUGEINT", f"{2**128 - 1}::UHUGEINT"):
        with pytest.raises(UserError, match="DECIMAL"):
            run.main([*given, "--sql_query", f"SELECT {text} AS n"])
    query = "SELECT sum(x) AS n, TIMETZ '12:00:00+05' AS t, '101'::BIT AS b FROM range(4) AS r(x)"
    run.main([*given, "--sql_query", query])
    row = steps.table(f"{RAW}:latest").iloc[0]
    assert (int(row["n"]), row["t"], row["b"]) == (6, "12:00:00+05", "101")
