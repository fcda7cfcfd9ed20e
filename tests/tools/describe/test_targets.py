"""Which column a draft predicts where nobody says it: by names, then by place, never an id."""

import numpy as np
import pandas as pd
import pytest

from util_lib.errors import UserError

N = 200
RANDOM = np.random.default_rng(7)


def numbers():
    return RANDOM.normal(size=N).round(3)


def classes():
    return RANDOM.choice(["yes", "no"], N)


def guessed(drafts, **columns) -> str:
    return drafts.draft(pd.DataFrame(columns)).target


@pytest.mark.parametrize(
    "name",
    ["price", "SalePrice", "sale_price", "loan_status", "outcome", "result", "default", "Churn"]
    + ["Survived", "median house price", "is_fraud"],
)
def test_a_name_speaks_before_the_place(drafts, name):
    assert guessed(drafts, **{"size": numbers(), name: classes(), "last": classes()}) == name
    assert "guessed by its name" in drafts.text("customers")


def test_a_price_is_meant_and_not_a_length_called_y(drafts):
    lengths = {name: numbers() + 5 for name in "xyz"}
    assert guessed(drafts, carat=numbers(), price=numbers() * 100, **lengths) == "price"
    assert guessed(drafts, x=numbers(), y=numbers() * 3, z=numbers()) == "y"
    assert "where no other name speaks" in drafts.text("customers")


def test_an_outcome_is_meant_and_not_a_class_of_tickets(drafts):
    tickets = RANDOM.choice(["1st", "2nd", "3rd"], N)
    assert guessed(drafts, **{"class": tickets, "fare": numbers(), "survived": classes()}) == (
        "survived"
    )


def test_two_near_names_are_asked_about(drafts):
    with pytest.raises(UserError, match=r"\('price', 'sales'\): choose one with -P target="):
        guessed(drafts, price=numbers(), size=numbers(), sales=numbers())
    with pytest.raises(UserError, match=r"\('default', 'y'\): choose one"):
        guessed(drafts, age=numbers(), default=classes(), size=numbers(), y=classes())


def test_an_income_is_a_target_in_the_last_place_only(drafts):
    assert guessed(drafts, age=numbers(), size=numbers(), income=numbers()) == "income"
    assert guessed(drafts, age=numbers(), income=numbers(), purchase=classes()) == "purchase"


def test_a_first_column_with_few_values_is_as_near_as_such_a_last_one(drafts):
    with pytest.raises(UserError, match=r"first and the last column may be the target \('vote'"):
        guessed(drafts, rownames=range(N), vote=classes(), age=numbers(), gender=classes())


@pytest.mark.parametrize("name", ["rownames", "X", "Unnamed: 0", "customer_id", "orderid", "uuid"])
def test_what_names_rows_is_no_target_even_in_the_last_place(drafts, name):
    few = np.arange(N) % 4
    with pytest.raises(UserError, match=r"choose one of 'a', 'b' with -P target="):
        guessed(drafts, a=numbers(), b=numbers(), **{name: few})


def test_what_waits_for_an_answer_is_no_target(drafts):
    fee = [f"{v // 1000}.{v % 1000:03d}" if v > 999 else v for v in RANDOM.integers(100, 9000, N)]
    table = pd.DataFrame({"a": numbers(), "kind": classes(), "price": fee})
    content = table.to_csv(index=False, sep=";")
    with pytest.raises(UserError, match=r"choose one of 'a', 'kind' with -P target="):
        drafts.draft(content)


def test_missing_words_in_the_target_are_said_and_their_rows_left_out(drafts):
    kind = ["?" if i % 20 == 0 else "ab"[i % 2] for i in range(N)]
    data = drafts.draft(pd.DataFrame({"x": numbers(), "kind": kind}), "kind")
    assert data.columns["kind"].allowed == ["a", "b"] and data.clean.drop_nulls == ["kind"]
    assert "'?' (10 times, first in row 0) is taken as missing" in drafts.text("customers")


def test_names_that_look_like_missing_words_are_names(drafts):
    names = [f"Person {i}" for i in range(N - 3)] + ["Nan", "Na", "None"]
    data = drafts.draft(pd.DataFrame({"host": names, "x": numbers(), "left": classes()}))
    assert data.csv.missing == [] and not data.columns["host"].nullable
