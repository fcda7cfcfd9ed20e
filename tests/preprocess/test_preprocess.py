import numpy as np
import pandas as pd
import pytest
from step_support import DECLARED, make_songs

from preprocess import run
from util_lib.errors import UserError

NAME = "preprocessed_data.parquet"


@pytest.fixture
def preprocess(steps):
    def go(content, raw="raw_data.parquet", name=NAME, **changes):
        reference = steps.put(content, raw)
        config = steps.yaml({**DECLARED, **changes})
        run.main(
            ["--input_artifact", reference, "--artifact_name", name, "--dataset_config", config]
        )
        return steps.table(f"{name}:latest")

    return go


def test_repeated_rows_go_and_the_first_of_each_stays_in_its_place(preprocess, caplog):
    songs = make_songs(30)
    table = preprocess(pd.concat([songs, songs.iloc[[3, 3, 5]]]), drop_duplicates=True)
    assert list(table["tempo"]) == list(songs["tempo"])
    assert list(table.index) == list(range(30))
    assert "dropped 3 duplicates of 33 rows" in caplog.text


@pytest.mark.parametrize("large_rows", [10**6, 1])
def test_how_many_went_is_kept_with_the_table_and_many_are_a_line_of_the_run(
    preprocess, steps, large_rows
):
    songs = make_songs(30)
    for n_more, line in ((1, None), (10, 0.25)):
        raw = pd.concat([songs, songs[:n_more]])
        preprocess(raw, drop_duplicates=True, large_rows=large_rows)
        assert steps.run("preprocess").summary.get("duplicates_dropped") == line
        share = steps.artifact(f"{NAME}:latest").metadata["duplicates_dropped"]
        assert share == pytest.approx(n_more / (30 + n_more), abs=1e-6)
    assert steps.artifact(f"{NAME}:latest").version == "v0"  # the same rows came out


def test_repeated_rows_stay_where_the_dataset_does_not_say_otherwise(preprocess):
    songs = make_songs(30)
    assert len(preprocess(pd.concat([songs, songs]))) == 60


def test_missing_text_becomes_empty_and_text_is_joined_with_one_space(preprocess):
    table = preprocess(make_songs(6))
    assert list(table["title"][:3]) == ["", "", "warehouse beats"]
    assert list(table["text_feature"][:3]) == [" a song", " a song", "warehouse beats "]
    assert not table["text_feature"].isna().any()


def test_a_text_column_without_any_value_becomes_empty_text(preprocess):
    table = preprocess(make_songs(6).assign(title=np.nan))
    assert list(table["title"]) == [""] * 6
    assert table["text_feature"][0] == " a song"


def test_which_columns_are_joined_is_configuration(preprocess):
    feature = {"name": "words", "columns": ["song_name", "title", "genre"]}
    table = preprocess(make_songs(3), text_feature=feature)
    assert list(table["words"]) == ["a song  Emo", "a song  Pop", " warehouse beats techno"]
    assert "text_feature" not in preprocess(make_songs(3), text_feature=None)


def test_numbers_are_left_as_they_are(preprocess):
    songs = make_songs(30)
    table = preprocess(songs)
    assert table["loudness"].isna().sum() == songs["loudness"].isna().sum() > 0
    assert (table.dtypes[["energy", "key"]] == songs.dtypes[["energy", "key"]]).all()


def test_a_text_column_of_numbers_is_left_for_check_data(preprocess):
    table = preprocess(make_songs(4).assign(title=[1.5, np.nan, 3.0, 4.0]))
    assert table["title"].dtype == "float64" and table["title"].isna().sum() == 1
    assert table["text_feature"][0] == "1.5 a song"


def test_a_wrong_value_is_left_for_check_data(preprocess):
    energy = ["high", *map(str, range(29))]
    assert list(preprocess(make_songs(30).assign(energy=energy))["energy"]) == energy


def test_csv_in_gives_the_same_table_as_parquet_in(preprocess):
    songs = make_songs(30).assign(title="007")
    expected = preprocess(songs)
    pd.testing.assert_frame_equal(preprocess(songs, raw="raw_data.csv"), expected)


def test_a_name_ending_in_csv_writes_csv_without_index(preprocess, steps):
    preprocess(make_songs(3), name="preprocessed_data.csv")
    text = steps.bytes("preprocessed_data.csv:latest").decode()
    assert text.splitlines()[0] == "energy,loudness,tempo,key,title,song_name,genre,text_feature"
    assert len(text.splitlines()) == 4


@pytest.mark.parametrize("name", [NAME, "preprocessed_data.csv"])
def test_the_same_input_gives_the_same_bytes(preprocess, steps, name):
    preprocess(make_songs(30), name=name)
    preprocess(make_songs(30), name=name)
    assert steps.artifact(f"{name}:latest").version == "v0"


def test_a_row_index_in_the_input_does_not_survive(preprocess):
    songs = make_songs(6)
    songs.index = [5, 4, 3, 2, 1, 0]
    assert list(preprocess(songs).columns) == [*songs.columns, "text_feature"]


def test_what_it_logs_is_described(preprocess, steps):
    preprocess(make_songs(6))
    artifact = steps.artifact(f"{NAME}:latest")
    assert artifact.type == "preprocessed_data"
    assert artifact.metadata == {"rows": 6, "columns": 8}
    assert [a.name for a in [*artifact.logged_by().used_artifacts()]] == ["raw_data.parquet:v0"]


def test_a_missing_column_is_named_with_the_nearest(preprocess, steps):
    with pytest.raises(UserError, match="column 'tempo' is declared .* the nearest is 'temp'"):
        preprocess(make_songs(6).rename(columns={"tempo": "temp"}))
    assert not steps.exists(f"{NAME}:latest")


def test_a_text_feature_that_is_a_column_already_is_refused(preprocess):
    with pytest.raises(UserError, match="'text_feature' is a column of the table already"):
        preprocess(make_songs(6).assign(text_feature="x"))


def test_lists_in_cells_are_refused(preprocess):
    with pytest.raises(UserError, match="column 'title' holds lists"):
        preprocess(make_songs(2).assign(title=[["a"], ["b"]]), drop_duplicates=True)


@pytest.mark.parametrize("content", [b"", b"PAR1 broken", b"<html>"])
def test_a_broken_file_is_one_sentence(preprocess, content):
    with pytest.raises(UserError, match="raw_data.parquet is"):
        preprocess(content)


def test_an_unknown_key_of_the_dataset_file_is_refused_before_anything_is_read(preprocess):
    with pytest.raises(UserError, match="unknown key 'drop_duplicate'"):
        preprocess(make_songs(3), drop_duplicate=True)


def test_an_input_that_was_never_made_is_said_to_be_missing(steps):
    arguments = ["--artifact_name", NAME, "--dataset_config", steps.yaml(DECLARED)]
    steps.put(make_songs(10), "something.parquet")  # else there is no store at all
    with pytest.raises(UserError, match="already created"):
        run.main(["--input_artifact", "raw_data.parquet:latest", *arguments])
    with pytest.raises(UserError, match="without alias"):
        run.main(["--input_artifact", "raw_data.parquet", *arguments])


def test_a_csv_file_is_read_and_cleaned_as_declared_whatever_it_is_called(preprocess, caplog):
    lines = "made on a Monday\n0,2;Pop;x;NA\n0,9;Emo;;\n0,3;Polka;y;z\n".encode("utf-16")
    columns = {
        "energy": {"dtype": "float", "role": "numerical"},
        "genre": {"dtype": "string", "role": "target"},
        "title": {"dtype": "string", "role": "text", "nullable": True},
        "song_name": {"dtype": "string", "role": "text", "nullable": True},
    }
    options = {"separator": ";", "decimal": ",", "encoding": "utf-16", "header": False}
    table = preprocess(
        lines,
        raw="songs",
        columns=columns,
        csv={**options, "skip_lines": 1},
        clean={"keep_rows": {"genre": {"allowed": ["Pop", "Emo"]}}},
    )
    assert table["energy"].tolist() == [0.2, 0.9]
    assert table["text_feature"].tolist() == ["x NA", " "]
    assert "clean.keep_rows.genre: dropped 1 of 3 rows" in caplog.text


def test_half_of_the_rows_becomes_the_reference_with_the_same_shares_and_rules(preprocess, steps):
    songs = make_songs(600).drop(columns="loudness").assign(number=range(600))
    columns = {k: v for k, v in DECLARED["columns"].items() if k != "loudness"}
    given = {"columns": columns, "clean": {"drop_columns": ["key"]}, "reference_half": True}
    columns.pop("key")
    ours = preprocess(songs, **given)
    theirs = steps.table("reference_data.parquet:latest")
    assert sorted([*ours["number"], *theirs["number"]]) == list(range(600))
    assert ours["genre"].value_counts().to_dict() == theirs["genre"].value_counts().to_dict()
    assert list(ours) == list(theirs) and "key" not in theirs and "text_feature" in theirs
    assert ours["number"].is_monotonic_increasing and ours["number"].tolist()[:9] != list(range(9))
    preprocess(songs, **given)
    assert steps.artifact("reference_data.parquet:latest").version == "v0"


def test_the_halves_of_rare_and_missing_classes_differ_by_one_row_at_most():
    frame = pd.DataFrame({"kind": ["a"] * 7 + ["b"] + [None] * 3})
    ours, theirs = run.halves(frame, 1, frame["kind"])
    assert (len(ours), len(theirs)) == (6, 5)
    assert abs((ours["kind"] == "a").sum() - (theirs["kind"] == "a").sum()) == 1
    other, _ = run.halves(frame, 2, frame["kind"])
    assert list(other.index) != list(ours.index)


def test_a_table_of_one_row_has_no_second_half(preprocess, steps):
    with pytest.raises(UserError, match="reference_half needs at least 2 rows, found 1"):
        preprocess(make_songs(1), reference_half=True)
    assert not steps.exists(f"{NAME}:latest")
