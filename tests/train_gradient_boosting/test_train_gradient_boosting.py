"""Boosted trees: the contract of the forest, with missing values and categories as they are."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.ensemble import HistGradientBoostingClassifier
from step_support import MODEL, ROOT, make_songs, with_text
from threadpoolctl import threadpool_info, threadpool_limits

from evaluate import run as evaluate
from serving.model import fast_path_trial, served_model
from train_gradient_boosting import run
from train_random_forest import run as forest_run
from util_lib.errors import UserError
from util_lib.model import config as model_config
from util_lib.model import export, inference_pipeline, trials

DATA = "data_train.parquet"
TREES = {"max_iter": 10, "random_state": 3}
BOOSTED = {
    **{
        key: value for key, value in MODEL.items() if key in ("target", "task", "features", "tfidf")
    },
    "gradient_boosting": TREES,
}


def arguments(rows, export="null"):
    given = ["--train_data", rows, "--export_artifact", export, "--random_seed", "42"]
    return [*given, "--val_size", "0.3", "--stratify", "genre"]


@pytest.fixture
def train(steps):
    def go(table=None, *, export="null", trees=None, **changes):
        table = with_text(make_songs()) if table is None else table
        config = {**BOOSTED, **changes, "gradient_boosting": {**TREES, **(trees or {})}}
        rows = steps.put(table, DATA)
        run.main([*arguments(rows, export), "--model_config", steps.yaml(config)])
        return steps.run("train_gradient_boosting")

    return go


def fitted(table, **changes):
    config = model_config.GradientBoostingPipeline.model_validate({**BOOSTED, **changes})
    pipeline = inference_pipeline.make_inference_pipeline(config)
    inference_pipeline.fit(pipeline, table, config)
    return pipeline


def test_a_run_has_the_metrics_and_figures_of_a_forests_run(train, steps):
    done = train()
    forest_run.main([*arguments(f"{DATA}:v0"), "--model_config", steps.yaml(MODEL, "forest.yaml")])
    assert set(done.summary) == set(steps.run("train_random_forest").summary)
    assert done.summary["val_roc_auc_ovo_macro"] > 0.9
    assert done.config["gradient_boosting_pipeline"]["gradient_boosting"]["max_iter"] == 10


def test_the_export_is_evaluated_like_a_forests(train, steps):
    train(export="model_export")
    made = steps.artifact("model_export:latest")
    assert made.type == "model_export" and made.metadata["target"] == "genre"
    assert made.description == "Gradient Boosting pipeline export"
    test = steps.put(with_text(make_songs(seed=2)), "data_test.parquet")
    evaluate.main(["--model_export", "model_export:latest", "--test_data", test])
    assert steps.run("evaluate").summary["test_accuracy"] > 0.5


@pytest.mark.slow
def test_another_process_with_other_threads_makes_the_same_version(train, steps):
    train(export="model_export", trees={"max_features": 0.5, "early_stopping": True})
    given = [*arguments(f"{DATA}:v0", "model_export"), "--model_config"]
    again = subprocess.run(
        [sys.executable, "run.py", *given, str(steps.folder / "config.yaml")],
        cwd=Path(run.__file__).parent,
        env={**os.environ, "OMP_NUM_THREADS": "3", "PYTHONHASHSEED": "3"},
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr
    assert steps.artifact("model_export:latest").version == "v0"


def test_a_model_read_from_its_file_gives_the_same_answers_also_without_values(train, steps):
    train(export="model_export")
    folder = steps.artifact("model_export:latest").download(str(steps.folder / "model"))
    pipeline, _ = export.load(folder)
    rows = with_text(make_songs()).head(20)
    batch = pipeline.predict_proba(rows)
    alone = [pipeline.predict_proba(rows.iloc[[row]])[0] for row in range(20)]
    np.testing.assert_array_equal(alone, batch)
    left_out = pipeline.predict_proba(rows.drop(columns=["tempo", "key"]))
    empty = pipeline.predict_proba(rows.assign(tempo=np.nan, key=None))
    np.testing.assert_array_equal(left_out, empty)
    assert fast_path_trial.direct_path(pipeline) is None  # the pipeline itself answers


@pytest.mark.parametrize("asked", ["evaluate", "serving", "training"])
def test_few_rows_are_answered_in_one_thread(asked, train, steps, monkeypatch):
    """Threads that wait for each other at each tree took 60 times as long beside other programs."""
    seen = []
    ask = HistGradientBoostingClassifier.predict_proba

    def counting(self, rows):
        threads = [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "openmp"]
        seen.append(max(threads))
        return ask(self, rows)

    train(export="model_export")
    monkeypatch.setattr(HistGradientBoostingClassifier, "predict_proba", counting)
    with threadpool_limits(3, "openmp"):
        if asked == "evaluate":
            evaluate.main(["--model_export", "model_export:latest", "--test_data", f"{DATA}:v0"])
        elif asked == "serving":
            model = served_model.load("model_export:latest")
            seen.clear()  # the trial of a faster way, which there is not
            model.predict(model.example)
        else:
            train()
    assert seen and set(seen) == {1}


def test_a_missing_number_is_a_value_of_its_own():
    random = np.random.default_rng(0)
    table = pd.DataFrame({"a": random.normal(size=400), "genre": "there"})
    table.loc[::2, ["a", "genre"]] = [np.nan, "gone"]
    features = {"numerical": ["a"], "categorical": [], "nlp": []}
    pipeline = fitted(table, features=features)
    assert pipeline.score(table, table["genre"]) == 1


def test_categories_are_categories_whatever_their_order():
    random = np.random.default_rng(0)
    letter = random.choice(list("abcdefgh"), 1000)
    table = pd.DataFrame({"letter": letter, "noise": random.normal(size=1000)})
    table["genre"] = np.where(np.isin(letter, list("aceg")), "odd", "even")
    features = {"numerical": ["noise"], "categorical": ["letter"], "nlp": []}
    one_split = {"max_iter": 1, "max_leaf_nodes": 2, "random_state": 1}
    pipeline = fitted(table, features=features, gradient_boosting=one_split)
    assert pipeline.score(table, table["genre"]) == 1
    never_seen = table.assign(letter="z")
    missing = table.assign(letter=None)
    np.testing.assert_array_equal(
        pipeline.predict_proba(never_seen), pipeline.predict_proba(missing)
    )


def test_more_categories_than_bins_are_taken():
    random = np.random.default_rng(0)
    names = [f"city {number}" for number in random.integers(0, 400, 2000)]
    table = pd.DataFrame({"city": names, "genre": random.choice(["x", "y"], 2000)})
    features = {"numerical": [], "categorical": ["city"], "nlp": []}
    for bins in (255, 10):
        trees = {**TREES, "max_bins": bins}
        assert len(fitted(table, features=features, gradient_boosting=trees).predict(table)) == 2000


def test_every_feature_has_one_bar_and_all_bars_together_are_one():
    importances = inference_pipeline.feature_importances(fitted(with_text(make_songs())))
    assert set(importances) == {"energy", "loudness", "tempo", "key", "text_feature"}
    assert sum(importances.values()) == pytest.approx(1)
    assert importances["energy"] > importances["tempo"]


def test_numbers_are_predicted_from_ordered_one_hot_and_dated_features():
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "size": random.choice(["small", "middle", "large", None], 600),
            "place": random.choice(["north", "south"], 600),
            "sold": pd.date_range("2020-01-01", periods=600),
        }
    )
    table["price"] = np.where(table["place"] == "north", 10.0, 1) + (table["size"] == "large") * 5
    features = {"numerical": [], "categorical": ["size"], "one_hot": ["place"], "nlp": []}
    pipeline = fitted(
        table,
        target="price",
        task="regression",
        features={**features, "dates": ["sold"]},
        category_orders={"size": ["small", "middle", "large"]},
        gradient_boosting={**TREES, "learning_rate": 0.5, "class_weight": None},
    )
    assert pipeline.score(table, table["price"]) > 0.99
    assert set(inference_pipeline.feature_importances(pipeline)) == {"size", "place", "sold"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"trees": {"max_iters": 3}}, "unknown hyperparameter 'max_iters': .* 'max_iter'"),
        ({"trees": {"max_bins": 256}}, "'max_bins' parameter of HistGradientBoostingClassifier"),
        ({"trees": {"categorical_features": [0]}}, "unknown hyperparameter 'categorical_features'"),
        ({"trees": {"loss": "squared_error"}}, "'loss' parameter"),
        ({"trees": {"scoring": "speed", "early_stopping": True}}, "scikit-learn refuses to fit"),
        ({"numerical_imputer": "mean"}, "unknown key 'numerical_imputer'"),
    ],
)
def test_a_wrong_configuration_is_one_sentence(train, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        train(**changes)


def test_a_trials_model_has_the_bytes_of_a_single_run_with_its_parameters(steps):
    rows = steps.put(with_text(make_songs()), DATA)
    warm = trials.Warm(run.TRAINER)
    for number, bins in enumerate((255, 4)):
        section = {**BOOSTED, "gradient_boosting": {**TREES, "max_bins": bins}}
        sweep = {"name": "grid", "trial": number, "overrides": {}, "cv": 0}
        request = {
            "project": "tests",
            "arguments": arguments(rows, "model_export_trials"),
            "model_config": yaml.safe_dump(section),
            "sweep": sweep | {"objectives": ["val_roc_auc_ovo_macro"]},
            "threads": 1,
        }
        done = trials.run_trial(request, warm)
        run.main([*arguments(rows, "model_export"), "--model_config", steps.yaml(section)])
        scores = steps.run("train_gradient_boosting").summary
        assert done["summary"]["val_roc_auc_ovo_macro"] == scores["val_roc_auc_ovo_macro"]
        assert (
            steps.artifact(done["summary"]["model"]).digest
            == steps.artifact("model_export:latest").digest
        )


def test_the_pipeline_is_that_of_the_forest_but_for_the_trainer():
    def steps_of(name):
        text = Path(ROOT, "conf", "pipeline", f"{name}.yaml").read_text(encoding="utf-8")
        return yaml.safe_load(text)["steps"]

    boosted = yaml.safe_dump(steps_of("gradient_boosting"), sort_keys=False)
    renamed = boosted.replace("gradient_boosting", "random_forest")
    assert yaml.safe_load(renamed) == steps_of("training")
    assert [*yaml.safe_load(renamed)] == [*steps_of("training")]
