"""A table above data.large_rows comes out as it does below: its values, its order, its types."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from step_support import DECLARED, make_songs

from preprocess import in_batches, repeated, run
from util_lib.errors import UserError
from util_lib.processes import tasks

NAME = "preprocessed_data.parquet"
N_TABLES = 200
COLUMNS = {
    "whole": {"dtype": "int", "role": "numerical", "nullable": True},
    "number": {"dtype": "float", "role": "numerical", "nullable": True},
    "flag": {"dtype": "bool", "role": "categorical", "nullable": True},
    "word": {"dtype": "string", "role": "categorical", "nullable": True},
    "note": {"dtype": "string", "role": "text", "nullable": True},
    "when": {"dtype": "datetime", "role": "date", "nullable": True},
    "class": {"dtype": "string", "role": "target"},
}
TABLE = {
    "file_url": "raw.parquet",
    "target": "class",
    "columns": COLUMNS,
    "drop_duplicates": True,
    "text_feature": {"name": "text", "columns": ["note", "word"]},
}


@pytest.fixture
def both(steps, monkeypatch):
    """Preprocess a table whole, and in batches of seven rows."""
    monkeypatch.setattr(in_batches, "ROWS", 7)

    def go(content, raw="raw_data.parquet", declared=TABLE, **changes):
        tables = []
        for large_rows in (10**6, 1):
            config = steps.yaml({**declared, **changes, "large_rows": large_rows})
            arguments = ["--input_artifact", steps.put(content, raw), "--dataset_config", config]
            run.main([*arguments, "--artifact_name", NAME])
            tables.append(steps.table(f"{NAME}:latest"))
        return tables

    return go


def random_table(seed):
    """Few values of many kinds, so that rows repeat; some that only look alike."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 60))
    values = {
        "whole": [1, -1, 2**53 + 1, 2**53, None],
        "number": [0.0, -0.0, np.nan, np.inf, 0.1, 0.1 + 2**-55, None],
        "flag": [True, False, None],
        "word": ["a", "A", "é", "e\u0301", "日本", "", " a", None],
        "note": ["x", "x ", "", None, "\x00", "🎵"],
        "when": [pd.Timestamp("2024-01-01"), pd.Timestamp("1970-01-01 00:00:00.000001"), None],
        "class": ["p", "q"],
    }
    chosen = {
        # one or two of them: else no row would repeat
        name: [each[place] for place in rng.choice(rng.integers(0, len(each), 2), n)]
        for name, each in values.items()
    }
    types = {"whole": "Int64", "flag": "boolean", "when": "datetime64[us]"}
    return pd.DataFrame(chosen).astype(types).assign(number=chosen["number"])


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(40, N_TABLES, 40))]
)
def test_the_rows_that_repeat_are_those_of_pandas(tmp_path, first):
    found = 0
    for seed in range(first, first + 40):
        table = random_table(seed)
        path = tmp_path / f"{seed}.parquet"
        numbered = table.set_axis([str(place) for place in range(7)], axis="columns")
        rows = pa.Table.from_pandas(numbered, preserve_index=False)
        hashes = repeated.Hasher(range(7), rows.schema)(rows)
        pq.write_table(rows.append_column(repeated.HASH, hashes), path)
        question = repeated.Question([*range(7)], tmp_path, "500MB")
        with tasks.team(None) as each:
            marks = repeated.find([repeated.Part(path, 0)], question, each, 1 + seed % 3)
        assert marks.tolist() == table.duplicated().tolist(), seed
        found += marks.sum()
    assert found > 40


@pytest.mark.parametrize("seed", range(8))
def test_random_tables_come_out_alike(both, seed):
    whole, large = both(random_table(1000 + seed))
    pd.testing.assert_frame_equal(large, whole)


@pytest.mark.parametrize("seed", range(4))
def test_csv_of_random_tables_comes_out_alike(both, seed):
    text = random_table(2000 + seed).drop(columns="note").assign(note="n").to_csv(index=False)
    whole, large = both(text.encode(), "raw_data.csv")
    pd.testing.assert_frame_equal(large, whole)


def test_columns_that_are_not_declared_have_the_type_that_all_of_them_have(both):
    n = 40
    table = make_songs(n).assign(
        late=[*["1"] * 39, "x"],
        half=[*["1"] * 39, "1.5"],
        gap=[*["1"] * 39, "NA"],
        gaps="NA",
        empty="",
        truth=[*["True"] * 20, *["False"] * 20],
        answer=[*["True"] * 39, "2"],
    )
    csv = table.to_csv(index=False).encode()
    whole, large = both(csv, "raw_data.csv", DECLARED)
    pd.testing.assert_frame_equal(large, whole)
    assert str(large["half"].dtype) == "float64" and str(large["gap"].dtype) == "Int64"


def test_a_declared_column_with_a_value_of_another_type_is_left_as_it_is(both):
    songs = make_songs(40)
    tempo = [*map(str, songs["tempo"][:39]), "fast"]
    csv = songs.assign(tempo=tempo).to_csv(index=False).encode()
    whole, large = both(csv, "raw_data.csv", DECLARED)
    pd.testing.assert_frame_equal(large, whole)
    parquet = songs.assign(key=[*range(39), 0.5], title=range(40))
    whole, large = both(parquet, declared=DECLARED)
    pd.testing.assert_frame_equal(large, whole)


def test_rules_and_new_columns_are_the_same(both, caplog):
    table = pd.concat([random_table(seed).assign(old=seed) for seed in range(3)])
    declared = TABLE | {
        "columns": COLUMNS | {"twice": {"dtype": "float", "role": "numerical", "nullable": True}},
        "clean": {
            "rename": {"old": "batch"},
            "keep_rows": {"batch": {"min": 1}, "when": {"max": "2030-01-01", "nullable": True}},
            "drop_nulls": ["whole"],
            "drop_columns": ["batch"],
        },
        "derived": {"twice": "whole * 2.5"},
    }
    whole, large = both(table, declared=declared)
    pd.testing.assert_frame_equal(large, whole)
    said = [record.getMessage() for record in caplog.records if record.name == "cleaning"]
    assert len(said) == 8 and said[:4] == said[4:]
    assert "above large_rows (1): in batches" in caplog.text


def test_a_rule_that_leaves_no_row_is_named(both):
    with pytest.raises(UserError, match="clean.keep_rows.whole leaves no row"):
        both(random_table(1), clean={"keep_rows": {"whole": {"min": 2**60}}})


def test_rows_with_lists_cannot_be_compared(steps, both):
    table = make_songs(20).assign(key=[[1]] * 20)
    config = steps.yaml({**DECLARED, "drop_duplicates": True, "large_rows": 1})
    reference = steps.put(table, "raw_data.parquet")
    with pytest.raises(UserError, match="column 'key' holds lists or records"):
        run.main(
            ["--input_artifact", reference, "--artifact_name", NAME, "--dataset_config", config]
        )


def test_a_large_table_has_no_index_and_nothing_stays_on_disk(both, steps):
    both(make_songs(30), declared=DECLARED)
    names = {path.name for path in steps.folder.iterdir()}
    assert names <= {"put", "got", "store", "config.yaml", ".tracking_stores"}
    path = steps.folder / "x.parquet"
    path.write_bytes(steps.bytes(f"{NAME}:latest"))
    assert pq.read_schema(path).pandas_metadata["index_columns"] == []


@pytest.mark.parametrize(
    ("change", "name", "says"),
    [
        ({"preprocessed_artifact": "x.csv"}, "x.csv", "is written as parquet: set"),
        ({"reference_half": True}, NAME, "reference_half needs the whole table in memory"),
        ({"max_rows": 20}, NAME, "raise data.max_rows"),
    ],
)
def test_what_a_large_table_cannot_have_is_said_with_the_way_out(steps, change, name, says):
    config = steps.yaml({**DECLARED, **change, "large_rows": 1})
    reference = steps.put(make_songs(30), "raw_data.parquet")
    with pytest.raises(UserError, match=says):
        run.main(
            ["--input_artifact", reference, "--artifact_name", name, "--dataset_config", config]
        )


def test_lines_without_a_row_are_no_table(steps):
    config = steps.yaml({**TABLE, "large_rows": 1})
    reference = steps.put((",".join(COLUMNS) + "\n" * 9).encode(), "raw_data.csv")
    with pytest.raises(UserError, match="raw_data.csv has columns but no rows"):
        run.main(
            ["--input_artifact", reference, "--artifact_name", NAME, "--dataset_config", config]
        )


def test_a_full_disk_is_one_sentence(steps, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10}))
    config = steps.yaml({**DECLARED, "large_rows": 1})
    reference = steps.put(make_songs(30), "raw_data.parquet")
    with pytest.raises(UserError, match="GB of temporary files and .* set TMPDIR to a folder"):
        run.main(
            ["--input_artifact", reference, "--artifact_name", NAME, "--dataset_config", config]
        )


@pytest.mark.parametrize(
    "duplicates",
    [{}, {"keep": "last"}, {"columns": ["number", "more"]}, {"columns": ["word"], "keep": "last"}],
)
def test_repeats_are_found_in_the_same_columns_also_in_those_left_out(both, caplog, duplicates):
    caplog.set_level("INFO")
    table = random_table(5).assign(text="its own")
    table["more"] = np.random.default_rng(0).integers(0, 3, len(table))
    table = pd.concat([table, table[::2]], ignore_index=True)
    out = {"drop_columns": ["more", "text"]}
    whole, in_pieces = both(table, drop_duplicates=False, duplicates=duplicates, clean=out)
    pd.testing.assert_frame_equal(whole, in_pieces)
    said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("duplicates")]
    assert len(said) == 2 and said[0] == said[1] and "dropped 0" not in said[0]
