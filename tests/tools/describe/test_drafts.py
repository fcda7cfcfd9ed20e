"""What a draft says of a table, and that it runs as it is."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pytest

from util_lib.errors import UserError

AWKWARD = [
    "yes", "no", "on", "null", "~", "123", "1e5", "2024-01-01", "a.b", "a: b", "#", "ünï",
    "Name", "name", "NAME", "  padded ", 'quote"s', "it's", "a,b", "{x}", "[y]", "*z", "${env}",
    "tab\tbed", "min", "data",
]  # fmt: skip


def roles(data):
    return {name: column.role for name, column in data.columns.items()}


def test_each_column_gets_type_role_and_limits(drafts, customers):
    data = drafts.draft(customers)
    assert roles(data) == {
        "customer_id": "ignore",
        "age": "numerical",
        "fee": "numerical",
        "plan": "categorical",
        "joined": "date",
        "message": "text",
        "left": "target",
    }
    columns = data.columns
    assert columns["customer_id"].unique
    assert columns["age"].nullable and 0.1 < columns["age"].max_null_rate < 0.3
    assert 0 <= columns["fee"].min < customers["fee"].min()
    assert columns["fee"].max == pytest.approx(customers["fee"].max() + 7.5, abs=1)
    assert columns["plan"].allowed == ["basic", "family", "premium"]
    assert columns["plan"].encoding == "one_hot"
    assert columns["joined"].dtype == "datetime"
    assert columns["joined"].min < datetime.datetime(2020, 1, 1)
    assert columns["left"].allowed == ["no", "yes"]
    assert (data.task, data.stratify, data.text_feature.columns) == (
        "classification",
        "left",
        ["message"],
    )


def test_a_guess_is_explained_beside_it(drafts, customers):
    drafts.draft(customers)
    text = drafts.text("customers")
    assert text.startswith("# @package _global_\n")
    assert "target: left # guessed by its name: targets are often called so" in text
    assert "another value in every row: it names the row" in text
    assert "a tenth of the span" in text and "Units are unknown" in text


def test_what_may_give_the_target_away_is_marked(drafts, customers):
    drafts.draft(customers.assign(state=np.where(customers["left"] == "yes", "gone", "here")))
    text = drafts.text("customers")
    line = next(line for line in text.splitlines() if "Leak?" in line)
    assert "'state'" in line
    drafts.draft(customers)
    assert "Leak?" not in drafts.text("customers")


def test_small_whole_numbers_are_codes_and_ids_and_constants_are_left_alone(drafts, customers):
    random = np.random.default_rng(1)
    n = len(customers)
    data = drafts.draft(
        customers.assign(
            month=random.integers(1, 13, n),
            smoker=random.integers(0, 2, n),
            active=random.random(n) < 0.5,
            hostId=random.integers(10**6, 10**6 + 100, n),
            line=range(100, 100 + n),
            source="web",
            town=[f"Town {number}" for number in random.integers(0, 90, n)],
            zip=[f"{number:05}" for number in random.integers(0, 99999, n)],
            seldom=[1.5] * 3 + [np.nan] * (n - 3),
        )
    )
    assert roles(data) | {"month": "categorical", "smoker": "categorical"} == roles(data)
    assert data.columns["smoker"].allowed == [0, 1]
    assert data.columns["active"].dtype == "bool" and data.columns["active"].role == "categorical"
    assert (data.columns["month"].min, data.columns["month"].max) == (1, 12)
    ignored = {name for name, role in roles(data).items() if role == "ignore"}
    assert ignored >= {"customer_id", "hostId", "line", "source", "town", "zip", "seldom"}
    assert data.columns["line"].unique and not data.columns["hostId"].unique
    assert data.columns["zip"].dtype == "string"


def test_shares_keep_the_bounds_of_shares(drafts, customers):
    share = np.linspace(0.02, 0.97, len(customers))
    data = drafts.draft(customers.assign(share=share, minus=-share))
    assert (data.columns["share"].min, data.columns["share"].max) == (0, 1)
    assert data.columns["minus"].max == 0


CSV_SHAPES = {
    "semicolons, decimal commas, latin-1": (
        lambda t: (
            t.assign(plan=t["plan"].str.replace("basic", "Möbel"))
            .to_csv(index=False, sep=";", decimal=",")
            .encode("latin-1")
        ),
        {"separator": ";", "decimal": ",", "encoding": "cp1252"},
    ),
    "tabs": (lambda t: t.to_csv(index=False, sep="\t"), {"separator": "\t"}),
    "bars": (lambda t: t.to_csv(index=False, sep="|"), {"separator": "|"}),
    "no header": (lambda t: t.to_csv(index=False, header=False), {"header": False}),
    "a report's lines first": (
        lambda t: "Report on customers\nmade in 2024\n\n" + t.to_csv(index=False),
        {"skip_lines": 3},
    ),
    "a line that counts first": (
        lambda t: f"{len(t)},6,no,yes,x,x,x\n" + t.to_csv(index=False, header=False),
        {"skip_lines": 1, "header": False},
    ),
    "question marks": (lambda t: t.to_csv(index=False, na_rep="?"), {"missing": ["?"]}),
    "UTF-16": (lambda t: t.to_csv(index=False).encode("utf-16"), {"encoding": "utf-16"}),
    "a byte order mark": (lambda t: t.to_csv(index=False).encode("utf-8-sig"), {}),
    "Windows line ends": (lambda t: t.to_csv(index=False, lineterminator="\r\n"), {}),
    "quoted texts of several lines": (
        lambda t: t.assign(message=t["message"] + ',\n"so"').to_csv(index=False),
        {},
    ),
}


@pytest.mark.parametrize("shape", CSV_SHAPES)
def test_how_a_csv_file_is_written_is_found_out(drafts, customers, shape):
    write, expected = CSV_SHAPES[shape]
    target = "c6" if "header" in expected else "left"
    data = drafts.draft(write(customers), target)
    usual = type(data.csv)().model_dump()
    found = {key: value for key, value in data.csv.model_dump().items() if value != usual[key]}
    assert found == expected
    names = list(customers) if data.csv.header else [f"c{number}" for number in range(7)]
    assert list(data.columns) == names
    assert [column.role for column in data.columns.values()] == [
        "ignore", "numerical", "numerical", "categorical", "date", "text", "target",
    ]  # fmt: skip
    drafts.composed("customers")


@pytest.mark.parametrize("shape", ["no header", "semicolons, decimal commas, latin-1"])
def test_the_draft_of_a_csv_file_runs_as_it_is(drafts, customers, monkeypatch, shape):
    write, expected = CSV_SHAPES[shape]
    drafts.draft(write(customers), "c6" if "header" in expected else "left")
    assert drafts.run_pipeline("customers", monkeypatch)["test_accuracy"] > 0.6


@pytest.mark.parametrize("names", ["id,2019,2020,yes", "0,1,2,3", "a,b,,kind", "1999,x,y,z"])
def test_names_may_look_like_values(drafts, names):
    rows = [f"k{i},{i * 1.5},{i % 40},{'yn'[i % 2]}" for i in range(60)]
    data = drafts.draft("\n".join([names, *rows]), names.split(",")[-1])
    assert data.csv.header
    assert [*data.columns][-1] == names.split(",")[-1]


def test_a_first_row_that_repeats_below_is_no_header(drafts):
    rows = [f"k{i},{'uvw'[i % 3]},{'abcd'[i % 4]},{'yn'[i % 2]}" for i in range(60)]
    data = drafts.draft("\n".join(rows), "c3")
    assert not data.csv.header and len(data.columns) == 4


def test_numbers_written_as_text_are_told_from_names(drafts, customers):
    n = range(len(customers))
    table = customers.assign(
        cost=[f"€ {i + 1},200" for i in n], rate=[f"{i}%" for i in n], code=[f"X{i}" for i in n]
    )
    data = drafts.draft(table)
    assert roles(data) | {"cost": "numerical", "rate": "numerical", "code": "ignore"} == roles(data)
    assert data.columns["code"].unique
    cost, rate = data.columns["cost"], data.columns["rate"]
    assert (cost.strip, cost.thousands, cost.unit, cost.max) == (["€"], ",", "€", 270_000)
    assert (rate.strip, rate.dtype, rate.max) == (["%"], "int", 270)
    assert "numbers with '%'" in drafts.text("customers")


def test_the_limits_of_huge_numbers_hold_all_of_them(drafts, customers):
    huge = [2**52 + 7 * i * i for i in range(len(customers))]
    column = drafts.draft(customers.assign(huge=huge)).columns["huge"]
    assert column.min <= huge[0] and column.max >= huge[-1]


def test_awkward_names_are_written_so_that_they_are_read_back(drafts, monkeypatch):
    random = np.random.default_rng(3)
    table = pd.DataFrame({name: random.normal(size=200) for name in AWKWARD})
    table["off"] = np.where(table["yes"] > 0, "on", "off")
    data = drafts.draft(table, "off")
    assert data.clean.rename == {"  padded ": "padded", "${env}": "{env}"}
    assert [*data.columns] == [data.clean.rename.get(name, name) for name in table.columns]
    assert data.columns["off"].allowed == ["off", "on"]
    assert drafts.run_pipeline("customers", monkeypatch)["test_accuracy"] > 0.6


def test_awkward_names_may_be_targets_too(drafts, customers):
    for name in ("null", "123", "a: b #", " yes "):
        data = drafts.draft(customers.rename(columns={"left": name}), name)
        assert data.target == drafts.composed("customers").data.target == name.strip()


def test_a_parquet_file_of_every_type_runs_as_it_is(drafts, customers, monkeypatch):
    n = len(customers)
    moments = pd.Series(pd.date_range("2024-01-01", periods=n, freq="h", tz="Europe/Berlin"))
    table = customers.assign(
        plan=customers["plan"].astype("category"),
        joined=customers["joined"].dt.date,
        moment=moments,
        active=pd.array([True, None, False] * (n // 3), dtype="boolean"),
        count=pd.array([1, None, 3, 4000] * (n // 4), dtype="Int64"),
        tags=[["a"]] * n,
        record=[{"a": 1}] * n,
        cost=[decimal.Decimal(f"{i}.50") for i in range(n)],
        blob=[b"x"] * n,
        empty=None,
        infinite=[np.inf, 1.0] * (n // 2),
    )
    data = drafts.draft(table, file="customers.parquet")
    assert set(data.clean.drop_columns) == {"tags", "record", "blob", "empty", "infinite"}
    assert data.columns["cost"].dtype == "float" and roles(data)["cost"] == "numerical"
    assert roles(data)["moment"] == roles(data)["joined"] == "date"
    assert drafts.run_pipeline("customers", monkeypatch)["test_accuracy"] > 0.6


def test_classes_with_few_rows_and_rows_without_target_are_left_out(drafts, customers, monkeypatch):
    left = customers["left"].astype(object).to_numpy(copy=True)
    left[:3] = "perhaps"
    left[3:9] = None
    data = drafts.draft(customers.assign(left=left))
    assert data.clean.keep_rows["left"].allowed == ["no", "yes"]
    assert "'perhaps'" in drafts.text("customers")
    assert drafts.run_pipeline("customers", monkeypatch)["test_accuracy"] > 0.6


def test_numbers_are_predicted_by_regression(drafts, customers, monkeypatch):
    price = (customers["fee"] * 12 + 3).to_numpy(copy=True)
    price[:5] = np.nan
    data = drafts.draft(customers.assign(price=price).drop(columns="left"))
    assert (data.target, data.task, data.stratify) == ("price", "regression", None)
    assert data.clean.drop_nulls == ["price"]
    assert drafts.run_pipeline("customers", monkeypatch)["test_r2"] > 0.8


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (lambda n: np.arange(n) % 3, "classification"),
        (lambda n: np.arange(n) % 3 + 0.5, "regression"),
        (lambda n: np.arange(n) % 40, "regression"),
        (lambda n: np.arange(n) % 2 == 0, "classification"),
        (lambda n: [f"class {i % 30}" for i in range(n)], "classification"),
    ],
)
def test_the_task_follows_from_the_values_of_the_target(drafts, customers, values, task):
    table = customers.assign(outcome=values(len(customers)))
    assert drafts.draft(table, "outcome").task == task


def test_a_target_is_guessed_by_its_name_before_its_place(drafts, customers):
    classes = np.arange(len(customers)) % 3
    assert drafts.draft(customers.assign(species=classes, other=classes)[
        ["species", "age", "fee", "other"]
    ]).target == "species"  # fmt: skip
    last = drafts.draft(customers[["age", "fee"]].assign(kind=classes))
    assert last.target == "kind"
    assert "the last column, with few different values" in drafts.text("customers")


def test_a_target_that_cannot_be_guessed_is_asked_for(drafts, customers):
    with pytest.raises(UserError, match=r"choose one of 'plan', 'age', 'fee' with -P target="):
        drafts.draft(customers[["customer_id", "plan", "age", "fee"]])
    both = customers.assign(label=customers["left"], target=customers["left"])
    with pytest.raises(UserError, match="'label', 'target'"):
        drafts.draft(both)
    assert not list(drafts.drafts.iterdir())


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("lft", "the nearest is 'left'"),
        ("joined", "it holds dates"),
        ("customer_id", "too many for classes"),
        ("source", "the same value in every row"),
        ("nothing", "it has no value"),
        ("seldom", "it has only 5 values"),
        ("hydra", "the configuration reads as its own"),
    ],
)
def test_a_target_that_cannot_be_predicted_is_refused(drafts, customers, target, sentence):
    n = len(customers)
    table = customers.assign(
        source="web",
        nothing=None,
        seldom=[*range(5)] + [None] * (n - 5),
        hydra=["${data.target}", "b"] * (n // 2),
    )
    with pytest.raises(UserError, match=sentence):
        drafts.draft(table, target)
    assert not list(drafts.drafts.iterdir())
