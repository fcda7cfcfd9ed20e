"""Training data above max_rows are drawn from, for both trainers; the run says what that costs."""

import argparse

import numpy as np
import pandas as pd
import pytest
from step_support import MODEL, make_songs, with_text

from train_gradient_boosting import run as boosting
from train_random_forest import run as forest
from util_lib import tracking
from util_lib.errors import UserError
from util_lib.model import config as model_config
from util_lib.model import training

DATA = "data_train.parquet"
SHARED = {key: MODEL[key] for key in ("target", "task", "features", "tfidf")}
MODELS = {
    "train_random_forest": (forest, MODEL),
    "train_gradient_boosting": (
        boosting,
        {**SHARED, "gradient_boosting": {"max_iter": 5, "min_samples_leaf": 5}},
    ),
}
METRIC = "val_roc_auc_ovo_macro"


@pytest.fixture(params=MODELS)
def train(steps, request, caplog):
    step, model = MODELS[request.param]

    def go(val_size="0.3", **changes):
        rows = steps.put(with_text(make_songs(400)), DATA)
        arguments = ["--train_data", rows, "--export_artifact", "null", "--random_seed", "42"]
        arguments += ["--val_size", val_size, "--stratify", "genre"]
        step.main([*arguments, "--model_config", steps.yaml({**model, **changes})])
        return steps.run(request.param).summary

    return go


def test_the_run_has_the_share_and_a_learning_curve(train, caplog):
    summary = train(max_rows=200)
    assert "fitting on 140 rows, validating on 60" in caplog.text
    assert summary["share_of_rows_used"] == 0.5
    assert summary[f"{METRIC}_at_1_of_rows"] == summary[METRIC]
    quarter, half = (summary[f"{METRIC}_at_{share}_of_rows"] for share in (0.25, 0.5))
    assert 0.5 < quarter <= 1 and 0.5 < half <= 1 and quarter != half


def test_without_validation_rows_there_is_no_curve(train):
    summary = train(val_size="0", max_rows=200)
    assert summary["share_of_rows_used"] == 0.5
    assert not [name for name in summary if "of_rows" in name and name != "share_of_rows_used"]


@pytest.mark.parametrize("max_rows", [None, 400])
def test_where_nothing_is_cut_the_run_is_as_without(train, max_rows):
    plain, same = train(), train(max_rows=max_rows)
    assert {name: same[name] for name in same if "val" in name} == {
        name: plain[name] for name in plain if "val" in name
    }
    assert not [name for name in same if "of_rows" in name]


@pytest.mark.parametrize("name", [DATA, "data_train.csv"])
def test_the_rows_drawn_are_the_seeds_and_the_classes_keep_their_shares(steps, tmp_path, name):
    songs = with_text(make_songs(400)).assign(place=range(400))
    artifact = tracking.Api().artifact(steps.put(songs, name))

    def draw(seed, stratify="genre"):
        config = model_config.RandomForestPipeline.model_validate({**MODEL, "max_rows": 101})
        args = argparse.Namespace(random_seed=seed, stratify=stratify)
        return training.read_rows(artifact, config, str(tmp_path), args)

    rows, share = draw(1)
    assert len(rows) == 101 and share == 101 / 400
    expected = songs["genre"].value_counts() * share
    assert (rows["genre"].value_counts().sub(expected).abs() < 1).all()
    # Each row is whole, in the order of the table.
    assert rows["place"].is_monotonic_increasing
    chosen = songs.iloc[rows["place"]].reset_index(drop=True)
    assert np.allclose(rows["tempo"], chosen["tempo"]) and (rows["genre"] == chosen["genre"]).all()
    pd.testing.assert_frame_equal(draw(1)[0], rows)
    assert set(draw(2)[0]["place"]) != set(rows["place"])
    assert len(draw(1, None)[0]) == 101


def test_too_few_rows_are_refused(train):
    with pytest.raises(UserError, match="max_rows"):
        train(max_rows=3)
