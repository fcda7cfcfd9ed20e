"""A Bayesian search as a user runs it, on a small table."""

import optuna
import pytest
from sweep_support import DEPTH, PROJECT, WORDS, Place, said

SEARCH = ("hydra/sweeper=optuna", f"{DEPTH}=range(1,9)", f"{WORDS}=1,5", "main.random_seed=3")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    place = Place(tmp_path_factory.mktemp("searches"))
    place.declare()
    return place


@pytest.fixture(scope="module")
def searched(place):
    """Nine cross-validated trials, some of which are given up."""
    done = place.sweep("night", *SEARCH, "hydra.sweeper.n_trials=9", "sweep.cv=3")
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def states(place) -> list[str]:
    study = optuna.load_study(
        study_name=f"{PROJECT}/night", storage=f"sqlite:///{place.folder / 'sweeps.db'}"
    )
    return [trial.state.name for trial in study.trials]


def test_trials_are_recorded_and_poor_ones_are_given_up_between_two_folds(place, searched):
    found = place.ask("[[t.state, t.summary] for t in trials('night')]")
    given_up = [summary for state, summary in found if state == "pruned"]
    assert 0 < len(given_up) == sum("given up after" in line for line in said(searched)) < 5
    assert all(summary["cv_folds"] < 3 and "model" not in summary for summary in given_up)
    assert states(place).count("PRUNED") == len(given_up)
    assert len(found) == 9 and states(place).count("COMPLETE") == 9 - len(given_up)
    board = searched.stdout[searched.stdout.index("sweep night, project") :]
    assert board.count(" pruned") == len(given_up) and "best" in board


@pytest.mark.slow
def test_the_same_name_adds_trials_and_another_table_or_split_is_refused(place, searched):
    more = place.sweep("night", *SEARCH, "hydra.sweeper.n_trials=10", "sweep.cv=3")
    assert more.returncode == 0, more.stdout + more.stderr
    assert len(said(more)) == 1 and said(more)[0].startswith("trial 10 ")
    other = place.sweep("night", *SEARCH, "hydra.sweeper.n_trials=10", "sweep.cv=2")
    assert other.returncode == 1
    assert "was begun with another sweep.cv: 3, now 2" in other.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_report_is_logged_and_several_objectives_have_a_front(place, searched):
    both = "sweep.metric=[val_roc_auc_ovo_macro,model_mb]"
    done = place.sweep("both", *SEARCH, "hydra.sweeper.n_trials=4", both)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "best, Pareto front" in done.stdout
    assert "the leaderboard as a page: tiny/sweep_report:v" in done.stdout
    names = place.ask(
        "sorted(f for f in api.artifact('tiny/sweep_report:latest').manifest.entries)"
    )
    assert names == ["sweep_report.html", "trials.json"]


def test_a_search_without_a_space_is_one_sentence(place):
    done = place.sweep("wrong", "hydra/sweeper=optuna", f"{DEPTH}=3")
    assert done.returncode == 1
    assert "needs a space to search" in done.stderr.splitlines()[-1], done.stdout + done.stderr
    assert "Traceback" not in done.stderr
