"""Predicting numbers, and features other than plain ones."""

import json
import subprocess

import numpy as np
import pandas as pd
import pytest

from evaluate import run as evaluate
from tests import warm
from train_random_forest import run
from util_lib.errors import UserError
from util_lib.model import config as model_config
from util_lib.model import export as model_export
from util_lib.model import inference_pipeline

DATA = "data_train.parquet"
MODEL = {
    "target": "price",
    "task": "regression",
    "features": {
        "numerical": ["size"],
        "categorical": ["condition", "rooms"],
        "one_hot": ["area", "area code"],
        "dates": ["sold"],
        "nlp": ["title"],
    },
    "category_orders": {"condition": ["poor", "fair", "good"]},
    "tfidf": {"max_features": 3, "binary": False, "stop_words": "english"},
    "random_forest": {
        "n_estimators": 10,
        "max_depth": 6,
        "random_state": 1,
        "criterion": "squared_error",
        "max_features": 1.0,
        "class_weight": None,
    },
}


def make_houses(n_rows: int = 300) -> pd.DataFrame:
    random = np.random.default_rng(5)
    condition = random.choice(["poor", "fair", "good"], n_rows)
    area = random.choice(["north", "south"], n_rows)
    size = random.uniform(30, 200, n_rows)
    sold = pd.Timestamp("2020-01-01") + pd.to_timedelta(random.integers(0, 900, n_rows), unit="D")
    price = 3 * size + 200 * (area == "south") + 100 * (condition == "good")
    return pd.DataFrame(
        {
            "size": size,
            "condition": condition,
            "rooms": random.integers(1, 6, n_rows),
            "area": area,
            "area code": random.integers(10, 13, n_rows),
            "sold": pd.Series(sold).where(np.arange(n_rows) % 7 != 0),
            "title": random.choice(["the house of the sea", "flat flat", "barn"], n_rows),
            "price": price + (sold - sold.min()).days / 9,
        }
    )


@pytest.fixture
def train(steps):
    def go(table=None, *, export="null", stratify="null", forest=None, **changes):
        config = {**MODEL, **changes}
        config["random_forest"] = {**MODEL["random_forest"], **(forest or {})}
        data = steps.put(make_houses() if table is None else table, DATA)
        run.main(
            ["--train_data", data, "--model_config", steps.yaml(config)]
            + ["--export_artifact", export, "--random_seed", "42", "--val_size", "0.3"]
            + ["--stratify", stratify]
        )
        return steps.run("train_random_forest")

    return go


@pytest.fixture(scope="module")
def fitted():
    config = model_config.RandomForestPipeline.model_validate(MODEL)
    pipeline, table = inference_pipeline.make_inference_pipeline(config), make_houses()
    inference_pipeline.fit(pipeline, table, config)
    return pipeline, table


def test_numbers_are_predicted_measured_drawn_exported_and_evaluated(train, steps):
    summary = train(export="model_export", stratify="area").summary
    assert summary["val_r2"] > 0.8 and 0 < summary["val_mae"] <= summary["val_rmse"]
    assert {"residuals", "feature_importance"} <= set(summary)
    assert "val_accuracy" not in summary and "confusion_matrix" not in summary
    assert steps.artifact("model_export:latest").metadata["task"] == "regression"
    for name in ("data_test.parquet", "data_test.csv"):
        test = steps.put(make_houses(50), name)
        evaluate.main(["--model_export", "model_export:latest", "--test_data", test])
        measured = steps.run("evaluate").summary
        assert measured["test_r2"] > 0.8 and measured["test_mae"] > 0
        assert "residuals" in measured and "confusion_matrix" not in measured


def test_the_test_data_of_another_kind_are_refused(train, steps):
    train(export="model_export")
    test = steps.put(make_houses().assign(price="much"), "data_test.parquet")
    with pytest.raises(UserError, match="'price' must hold numbers.*found 'much'"):
        evaluate.main(["--model_export", "model_export:latest", "--test_data", test])


def test_every_feature_has_one_bar_under_its_own_name(fitted):
    pipeline, _ = fitted
    importances = inference_pipeline.feature_importances(pipeline)
    assert set(importances) == {
        *("size", "condition", "rooms", "area", "area code", "sold", "title")
    }
    assert sum(importances.values()) == pytest.approx(1)
    # the truth behind the made prices; parts that were shifted by one would not give it
    assert sorted(importances, key=importances.get)[-2:] == ["area", "size"]
    assert max(importances["area code"], importances["rooms"]) < importances["condition"]


def test_one_hot_features_are_a_column_for_each_category_and_none_for_others(fitted):
    pipeline, table = fitted
    encoder = pipeline["processor"].named_transformers_["one_hot"][-1]
    assert [list(c) for c in encoder.categories_] == [["north", "south"], [10, 11, 12]]
    shifted = table.head(1).assign(area="moon")
    columns = pipeline[:-1].transform(shifted)
    place = pipeline["processor"].output_indices_["one_hot"]
    row = np.asarray(columns.todense() if hasattr(columns, "todense") else columns)[0, place]
    assert row.sum() == 1  # the area code's alone


def test_ordered_categories_are_numbered_as_listed_and_the_unknown_is_minus_one(fitted):
    pipeline, _ = fitted
    encoder = pipeline["processor"].named_transformers_["ordered"]
    given = pd.DataFrame({"condition": ["good", "fair", "poor", "ruin"]}, dtype=object)
    assert encoder.transform(given).ravel().tolist() == [2, 1, 0, -1]


def test_ordered_numbers_are_matched_and_must_ascend():
    def make(order):
        orders = {"rooms": order}
        return model_config.RandomForestPipeline.model_validate(
            {**MODEL, "category_orders": orders}
        )

    config, table = make([1, 2, 3, 4, 5]), make_houses()
    pipeline = inference_pipeline.make_inference_pipeline(config)
    inference_pipeline.fit(pipeline, table, config)
    encoder = pipeline["processor"].named_transformers_["ordered"]
    assert encoder.transform(pd.DataFrame({"rooms": [5.0, 9.0]})).ravel().tolist() == [4, -1]
    with pytest.raises(UserError, match="category_orders.rooms: numbers are ordered from low"):
        inference_pipeline.make_inference_pipeline(make([3, 1, 2]))


def test_words_are_counted_and_common_ones_left_out_where_it_is_said(fitted):
    pipeline, _ = fitted
    tfidf = pipeline["processor"].named_transformers_["nlp_title"][-1]
    assert not tfidf.binary and tfidf.stop_words == "english"
    assert not {"the", "of"} & set(tfidf.get_feature_names_out())


def test_a_row_alone_gets_the_price_that_it_gets_in_a_batch_also_from_json(fitted):
    pipeline, table = fitted
    batch = table.head(20)
    expected = pipeline.predict(batch)
    alone = [pipeline.predict(batch.iloc[[row]])[0] for row in range(20)]
    np.testing.assert_array_equal(alone, expected)
    as_json = pd.DataFrame(json.loads(batch.to_json(orient="records", date_format="iso")))
    np.testing.assert_array_equal(pipeline.predict(as_json), expected)


SERVED = """
import json, sys, mlflow.pyfunc
from mlflow.pyfunc.scoring_server import infer_and_parse_data
model = mlflow.pyfunc.load_model(sys.argv[1])
example = json.load(open(sys.argv[1] + "/serving_input_example.json"))
table = infer_and_parse_data(example, model.metadata.get_input_schema())
print(json.dumps([list(model.predict(table)), model.metadata.get_output_schema().to_dict()]))
"""


def test_the_export_answers_its_own_example_with_numbers(train, steps, fitted):
    train(export="model_export")
    folder = steps.artifact("model_export:latest").download(str(steps.folder / "model"))
    done = subprocess.run(
        [warm.python(), "-c", SERVED, folder], cwd=steps.folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answers, schema = json.loads(done.stdout.splitlines()[-1])
    assert len(answers) == 2 and all(100 < answer < 1100 for answer in answers)
    assert schema[0]["type"] == "double"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"forest": {"class_weight": "balanced"}}, "'class_weight' parameter .* must be null"),
        ({"forest": {"criterion": "gini"}}, "'criterion' parameter of RandomForestRegressor"),
        ({"forest": {"max_features": "auto"}}, "write 1.0, which is what 'auto' meant"),
        (
            {"task": "classification", "forest": {"criterion": "gini"}},
            "'price' holds numbers such as .*set data.task to regression",
        ),
        ({"target": "title", "features": {"numerical": ["size"], "categorical": [], "nlp": []}},
         "'title' must hold numbers for task regression"),
    ],
)  # fmt: skip
def test_a_model_that_does_not_fit_its_task_is_one_sentence(train, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        train(**changes)


@pytest.mark.parametrize(
    ("column", "values", "sentence"),
    [
        ("price", 5.0, "target 'price' is 5.0 in every row"),
        ("price", np.inf, "target 'price' must be finite, 300 of 300"),
        ("price", True, "must hold numbers for task regression"),
        ("sold", pd.NaT, "feature 'sold' has no value in any"),
        ("area", None, "feature 'area' has no value in any"),
        ("sold", "soon", "column 'sold' must hold dates as in 2019-05-26, found 'soon'"),
    ],
)
def test_values_that_cannot_be_learned_from_are_one_sentence(train, column, values, sentence):
    with pytest.raises(UserError, match=sentence):
        train(make_houses().assign(**{column: values}))


@pytest.mark.parametrize(
    "classes", [[0, 1, 2], [False, True], [1.0, 2.0], ["1", "2", "10"], ["04", "4"]]
)
def test_classes_of_numbers_and_of_truth_are_fine(train, steps, classes):
    houses = make_houses(360)
    kinds = pd.qcut(houses.pop("price"), len(classes), labels=False).map(dict(enumerate(classes)))
    table = houses.assign(kind=kinds)
    forest = {"criterion": "gini", "max_features": "sqrt", "class_weight": "balanced"}
    declared = {"dtype": "string", "role": "target"} if isinstance(classes[0], str) else None
    given = {"target": "kind", "task": "classification", "forest": forest}
    given |= {"declaration": {"target": declared}}
    assert train(table.head(300), export="model_export", **given).summary["val_accuracy"] > 0.5
    for name in ("data_test.parquet", "data_test.csv"):
        test = steps.put(table.tail(60), name)
        evaluate.main(["--model_export", "model_export:latest", "--test_data", test])
        assert steps.run("evaluate").summary["test_accuracy"] > 0.5
    export, _ = model_export.load(steps.artifact("model_export:latest").download("m"), False)
    assert export.classes_.tolist() == sorted(classes)


def test_weights_are_given_by_class_whatever_classes_are(train, steps):
    houses = make_houses()
    kinds = np.where(houses.pop("price").rank(pct=True) > 0.5, "2", "10")
    forest = {"criterion": "gini", "max_features": "sqrt", "max_depth": 1}
    given = {"target": "kind", "task": "classification"}
    for weights, most in (({"2": 50.0}, "2"), ({"2": 0.02, "10": 1.0}, "10")):
        train(
            houses.assign(kind=kinds),
            export="model_export",
            forest={**forest, "class_weight": weights},
            **given,
        )
        export, _ = model_export.load(steps.artifact("model_export:latest").download(most), False)
        assert {*export.predict(houses)} == {most}
        assert export[-1].class_weight == weights
    with pytest.raises(UserError, match="class_weight: 2 is none of the classes '10', '2'"):
        train(houses.assign(kind=kinds), forest={**forest, "class_weight": {2: 1.0}}, **given)
