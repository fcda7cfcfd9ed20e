"""The first difference of two artifacts is named: cell, line, node."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from step_support import MODEL, ROOT, make_songs, with_text

from tools.compare import models, run, tables
from util_lib.errors import UserError
from util_lib.model import config as model_config
from util_lib.model import export, inference_pipeline
from util_lib.tables import reading as files


@pytest.fixture
def pair(tmp_path):
    """Write two tables as parquet or CSV and return how they differ."""

    def differ(before, now, suffix=".parquet"):
        paths = (tmp_path / f"before{suffix}", tmp_path / f"now{suffix}")
        for table, path in zip((before, now), paths, strict=True):
            files.write(table, path)
        return tables.difference(*paths)

    return differ


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_one_cell_is_named_with_row_column_and_both_values(pair, suffix):
    songs = with_text(make_songs())
    other = songs.copy()
    other.loc[123, "tempo"] = 99.5
    old = songs.loc[123, "tempo"].item()
    said = pair(songs, other, suffix)
    old, new = (repr(old), "99.5") if suffix == ".parquet" else (f"'{old!r}'", "'99.5'")
    assert said == f"row 123, column 'tempo': {old} -> {new}"


def test_the_earliest_row_counts_and_in_it_the_leftmost_column(pair):
    songs = make_songs()
    other = songs.copy()
    other.loc[7, ["tempo", "genre"]] = [1.0, "Polka"]
    other.loc[9, "energy"] = 2.0
    assert pair(songs, other).startswith("row 7, column 'tempo': ")


def test_a_value_that_went_missing_or_came_is_a_difference_and_two_missing_ones_are_not(pair):
    songs = make_songs()
    assert songs["loudness"].isna().any()
    other = songs.copy()
    other.loc[201, "loudness"] = np.nan
    old = songs.loc[201, "loudness"].item()
    assert pair(songs, other) == f"row 201, column 'loudness': {old!r} -> null"
    other = songs.copy()
    other.loc[3, "title"] = "a title"
    assert pair(songs, other) == "row 3, column 'title': null -> 'a title'"


def test_rows_columns_order_and_types_are_named(pair):
    songs = make_songs()
    assert pair(songs, songs.iloc[:-1]) == "300 -> 299 rows"
    said = pair(songs, songs.iloc[1:])
    assert said.startswith("300 -> 299 rows; row 0, column 'energy': ")
    assert pair(songs, songs.drop(columns="key")) == "column 'key' is gone"
    assert pair(songs, songs.assign(more=1)) == "column 'more' is new"
    swapped = songs[[*songs.columns[::-1]]]
    assert pair(songs, swapped) == ("columns in another order: number 0 is 'energy' -> 'genre'")
    said = pair(songs, songs.assign(key=songs["key"].astype(float)))
    assert said == "column 'key': type int64 -> double"
    short = songs.assign(loudness=songs["loudness"].round(0).astype("float32"))
    rounded = songs.assign(loudness=songs["loudness"].round(0))
    assert pair(rounded, short) == "column 'loudness': type double -> float"  # with nulls in it
    other = songs.assign(key=songs["key"].astype(float))
    other.loc[5, "key"] = 99
    old = songs.loc[5, "key"].item()
    assert pair(songs, other) == (
        f"column 'key': type int64 -> double; row 5, column 'key': {old} -> 99.0"
    )


def test_dates_lists_and_nan_are_compared_by_value(tmp_path):
    whole = {
        "day": pa.array([1, 2], pa.timestamp("us")),
        "many": pa.array([[1, 2], [3]]),
        "odd": pa.array([float("nan"), float("inf")]),
    }
    for name, column in {
        "day": pa.array([1, 3], pa.timestamp("us")),
        "many": pa.array([[1, 2], [4]]),
        "odd": pa.array([float("nan"), 1.0]),
    }.items():
        pq.write_table(pa.table(whole), tmp_path / "a.parquet")
        pq.write_table(pa.table({**whole, name: column}), tmp_path / "b.parquet")
        said = tables.difference(tmp_path / "a.parquet", tmp_path / "b.parquet")
        assert said.startswith(f"row 1, column {name!r}: "), said


def test_equal_values_in_unequal_files_are_no_different_values(tmp_path):
    table = pa.table({"a": [1, 2]})
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(table.replace_schema_metadata({"x": "y"}), tmp_path / "b.parquet")
    said = tables.difference(tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert said == "the same values, with other metadata in the file"


def fitted(songs, **forest):
    parameters = {**MODEL["random_forest"], **forest}
    config = model_config.RandomForestPipeline.model_validate(
        {**MODEL, "random_forest": parameters}
    )
    pipeline = inference_pipeline.make_inference_pipeline(config)
    inference_pipeline.fit(pipeline, songs, config)
    return pipeline


def exported(folder, songs, **forest):
    pipeline = fitted(songs, **forest)
    example = pipeline["columns"].transform(songs)
    about = {"target": "genre", "features": MODEL["features"]}
    export.save(pipeline, folder, example, pipeline["classifier"].classes_, about)


def test_of_two_models_the_tree_and_the_node_are_named(tmp_path):
    songs = with_text(make_songs())
    exported(tmp_path / "before", songs)
    exported(tmp_path / "now", songs, random_state=4)
    said = run.difference(tmp_path / "before", tmp_path / "now")
    assert said == "model.skops: classifier: parameter random_state 3 -> 4"
    forest = fitted(songs)["classifier"]
    other = fitted(songs)["classifier"]
    tree = other.estimators_[6].tree_
    tree.value[2] = tree.value[2][:, ::-1]
    assert models.of_forests(forest, forest) == ""
    forest.names_, other.names_ = ["tempo", "tempo"], ["tempo", "".join(["tem", "po"])]
    assert models.of_forests(forest, other).startswith("tree 6, node 2: ")
    other.estimators_ = forest.estimators_
    assert models.of_forests(forest, other) == ""


def test_of_two_models_what_the_preprocessing_learnt_is_named(tmp_path):
    songs = with_text(make_songs())
    moved = songs.assign(tempo=songs["tempo"] + 0.5)
    exported(tmp_path / "before", songs)
    exported(tmp_path / "now", moved)
    said = run.difference(tmp_path / "before", tmp_path / "now")
    assert said.startswith(
        "model.skops: processor: numerical, stage 0 (SimpleImputer): statistics_ "
    )


def test_lines_bytes_and_files_are_named(tmp_path):
    for name, before, now in (
        ("log", b"one\ntwo\n", b"one\n2\n"),
        ("longer", b"one\n", b"one\ntwo\n"),
        ("image", b"\x89\x00\x01", b"\x89\x00\x02\x03"),
    ):
        for side, content in (("before", before), ("now", now)):
            (tmp_path / name / side).mkdir(parents=True)
            (tmp_path / name / side / "file").write_bytes(content)
    (tmp_path / "more" / "before").mkdir(parents=True)
    (tmp_path / "more" / "now").mkdir()
    (tmp_path / "more" / "now" / "new.txt").write_text("")
    done = subprocess.run([sys.executable, ROOT / "tools/compare/run.py", "--folder", tmp_path])
    assert done.returncode == 0
    assert json.loads((tmp_path / "differences.json").read_text()) == {
        "image": "byte 2 (counted from 0); 3 -> 4 bytes",
        "log": "line 2: 'two' -> '2'",
        "longer": "line 2: '' -> 'two'",
        "more": "file new.txt is new",
    }


def test_a_single_file_under_another_name_is_compared_too(tmp_path):
    for side, name, text in (("before", "a.csv", "x\n1\n"), ("now", "b.csv", "x\n2\n")):
        (tmp_path / side).mkdir()
        (tmp_path / side / name).write_text(text)
    said = run.difference(tmp_path / "before", tmp_path / "now")
    assert said == "file a.csv -> b.csv; row 0, column 'x': '1' -> '2'"
    (tmp_path / "now" / "b.csv").write_text("x\n1\n")
    said = run.difference(tmp_path / "before", tmp_path / "now")
    assert said == "file a.csv -> b.csv, the same content"


def test_a_folder_without_pairs_is_refused(tmp_path):
    with pytest.raises(UserError, match="nothing to compare"):
        run.main(["--folder", str(tmp_path)])
    assert not list(tmp_path.iterdir())
