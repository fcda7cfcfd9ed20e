"""What gives the target away is found, by way and column; an honest table is left in peace."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

from util_lib.checks import leakage
from util_lib.checks.findings import Finding
from util_lib.dataset import declaration
from util_lib.dataset.declaration import Data
from util_lib.tables import cleaning

ROOT = Path(__file__).resolve().parents[3]
N = 600


def declare(frame: pd.DataFrame, target="y", roles=None, **keys) -> Data:
    """Declare the columns as their types suggest; `roles` says otherwise."""
    dtypes = {"f": "float", "i": "int", "u": "int", "b": "bool", "M": "datetime"}
    columns = {}
    for name, column in frame.items():
        dtype = dtypes.get(column.dtype.kind, "string")
        role = "numerical" if dtype in ("float", "int") else "categorical"
        role = "date" if dtype == "datetime" else role
        role = "target" if name == target else (roles or {}).get(name, role)
        columns[name] = {"dtype": dtype, "role": role, "nullable": role != "target"}
    return Data(file_url="t.csv", target=target, columns=columns, **keys)


def find(frame: pd.DataFrame, *args, **keys) -> list[Finding]:
    found = leakage.find(frame, declare(frame, *args, **keys))
    for each in found:
        assert "\n" not in each.message and np.isfinite(list(each.strength.values())).all()
    return found


def ways(found: list[Finding]) -> set[tuple[str | None, str]]:
    return {(each.column, each.rule) for each in found}


def preset(name: str, path: Path) -> tuple[pd.DataFrame, Data]:
    """Return a table as `preprocess` leaves it, and its declaration."""
    data = declaration.load(ROOT / f"conf/dataset/{name}.yaml")
    frame = cleaning.read(path, data)
    return cleaning.clean(frame, data), data


def made(seed: int, related: bool, task: str, n: int = N) -> pd.DataFrame:
    """Return a table of columns of all kinds; `related`: the target depends on some, with noise."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "normal": rng.normal(size=n),
            "skewed": rng.lognormal(size=n),
            "count": rng.poisson(3, n),
            "flag": rng.random(n) < 0.1,
            "row": np.arange(n),
            "uid": [f"u{i}" for i in rng.permutation(n)],
            "owner": rng.integers(0, n // 2, n),
            "few": rng.choice(list("abc"), n),
            "city": np.minimum(rng.zipf(1.3, n), 5000).astype(str),
            "gaps": np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n)),
            "note": [" ".join(rng.choice(list("qwertyuiop"), 4)) for _ in range(n)],
            "when": pd.Timestamp("2026-01-01")
            + pd.to_timedelta(np.sort(rng.integers(0, 10**7, n)), unit="s"),
        }
    )
    score = rng.normal(size=n)
    if related:
        score += 2 * frame["normal"] + (frame["few"] == "a") + 0.7 * frame["gaps"].isna()
    if task == "regression":
        return frame.assign(y=np.exp(score) if seed % 2 else score)
    cuts = np.quantile(score, [[0.5], [0.9], [0.3, 0.6, 0.8, 0.95]][seed % 3])
    return frame.assign(y=np.searchsorted(cuts, score).astype(str))


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("related", [False, True], ids=["unrelated", "honest relation"])
def test_made_tables_without_a_leak_are_left_in_peace(task, related):
    for seed in range(25):
        frame = made(seed, related, task, n=[60, 200, N][seed % 3])
        assert find(frame, roles={"note": "text"}, task=task) == [], seed


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes"])
def test_well_known_tables_are_left_in_peace_once_their_rows_are_shuffled(name):
    frame = getattr(datasets, f"load_{name}")(as_frame=True).frame
    task = "regression" if name == "diabetes" else "classification"
    in_order = {"iris", "wine"}
    found = ways(find(frame, "target", task=task))
    assert found == ({(None, "row order")} if name in in_order else set())
    assert find(frame.sample(frac=1, random_state=0), "target", task=task) == []


def test_the_playlist_gives_its_genre_away_and_the_rows_are_sorted_by_it(real_data):
    frame, data = preset("music_genre", real_data / "genres_mod.parquet")
    found = leakage.find(frame, data)
    assert ways(found) == {
        (None, "row order"),
        (None, "repeated rows"),
        ("title", "missing values"),
        ("title", "values"),
        ("song_name", "missing values"),
    }
    rules = {each.rule: each for each in found if each.column != "song_name"}
    assert rules["row order"].strength["runs"] == 15
    copies = rules["repeated rows"]
    assert copies.count == 8_690
    assert (copies.strength["groups"], copies.strength["conflicting groups"]) == (3_864, 1_790)
    assert rules["values"].strength["values"] == 132 and rules["values"].strength["purity"] == 1
    for example in rules["values"].examples:
        assert frame["title"][example["row"]] == example["value"] != ""


def test_the_total_of_a_pokemon_is_the_sum_of_six_stats(real_data):
    frame, data = preset("pokemon", real_data / "pokemon.csv")
    (found,) = leakage.find(frame, data)
    stats = ["hp", "attack", "defense", "sp_attack", "sp_defense", "speed"]
    assert found.rule == "sum of columns"
    assert "target 'total' is " + " + ".join(map(repr, stats)) in found.message
    assert found.strength["r2"] == pytest.approx(1)
    frame, data = preset("pokemon_types", real_data / "pokemon.csv")
    assert "sum of columns" not in {each.rule for each in leakage.find(frame, data)}


def test_prices_in_new_york_are_not_given_away(real_data):
    assert leakage.find(*preset("nyc_airbnb", real_data / "nyc_sample1.csv")) == []


def test_in_the_demo_a_title_is_there_for_club_genres_only():
    frame, data = preset("songs_demo", ROOT / "dataset/songs_demo.parquet")
    expected = {("title", "missing values"), ("song_name", "missing values")}
    assert ways(leakage.find(frame, data)) == expected


def codes(frame: pd.DataFrame) -> pd.Series:
    return pd.Series(pd.factorize(frame["y"])[0])


def noise(frame: pd.DataFrame, size: float) -> np.ndarray:
    return np.random.default_rng(7).normal(size=len(frame)) * size


CLASS_LEAKS = {
    "a number for each class": (lambda f: codes(f) * 2.5, "predicts the target"),
    "such a number, with noise": (lambda f: codes(f) + noise(f, 0.1), "predicts the target"),
    "a code for each class": (lambda f: "c" + codes(f).astype(str), "values"),
    "groups within a class": (
        lambda f: "c" + codes(f).astype(str) + "/" + (f["row"] % 20).astype(str),
        "values",
    ),
    "a number for each group": (lambda f: (f["row"] % 20) * 10 + codes(f), "values"),
    "gaps of one class": (
        lambda f: pd.Series(noise(f, 1)).mask(codes(f) == 0),
        "missing values",
    ),
    "a word of a class": (lambda f: f["uid"] + " is " + "k" + codes(f).astype(str), "words"),
}
NUMBER_LEAKS = {
    "another unit": (lambda f: f["y"] * 0.9 + 3, "predicts the target"),
    "a little noise": (lambda f: f["y"] + noise(f, 0.05 * f["y"].std()), "predicts the target"),
    "its rank": (lambda f: f["y"].rank(), "predicts the target"),
    "a curve": (lambda f: np.exp(f["y"] / f["y"].std()), "predicts the target"),
    "a date": (
        lambda f: pd.Timestamp("2026-01-01") + pd.to_timedelta(f["y"].rank(), unit="D"),
        "predicts the target",
    ),
    "gaps where it is high": (
        lambda f: pd.Series(noise(f, 1)).mask(f["y"] > f["y"].median()),
        "missing values",
    ),
}


@pytest.mark.parametrize("leak", CLASS_LEAKS)
@pytest.mark.parametrize("seed", range(3))
def test_a_column_that_gives_classes_away_is_found(leak, seed):
    make, rule = CLASS_LEAKS[leak]
    frame = made(seed, True, "classification")
    frame["leak"] = make(frame)
    text = {"note": "text", **({"leak": "text"} if rule == "words" else {})}
    assert ("leak", rule) in ways(find(frame, roles=text))
    assert {each.column for each in find(frame, roles=text)} == {"leak"}
    assert find(frame, roles={**text, "leak": "ignore"}) == []


@pytest.mark.parametrize("leak", NUMBER_LEAKS)
@pytest.mark.parametrize("seed", range(2))
def test_a_column_that_gives_numbers_away_is_found(leak, seed):
    make, rule = NUMBER_LEAKS[leak]
    frame = made(seed, True, "regression")
    frame["leak"] = make(frame)
    found = find(frame, roles={"note": "text"}, task="regression")
    # A date that is made of the target is also one by which the target walks.
    assert ways(found) - {("leak", "split")} == {("leak", rule)}
    left_out = find(frame, roles={"note": "text", "leak": "ignore"}, task="regression")
    assert ways(left_out) <= {("leak", "split")}


def test_a_category_of_each_price_is_found():
    frame = made(0, False, "regression")
    frame["y"] = (frame["row"] * 7 % 40).astype(float)
    frame["tariff"] = "t" + (frame["row"] * 7 % 40).astype(str)
    assert ("tariff", "values") in ways(
        find(frame.sample(frac=1, random_state=0), task="regression")
    )


def test_a_weighted_sum_is_spelled_out_with_its_weights():
    frame = made(1, False, "regression")
    frame["y"] = 2.5 * frame["normal"] - 0.3 * frame["skewed"] + 7
    found = [each for each in find(frame, task="regression") if each.rule == "sum of columns"]
    assert "'y' is 2.5 * 'normal' - 0.3 * 'skewed' (" in found[0].message


def test_a_column_that_counts_sorted_rows_is_named():
    frame = made(0, True, "classification").sort_values("y", ignore_index=True)
    frame["number"] = frame.index + 1
    found = find(frame.drop(columns=["row", "when"]))
    assert ("number", "row number") in ways(found)
    found = find(frame.drop(columns=["row", "when", "number"]))
    assert ways(found) == {(None, "row order")}


def test_rows_of_a_number_that_grows_with_time_are_in_order():
    frame = made(0, False, "regression").drop(columns=["row", "when"])
    frame["y"] = np.cumsum(frame["normal"])
    assert ways(find(frame, task="regression")) == {(None, "row order")}


def test_a_table_whose_rows_come_twice_has_one_finding_and_not_one_for_each_column():
    frame = made(0, True, "classification").drop(columns=["row", "when"])
    twice = pd.concat([frame, frame]).sample(frac=1, random_state=0)
    (found,) = find(twice, roles={"note": "text"})
    assert (found.rule, found.count) == ("repeated rows", 2 * N)


def test_rows_of_few_categories_meet_by_chance_and_that_is_no_finding():
    frame = made(0, True, "classification", n=2_000)[["few", "flag", "count", "y"]]
    assert frame.drop(columns="y").duplicated(keep=False).mean() > 0.9
    assert find(frame) == []


def test_values_of_a_large_table_are_drawn_with_all_their_rows():
    rng = np.random.default_rng(0)
    n = 120_000
    owner = rng.permutation(np.arange(n) % (n // 2))  # two rows each
    frame = pd.DataFrame(
        {"owner": owner, "noise": rng.normal(size=n), "y": "k" + pd.Series(owner % 3).astype(str)}
    )
    (found,) = find(frame)
    assert (found.column, found.rule, found.count) == ("owner", "values", n)


def test_the_same_table_gives_the_same_findings():
    frame = made(2, True, "classification", n=30_000)
    frame["leak"] = codes(frame) + noise(frame, 0.1)
    assert find(frame) == find(frame) != []


def test_off_finds_nothing_and_fail_makes_findings_fatal_but_for_the_order_of_rows():
    frame = made(0, True, "classification").sort_values("y", ignore_index=True)
    frame = frame.drop(columns=["row", "when"]).assign(leak=codes(frame) * 1.5)
    assert find(frame, leakage="off") == []
    assert {each.fatal for each in find(frame)} == {False}
    fatal = {each.rule: each.fatal for each in find(frame, leakage="fail")}
    assert fatal["row order"] is False and fatal["predicts the target"] is True


def test_an_ignored_column_counts_where_the_text_feature_takes_it_in():
    frame = made(0, False, "classification")
    frame["title"] = frame["uid"] + " k" + codes(frame).astype(str)
    joined = {"name": "text", "columns": ["note", "title"]}
    roles = {"note": "text", "title": "ignore"}
    assert find(frame, roles=roles) == []
    assert {each.column for each in find(frame, roles=roles, text_feature=joined)} == {"title"}


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.iloc[:0],
        lambda f: f.iloc[:1],
        lambda f: f.drop(columns="y"),
        lambda f: f[["y"]],
        lambda f: f.assign(y=None),
        lambda f: f.assign(y="one"),
        lambda f: f.assign(y=[["a", "b"]] * len(f)),
        lambda f: f.assign(y=f["uid"]),
        lambda f: f.assign(**dict.fromkeys(f.columns.drop("y"), None)),
        lambda f: f.assign(**dict.fromkeys(f.columns.drop("y"), "word")),
        lambda f: f.assign(**{name: [[1, 2]] * len(f) for name in f.columns.drop("y")}),
        lambda f: f.assign(
            **{name: [1, "a", None] * (len(f) // 3) for name in f.columns.drop("y")}
        ),
        lambda f: f.assign(normal=np.inf, skewed=np.nan, count=[np.inf, 1, np.nan] * (len(f) // 3)),
        lambda f: f.astype("category"),
        lambda f: f.convert_dtypes(dtype_backend="pyarrow"),
        lambda f: f.set_axis([5] * len(f)),
    ],
)
@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.filterwarnings("error")
def test_a_table_that_is_not_as_declared_is_searched_all_the_same(change, task):
    frame = made(0, True, task)
    data = declare(frame, roles={"note": "text"}, task=task)
    assert {each.rule for each in leakage.find(change(frame), data)} <= {"missing values"}
