"""Probabilities set right by the validation rows: for both trainers, measured honestly."""

import numpy as np
import pandas as pd
import pytest
import yaml
from step_support import MODEL

from train_gradient_boosting import run as boosting
from train_random_forest import run as forest
from util_lib.errors import UserError
from util_lib.model import config as model_config
from util_lib.model import export, inference_pipeline, metrics, trials

DATA = "data_train.parquet"
FOREST = {**MODEL, "features": {"numerical": ["x", "z"], "categorical": [], "nlp": []}}
FOREST["random_forest"] = {
    **MODEL["random_forest"],
    "max_depth": 12,
    "class_weight": "balanced",
}
BOOSTED = {key: FOREST[key] for key in ("target", "task", "features", "tfidf")}
BOOSTED["gradient_boosting"] = {"max_iter": 60, "learning_rate": 0.5, "random_state": 0}
TRAINERS = {"forest": (forest, FOREST), "boosting": (boosting, BOOSTED)}
# Steps take back weights of classes; a temperature only what is too bold, as deep trees are.
METHODS = {"isotonic": (0.15, 0.35), "temperature": (0.35, 0.65)}


def rare(n_rows=1200, seed=0, names=("no", "yes"), shares=(0.15, 0.35)):
    """Return rows of a rare class, which a balanced forest takes for far more frequent."""
    random = np.random.default_rng(seed)
    x = random.uniform(-1, 1, n_rows)
    is_rare = random.uniform(size=n_rows) < np.where(x > 0.3, shares[1], shares[0])
    genre = np.where(is_rare, names[1], names[0])
    return pd.DataFrame({"x": x, "z": random.normal(size=n_rows), "genre": genre})


@pytest.fixture
def train(steps):
    def go(trainer, rows=None, val_size="0.4", more=(), **changes):
        step, model = TRAINERS[trainer]
        data = steps.put(rare() if rows is None else rows, DATA)
        given = ["--train_data", data, "--export_artifact", "model_export", "--random_seed", "42"]
        given += ["--val_size", val_size, "--stratify", "genre", *more]
        step.main([*given, "--model_config", steps.yaml({**model, **changes})])
        return steps.run(step.TRAINER.name).summary

    return go


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("method", METHODS)
def test_the_exported_model_answers_with_probabilities_that_come_true(
    steps, train, trainer, method
):
    shares = METHODS[method]
    summary = train(trainer, rare(shares=shares), calibrate=method)
    path = steps.artifact("model_export:latest").download(str(steps.folder / "model"))
    pipeline, metadata = export.load(path)
    fresh = rare(4000, seed=9, shares=shares)
    truth = fresh["genre"].to_numpy()
    gaps = [
        metrics.calibration_gap(truth, each.predict_proba(fresh), each.classes_)
        for each in (pipeline, inference_pipeline.uncalibrated(pipeline))
    ]
    assert gaps[0] < gaps[1] / 2
    assert metadata["parameters"]["calibrate"] == method
    assert summary["val_brier"] < summary["val_uncalibrated_brier"]
    assert {"reliability", "confusion_matrix"} <= {*summary}
    parts = inference_pipeline.feature_importances(pipeline)
    assert set(parts) == {"x", "z"} and sum(parts.values()) == pytest.approx(1)


def test_the_scores_are_those_of_calibrations_that_have_not_seen_the_row(steps):
    """Of noise isotonic steps make something on the rows they saw, and nothing on others."""
    random = np.random.default_rng(4)
    noise = pd.DataFrame({"x": random.normal(size=300), "z": random.normal(size=300)})
    noise["genre"] = np.where(random.uniform(size=300) < 0.5, "a", "b")
    config = model_config.RandomForestPipeline.model_validate({**FOREST, "calibrate": "isotonic"})
    pipeline = inference_pipeline.make_inference_pipeline(config)
    inference_pipeline.fit(pipeline, noise[:100], config)
    val = noise[100:]
    own = inference_pipeline.calibrated(pipeline, val, config).predict_proba(val)
    apart = inference_pipeline.answers_of_calibrations(pipeline, val, config, seed=1)
    groups = inference_pipeline.answers_of_calibrations(pipeline, val, config, 1, np.arange(200))
    truth, classes = val["genre"].to_numpy(), pipeline.classes_
    briers = [metrics.scores(truth, p, classes, "val")["val_brier"] for p in (own, apart, groups)]
    assert briers[0] < min(briers[1:])


def test_a_model_that_is_not_calibrated_says_nothing_of_it(steps, train):
    summary = train("forest", rare(200))
    assert "calibrate" not in steps.artifact("model_export:latest").metadata["parameters"]
    assert summary["val_brier"] > 0 and "val_uncalibrated_brier" not in summary


@pytest.mark.parametrize("names", [("1", "0"), (7, 3), (False, True)])
@pytest.mark.parametrize("method", METHODS)
def test_any_classes_can_be_calibrated_and_stay_what_they_are(names, method):
    config = model_config.RandomForestPipeline.model_validate({**FOREST, "calibrate": method})
    pipeline = inference_pipeline.make_inference_pipeline(config)
    rows, fresh = rare(600, names=names), rare(300, 5, names)
    inference_pipeline.fit(pipeline, rows[:300], config)
    pipeline = inference_pipeline.calibrated(pipeline, rows[300:], config)
    assert pipeline.classes_.tolist() == sorted(names)
    assert (pipeline.predict(fresh) == fresh["genre"]).mean() > 0.6
    given = pipeline.predict_proba(fresh)[:, sorted(names).index(names[1])]
    assert given[fresh["x"] > 0.3].mean() > given[fresh["x"] < 0.3].mean()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"val_size": "0"}, "needs validation rows and val_size is 0"),
        ({"task": "regression", "random_forest": {}}, "a regression has none"),
        ({"calibrate": "sigmoid"}, "calibrate"),
        ({"rows": rare(60)}, "needs 5 validation rows of every class that the model knows, and"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_with_the_reason(train, changes, said):
    with pytest.raises(UserError, match=said):
        train("forest", **{"calibrate": "isotonic", "val_size": "0.2", **changes})


def test_too_few_groups_of_validation_rows_are_refused_with_the_reason(train):
    rows = rare(400).assign(patient=np.arange(400) % 8)
    by = ["--split_by", "group", "--split_column", "patient"]
    with pytest.raises(UserError, match=r"needs 5 groups of .* are of [234]: take a larger"):
        train("forest", rows, calibrate="isotonic", more=by)


def test_a_trial_has_the_bytes_and_the_scores_of_a_single_run_and_folds_are_calibrated(
    steps, train
):
    single = train("forest", calibrate="isotonic")
    sweep = {"name": "grid", "trial": 1, "cv": 2, "objectives": ["cv_brier_mean"]}
    asked = {
        "project": "tests",
        "arguments": ["--train_data", f"{DATA}:latest", "--export_artifact", "of_trial"]
        + ["--random_seed", "42", "--val_size", "0.4", "--stratify", "genre"],
        "sweep": sweep,
    }
    found = {}
    warm = trials.Warm(forest.TRAINER)
    for method in (None, "isotonic"):
        given = yaml.safe_dump({**FOREST, "calibrate": method})
        found[method] = trials.run_trial({**asked, "model_config": given}, warm)["summary"]
    trial = steps.artifact(found["isotonic"]["model"])
    assert trial.digest == steps.artifact("model_export:latest").digest
    assert found["isotonic"]["val_brier"] == single["val_brier"]
    assert found["isotonic"]["objective"] < found[None]["objective"]
