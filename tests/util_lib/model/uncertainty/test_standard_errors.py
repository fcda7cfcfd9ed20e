"""The formulas against what resampling the rows says."""

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from util_lib.model import metrics
from util_lib.model.uncertainty import standard_errors


def answers(n_classes: int, n_rows: int, seed: int = 5):
    """Return classes and probabilities of an imperfect classifier, with ties."""
    random = np.random.default_rng(seed)
    truth = random.choice(
        n_classes, n_rows, p=np.arange(1, n_classes + 1) / sum(range(n_classes + 1))
    )
    raw = random.normal(0, 1, (n_rows, n_classes))
    raw[np.arange(n_rows), truth] += 1.0
    probabilities = np.round(np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True), 2)
    return truth, probabilities / probabilities.sum(axis=1, keepdims=True)


def resampled(score, n_rows: int, times: int = 250) -> float:
    random = np.random.default_rng(1)
    return float(np.std([score(random.integers(0, n_rows, n_rows)) for _ in range(times)], ddof=1))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_error_of_the_auc_is_what_resampling_the_rows_gives(n_classes):
    truth, probabilities = answers(n_classes, 400)
    classes = np.arange(n_classes)

    def score(rows):
        found = metrics.scores(truth[rows], probabilities[rows], classes, "val")
        return found["val_roc_auc_ovo_macro"]

    error = standard_errors.of_roc_auc(truth, probabilities, classes)
    assert error == pytest.approx(resampled(score, 400), rel=0.15)


def test_of_two_classes_it_is_delongs_formula():
    truth = np.array([0, 0, 0, 1, 1])
    ours = np.array([0.1, 0.4, 0.35, 0.8, 0.38])
    # placements of the two: 1 and 2/3; of the three: above both 1, above one 1/2, above none
    expected = math.sqrt(np.var([1, 2 / 3], ddof=1) / 2 + np.var([1, 0.5, 1], ddof=1) / 3)
    both = np.column_stack([1 - ours, ours])
    assert standard_errors.of_roc_auc(truth, both, [0, 1]) == pytest.approx(expected)


def test_the_error_of_r2_is_what_resampling_the_rows_gives():
    random = np.random.default_rng(3)
    truth = random.normal(10, 3, 500)
    predicted = truth + random.normal(0, 2, 500)

    def score(rows):
        return metrics.regression_scores(truth[rows], predicted[rows], "val")["val_r2"]

    error = standard_errors.of_r2(truth, predicted)
    assert error == pytest.approx(resampled(score, 500), rel=0.15)


def test_where_nothing_can_be_estimated_it_is_nan():
    one_row = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    assert math.isnan(standard_errors.of_roc_auc([0, 1, 0], one_row, [0, 1]))
    assert math.isnan(standard_errors.of_roc_auc([0, 0, 0], one_row, [0, 1]))
    assert math.isnan(standard_errors.of_r2([1, 1, 1], np.array([1, 2, 1])))


def test_a_class_without_rows_is_left_out_as_in_the_score():
    truth, probabilities = answers(3, 300)
    wider = np.column_stack([probabilities, np.zeros(300)])
    three = standard_errors.of_roc_auc(truth, probabilities, [0, 1, 2])
    assert standard_errors.of_roc_auc(truth, wider, [0, 1, 2, 3]) == pytest.approx(three)


@pytest.mark.parametrize(
    ("name", "of"),
    [("accuracy", accuracy_score), ("f1_macro", lambda *rows: f1_score(*rows, average="macro"))],
)
def test_the_errors_of_shares_of_right_answers_are_what_resampling_the_rows_gives(name, of):
    truth, probabilities = answers(4, 400)
    predicted = probabilities.argmax(axis=1)

    def score(rows):
        return of(truth[rows], predicted[rows])

    error = getattr(standard_errors, f"of_{name}")(truth, predicted)
    assert error == pytest.approx(resampled(score, 400), rel=0.15)


@pytest.mark.parametrize("name", ["mae", "rmse"])
def test_the_errors_of_distances_are_what_resampling_the_rows_gives(name):
    random = np.random.default_rng(3)
    truth = random.normal(10, 3, 500)
    predicted = truth + random.normal(0, 2, 500)

    def score(rows):
        return metrics.regression_scores(truth[rows], predicted[rows], "val")[f"val_{name}"]

    error = getattr(standard_errors, f"of_{name}")(truth, predicted)
    assert error == pytest.approx(resampled(score, 500), rel=0.15)
