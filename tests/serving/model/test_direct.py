import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import ExtraTreesClassifier

from serving.model import fast_path_trial
from serving.model.fast_path import Direct, NoFastPath
from util_lib.model import config as model_config
from util_lib.model import inference_pipeline

DAYS = pd.date_range("2020-01-01", periods=400, freq="37h")


def table(n_rows=400):
    random = np.random.default_rng(2)
    words = np.array(["warehouse", "beats", "the", "song", "of", "love", "BEATS beats"])
    frame = pd.DataFrame(
        {
            "energy": random.uniform(0, 1, n_rows),
            "tempo": random.integers(60, 200, n_rows),
            "key": random.integers(0, 12, n_rows),
            "kind": random.choice(["a", "b", "c"], n_rows),
            "size": random.choice(["small", "middle", "large"], n_rows),
            "place": random.choice(["north", "south"], n_rows),
            "day": DAYS[:n_rows],
            "title": [" ".join(random.choice(words, i % 6)) for i in range(n_rows)],
        }
    )
    frame.loc[::7, "energy"] = np.nan
    frame.loc[::11, ["kind", "place"]] = None
    frame["genre"] = np.where(frame["energy"].fillna(0) * 100 + frame["tempo"] > 150, "x", "y")
    return frame.assign(price=frame["tempo"] * 1.5)


def fitted(task="classification", imputer="median", binary=True, calibrate=None, n=2, **features):
    target = "price" if task == "regression" else "genre"
    config = model_config.RandomForestPipeline.model_validate(
        {
            "target": target,
            "task": task,
            "features": {
                "numerical": ["energy", "tempo"],
                "categorical": ["key", "kind", "size"],
                "one_hot": ["place"],
                "dates": ["day"],
                "nlp": ["title"],
                **features,
            },
            "category_orders": {"size": ["small", "middle", "large"]},
            "numerical_imputer": imputer,
            "calibrate": calibrate,
            "tfidf": {"max_features": 4, "binary": binary},
            "random_forest": {"n_estimators": 12, "max_depth": 6, "random_state": 1},
        }
    )
    pipeline = inference_pipeline.make_inference_pipeline(config)
    rows = table()
    if n == 3:
        rows["genre"] = rows["genre"].where(rows["key"] < 9, "z")
    inference_pipeline.fit(pipeline, rows[:200], config)
    return inference_pipeline.calibrated(pipeline, rows[200:], config)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"task": "regression"},
        {"imputer": "mean", "binary": False},
        {"imputer": "zero", "one_hot": [], "dates": [], "nlp": []},
        {"numerical": [], "categorical": ["kind"]},
        {"calibrate": "isotonic"},
        {"calibrate": "isotonic", "n": 3},
        {"calibrate": "temperature"},
        {"calibrate": "temperature", "n": 3},
    ],
)
def test_every_treatment_has_the_pipelines_answers_to_the_last_bit(changes):
    pipeline = fitted(**changes)
    assert fast_path_trial.direct_path(pipeline, table(20)) is not None
    ask = pipeline.predict if changes.get("task") == "regression" else pipeline.predict_proba
    frame = pd.concat([fast_path_trial.trial_rows(pipeline, 3000, seed=9), table()])
    np.testing.assert_array_equal(Direct(pipeline).predict(frame), ask(frame))


def test_columns_that_are_left_out_or_of_another_type_get_the_pipelines_answers():
    pipeline = fitted()
    direct, frame = Direct(pipeline), table(30).drop(columns=["genre", "price"])
    as_objects = frame.astype(object).where(frame.notna(), None)
    texts = frame.assign(day=frame["day"].map(str), tempo=frame["tempo"].map(str))
    for rows in (frame.drop(columns=["energy", "kind", "day", "title"]), as_objects, texts):
        np.testing.assert_array_equal(direct.predict(rows), pipeline.predict_proba(rows))


@pytest.mark.parametrize("value", [np.inf, 1e300])
def test_numbers_that_the_pipeline_refuses_are_left_to_it(value):
    direct = Direct(fitted())
    with pytest.raises(NoFastPath):
        direct.predict(table(3).assign(energy=value))


def test_a_pipeline_of_other_parts_has_no_direct_path():
    pipeline = fitted()
    pipeline.steps[-1] = ("classifier", ExtraTreesClassifier())
    assert fast_path_trial.direct_path(pipeline) is None


def test_a_direct_path_that_answers_otherwise_is_not_used(monkeypatch):
    pipeline = fitted()
    pipeline["processor"].named_transformers_["numerical"][1].mean_ += 1
    right = Direct(pipeline)
    monkeypatch.setattr(fast_path_trial, "Direct", lambda _: right)
    assert fast_path_trial.direct_path(pipeline) is right
    assert fast_path_trial.direct_path(fitted()) is None
