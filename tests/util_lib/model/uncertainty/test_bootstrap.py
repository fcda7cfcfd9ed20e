"""The bootstrap: each draw's metric is scikit-learn's on the rows drawn, and the interval holds."""

import numpy as np
import pytest
from sklearn import metrics

from util_lib.model import metric_names
from util_lib.model.uncertainty import bootstrap

N, CLASSES = 60, 4


def answers(seed, n=N, classes=CLASSES, help=0.4):
    """Class numbers and the probabilities of a model that knows a little; many are tied."""
    random = np.random.default_rng(seed)
    truth = np.arange(n) % classes
    probabilities = random.random((n, classes)).round(1)
    probabilities[np.arange(n), truth] += help
    return truth, probabilities / probabilities.sum(axis=1, keepdims=True)


def drawn(seed, truth):
    """Weights of one draw, and the rows that it stands for."""
    rows = np.random.default_rng(seed).integers(0, len(truth), len(truth))
    return np.bincount(rows, minlength=len(truth))[:, None].astype(float), rows


EXPECTED = {
    "roc_auc_ovo_macro": lambda t, p: metrics.roc_auc_score(t, p, multi_class="ovo"),
    "accuracy": lambda t, p: metrics.accuracy_score(t, p.argmax(axis=1)),
    "f1_macro": lambda t, p: metrics.f1_score(t, p.argmax(axis=1), average="macro"),
    "r2": metrics.r2_score,
    "mae": metrics.mean_absolute_error,
    "rmse": metrics.root_mean_squared_error,
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_metric_of_weights_is_that_of_the_rows_repeated(name):
    truth, given = answers(1)
    if name in ("r2", "mae", "rmse"):
        truth, given = truth.astype(float), given[:, 0]
    for seed in range(5):
        weights, rows = drawn(seed, truth)
        found = bootstrap.METRICS[name](weights, truth, given)
        assert found == pytest.approx([EXPECTED[name](truth[rows], given[rows])])


def test_every_metric_has_its_interval():
    assert [*bootstrap.METRICS] == [metric.name for metric in metric_names.METRICS]


def test_of_two_classes_the_auc_is_that_of_the_second():
    truth, given = answers(2, classes=2)
    weights, rows = drawn(1, truth)
    expected = metrics.roc_auc_score(truth[rows], given[rows, 1])
    assert bootstrap.roc_auc_ovo_macro(weights, truth, given) == pytest.approx([expected])


def test_rows_of_a_class_that_the_models_do_not_know_count_as_wrong():
    truth, given = answers(3)
    truth[:10] = -1
    weights = np.ones((N, 1))
    assert bootstrap.accuracy(weights, truth, given) == pytest.approx(
        [metrics.accuracy_score(truth, given.argmax(axis=1))]
    )
    expected = metrics.roc_auc_score(truth[10:], given[10:], multi_class="ovo")
    assert bootstrap.roc_auc_ovo_macro(weights, truth, given) == pytest.approx([expected])


def test_a_model_against_itself_has_an_interval_of_nothing():
    truth, given = answers(4)
    assert bootstrap.interval(bootstrap.f1_macro, truth, given, given, True) == (0.0, 0.0)


def test_the_same_question_has_the_same_answer_however_many_draws_are_made_at_once(monkeypatch):
    truth, one = answers(5)
    _, other = answers(6, help=0.2)
    whole = bootstrap.interval(bootstrap.accuracy, truth, one, other, True)
    monkeypatch.setattr(bootstrap, "MAX_CELLS", 7 * N)
    assert bootstrap.interval(bootstrap.accuracy, truth, one, other, True) == whole


def test_whole_groups_are_drawn_where_rows_of_one_are_alike():
    """Ten rows of a patient that are alike leave the interval of one row each."""
    truth, one = answers(5)
    _, other = answers(6, help=0.2)
    expected = bootstrap.interval(bootstrap.accuracy, truth, one, other, False)
    tenfold = [np.repeat(values, 10, axis=0) for values in (truth, one, other)]
    patients = np.repeat(np.arange(N), 10)
    found = bootstrap.interval(bootstrap.accuracy, *tenfold, True, patients)
    assert found == pytest.approx(expected)
    narrow = bootstrap.interval(bootstrap.accuracy, *tenfold, True)
    assert found[1] - found[0] > 2 * (narrow[1] - narrow[0])
    low, high = bootstrap.interval(bootstrap.roc_auc_ovo_macro, *tenfold, True, patients // 15)
    assert low <= high  # of four groups; a draw without a class does not count


def test_the_interval_is_about_as_wide_as_the_spread_between_samples():
    """Of 200 fresh tables the true gain lies in about 95 % of the intervals."""
    hits, n = 0, 300
    for seed in range(200):
        random = np.random.default_rng(seed)
        truth = random.normal(size=n)
        one, other = truth + random.normal(0, 1.0, n), truth + random.normal(0, 1.2, n)
        low, high = bootstrap.interval(bootstrap.rmse, truth, one, other, False)
        hits += low <= 1.0 - 1.2 <= high
    assert 180 <= hits <= 198
