"""The files of a folder, cleaned by several processes, are the table that one process writes."""

import numpy as np
import pandas as pd
import pytest

import get_data.run
from preprocess import in_batches, run
from util_lib.dataset.declaration import Data
from util_lib.errors import UserError
from util_lib.processes import tasks

COLUMNS = {
    "number": {"dtype": "int", "role": "numerical", "nullable": True},
    "word": {"dtype": "string", "role": "categorical", "nullable": True},
    "level": {"dtype": "int", "role": "numerical"},
    "twice": {"dtype": "float", "role": "numerical", "nullable": True},
    "class": {"dtype": "string", "role": "target"},
}
DECLARED = {
    "file_url": "raw.csv",
    "target": "class",
    "columns": COLUMNS,
    "drop_duplicates": True,
    "derived": {"twice": "number * 2.5"},
    "clean": {"keep_rows": {"number": {"min": 1, "nullable": True}}},
    "large_rows": 1,
}
N = 40  # rows of a file


def frame(seed):
    """Few values, so that rows repeat within a file and across files."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "number": pd.array(rng.integers(0, 9, N), "Int64"),
            "word": rng.choice(["a", "é", None], N),
            "level": rng.integers(0, 2, N),
            "class": rng.choice(["p", "q"], N),
            "other": rng.integers(0, 2, N),
        }
    )


OTHERS = {
    "alike": lambda table: table,
    "a gap in whole numbers": lambda table: table.assign(number=[None, *table["number"][1:]]),
    "no whole number": lambda table: table.assign(level=["high"] * N),
    "a fraction in what is not declared": lambda table: table.assign(other=[0.5] * N),
    "nothing in what is not declared": lambda table: table.assign(other=""),
    "words in what is not declared": lambda table: table.assign(other="NA and more"),
    "other order": lambda table: table[table.columns[::-1]],
    "no row that the rule keeps": lambda table: table.assign(number=0),
    "no row": lambda table: table.head(0),
}
FAULTS = {
    "another column": lambda table: table.rename(columns={"word": "words"}),
    "no file": None,
    "empty": lambda table: "",
    "a line with too many fields": lambda table: table.to_csv(index=False) + "1,2,3,4,5,6\n",
}


@pytest.fixture(scope="module")
def two():
    """Two processes that stay, in place of those that each table would start."""
    with tasks.team("2") as each:
        yield each


@pytest.fixture
def cleaned(tmp_path, two, monkeypatch):
    """Clean a folder of files in this process, and by two; what was written, or was wrong."""
    monkeypatch.setattr(in_batches, "ROWS", 16)  # of what is written
    raw = tmp_path / "raw"
    raw.mkdir()

    def go(tables, **keys):
        for number, table in enumerate(tables):
            path = raw / f"{number}.csv"
            if table is None:
                path.symlink_to(tmp_path / "gone.csv")
            else:
                path.write_text(table if isinstance(table, str) else table.to_csv(index=False))
        data, found = Data.model_validate(DECLARED | keys), []
        for each in (tasks.here, two):
            folder = tmp_path / f"work{len(found)}"
            folder.mkdir()
            target = folder / "out.parquet"
            try:
                done = in_batches.clean(raw, data, target, folder, each)
            except UserError as error:
                found.append(str(error).replace(folder.name, "work"))
                continue
            assert [*folder.iterdir()] == [target]
            found.append((done, target.read_bytes()))
        return found

    return go


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_the_bytes_are_those_of_one_process(cleaned, change):
    one, several = cleaned([frame(0), change(frame(1)), frame(2)])
    assert one == several
    (shape, share), _ = one
    assert shape[0] < 3 * N and share > 0.1


@pytest.mark.parametrize(
    "duplicates", [{"keep": "last"}, {"columns": ["word", "class"]}, {"columns": ["other"]}]
)
def test_repeats_across_files_are_those_of_one_process(cleaned, duplicates):
    out = DECLARED["clean"] | {"drop_columns": ["other"]}
    one, several = cleaned(
        [*map(frame, range(4))], drop_duplicates=False, duplicates=duplicates, clean=out
    )
    assert one == several
    assert one[0][1] > 0.3


@pytest.mark.parametrize("change", FAULTS.values(), ids=FAULTS)
def test_what_is_wrong_with_a_file_is_said_in_the_same_words(cleaned, change):
    one, several = cleaned([frame(0), change and change(frame(1)), frame(2)])
    assert isinstance(one, str) and one == several


def test_too_many_rows_of_all_files_together_are_refused(cleaned):
    one, several = cleaned([frame(0), frame(1)], max_rows=N + 1)
    assert "raise data.max_rows" in one and "raise data.max_rows" in several


def test_the_step_does_so_where_main_py_says_how_many(steps, monkeypatch):
    folder = steps.folder / "files"
    folder.mkdir()
    for seed in range(3):
        frame(seed).to_csv(folder / f"{seed}.csv", index=False)
    get_data.run.main(["--file_url", str(folder), "--artifact_name", "raw.csv"])
    config = steps.yaml(DECLARED)
    arguments = ["--input_artifact", "raw.csv:latest", "--dataset_config", config]
    found = []
    for workers in ("1", "2"):
        monkeypatch.setenv(tasks.VARIABLE, workers)
        run.main([*arguments, "--artifact_name", "clean.parquet"])
        found.append(steps.bytes("clean.parquet:latest"))
    assert found[0] == found[1]
