"""Two tables are compared column by column: what differs is named, what chance does is not."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks.drift import COLUMNS, NONE, declare, mixed, share_of_alarms
from util_lib.checks import drift, sentences
from util_lib.dataset.declaration import Data

N = 3_000


@pytest.fixture(scope="module")
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(0)
    return mixed(rng, N), mixed(rng, N)


def compare(sample, reference, ks_alpha=0.05, **keys) -> list[drift.ColumnDrift]:
    found = drift.compare(sample, reference, declare(COLUMNS, **keys), ks_alpha)
    for each in found:
        assert np.isfinite([each.statistic, each.p, each.level, each.effect]).all(), each
        assert 0 <= each.p <= 1 and "\n" not in each.sentence and each.column in each.sentence
    return found


def drifted(*args, **keys) -> list[tuple[str, str]]:
    return [(each.column, each.kind) for each in compare(*args, **keys) if each.drifted]


def one(values, other, kind="numerical", dtype="float", ks_alpha=0.05, **keys) -> drift.ColumnDrift:
    """Compare two lists as the only column."""
    data = declare({"x": (dtype, kind)}, **keys)
    frames = [pd.DataFrame({"x": side}) for side in (values, other)]
    found = drift.compare(*frames, data, ks_alpha)
    return next(each for each in found if each.column == "x")


def test_every_column_is_compared_once_and_nulls_and_the_target_besides(tables):
    compared = [(each.column, each.kind) for each in compare(*tables)]
    kinds = {"text": "text length", "numerical": "numerical", "date": "numerical"}
    expected = {(name, kinds.get(role, "categorical")) for name, (_, role) in COLUMNS.items()}
    expected |= {("gaps", "null rate"), ("note", "null rate"), ("kind", "target")}
    assert set(compared) == expected and len(compared) == len(expected)


def test_two_draws_of_one_distribution_do_not_drift(tables):
    assert drifted(*tables) == []


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("normal", lambda x: x + 0.3, ["numerical"]),
        ("normal", lambda x: x * 1.5, ["numerical"]),
        ("count", lambda x: x + 1, ["numerical"]),
        ("flag", lambda x: ~x, ["categorical"]),
        ("colour", lambda x: x.replace("b", "f"), ["categorical"]),
        ("city", lambda x: x.replace("1", "2"), ["categorical"]),
        ("rank", lambda x: x.clip(lower=3), ["categorical"]),
        ("when", lambda x: x + pd.Timedelta(days=20), ["numerical"]),
        ("gaps", lambda x: x.mask(x.index % 5 == 0), ["null rate"]),
        ("note", lambda x: x + "xxxx", ["text length"]),
        ("note", lambda x: x.mask(x.index % 3 == 0, ""), ["null rate"]),
        ("kind", lambda x: x.mask(x.index % 5 == 0, "y"), ["target"]),
    ],
)
def test_a_change_of_one_column_is_found_there_and_nowhere_else(tables, name, change, expected):
    sample, reference = tables
    changed = sample.assign(**{name: change(sample[name])})
    assert drifted(changed, reference) == [(name, kind) for kind in expected]
    assert drifted(reference, changed) == [(name, kind) for kind in expected]


def test_the_level_shares_the_chance_of_a_false_alarm_among_all_tests_done(tables):
    sample, reference = tables
    for ours in (sample, sample.drop(columns="normal"), sample.assign(gaps=0.5)):
        found = compare(ours, reference, ks_alpha=0.2)
        n_tests = sum(each.tested for each in found)
        for each in found:
            assert each.level == pytest.approx(1 - 0.8 ** (1 / n_tests))


def test_p_values_and_effects_are_those_of_the_textbook(tables):
    sample, reference = tables
    found = {each.column: each for each in compare(sample, reference) if each.kind != "null rate"}
    ks = stats.ks_2samp(sample["gaps"].dropna(), reference["gaps"].dropna())
    assert (found["gaps"].statistic, found["gaps"].p) == (ks.statistic, ks.pvalue)
    table = np.array([frame["rank"].value_counts().sort_index() for frame in tables])
    chi2 = stats.chi2_contingency(table, correction=False)
    assert found["rank"].p == pytest.approx(chi2.pvalue)
    assert found["rank"].statistic == pytest.approx(chi2.statistic)
    p, q = ((row + 0.5) / (row + 0.5).sum() for row in table)
    assert found["rank"].effect == pytest.approx(stats.entropy(p, q, base=2))


def test_the_divergence_of_a_coin_that_falls_three_times_of_four_is_0_19_bits():
    counts = np.array([[750_000, 500_000], [250_000, 500_000]])
    assert drift.divergence(counts) == pytest.approx(0.75 * math.log2(1.5) - 0.25, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "change", "threshold"),
    [
        ("normal", lambda x: x + 0.08, "min_effect"),
        ("rank", lambda x: x.mask(x.index % 50 == 0, 3), "kl_threshold"),
        ("kind", lambda x: x.mask(x.index % 80 == 0, "y"), "kl_threshold"),
        ("gaps", lambda x: x.mask(x.index % 50 == 0), "min_effect"),
    ],
)
def test_in_large_tables_a_difference_must_also_be_large_enough(name, change, threshold):
    rng = np.random.default_rng(1)
    sample, reference = mixed(rng, 30_000), mixed(rng, 30_000)
    sample[name] = change(sample[name])
    differing = [each for each in compare(sample, reference) if each.p < each.level]
    assert {each.column for each in differing} == {name}
    assert not any(each.drifted for each in differing)
    assert "too little to call it drift" in differing[0].sentence
    assert name in {column for column, _ in drifted(sample, reference, **{threshold: 0.0001})}


def test_the_sentence_says_how_much_how_unlikely_and_what_changed(tables):
    sample, reference = tables
    changed = sample.assign(colour=sample["colour"].replace("b", "f"), normal=sample["normal"] + 1)
    said = [each.sentence for each in compare(changed, reference) if each.drifted]
    assert said[0].startswith("column 'normal' drifts from the reference: KS statistic 0.")
    assert "(medians 0.94" in said[0] and "p < 0.0001 < 0.00" in said[0]
    assert (
        "KL divergence" in said[1]
        and "'f' in 29.50% of the rows, of the reference's 0.00%" in said[1]
    )


def test_a_category_that_only_one_table_has_counts():
    common = ["red"] * 500 + ["blue"] * 460
    new, old = common + ["green"] * 40, common + ["red"] * 40
    assert one(new, old, "categorical", "string").drifted
    assert one(old, new, "categorical", "string").drifted


def test_values_that_are_all_different_do_not_drift():
    ids = np.array([f"id{i}" for i in range(20_000)])
    found = one(ids[:10_000], ids[10_000:], "categorical", "string")
    assert found.tested and not found.drifted


def test_which_table_is_the_sample_does_not_change_the_p_value():
    rng = np.random.default_rng(0)
    for _ in range(20):
        ours, theirs = (rng.zipf(1.3, 150).astype(str) for _ in range(2))
        there = one(ours, theirs, "categorical", "string")
        back = one(theirs, ours, "categorical", "string")
        assert (there.p, there.statistic) == pytest.approx((back.p, back.statistic))


def test_few_rows_of_rare_categories_are_judged_exactly():
    found = one(["a"] * 20, ["a"] * 17 + ["b"] * 3, "categorical", "string")
    assert found.p == pytest.approx(stats.fisher_exact([[20, 17], [0, 3]]).pvalue)


def test_missing_values_do_not_hide_a_drift_nor_make_one():
    rng = np.random.default_rng(0)
    sample, reference = rng.normal(size=500), rng.normal(size=500)
    whole = one(sample, reference)
    with_gaps = one(np.append(sample, [np.nan] * 20), np.append(reference, [np.nan] * 20))
    assert (with_gaps.statistic, with_gaps.p) == (whole.statistic, whole.p)
    assert one(np.append(sample + 1, [np.nan] * 20), reference).drifted


def test_a_column_that_was_never_null_and_is_now_in_2_percent_drifts():
    numbers = np.linspace(0, 1, 50_000)
    data = declare({"x": ("float", "numerical")})
    gaps = pd.DataFrame({"x": np.where(np.arange(50_000) % 50 == 0, np.nan, numbers)})
    found = drift.compare(gaps, pd.DataFrame({"x": numbers}), data, 0.05)
    assert [each.kind for each in found if each.drifted] == ["null rate"]


def test_whole_numbers_are_the_same_categories_where_nulls_made_them_floats():
    keys = [0, 1, 2, 3] * 100
    assert not one([*keys, None], keys, "categorical", "int").drifted


def test_dates_as_text_equal_dates():
    days = pd.date_range("2026-01-01", periods=300)
    assert one(days.strftime("%Y-%m-%d"), days, "date", "datetime").statistic == 0
    assert one(days.tz_localize("UTC"), days, "date", "datetime").statistic == 0
    later = one(days + pd.Timedelta(days=200), days, "date", "datetime")
    assert later.drifted and "2026-12-16" in later.sentence


def test_a_number_to_predict_is_compared_as_a_number():
    data = Data(
        file_url="t.csv",
        target="price",
        task="regression",
        columns={"price": {"dtype": "float", "role": "target"}},
    )
    prices = pd.DataFrame({"price": np.linspace(1, 100, 400)})
    (found,) = drift.compare(prices * 2, prices, data, 0.05)
    assert found.kind == "target" and found.drifted and found.effect == pytest.approx(0.5, abs=0.01)


def test_ignored_columns_are_not_compared(tables):
    sample, reference = tables
    data = declare({"normal": ("float", "ignore")})
    assert [each.column for each in drift.compare(sample, reference, data, 0.05)] == ["kind"]


UNLIKELY = {
    "no rows": lambda frame: frame.iloc[:0],
    "one row": lambda frame: frame.iloc[:1],
    "two rows": lambda frame: frame.iloc[:2],
    "all null": lambda frame: frame.assign(**dict.fromkeys(frame, None)),
    "all the same": lambda frame: frame.assign(**{name: frame[name].iloc[1] for name in frame}),
    "no columns": lambda frame: frame[[]],
    "numbers": lambda frame: frame.assign(**dict.fromkeys(frame, 1.5)),
    "words": lambda frame: frame.assign(**dict.fromkeys(frame, "word")),
    "lists": lambda frame: frame.assign(**{name: [[1, 2]] * len(frame) for name in frame}),
    "a mixture": lambda frame: frame.assign(
        **{name: ([1, "a", None, 2.5] * len(frame))[: len(frame)] for name in frame}
    ),
    "infinite": lambda frame: frame.assign(**dict.fromkeys(frame, np.inf)),
    "categories": lambda frame: frame.astype("category"),
    "nullable types": lambda frame: frame.convert_dtypes(),
    "arrow types": lambda frame: frame.convert_dtypes(dtype_backend="pyarrow"),
}


@pytest.mark.parametrize("which", UNLIKELY)
@pytest.mark.filterwarnings("error")
def test_no_table_is_so_odd_that_it_gets_no_verdict(tables, which):
    frame, reference = (table.head(200).reset_index(drop=True) for table in tables)
    odd = UNLIKELY[which](frame)
    for found in (compare(odd, reference), compare(reference, odd), compare(odd, odd)):
        assert {each.column for each in found} == {*COLUMNS, "kind"}
        for each in found:
            assert each.tested or (each.p == 1 and not each.drifted)
    assert not any(each.drifted for each in compare(odd, odd))


def test_what_cannot_be_compared_is_named_with_the_reason(tables):
    sample, reference = tables
    ours = sample.drop(columns="normal").assign(skewed=None, when=1.5)
    said = [each.sentence for each in compare(ours, reference) if not each.tested]
    assert said == [
        "column 'normal' was not compared: the sample does not have it",
        "column 'skewed' was not compared: the sample has no numbers in it",
        "column 'when' was not compared: the sample has no dates in it",
    ]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n", [50, 10_001])
def test_numbers_beyond_all_numbers_are_compared_too(n):
    many = np.r_[np.full(n, np.inf), 0.0]
    apart = one(many, -many)
    assert apart.drifted and apart.statistic == pytest.approx(n / (n + 1))
    assert (one(many, many).statistic, one(many, many).p) == (0.0, 1.0)


def test_false_alarms_are_no_more_frequent_than_asked():
    alarms, _ = share_of_alarms(150, 40, 0.2, **NONE)
    low, high = stats.binom.interval(0.999, 40, 0.2)
    assert low <= alarms <= high


@pytest.mark.slow
@pytest.mark.parametrize("n", [150, 1_500])
def test_500_pairs_without_drift_alarm_within_the_binomial_bounds_of_ks_alpha(n):
    alarms, n_tests = share_of_alarms(n, 500, 0.05, **NONE)
    low, high = stats.binom.interval(0.999, 500, 0.05)
    assert n_tests == 13 and low <= alarms <= high


@pytest.mark.slow
def test_large_tables_without_drift_do_not_alarm_at_the_default_thresholds():
    assert share_of_alarms(20_000, 50, 0.05)[0] == 0


def test_a_chance_that_no_number_holds_is_not_called_0():
    assert sentences.chance(0.0, 0.05) == "p < 0.0001 < 0.05"
    assert sentences.chance(0.0, 0.00002) == "p < 1e-300 < 2e-05"
    assert sentences.chance(3e-9, 0.00002) == "p = 3e-09 < 2e-05"
    assert sentences.chance(0.2, 0.05) == "p = 0.2 >= 0.05"
