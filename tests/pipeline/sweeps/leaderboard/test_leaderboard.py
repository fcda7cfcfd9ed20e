"""A sweep's leaderboard: what is sorted, what is marked, what the page shows, on both backends."""

import json
import re
from pathlib import Path

import pytest

from pipeline.commands import leaderboard
from pipeline.sweeps.leaderboard import page as leaderboard_page
from pipeline.sweeps.leaderboard import ranking, report
from util_lib import tracking
from util_lib.errors import UserError
from util_lib.tracking.store.database import open_store

DEPTH = "random_forest_pipeline.random_forest.max_depth"
WORDS = "random_forest_pipeline.tfidf.max_features"
FOREST = "random_forest_pipeline.random_forest.max_features"
AUC = "cv_roc_auc_ovo_macro_mean"


@pytest.fixture
def local(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKING_BACKEND", "local")
    monkeypatch.setenv("TRACKING_PUBLISH", "parent")
    monkeypatch.chdir(tmp_path)


def put(
    number, overrides, sweep="night", project="songs", objectives=(AUC,), fails=None, **summary
):
    """Record a trial as the training step records it."""
    told = {"name": sweep, "trial": number, "overrides": overrides, "objectives": [*objectives]}
    run = tracking.init(
        project=project,
        job_type="train_random_forest",
        group=sweep,
        name=f"{sweep}-{number}",
        config={"sweep": told},
    )
    for name, value in summary.items():
        run.summary[name] = value
    if fails:
        run.summary["error"] = fails
    run.finish(exit_code=1 if fails else 0)


def scored(auc, mb=1.0, std=0.01, folds=4):
    return {
        AUC: auc,
        "cv_roc_auc_ovo_macro_std": std,
        "cv_folds": folds,
        "model_mb": mb,
        "fit_seconds": 2.0,
    }


def marked(sweep="night"):
    return ranking.marks(ranking.read(sweep))


def test_trials_stand_best_first_and_failed_ones_last_with_their_reason(local, capsys):
    put(0, {DEPTH: 5, WORDS: 10}, **scored(0.80))
    put(1, {DEPTH: 9, WORDS: 10}, **scored(0.90, std=0.02))
    put(2, {DEPTH: -1, WORDS: 10}, fails="max_depth must be above 0")
    leaderboard.go(["--sweep", "night"])
    said = capsys.readouterr().out
    rows = [line.split() for line in said.splitlines() if re.match(r" +\d ", line)]
    assert [row[0] for row in rows] == ["1", "0", "2"]
    assert rows[0][1:5] == ["0.9000", "±", "0.0100", "9"]  # 0.02 / sqrt(4)
    assert "tfidf" not in said and "max_features" not in said  # it did not vary
    assert "trial 2 failed: max_depth must be above 0" in said
    assert "page: songs/sweep_report:v0" in said


def test_the_smallest_model_within_one_standard_error_of_the_best_is_marked(local):
    put(0, {DEPTH: 40}, **scored(0.900, mb=9))
    put(1, {DEPTH: 20}, **scored(0.8951, mb=5))  # within 0.005
    put(2, {DEPTH: 10}, **scored(0.8949, mb=2))  # just outside
    assert marked() == {0: "best", 1: "simplest within 1 SE"}
    put(3, {DEPTH: 13}, **scored(0.9001, mb=4))
    assert marked() == {3: "best, simplest within 1 SE"}


def test_without_a_standard_error_nothing_is_called_simplest_and_it_is_said_why(local):
    val = "val_roc_auc_ovo_macro"
    put(0, {DEPTH: 40}, objectives=[val], **{val: 0.905, "model_mb": 9.0})
    put(1, {DEPTH: 20}, objectives=[val], **{val: 0.9, "model_mb": 1.0})
    assert marked() == {0: "best"}
    assert "sweep.cv=5 gives one" in ranking.explained(ranking.read("night"))
    put(2, {DEPTH: 30}, objectives=[val], **{val: 0.91, val + "_se": 0.02, "model_mb": 9.0})
    assert marked() == {2: "best", 1: "simplest within 1 SE"}
    few = {val: 0.92, val + "_se": 0.02, "model_mb": 9.0, "val_rarest_class_rows": 3}
    assert "rarest class" not in ranking.explained(ranking.read("night"))
    put(3, {DEPTH: 31}, objectives=[val], **few)
    assert "the rarest class has 3 rows in the val split" in ranking.explained(
        ranking.read("night")
    )


def test_of_errors_and_sizes_the_smaller_is_better(local):
    put(0, {DEPTH: 5}, objectives=["val_mae"], val_mae=12.0)
    put(1, {DEPTH: 9}, objectives=["val_mae"], val_mae=10.0)
    assert [trial.number for trial in ranking.read("night").trials] == [1, 0]


def test_with_several_objectives_the_pareto_front_is_marked_and_stands_first(local):
    both = (AUC, "model_mb")
    put(0, {DEPTH: 5}, objectives=both, **scored(0.80, mb=1))
    put(1, {DEPTH: 9}, objectives=both, **scored(0.90, mb=5))
    put(2, {DEPTH: 7}, objectives=both, **scored(0.79, mb=2))  # worse and larger than 0
    put(3, {DEPTH: 8}, objectives=both, **scored(0.90, mb=5))  # no better, no worse than 1
    sweep = ranking.read("night")
    assert ranking.marks(sweep) == {
        1: "best, Pareto front",
        3: "Pareto front",
        0: "Pareto front",
    }
    assert [trial.number for trial in sweep.trials] == [1, 3, 0, 2]
    page = leaderboard_page.html(sweep)
    assert page.replace("<wbr>", "").count("<figcaption>model_mb against") == 1
    assert "Objectives" in page and "Pareto front" in page


def test_a_pruned_trial_and_one_that_measured_nothing_are_not_judged(local):
    put(0, {DEPTH: 5}, **scored(0.80))
    put(1, {DEPTH: 9}, **scored(0.95, folds=1), pruned=True)
    put(2, {DEPTH: 7}, **(scored(0.9) | {AUC: float("nan")}))
    sweep = ranking.read("night")
    assert [trial.number for trial in sweep.measured] == [0]
    assert [trial.state for trial in sweep.trials] == ["finished", "pruned", "finished"]
    assert "<h2>Importance" not in leaderboard_page.html(sweep)


def test_a_trial_that_was_begun_again_counts_once_by_the_run_that_finished(local):
    put(0, {DEPTH: 5}, fails="stopped")
    put(0, {DEPTH: 5}, **scored(0.8))
    put(0, {DEPTH: 5}, fails="stopped")
    [trial] = ranking.read("night").trials
    assert (trial.state, trial.value(AUC)) == ("finished", 0.8)


def test_the_page_needs_nothing_from_elsewhere_and_is_the_same_for_the_same_trials(local):
    for number in range(12):
        depth = number // 3
        put(number, {DEPTH: depth, WORDS: 10 * (number % 3)}, **scored(0.8 + depth / 100))
    sweep = ranking.read("night")
    page = leaderboard_page.html(sweep)
    assert page == leaderboard_page.html(sweep)
    for outside in ("<script", "http:", "https:", "src=", "@import", "url("):
        assert outside not in page
    assert "prefers-color-scheme:dark" in page
    assert page.count("<circle") == 2 * 12 and page.count("<polyline") == 12
    importance = page[page.index("PED-ANOVA") :]
    assert importance.index(">max_depth<") < importance.index(">max_features<")


def test_text_of_a_user_cannot_become_part_of_the_page(local):
    bad = "<script>alert(1)</script>"
    put(0, {DEPTH: bad, WORDS: 1}, **scored(0.8))
    put(1, {DEPTH: "b", WORDS: 2}, **scored(0.7))
    put(2, {DEPTH: "c", WORDS: 2}, fails=bad)
    page = leaderboard_page.html(ranking.read("night"))
    assert "<script" not in page and page.count("&lt;script&gt;") >= 3


def test_parameters_with_the_same_last_word_are_told_apart(local):
    put(0, {WORDS: 10, FOREST: 2, DEPTH: None}, **scored(0.8))
    put(1, {WORDS: 20, FOREST: 3, DEPTH: 7}, **scored(0.7))
    heads = leaderboard_page.heads(ranking.read("night"))
    assert {"tfidf.max_features", "random_forest.max_features", "max_depth"} < set(heads)
    assert leaderboard_page.html(ranking.read("night")).count("<circle") == 6


def test_an_unknown_sweep_is_one_sentence_with_the_nearest_name(local):
    with pytest.raises(UserError, match="there is no store"):
        ranking.read("night")
    open_store(make=True)
    with pytest.raises(UserError, match="there is no sweep 'night', nor any other"):
        ranking.read("night")
    put(0, {DEPTH: 5}, **scored(0.8))
    with pytest.raises(UserError, match="unknown sweep 'nigt': the nearest is 'night'"):
        ranking.read("nigt")
    with pytest.raises(UserError, match="there is no sweep 'night' in project other"):
        ranking.read("night", "other")


def test_a_name_that_two_projects_have_needs_the_project(local):
    put(0, {DEPTH: 5}, **scored(0.8))
    put(0, {DEPTH: 5}, project="other", **scored(0.9))
    with pytest.raises(UserError, match="in the projects other, songs: say which"):
        ranking.read("night")
    assert ranking.read("night", "other").measured[0].summary[AUC] == 0.9
    assert ranking.read("songs/night").project == "songs"


def test_the_report_holds_the_page_and_the_figures(local, tmp_path):
    put(0, {DEPTH: 5}, **scored(0.8))
    put(1, {DEPTH: 9}, **scored(0.9))
    name, _ = report.log(ranking.read("night"))
    before = tracking.Api().runs("songs", filters={"group": "night"})
    assert before[-1].name == "night-leaderboard"
    assert report.log(ranking.read("night")) == (name, before[-1].id)  # the same content
    assert len(tracking.Api().runs("songs")) == len(before) == 3
    folder = Path(tracking.Api().artifact(name).download(str(tmp_path / "report")))
    assert "<h1>Sweep night</h1>" in (folder / "sweep_report.html").read_text()
    told = json.loads((folder / "trials.json").read_text())
    assert told["objectives"] == [AUC]
    assert [trial["mark"] for trial in told["trials"]] == ["best, simplest within 1 SE", None]
    assert [trial["overrides"] for trial in told["trials"]] == [{DEPTH: 9}, {DEPTH: 5}]


@pytest.mark.slow
def test_on_wandb_the_same_trials_give_the_same_leaderboard(
    wandb_api, wandb_account, monkeypatch, capsys
):
    monkeypatch.setenv("TRACKING_BACKEND", "wandb")
    monkeypatch.setenv("TRACKING_PUBLISH", "parent")
    put(0, {DEPTH: 5, WORDS: 10}, **scored(0.80))
    put(1, {DEPTH: 9, WORDS: 20}, **scored(0.90))
    put(2, {DEPTH: -1, WORDS: 10}, fails="max_depth must be above 0")
    leaderboard.go(["--sweep", "songs/night", "--tracking", "wandb"])
    said = capsys.readouterr().out
    rows = [line.split() for line in said.splitlines() if re.match(r" +\d ", line)]
    assert [row[0] for row in rows] == ["1", "0", "2"]
    assert rows[0][1:6] == ["0.9000", "±", "0.0050", "9", "20"]
    assert "songs/sweep_report:v0" in said
    named = f"{wandb_account.entity}/songs"
    leaderboard.go(["--sweep", f"{named}/night", "--tracking", "wandb"])
    assert f"page: {named}/sweep_report:v1" in capsys.readouterr().out  # another name on the page
    leaderboard.go(["--sweep", "night", "--project", named, "--tracking", "wandb"])
    assert f"page: {named}/sweep_report:v1" in capsys.readouterr().out
    runs = tracking.Api().runs("songs", filters={"group": "night"})
    assert [run.job_type for run in runs].count("leaderboard") == 2
    with pytest.raises(UserError, match="unknown sweep 'nigt': the nearest is 'night'"):
        ranking.read("nigt", "songs")
    with pytest.raises(UserError, match="no sweep 'night' in project"):
        ranking.read("night")  # another project, which is not there at all
