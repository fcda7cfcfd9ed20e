"""A table that grows by deliveries: which of them are taken, and the newest as the test."""

import pandas as pd
import pytest
from step_support import DECLARED, make_songs

import get_data.run
from check_data import table_schema
from pipeline.caching import decision
from pipeline.planning.step import Step
from preprocess import run as preprocess
from segregate import run as segregate
from util_lib.dataset.declaration import Data
from util_lib.errors import UserError

RAW, CLEAN = "raw_data.parquet", "preprocessed_data.parquet"
WEEKS = [f"2026-W{week:02d}" for week in range(8, 13)]
NEWEST = {"drop_duplicates": True, "test": "newest_partition"}


@pytest.fixture
def incoming(tmp_path):
    """A file of 40 songs for each of five weeks."""
    folder = tmp_path / "incoming"
    folder.mkdir()
    songs = make_songs(200)
    for number, week in enumerate(WEEKS):
        part = songs.iloc[40 * number : 40 * number + 40]
        part.to_parquet(folder / f"songs_{week}.parquet", index=False)
    return folder


def cleaned(steps, address, partition, **keys):
    """Run get_data and preprocess; return the table."""
    given = {"window": None, "until": None} | partition
    flags = [f"--partition_{key}={given[key] or 'null'}" for key in ("by", "window", "until")]
    get_data.run.main(["--file_url", str(address), "--artifact_name", RAW, *flags])
    config = steps.yaml({**DECLARED, "partition": partition, **keys})
    arguments = ["--input_artifact", f"{RAW}:latest", "--dataset_config", config]
    preprocess.main([*arguments, "--artifact_name", CLEAN])
    return steps.table(f"{CLEAN}:latest")


def parts(steps):
    segregate.main(
        ["--input_artifact", f"{CLEAN}:latest", "--artifact_root", "data", "--test_size", "0.3"]
        + ["--random_state", "1", "--stratify", "genre", "--test", "newest_partition"]
    )
    return [steps.table(f"data_{part}.parquet:latest") for part in ("train", "test")]


def test_the_newest_files_are_taken_and_the_newest_of_them_is_the_test(steps, incoming):
    again = pd.read_parquet(incoming / f"songs_{WEEKS[3]}.parquet")
    newest = incoming / f"songs_{WEEKS[4]}.parquet"
    pd.concat([pd.read_parquet(newest), again.head(5)]).to_parquet(newest, index=False)
    table = cleaned(steps, incoming, {"by": "file", "window": 3}, **NEWEST)
    assert [*steps.artifact(f"{RAW}:latest").manifest.entries] == [
        f"songs_{week}.parquet" for week in WEEKS[2:]
    ]
    assert table["_partition"].value_counts().to_dict() == dict.fromkeys(WEEKS[2:], 40)
    data = Data(
        **{**DECLARED, "checks": {"other_columns": False}}, **NEWEST, partition={"by": "file"}
    )
    assert not [f for f in table_schema.faults(table, data) if f.rule == "no other columns"]
    train, test = parts(steps)
    assert {*train["_partition"]} == {*WEEKS[2:4]} and {*test["_partition"]} == {WEEKS[4]}
    songs = make_songs(200)  # those that came twice count where they came first
    pd.testing.assert_series_equal(test["energy"], songs["energy"].tail(40).reset_index(drop=True))


def test_until_takes_what_was_there_then_and_names_the_oldest_otherwise(steps, incoming):
    until = {"by": "file", "window": 2, "until": WEEKS[2]}
    table = cleaned(steps, incoming, until, **NEWEST)
    assert {*table["_partition"]} == {*WEEKS[1:3]}
    with pytest.raises(UserError, match="until '2026-W07' leaves no partition of 5: the oldest"):
        cleaned(steps, incoming, until | {"until": "2026-W07"})


@pytest.mark.parametrize("until", ["2026-W2", "2026-w12", "W12", "2026-W99", "nonsense", "2026-03"])
def test_until_that_is_no_week_is_refused_where_partitions_are_weeks(steps, incoming, until):
    with pytest.raises(UserError, match=f"must be a week as the partitions are.*found '{until}'"):
        cleaned(steps, incoming, {"by": "file", "window": 2, "until": until})


def test_weeks_of_a_column_of_dates_are_partitions(steps, incoming, tmp_path):
    songs = make_songs(84).assign(day=pd.date_range("2026-01-01", periods=84))
    songs.to_csv(tmp_path / "songs.csv", index=False)
    day = {"day": {"dtype": "datetime", "role": "ignore"}}
    keys = NEWEST | {"columns": DECLARED["columns"] | day}
    by_day = {"by": "column", "column": "day", "window": 3, "until": "2026-W08"}
    table = cleaned(steps, tmp_path / "songs.csv", by_day, **keys)
    weeks = table["day"].dt.strftime("%G-W%V")
    assert {*weeks} == {"2026-W06", "2026-W07", "2026-W08"} and len(table) == 21
    train, test = parts(steps)
    assert test["day"].min() == pd.Timestamp("2026-02-16") and len(test) == 7 and len(train) == 14


def test_one_partition_is_no_test_beside_something_to_train_on(steps, incoming):
    cleaned(steps, incoming, {"by": "file", "window": 1}, **NEWEST)
    with pytest.raises(UserError, match="there is one partition, '2026-W12', and nothing to train"):
        parts(steps)


def test_only_the_files_that_are_taken_count_for_the_cache(incoming):
    def source(**partition):
        given = {f"partition_{key}": str(value) for key, value in partition.items()}
        parameters = {"file_url": str(incoming), "sha256": "null", **given}
        step = Step("get_data", parameters, (), (), "get_data", source="file_url")
        return decision.source(step, "file_url", None)

    taken = source(by="file", window=2, until="null")
    (incoming / f"songs_{WEEKS[0]}.parquet").unlink()
    assert source(by="file", window=2, until="null") == taken
    assert source(by="file", window=2, until=WEEKS[3]) != taken
    (incoming / "songs_2026-W13.parquet").write_bytes(b"new")
    assert source(by="file", window=2, until="null") != taken
    assert source(by="file", window=2, until=WEEKS[4]) == taken


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"test": "newest_partition"}, "needs partition.by"),
        ({"partition": {"window": 3}}, "window and until need by"),
        ({"partition": {"by": "column"}}, "needs a column"),
        ({"partition": {"by": "column", "column": "enrgy"}}, "the nearest is 'energy'"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(steps, keys, says):
    from util_lib.dataset import declaration

    with pytest.raises(UserError, match=says):
        declaration.load(steps.yaml({**DECLARED, **keys}))
