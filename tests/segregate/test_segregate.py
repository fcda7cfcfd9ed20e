import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.model_selection import train_test_split
from step_support import make_songs, with_text

from segregate import run
from util_lib.errors import UserError


@pytest.fixture
def segregate(steps):
    def go(content, name="preprocessed_data.parquet", stratify="genre", **changes):
        values = {"test_size": 0.3, "random_state": 42, "stratify": stratify, **changes}
        arguments = [text for key, value in values.items() for text in (f"--{key}", str(value))]
        reference = steps.put(content, name)
        run.main(["--input_artifact", reference, "--artifact_root", "data", *arguments])
        suffix = name[name.rindex(".") :]
        return [steps.table(f"data_{part}{suffix}:latest") for part in ("train", "test")]

    return go


@pytest.mark.parametrize("stratify", ["genre", "key", None])
@pytest.mark.parametrize("seed", [0, 42])
def test_the_rows_and_their_order_are_those_of_scikit_learn(segregate, stratify, seed):
    songs = with_text(make_songs())
    labels = songs[stratify] if stratify else None
    expected = train_test_split(songs, test_size=0.3, random_state=seed, stratify=labels)
    found = segregate(songs, stratify=stratify or "null", random_state=seed)
    for ours, theirs in zip(found, expected, strict=True):
        pd.testing.assert_frame_equal(ours, theirs.reset_index(drop=True))


def test_csv_keeps_every_value_as_it_is_written(segregate, steps):
    text = "code,genre,note\n" + "".join(f'00{i},g{i % 2},"a, ""b""\nc"\n' for i in range(8))
    segregate(text.encode(), name="songs.csv")
    rows = [*steps.bytes("data_train.csv:v0").decode().split("\n0")][1:]
    rows += [*steps.bytes("data_test.csv:v0").decode().split("\n0")][1:]
    assert sorted(row.rstrip("\n") for row in rows) == [
        f'0{i},g{i % 2},"a, ""b""\nc"' for i in range(8)
    ]


def test_no_row_index_reaches_the_parts(segregate, steps):
    songs = make_songs(30)
    songs.index = np.arange(30) + 100
    path = steps.folder / "x.parquet"
    songs.to_parquet(path)
    assert "__index_level_0__" in pq.read_schema(path).names
    train, _ = segregate(path.read_bytes())
    assert list(train.columns) == list(songs.columns)
    assert list(train.index) == list(range(21))


def test_types_survive(segregate):
    songs = make_songs(30).assign(when=pd.Timestamp("2024-01-01"), flag=True)
    train, test = segregate(songs)
    assert (train.dtypes == songs.dtypes).all() and (test.dtypes == songs.dtypes).all()


def test_what_it_logs_is_described(segregate, steps):
    segregate(make_songs(30))
    test = steps.artifact("data_test.parquet:latest")
    assert test.type == "segregated_data"
    assert test.description == "test split of dataset preprocessed_data.parquet:v0"
    assert test.metadata == {"rows": 9, "dataset": "preprocessed_data.parquet:v0"}


def test_the_same_seed_gives_the_same_versions_and_another_one_others(segregate, steps):
    segregate(make_songs(30))
    segregate(make_songs(30))
    assert steps.artifact("data_test.parquet:latest").version == "v0"
    segregate(make_songs(30), random_state=7)
    assert steps.artifact("data_test.parquet:latest").version == "v1"


def test_nothing_is_left_on_disk(segregate, steps):
    segregate(make_songs(30))
    assert {path.name for path in steps.folder.iterdir()} <= {
        "put",
        "got",
        "store",
        ".tracking_stores",
    }


def test_an_unknown_column_is_answered_with_the_nearest(segregate):
    with pytest.raises(UserError, match="unknown column 'gender': the nearest is 'genre'"):
        segregate(make_songs(30), stratify="gender")


def test_a_class_too_rare_to_split_is_named(segregate, steps):
    songs = make_songs(30)
    songs.loc[0, "genre"] = "Polka"
    with pytest.raises(UserError, match="class 'Polka' has 1 row"):
        segregate(songs)
    assert not steps.exists("data_train.parquet:latest")


@pytest.mark.parametrize("name", ["songs.parquet", "songs.csv"])
def test_rows_without_label_are_counted(segregate, name):
    songs = make_songs(30)
    songs.loc[:1, "genre"] = None
    with pytest.raises(UserError, match="'genre' must have a value in every row, 2 of 30"):
        segregate(songs, name=name)


def test_parts_too_small_for_the_classes_are_refused(segregate):
    with pytest.raises(UserError, match="3 for test .* each of the 15 classes of 'key'"):
        segregate(make_songs(30).assign(key=np.arange(30) % 15), test_size=0.1, stratify="key")


def test_a_split_that_leaves_nothing_is_refused(segregate):
    with pytest.raises(UserError, match="0 for training and 1 for test"):
        segregate(make_songs(1), stratify="null")


@pytest.mark.parametrize("size", ["0", "1", "1.5", "-0.1", "nan", "half"])
def test_an_impossible_test_size_is_refused(segregate, size):
    with pytest.raises(UserError, match="--test_size: must be a number between 0 and 1"):
        segregate(make_songs(30), test_size=size)


@pytest.mark.parametrize("seed", ["-1", "1.5", str(2**32), "x"])
def test_an_impossible_seed_is_refused(segregate, seed):
    with pytest.raises(UserError, match="--random_state: must be a whole number"):
        segregate(make_songs(30), random_state=seed)


def test_a_table_without_rows_is_refused(segregate):
    with pytest.raises(UserError, match="columns but no rows"):
        segregate(make_songs(0))


def test_labels_of_numbers_and_flags_can_be_stratified_by(segregate):
    table = pd.DataFrame({"flag": [True, False] * 20, "n": np.arange(40)})
    train, _ = segregate(table, stratify="flag")
    assert train["flag"].sum() == 14


def test_long_texts_in_several_chunks_keep_their_rows(steps, segregate):
    chunks = pa.chunked_array([[f"t{i}" for i in range(20)], [f"t{i}" for i in range(20, 40)]])
    table = pa.table({"text": chunks, "n": list(range(40))})
    pq.write_table(table, steps.folder / "x.parquet", row_group_size=20)
    train, _ = segregate((steps.folder / "x.parquet").read_bytes(), stratify="null")
    assert (train["text"] == "t" + train["n"].astype("str")).all()


@pytest.mark.parametrize("name", ["songs.parquet", "songs.csv"])
@pytest.mark.parametrize("stratify", ["genre", "null"])
def test_a_large_table_is_split_in_its_order_with_the_same_shares(segregate, name, stratify):
    songs = with_text(make_songs()).reset_index(names="place")
    small = segregate(songs, name=name, stratify=stratify)
    large = segregate(songs, name=name, stratify=stratify, large_rows=len(songs) - 1)
    assert [len(part) for part in large] == [len(part) for part in small]
    places = [part["place"].tolist() for part in large]
    assert all(part == sorted(part) for part in places)
    assert sorted(sum(places, [])) == [*range(len(songs))]
    if stratify == "genre":
        expected = songs["genre"].value_counts() * 0.3
        assert (large[1]["genre"].value_counts().sub(expected).abs() < 1).all()
    again = pd.concat(large).sort_values("place", ignore_index=True)
    pd.testing.assert_frame_equal(again, pd.concat(small).sort_values("place", ignore_index=True))


def test_a_large_table_loses_its_row_index_and_keeps_its_types(segregate, steps):
    songs = make_songs(40).assign(when=pd.Timestamp("2024-01-01"), flag=True)
    songs["genre"] = songs["genre"].astype("category")
    songs.index = np.arange(40) + 100
    path = steps.folder / "x.parquet"
    songs.to_parquet(path)
    small = segregate(path.read_bytes())
    large = segregate(path.read_bytes(), large_rows=1)
    for ours, theirs in zip(large, small, strict=True):
        assert (ours.dtypes == theirs.dtypes).all() and list(ours.columns) == list(theirs.columns)


def test_the_seed_decides_which_rows_of_a_large_table_are_test(segregate):
    songs = make_songs(60)
    first, again, other = (
        segregate(songs, large_rows=1, random_state=seed)[1]["tempo"].tolist() for seed in (1, 1, 2)
    )
    assert first == again != other


def test_parts_too_small_for_the_classes_of_a_large_table_are_refused(segregate):
    songs = make_songs(30).assign(key=np.arange(30) % 15)
    with pytest.raises(UserError, match="3 for test .* each of the 15 classes of 'key'"):
        segregate(songs, test_size=0.1, stratify="key", large_rows=1)


@pytest.mark.parametrize("name", ["preprocessed_data.parquet", "preprocessed_data.csv"])
@pytest.mark.parametrize("large_rows", [1, 1000])
def test_groups_stay_together_and_the_newest_rows_are_test(segregate, name, large_rows):
    songs = make_songs(120).assign(
        album=[f"A{i // 4}" for i in range(120)],
        day=pd.date_range("2024-01-01", periods=120).astype(str),
    )
    songs = songs.sample(frac=1, random_state=2, ignore_index=True)
    given = {"name": name, "large_rows": large_rows}
    train, test = segregate(songs, split_by="group", split_column="album", **given)
    assert not {*train["album"]} & {*test["album"]} and (len(train), len(test)) == (84, 36)
    train, test = segregate(songs, split_by="time", split_column="day", **given)
    days = train["day"].astype(str).max(), test["day"].astype(str).min()
    assert days[0][:10] == "2024-03-24" and days[1][:10] == "2024-03-25"


def test_a_column_to_split_by_that_is_not_there_is_refused(segregate):
    with pytest.raises(UserError, match="split: unknown column 'albun'"):
        segregate(make_songs(30), split_by="group", split_column="albun")
