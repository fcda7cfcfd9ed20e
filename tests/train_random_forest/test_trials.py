"""A trial of a sweep does what a single run of the step does, with what earlier ones left warm."""

import json

import pytest
import yaml
from step_support import MODEL, make_songs, with_text

from train_random_forest import run
from util_lib import tracking
from util_lib.errors import UserError
from util_lib.model import inference_pipeline, training, trial_worker, trials

DATA = "data_train.parquet"


@pytest.fixture
def rows(steps):
    return steps.put(with_text(make_songs()), DATA)


def section(forest=None, **changes):
    return {**MODEL, **changes, "random_forest": {**MODEL["random_forest"], **(forest or {})}}


def arguments(rows, export):
    given = ["--train_data", rows, "--export_artifact", export, "--random_seed", "42"]
    return [*given, "--val_size", "0.3", "--stratify", "genre"]


def request(rows, number=1, forest=None, cv=0, name="grid", export="null", **more):
    sweep = {"name": name, "trial": number, "overrides": {"depth": number}, "cv": cv}
    sweep |= {"objectives": more.pop("objectives", ["val_roc_auc_ovo_macro"])}
    changes = {key: more.pop(key) for key in ("tfidf",) if key in more}
    return {
        "project": "tests",
        "arguments": arguments(rows, export),
        "model_config": yaml.safe_dump(section(forest, **changes), sort_keys=False),
        "sweep": sweep | more.pop("sweep", {}),
        **more,
    }


def test_a_trials_model_has_the_bytes_of_a_single_run_with_its_parameters(steps, rows):
    forests = [
        {"max_depth": 2},
        {"max_depth": 4, "n_jobs": 2},
        {"max_depth": 4, "criterion": "entropy"},
    ]
    warm = trials.Warm(run.TRAINER)
    for number, forest in enumerate(forests):
        asked = request(rows, number, forest, export="model_export_trials", threads=2)
        done = trials.run_trial(asked, warm)
        path = steps.yaml(section(forest))
        run.main([*arguments(rows, "model_export"), "--model_config", path])
        single = steps.artifact("model_export:latest")
        assert steps.artifact(done["summary"]["model"]).digest == single.digest
        scores = steps.run("train_random_forest").summary
        assert done["summary"]["val_roc_auc_ovo_macro"] == scores["val_roc_auc_ovo_macro"]


def test_the_winner_fitted_again_has_the_bytes_of_its_trial_and_its_trial_wrote_none(steps, rows):
    forest, warm = {"max_depth": 4, "n_jobs": 2}, trials.Warm(run.TRAINER)
    trials.run_trial(request(rows, 1, {"max_depth": 2}, threads=1), warm)
    done = trials.run_trial(request(rows, 2, forest, threads=1), warm)
    assert "model" not in done["summary"] and not steps.exists("model_export:latest")
    every = request(rows, 2, forest, name="all", export="model_export_trials", figures=True)
    trial = trials.run_trial(every, warm)["summary"]

    winner = request(rows, 2, forest, export="model_export", summary=done["summary"])
    winner |= {"parameters_file": "a: 1\n", "parameters_artifact": "best_parameters"}
    answer = trial_worker.answer(winner, trials.Warm(run.TRAINER), {})
    assert answer["state"] == "finished", answer
    assert answer["artifacts"] == ["best_parameters:v0", "model_export:v0"]
    exported = steps.artifact("model_export:best")
    assert exported.digest == steps.artifact(trial["model"]).digest
    assert 0 < done["summary"]["model_mb"] < exported.size / 1e6
    logged = steps.run("sweep")
    assert logged.summary["val_roc_auc_ovo_macro"] == done["summary"]["val_roc_auc_ovo_macro"]
    assert "confusion_matrix" in logged.summary


def test_data_and_processor_are_made_once_for_trials_that_differ_in_the_forest(
    steps, rows, monkeypatch
):
    made = []
    for module, name in (
        (training, "read_rows"),
        (training, "split"),
        (inference_pipeline, "fit_processor"),
    ):
        plain = getattr(module, name)
        counted = lambda *given, plain=plain, name=name: (made.append(name), plain(*given))[1]  # noqa: E731
        monkeypatch.setattr(module, name, counted)
    warm = trials.Warm(run.TRAINER)
    for number, depth in enumerate((2, 3, 4)):
        trials.run_trial(request(rows, number, {"max_depth": depth}), warm)
    assert sorted(made) == ["fit_processor", "read_rows", "split"]
    trials.run_trial(request(rows, 4, tfidf={"max_features": 2}), warm)
    assert made.count("fit_processor") == 2 and made.count("read_rows") == 1


def test_cross_validation_scores_every_row_once_and_the_split_too(steps, rows):
    asked = request(rows, cv=3, objectives=["cv_roc_auc_ovo_macro_mean", "model_mb"])
    summary = trials.run_trial(asked, trials.Warm(run.TRAINER))["summary"]
    assert summary["cv_folds"] == 3 and not summary["pruned"]
    assert summary["objective"] == summary["cv_roc_auc_ovo_macro_mean"]
    assert 0 < summary["cv_roc_auc_ovo_macro_std"] < 0.2
    assert summary["val_roc_auc_ovo_macro"] > 0.8 and summary["model_mb"] > 0
    again = trials.run_trial(request(rows, cv=3, objectives=["model_mb"]), trials.Warm(run.TRAINER))
    assert again["summary"]["cv_f1_macro_mean"] == summary["cv_f1_macro_mean"]


def test_a_trial_that_cannot_be_fitted_is_a_failed_run_that_says_why(steps, rows):
    asked = request(rows, sweep={"objectives": ["val_r2"]})
    with pytest.raises(UserError, match="sweep.metric names 'val_r2', which a trial did not"):
        trials.run_trial(asked, trials.Warm(run.TRAINER))
    (failed,) = tracking.Api().runs("tests", filters={"group": "grid"})
    assert failed.state == "failed" and "val_r2" in failed.summary["error"]


def test_a_trial_is_taken_from_the_record_unless_it_wrote_a_model_that_is_gone(steps, rows):
    asked = request(rows, sweep={"fingerprint": "abc"}, export="model_export_trials")
    done = trials.run_trial(asked, trials.Warm(run.TRAINER))
    known = trials.recorded("tests", run.TRAINER)["abc"]
    assert trials.take(asked, known, run.TRAINER)["summary"]["model"] == done["summary"]["model"]
    other = request(rows, name="other", sweep={"fingerprint": "abc"}, export="model_export_trials")
    taken = trials.take(other, known, run.TRAINER)
    (copied,) = tracking.Api().runs("tests", filters={"group": "other"})
    assert (
        copied.id == taken["run"] and copied.summary["objective"] == known["summary"]["objective"]
    )
    known["summary"]["model"] = "model_export_trials:v7"
    assert trials.take(asked, known, run.TRAINER) is None
    del known["summary"]["model"]
    assert trials.take(asked, known, run.TRAINER)["summary"] == known["summary"]


def test_a_worker_answers_a_failure_and_goes_on(steps, rows, capfd):
    warm, known = trials.Warm(run.TRAINER), {}
    bad = trial_worker.answer(request("data_train.parquet:v9"), warm, known)
    assert bad["state"] == "failed" and "not found" in bad["error"]
    told = trial_worker.answer({**request(rows, 2), "error": "no such depth"}, warm, known)
    assert told["state"] == "failed"
    assert steps.run("train_random_forest").summary["error"] == "no such depth"
    good = trial_worker.answer(request(rows, 3, sweep={"fingerprint": "abc"}), warm, known)
    assert good["state"] == "finished" and json.dumps(good)
    assert trial_worker.answer(request(rows, 3, sweep={"fingerprint": "abc"}), warm, known)[
        "recorded"
    ]
