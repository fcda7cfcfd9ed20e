"""A table above data.large_rows, of which a column at a time is in memory, gets the same report."""

import numpy as np
import pandas as pd
import pytest
from check_data_support import songs
from scipy import stats

from check_data import columns_of_file
from util_lib.checks import kolmogorov
from util_lib.errors import UserError

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


def test_a_large_reference_is_compared_as_a_small_one_and_the_log_says_so(check, steps, caplog):
    check(songs())
    with pytest.raises(UserError, match="'tempo' drifts"):
        check(songs(2).assign(tempo=1.0), keys={"large_rows": N - 1})
    assert f"{N} rows, above large_rows ({N - 1}): in batches" in caplog.text


@pytest.mark.parametrize(
    ("n", "m", "digits"), [(10_001, 5, 3), (30_000, 20_000, 1), (999, 12_000, 9)]
)
def test_many_rows_have_the_statistic_and_the_p_value_of_scipy(n, m, digits):
    rng = np.random.default_rng(n)
    for shift in (0, 0.02, 3):
        one, other = rng.normal(size=n).round(digits), rng.normal(shift, size=m).round(digits)
        one[:2] = np.inf
        found, expected = (
            kolmogorov.compare(*map(kolmogorov.Sorted, (one, other)))[:2],
            stats.ks_2samp(one, other),
        )
        assert found == pytest.approx((expected.statistic, expected.pvalue), rel=1e-12, abs=0)
