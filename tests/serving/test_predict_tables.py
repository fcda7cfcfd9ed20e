"""Rows of a table are predicted into a table, as those of a file are into a file."""

import pandas as pd
import pytest
from sql_support import database, postgres
from step_support import make_songs

from serving import predict
from store_data import run as store_data
from util_lib.errors import UserError

__all__ = ["database", "postgres"]

SONGS = make_songs(40, seed=8)


def into_and_out_of(database, model, **more):
    given = {"input_table": "songs", "input_order_by": "id", "output_table": "answers", **more}
    words = [word for key, value in given.items() for word in (f"--{key}", str(value))]
    address = ["--input", database.address, "--output", database.address]
    predict.main([*address, "--model", str(model), "--keep", "id", *words])


def put(steps, database, frame):
    steps.put(frame, "songs.parquet")
    given = ["--database", database.address, "--table", "songs"]
    store_data.main(["--input_artifact", "songs.parquet:latest", *given])


def test_answers_to_a_table_are_those_to_a_file(database, steps, model_directory, capsys):
    songs = SONGS.assign(id=range(len(SONGS), 0, -1))
    put(steps, database, songs.assign(energy=songs["energy"].where(songs["id"] != 7, 9.5)))
    into_and_out_of(database, model_directory)
    assert "table answers " in capsys.readouterr().out
    ordered = songs.sort_values("id")
    ordered.to_csv(steps.folder / "songs.csv", index=False)
    files = [f"--input={steps.folder / 'songs.csv'}", f"--output={steps.folder / 'answers.csv'}"]
    predict.main([*files, "--model", str(model_directory), "--keep", "id"])
    expected = pd.read_csv(steps.folder / "answers.csv")
    expected = expected[expected["id"] != 7]
    found = database.rows("SELECT id, prediction FROM answers ORDER BY id")
    assert found == [*expected[["id", "prediction"]].itertuples(index=False, name=None)]
    [(row, reason)] = database.rows('SELECT "row", reason FROM answers_rejected')
    assert row == 6 and "energy" in reason


def test_answers_are_changed_by_their_key_and_old_rejections_go(database, steps, model_directory):
    songs = SONGS.assign(id=range(len(SONGS)))
    put(steps, database, songs)
    into_and_out_of(database, model_directory, output_mode="upsert", output_key="id")
    put(steps, database, songs.assign(id=songs["id"] + 5))
    into_and_out_of(database, model_directory, output_mode="upsert", output_key="id")
    assert database.rows("SELECT count(*) FROM answers") == [(45,)]
    assert database.rows("SELECT count(*) FROM answers_rejected") == [(0,)]


def test_without_one_right_row_the_answers_stay_and_the_reasons_are_in_a_table(
    database, steps, model_directory
):
    database.execute("CREATE TABLE answers (id INTEGER)")
    put(steps, database, SONGS.assign(id=1, energy=9.5))
    with pytest.raises(UserError, match="table answers_rejected says why"):
        into_and_out_of(database, model_directory)
    assert database.rows("SELECT count(*) FROM answers") == [(0,)]
    assert database.rows("SELECT count(*) FROM answers_rejected") == [(len(SONGS),)]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--input sqlite:///x.db --output y.csv", "a database needs a table"),
        ("--input x.csv --input_table t --output y.csv", "a file has none"),
        ("--input x.csv --output postgresql://a:s3cretBeeble@h/d --output_table t", "password on"),
    ],
)
def test_a_database_needs_a_table_and_no_password_on_the_command_line(
    steps, words, says, model_directory
):
    with pytest.raises(UserError, match=says) as refused:
        predict.main([*words.split(), "--model", str(model_directory)])
    assert "s3cretBeeble" not in str(refused.value)
