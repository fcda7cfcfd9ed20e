"""Which trial is best, what a sweep may be measured by, and how its values are called."""

import pytest

from pipeline.sweeps.record import Trial, best, described, is_maximised, objectives, short_names
from util_lib.errors import UserError

AUC = "val_roc_auc_ovo_macro"


def trial(number, state="finished", **summary):
    return Trial(number, state, {}, summary, str(number), str(number))


def test_the_best_trial_is_the_finished_one_with_the_best_first_metric():
    found = [trial(1, **{AUC: 0.8}), trial(2, **{AUC: 0.9}), trial(3, "failed", **{AUC: 1.0})]
    assert best([*found, trial(4, **{AUC: float("nan")}), trial(5)], [AUC]).number == 2
    assert best([trial(1, val_mae=3.0), trial(2, val_mae=2.0)], ["val_mae"]).number == 2
    assert best([trial(1), trial(2, "crashed")], [AUC]) is None


def test_equal_trials_are_told_apart_by_the_next_metric_then_by_size_then_by_number():
    same = [trial(n, **{AUC: 0.9, "val_accuracy": a, "model_mb": m}) for n, a, m in TRIALS]
    assert best(same, [AUC, "val_accuracy"]).number == 2
    assert best(same, [AUC]).number == 3
    assert best([trial(2, **{AUC: 0.9}), trial(1, **{AUC: 0.9})], [AUC]).number == 1


TRIALS = [(1, 0.5, 3.0), (2, 0.6, 3.0), (3, 0.5, 1.0)]


def test_a_sweep_is_measured_by_the_folds_where_there_are_some_else_by_the_validation_split():
    assert objectives(None, "classification", 0, 0.3) == [AUC]
    assert objectives(None, "classification", 5, 0.3) == ["cv_roc_auc_ovo_macro_mean"]
    assert objectives(None, "regression", 0, 0.3) == ["val_r2"]
    assert objectives([AUC, "model_mb"], "classification", 5, 0.3) == [AUC, "model_mb"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((None, "classification", 0, 0.0), "data.val_size=0 leaves no rows .* set sweep.cv=5"),
        (("val_r2", "classification", 0, 0.3), "unknown metric 'val_r2'"),
        ((AUC, "classification", 5, 0.0), "unknown metric 'val_roc_auc_ovo_macro': the nearest is"),
        (([], "classification", 0, 0.3), "must name a metric, found an empty list"),
    ],
)
def test_a_metric_that_no_trial_will_measure_is_refused(given, sentence):
    with pytest.raises(UserError, match=sentence):
        objectives(*given)


def test_more_is_better_but_for_errors_seconds_and_size():
    names = (AUC, "cv_r2_mean", "val_mae", "cv_rmse_mean", "fit_seconds", "model_mb")
    assert [is_maximised(name) for name in names] == [True, True, False, False, False, False]


def test_a_swept_key_is_called_by_its_shortest_end_that_no_other_has():
    forest, words = "a.random_forest.max_features", "a.tfidf.max_features"
    assert short_names([forest, words, "a.random_forest.max_depth"]) == {
        forest: "random_forest.max_features",
        words: "tfidf.max_features",
        "a.random_forest.max_depth": "max_depth",
    }
    assert described({forest: None, "data.test_size": 0.2}) == "max_features=null test_size=0.2"
