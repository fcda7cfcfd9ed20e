import io
import sys

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, f1_score, roc_auc_score

from util_lib.errors import UserError
from util_lib.model import measuring, metric_names, metrics, plots

CLASSES = np.array(["a", "b", "c"], dtype=object)


@pytest.fixture
def answers():
    random = np.random.default_rng(3)
    truth = CLASSES[np.arange(60) % 3]
    probabilities = random.dirichlet([1, 1, 1], 60) + 0.5 * (truth[:, None] == CLASSES)
    return truth, probabilities / probabilities.sum(axis=1, keepdims=True)


def test_the_auc_of_pairs_is_scikit_learns_to_the_last_bit():
    random = np.random.default_rng(5)
    names = np.array([f"c{number:02}" for number in range(9)])
    truth = names[random.integers(0, 8, 700)]  # the last class has no row
    wide = random.random((700, 9)) ** 4
    for given in (wide, np.round(wide, 1) + 0.1):  # without ties and with many
        probabilities = given / given.sum(axis=1, keepdims=True)
        found = metrics.scores(truth, probabilities, names, "val")["val_roc_auc_ovo_macro"]
        whole = {"multi_class": "ovo", "average": "macro", "labels": names}
        assert found == roc_auc_score(truth, probabilities, **whole)


def test_scores_are_scikit_learns_and_carry_the_name_of_their_split(answers):
    truth, probabilities = answers
    predicted = CLASSES[probabilities.argmax(axis=1)]
    assert metrics.scores(truth, probabilities, CLASSES, "val") == pytest.approx(
        {
            "val_roc_auc_ovo_macro": roc_auc_score(
                truth, probabilities, multi_class="ovo", average="macro"
            ),
            "val_accuracy": (truth == predicted).mean(),
            "val_f1_macro": f1_score(truth, predicted, average="macro"),
            "val_brier": brier_score_loss(truth, probabilities, labels=CLASSES),
        }
    )


def test_what_is_measured_is_what_the_table_of_metrics_names(answers):
    truth, probabilities = answers
    for task, measured in (
        ("classification", metrics.scores(truth, probabilities, CLASSES, "val")),
        ("regression", metrics.regression_scores([1.0, 2], np.array([1.0, 3]), "val")),
    ):
        assert [*measured] == [f"val_{name}" for name in metric_names.of_task(task)]


def test_a_class_that_no_row_has_is_left_out_of_the_auc(answers):
    truth, probabilities = answers
    rows = truth != "c"
    found = metrics.scores(truth[rows], probabilities[rows], CLASSES, "val")
    pair = [
        roc_auc_score(truth[rows] == name, probabilities[rows][:, i]) for i, name in enumerate("ab")
    ]
    assert found["val_roc_auc_ovo_macro"] == pytest.approx(np.mean(pair))


def test_a_class_neither_there_nor_predicted_does_not_lower_f1():
    probabilities = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0]])
    assert metrics.scores(["a", "b"], probabilities, CLASSES, "val")["val_f1_macro"] == 1


def test_two_classes_have_one_auc():
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])
    scores = metrics.scores([0, 1, 0, 1], probabilities, [0, 1], "test")
    assert scores["test_roc_auc_ovo_macro"] == 1


def test_a_class_the_model_does_not_know_counts_as_wrong(answers):
    truth, probabilities = answers
    truth = truth.copy()
    before = metrics.scores(truth, probabilities, CLASSES, "test")
    truth[:30] = "z"
    after = metrics.scores(truth, probabilities, CLASSES, "test")
    assert after["test_accuracy"] < before["test_accuracy"]
    assert after["test_f1_macro"] < before["test_f1_macro"]


def test_a_split_of_one_class_is_refused():
    with pytest.raises(UserError, match="the val split holds only 'a'"):
        metrics.scores(["a", "a"], np.ones((2, 3)) / 3, CLASSES, "val")


def test_scores_of_numbers_are_scikit_learns_and_the_error_is_in_units_of_the_target():
    truth, predicted = np.array([1.0, 2, 3, 6]), np.array([1.0, 2, 4, 4])
    assert metrics.regression_scores(truth, predicted, "test") == pytest.approx(
        {"test_r2": 1 - 5 / 14, "test_mae": 0.75, "test_rmse": np.sqrt(5 / 4)}
    )


def test_one_row_has_no_r2():
    with pytest.raises(UserError, match="the val split holds 1 row and R² needs two"):
        metrics.regression_scores([1.0], np.array([1.0]), "val")


@pytest.mark.parametrize(("n_rows", "n_shown"), [(4, 4), (12_000, 5_000)])
def test_residuals_are_drawn_for_each_row_up_to_a_readable_number(n_rows, n_shown):
    predicted = np.arange(n_rows)
    scatter, spread = plots.residuals(predicted + 2, predicted).axes
    points = scatter.collections[0].get_offsets()
    assert len(points) == n_shown and set(points[:, 1]) == {2}
    assert sum(bar.get_width() for bar in spread.patches) == n_rows


def test_the_confusion_matrix_shows_shares_of_each_true_class():
    figure = plots.confusion_matrix(["a", "a", "b", "z"], ["a", "b", "b", "a"], CLASSES)
    axes = figure.axes[0]
    assert tuple(figure.get_size_inches()) == (10, 10)
    np.testing.assert_allclose(
        axes.images[0].get_array(), [[0.5, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    )
    assert axes.texts[0].get_text() == "0.5"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c", "z"]
    assert all(label.get_rotation() == 90 for label in axes.get_xticklabels())


def test_the_most_important_feature_is_the_uppermost_bar():
    axes = plots.feature_importance({"low": 0.1, "high": 0.7, "mid": 0.2}).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["low", "mid", "high"]
    assert [bar.get_width() for bar in axes.patches] == [0.1, 0.2, 0.7]


@pytest.mark.parametrize("name", ["$20% - $30%", "$cost_{1$", "under $5 {incl. $1}", "a_b^c", "$1"])
def test_names_are_drawn_as_they_are_written(name):
    def drawn(figure):
        figure.savefig(picture := io.BytesIO(), format="png", dpi=40)
        return picture.getvalue()

    bars = plots.feature_importance({name: 1.0})
    plain = plots.feature_importance({"x": 1.0})
    plain.axes[0].set_yticks([0], [name], parse_math=False)
    assert drawn(bars) == drawn(plain)
    matrix, plain = (plots.confusion_matrix(list(two), list(two), two) for two in ([name], ["x"]))
    plain.axes[0].set_xticks([0], [name], parse_math=False)
    plain.axes[0].set_yticks([0], [name], parse_math=False)
    assert drawn(matrix) == drawn(plain)


def test_figures_need_no_pyplot(tmp_path):
    import subprocess

    from step_support import ROOT

    code = (
        "import sys; from util_lib.model import plots; "
        "plots.confusion_matrix('ab', 'ab', 'ab').savefig(sys.argv[1]); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x.png")], cwd=ROOT)
    assert done.returncode == 0 and (tmp_path / "x.png").stat().st_size > 1000


class Answers:
    """A model that gives the answers it was made with."""

    def __getitem__(self, place):
        """Return the last stage of the pipeline, which it is itself."""
        return self

    def __init__(self, predicted, probabilities=None):
        self.classes_ = CLASSES
        self.predict, self.predict_proba = lambda _: predicted, lambda _: probabilities


def test_every_score_stands_beside_its_error_its_rows_and_what_one_answer_for_all_reaches(answers):
    truth, probabilities = answers
    truth = np.where(np.arange(60) < 30, "a", truth)
    model = Answers(None, probabilities)
    found, _ = measuring.score(model, truth, truth, "classification", "test", errors=True)
    for name in metric_names.of_task("classification"):
        assert found[f"test_{name}_se"] > 0
    assert found["test_accuracy_baseline"] == pytest.approx(40 / 60)
    assert found["test_f1_macro_baseline"] == pytest.approx(2 * 40 / (40 + 60) / 3)
    assert (found["test_rows"], found["test_rarest_class_rows"]) == (60, 10)
    numbers = np.array([1.0, 2.0, 3.0, 6.0])
    found, _ = measuring.score(
        Answers(numbers + [0, 1, 0, -1]), numbers, numbers, "regression", "test", errors=True
    )
    assert found["test_mae_baseline"] == np.abs(numbers - 3).mean()
    assert found["test_rmse_baseline"] == pytest.approx(np.std(numbers))
    assert found["test_r2_baseline"] == 0 and found["test_mae_se"] > 0


def test_a_line_says_a_score_with_its_error_and_its_baseline():
    found = {"test_mae": 2.0, "test_rows": 8, "test_mae_se": 0.25, "test_mae_baseline": 3.5}
    assert metric_names.lines(found) == [
        "test_mae 2.0000 ± 0.2500 (baseline 3.5000)",
        "test_rows 8",
    ]


def test_a_calibration_that_made_the_probabilities_worse_is_said():
    found = {"test_brier": 0.25, "test_uncalibrated_brier": 0.24}
    [said] = metric_names.said_of(found, "test", {})
    assert said.startswith("test_brier 0.2500 is worse than without calibration (0.2400): ")
    assert metric_names.said_of(found | {"test_brier": 0.23}, "test", {}) == []


def test_few_rows_of_a_class_and_a_split_unlike_the_other_are_said():
    test = {"test_accuracy": 0.9, "test_accuracy_se": 0.02, "test_rarest_class_rows": 9}
    assert (
        "the rarest class has 9 rows in the test split" in metric_names.said_of(test, "test", {})[0]
    )
    enough = test | {"test_rarest_class_rows": 10}
    near, far = ({"val_accuracy": v, "val_accuracy_se": 0.02} for v in (0.87, 0.85))
    assert metric_names.said_of(enough, "test", near) == []
    assert metric_names.said_of(enough, "test", far) == [
        "test_accuracy 0.9000 (val_accuracy 0.8500): apart by more than both standard errors "
        "together: chance, or rows that are not alike"
    ]
