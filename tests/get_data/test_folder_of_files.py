"""A folder, or a glob, of files is one table: kept file by file, and read in the order of names."""

import hashlib

import pandas as pd
import pytest
from step_support import DECLARED, make_songs

import get_data.run
from preprocess import in_batches
from preprocess import run as preprocess
from util_lib.errors import UserError

RAW, CLEAN = "raw_data.parquet", "preprocessed_data.parquet"
N = 60


@pytest.fixture
def incoming(tmp_path):
    """Three files whose names are not in the order in which they were written."""
    folder = tmp_path / "incoming"
    folder.mkdir()
    for name, part in (("c", slice(40, N)), ("a", slice(0, 25)), ("b", slice(25, 40))):
        make_songs(N).iloc[part].to_parquet(folder / f"{name}.parquet", index=False)
    (folder / "_SUCCESS").write_text("")
    (folder / "older").mkdir()
    return folder


def get(address):
    get_data.run.main(["--file_url", str(address), "--artifact_name", RAW])


def cleaned(steps, **keys):
    config = steps.yaml({**DECLARED, **keys})
    arguments = ["--input_artifact", f"{RAW}:latest", "--dataset_config", config]
    preprocess.main([*arguments, "--artifact_name", CLEAN])
    return steps.table(f"{CLEAN}:latest")


@pytest.mark.parametrize("large_rows", [10**6, 1])
@pytest.mark.parametrize("pattern", ["", "*.parquet"])
def test_the_table_is_that_of_all_files(steps, incoming, pattern, large_rows, monkeypatch):
    monkeypatch.setattr(in_batches, "ROWS", 7)
    get(incoming / pattern)
    table = cleaned(steps, large_rows=large_rows)
    get_data.run.main(["--file_url", str(_whole(incoming)), "--artifact_name", RAW])
    pd.testing.assert_frame_equal(table, cleaned(steps))


def _whole(incoming):
    path = incoming.parent / "whole.parquet"
    make_songs(N).to_parquet(path, index=False)
    return path


def test_csv_files_each_with_a_header_are_one_table(steps, incoming, tmp_path):
    for file in incoming.glob("*.parquet"):
        pd.read_parquet(file).to_csv(tmp_path / f"{file.stem}.csv", index=False)
    get(tmp_path / "*.csv")
    table = cleaned(steps)
    get(incoming)
    pd.testing.assert_frame_equal(table, cleaned(steps))


def test_every_file_is_kept_byte_for_byte_and_known_by_what_sha256sum_prints(steps, incoming):
    get(incoming)
    artifact = steps.artifact(f"{RAW}:latest")
    assert sorted(artifact.manifest.entries) == ["a.parquet", "b.parquet", "c.parquet"]
    files = sorted(incoming.glob("*.parquet"))
    lines = [f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in files]
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert artifact.metadata["sha256"] == expected
    assert artifact.metadata["bytes"] == sum(file.stat().st_size for file in files)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.drop(columns="tempo"), r"b.parquet has no column 'tempo', which a.parquet"),
        (lambda t: t.rename(columns={"tempo": "tempos"}), "it has 'tempos'"),
        (lambda t: t.assign(more=1), "a.parquet has no column 'more', which b.parquet has"),
        (
            lambda t: t.assign(tempo="fast"),
            "column 'tempo' holds a text in b.parquet and a number in a.parquet",
        ),
    ],
)
def test_a_file_with_other_columns_is_named(steps, incoming, change, says):
    path = incoming / "b.parquet"
    change(pd.read_parquet(path)).to_parquet(path, index=False)
    get(incoming)
    with pytest.raises(UserError, match=says):
        cleaned(steps)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("*.csv", "names no files"),
        ("*", "files of several kinds"),
        ("**/a.parquet", "several files called 'a.parquet'"),
    ],
)
def test_what_is_no_table_is_refused(steps, incoming, name, says):
    (incoming / "notes.txt").write_text("x")
    for folder in ("one", "two"):
        (incoming / folder).mkdir()
        (incoming / folder / "a.parquet").write_bytes(b"x")
    with pytest.raises(UserError, match=says):
        get(incoming / name)
    assert not steps.exists(f"{RAW}:latest")


@pytest.mark.parametrize("large_rows", [10, 1000])
def test_values_of_files_that_have_no_type_in_common_are_one_sentence(
    steps, incoming, large_rows, monkeypatch
):
    monkeypatch.setattr(in_batches, "ROWS", 10)
    for name, value in (("a", 2**60), ("b", 1.5), ("c", 2.5)):
        path = incoming / f"{name}.parquet"
        pd.read_parquet(path).assign(extra=value).to_parquet(path, index=False)
    get(incoming)
    with pytest.raises(UserError, match="column have no type in common .*: declare the column"):
        cleaned(steps, large_rows=large_rows)


@pytest.mark.parametrize("pattern", ["", "*.parquet"])
def test_a_link_that_leads_nowhere_is_no_missing_part_of_a_table(steps, incoming, pattern):
    (incoming / "d.parquet").symlink_to(incoming / "gone.parquet")
    with pytest.raises(UserError, match="names 'd.parquet', a link that leads to no file"):
        get(incoming / pattern)
    assert not steps.exists(f"{RAW}:latest")
