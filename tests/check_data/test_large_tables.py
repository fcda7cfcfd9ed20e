"""A table above data.large_rows, of which a column at a time is in memory, gets the same report."""

import numpy as np
import pandas as pd
import pytest
from check_data_support import songs
from scipy import stats

from check_data import columns_of_file
from check_data.columns_of_file import ColumnsOfFile
from util_lib.checks import drift, kolmogorov, leakage, leakage_rows
from util_lib.dataset.columns import Column
from util_lib.dataset.declaration import Data
from util_lib.errors import UserError
from util_lib.processes import tasks

N = 300
TABLES = {
    "other songs": lambda table: table,
    "drift of a number": lambda table: table.assign(tempo=table["tempo"] + 9),
    "drift of classes": lambda table: table.assign(genre=table["genre"].iloc[0]),
    "drift of gaps": lambda table: table.assign(title=["", *table["title"][1:]]),
    "longer texts": lambda table: table.assign(song_name=table["song_name"] + " and more"),
    "a column is missing": lambda table: table.drop(columns="tempo"),
    "the target is missing": lambda table: table.drop(columns="genre"),
    "other order": lambda table: table[table.columns[::-1]],
    "one more": lambda table: table.assign(more=1),
    "out of range": lambda table: table.assign(tempo=[-5.0] * 20 + [*table["tempo"][20:]]),
    "fractions": lambda table: table.assign(key=table["key"] + 0.5),
    "words": lambda table: table.assign(tempo="fast"),
    "late gap": lambda table: table.assign(tempo=[*table["tempo"][1:], np.nan]),
    "infinite": lambda table: table.assign(tempo=[*table["tempo"][1:], np.inf]),
    "copies": lambda table: table.iloc[[*range(200), *range(100)]],
    "a leak": lambda table: table.assign(key=pd.factorize(table["genre"])[0]),
    "a counter in the order of the target": lambda table: table.sort_values("genre").assign(
        energy=np.arange(len(table)) / len(table)
    ),
}
STRICT = {
    "checks": {"column_order": True, "other_columns": False, "min_class_share": 0.05},
    "leakage": "fail",
}
UNIQUE = {"dtype": "float", "role": "numerical", "unique": True, "max_null_rate": 0.0}


@pytest.mark.parametrize("keys", [{}, STRICT], ids=["as declared", "strict"])
@pytest.mark.parametrize("change", TABLES.values(), ids=TABLES)
def test_the_report_is_the_same_to_the_byte(check, steps, monkeypatch, change, keys):
    monkeypatch.setattr(columns_of_file, "ROWS", 97)
    check(songs())
    seen = []
    for large_rows in (10**6, 1):
        try:
            check(change(songs(2)), keys={**keys, "large_rows": large_rows}, energy=UNIQUE)
            says = "passed"
        except UserError as error:
            says = str(error)
        report, log = (
            steps.artifact(f"{n}:latest") for n in ("check_data_report", "check_data_log")
        )
        seen.append((says, report.digest, log.digest))
    assert seen[0] == seen[1]


def test_the_report_is_the_same_where_two_processes_look_at_the_columns(check, steps, monkeypatch):
    check(songs())
    wrong = songs(2).assign(tempo=lambda table: [-5.0] * 20 + [*table["tempo"][20:]], genre="pop")
    seen = []
    for workers in ("1", "2"):
        monkeypatch.setenv(tasks.VARIABLE, workers)
        with pytest.raises(UserError) as error:
            check(wrong, keys={"large_rows": 1})
        report = steps.artifact("check_data_report:latest").digest
        seen.append((str(error.value), report))
    assert seen[0] == seen[1]
    assert "'tempo' must lie in" in seen[0][0]


def test_a_large_reference_is_compared_as_a_small_one_and_the_log_says_so(check, steps, caplog):
    check(songs())
    with pytest.raises(UserError, match="'tempo' drifts"):
        check(songs(2).assign(tempo=1.0), keys={"large_rows": N - 1})
    assert f"{N} rows, above large_rows ({N - 1}): in batches" in caplog.text


def test_a_full_disk_is_one_sentence(check, monkeypatch):
    check(songs())
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(UserError, match="GB of temporary files and .* set TMPDIR to a folder"):
        check(songs(2), keys={"large_rows": 1})


@pytest.fixture
def in_pieces(monkeypatch):
    """Sort a few values at a time, most of them on the disk."""
    monkeypatch.setattr(kolmogorov, "RUN_VALUES", 999)
    monkeypatch.setattr(kolmogorov, "IN_MEMORY", 5_000)
    monkeypatch.setattr(kolmogorov, "BLOCK_VALUES", 50)


def sorted_in_pieces(values):
    side = kolmogorov.Sorted()
    for part in np.array_split(values, 7):
        side.add(part)
    side.end()
    return side


@pytest.mark.parametrize("made", [kolmogorov.Sorted, sorted_in_pieces])
@pytest.mark.parametrize(
    ("n", "m", "digits"), [(10_001, 5, 3), (30_000, 20_000, 1), (999, 12_000, 9)]
)
def test_many_rows_have_the_statistic_and_the_p_value_of_scipy(in_pieces, made, n, m, digits):
    rng = np.random.default_rng(n)
    for shift in (0, 0.02, 3):
        one, other = rng.normal(size=n).round(digits), rng.normal(shift, size=m).round(digits)
        one[:2] = np.inf
        found, expected = kolmogorov.compare(made(one), made(other)), stats.ks_2samp(one, other)
        p_value = pytest.approx((expected.statistic, expected.pvalue), rel=1e-12, abs=0)
        assert (found.statistic, found.p) == p_value
        assert found.medians == [np.median(one), np.median(other)]


KINDS = {
    "word": {"dtype": "string", "role": "categorical", "nullable": True},
    "code": {"dtype": "int", "role": "categorical", "nullable": True},
    "flag": {"dtype": "bool", "role": "categorical"},
    "note": {"dtype": "string", "role": "text", "nullable": True},
    "number": {"dtype": "float", "role": "numerical", "nullable": True},
    "class": {"dtype": "string", "role": "target"},
}


def table_of_kinds(seed, n=12_000):
    rng = np.random.default_rng(seed)
    words = np.array([f"é{place}" for place in range(4)], dtype=object)
    few = pd.Series(rng.choice(words, n)).where(rng.random(n) < 0.9)
    return pd.DataFrame(
        {
            "word": few.astype("str"),
            "code": pd.Series(rng.integers(0, 30, n)).astype("Int64").where(few.notna()),
            "flag": rng.random(n) < 0.4,
            "note": ["x" * length for length in rng.integers(0, 40, n)],
            "number": rng.choice([0.0, -0.0, np.nan, np.inf, 1.5, -2], n),
            "class": rng.choice(["a", "b"], n),
        }
    )


def test_drift_in_pieces_is_that_of_whole_columns_and_of_scipy(in_pieces, tmp_path, monkeypatch):
    monkeypatch.setattr(columns_of_file, "ROWS", 1_001)
    data = Data(file_url="x", target="class", columns=KINDS)
    frames = [table_of_kinds(seed) for seed in (1, 2)]
    files = []
    for seed, frame in enumerate(frames):
        frame.to_parquet(tmp_path / f"{seed}.parquet", index=False)
        files.append(ColumnsOfFile(tmp_path / f"{seed}.parquet", data.table_columns))
    found = drift.compare(*files, data, 0.05)
    assert found == drift.compare(*frames, data, 0.05)
    for test in found:
        if test.column in ("word", "code", "flag", "class") and test.kind != "null rate":
            cells = pd.concat([f[test.column].value_counts() for f in frames], axis=1).fillna(0)
            expected = stats.chi2_contingency(cells.to_numpy("float64"), correction=False)
            assert test.statistic == pytest.approx(expected.statistic, rel=1e-12, abs=0)
            assert test.p == pytest.approx(expected.pvalue, rel=1e-12, abs=0)


LEAKS = {
    "copies": ("repeated rows", lambda t: t.iloc[[*range(1500), *range(1500)]]),
    "a word": ("values", lambda t: t.assign(word="is " + t["class"])),
    "few contents": (
        "values",
        lambda t: t.assign(word="is " + t["class"], number=0.0, code=pd.array([1] * 3_000)),
    ),
}


@pytest.mark.parametrize(("rule", "change"), LEAKS.values(), ids=LEAKS)
def test_leaks_are_found_in_the_rows_drawn_of_a_large_table(tmp_path, monkeypatch, rule, change):
    monkeypatch.setattr(columns_of_file, "ROWS", 97)
    monkeypatch.setattr(leakage, "MOST_ROWS", 500)
    columns = {**KINDS, "number": {"dtype": "float", "role": "numerical"}}
    data = Data(file_url="x", target="class", columns=columns)
    rng = np.random.default_rng(0)
    table = change(table_of_kinds(3, 3_000).assign(number=rng.normal(size=3_000)))
    table.to_parquet(tmp_path / "table.parquet", index=False)
    whole = leakage.find(table, data)
    found = leakage.find(ColumnsOfFile(tmp_path / "table.parquet", data.table_columns), data)
    rules = [(leak.rule, leak.column) for leak in found]
    assert rule in [name for name, _ in rules]
    assert rules == [(leak.rule, leak.column) for leak in whole]
    counts = [leak.count for leak in found if leak.count is not None]
    assert all(count < 700 for count in counts)


@pytest.mark.parametrize("seed", range(5))
def test_rows_have_the_same_hash_just_where_all_their_features_are_equal(tmp_path, seed):
    values = {
        "number": [0.0, -0.0, 1.0, np.nan, np.inf],
        "word": ["a", "b", None],
        "code": [0, 1, None],
        "flag": [True, False],
    }
    roles = {name: KINDS[name]["role"] for name in values}
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {n: [v[p] for p in rng.integers(0, len(v), 200)] for n, v in values.items()}
    )
    table = table.astype({"code": "Int64"})
    table.to_parquet(tmp_path / "table.parquet", index=False)
    numbers = table["number"].where(np.isfinite(table["number"])) + 0.0  # -0.0 is 0.0
    others = [table[name] for name in values if name != "number"]
    alike = [*map(str, zip(numbers, *others, strict=True))]
    file = ColumnsOfFile(tmp_path / "table.parquet", {n: Column(**KINDS[n]) for n in values})
    for each in (table, file):
        hashes = leakage_rows.contents(each, roles)
        assert len(set(hashes)) == len(set(alike)) == len({*zip(hashes, alike, strict=True)})
