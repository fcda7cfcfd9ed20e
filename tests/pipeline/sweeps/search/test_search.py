"""The Bayesian search: what it chooses, and that it goes on where it was stopped.

A launcher that computes a score stands for Hydra's; test_search_slow.py has the whole
pipeline, killed.
"""

import math
import shutil

import optuna
import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from pipeline.sweeps.search import distributions, search
from pipeline.sweeps.search.search import SearchSettings
from util_lib import safe_files
from util_lib.errors import UserError
from util_lib.tracking.store.places import store_directory

OVERRIDES = ["depth=range(5,50)", "kind=gini,entropy", "alpha=tag(log,interval(1e-6,1e-2))", "x=1"]


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A database without a search in it: to make one takes a second."""
    path = tmp_path_factory.mktemp("empty") / search.DATABASE
    optuna.storages.RDBStorage(f"sqlite:///{path}")
    return path


@pytest.fixture(autouse=True)
def database(empty):
    copy_to(store_directory(), empty)


def copy_to(store, empty):
    store.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(empty, store.parent)


def settings(**changed):
    usual = SearchSettings(
        "songs", "night", ("val_auc",), 42, 8, 3, 2, {"data": {"test_size": 0.3}}
    )
    return usual._replace(**changed)


class Launcher:
    """Runs jobs as Hydra's does; `stop_at` is the number of a trial before which it is killed."""

    def __init__(self, stop_at=None, fails=()):
        self.jobs, self.batches = {}, []
        self.stop_at, self.fails = stop_at, fails

    def __call__(self, jobs, initial_job_idx):
        self.batches.append(len(jobs))
        if self.stop_at in range(initial_job_idx, initial_job_idx + len(jobs)):
            raise KeyboardInterrupt
        return [self.run(initial_job_idx + i, job) for i, job in enumerate(jobs)]

    def run(self, number, job):
        assert number not in self.jobs
        self.jobs[number] = tuple(job)
        given = dict(word.split("=") for word in job)
        done = JobReturn()
        done.status = JobStatus.COMPLETED
        done.return_value = -abs(int(given["depth"]) - 31) / 10 + (given["kind"] == "gini")
        if number in self.fails:
            done.return_value = math.nan
        return done


def run(launcher, space=OVERRIDES, **changed):
    search.search(settings(**changed), distributions.read(space), launcher)
    return launcher


def study(name="songs/night"):
    database = store_directory().parent / search.DATABASE
    return optuna.load_study(study_name=name, storage=f"sqlite:///{database}")


def test_it_runs_as_many_trials_as_it_is_told_in_batches_and_learns_from_them():
    launcher = run(Launcher(), n_trials=17, startup=5)
    assert launcher.batches == [2] * 8 + [1]
    assert len(set(launcher.jobs.values())) == 17
    assert all(job[-1] == "x=1" for job in launcher.jobs.values())
    assert study().best_value == max(trial.value for trial in study().trials)
    values = [trial.value for trial in study().trials]
    assert sum(values[12:]) / 5 > sum(values[:5]) / 5


def test_stopped_anywhere_it_goes_on_with_the_trials_that_it_would_have_run(
    tmp_path, monkeypatch, empty
):
    whole = run(Launcher()).jobs
    for stop_at in (0, 3, 6):
        monkeypatch.setenv("TRACKING_STORE", str(tmp_path / str(stop_at) / "store"))
        copy_to(store_directory(), empty)
        first = Launcher(stop_at)
        with pytest.raises(KeyboardInterrupt):
            run(first)
        rest = run(Launcher())
        assert not {*first.jobs} & {*rest.jobs}
        assert first.jobs | rest.jobs == whole
        assert run(Launcher()).jobs == {}  # nothing is missing


def test_killed_between_two_scores_of_a_batch_only_the_other_one_is_run_again(monkeypatch):
    whole = run(Launcher(), sweep="whole").jobs
    told = []

    def tell_once(study, trial, job):
        if told:
            raise KeyboardInterrupt
        told.append(trial.number)
        usual(study, trial, job)

    usual = search._tell
    monkeypatch.setattr(search, "_tell", tell_once)
    with pytest.raises(KeyboardInterrupt):
        run(Launcher())
    monkeypatch.setattr(search, "_tell", usual)
    rest = run(Launcher())
    assert rest.jobs == {number: job for number, job in whole.items() if number != 0}
    assert rest.batches[0] == 1


def test_more_trials_are_added_to_those_there_are():
    first = run(Launcher(), n_trials=6).jobs
    assert [*run(Launcher(), n_trials=8).jobs] == [6, 7]
    assert len(first) == 6 and len(study().trials) == 8


def test_a_failed_trial_is_no_reason_to_stop_and_its_parameters_are_tried_again_next_time():
    first = run(Launcher(fails=[3, 4])).jobs
    assert len(first) == 8
    states = [trial.state.name for trial in study().trials]
    assert states.count("FAIL") == 2 and states.count("COMPLETE") == 6
    assert [*run(Launcher()).jobs.values()] == [first[3], first[4]]
    assert run(Launcher()).jobs == {}


def test_a_space_that_is_tried_out_ends_the_search(capsys):
    small = ["depth=range(5,8)", "kind=gini,entropy"]
    launcher = run(Launcher(), small, n_trials=50)
    assert len(set(launcher.jobs.values())) == len(launcher.jobs) == 6
    assert "every point of the space was tried" in capsys.readouterr().out


def test_a_search_is_seeded():
    jobs = [run(Launcher(), sweep=f"s{i}", seed=seed).jobs for i, seed in enumerate((1, 1, 2))]
    assert jobs[0] == jobs[1] != jobs[2]


def test_what_is_better_smaller_is_minimised_and_several_objectives_have_a_front():
    def launch(jobs, initial_job_idx):
        done = JobReturn()
        done.status, done.return_value = JobStatus.COMPLETED, (0.9, float(initial_job_idx))
        return [done]

    both = ("val_roc_auc_ovo_macro", "model_mb")
    search.search(
        settings(objectives=both, n_trials=5, batch=1), distributions.read(OVERRIDES), launch
    )
    assert [direction.name for direction in study().directions] == ["MAXIMIZE", "MINIMIZE"]
    assert [trial.number for trial in study().best_trials] == [0]


@pytest.mark.parametrize(
    ("space", "judged_by", "said"),
    [
        (OVERRIDES, {"data": {"test_size": 0.2}}, r"another data.test_size: 0.3, now 0.2"),
        (["depth=range(5,40)", *OVERRIDES[1:]], None, "another depth: IntDistribution"),
        (OVERRIDES[1:], None, "another depth: .*now nothing"),
        ([*OVERRIDES[:3], "x=2"], None, "another x: 1, now 2"),
    ],
)
def test_scores_that_would_not_compare_are_refused(space, judged_by, said):
    run(Launcher(), n_trials=2)
    more = {} if judged_by is None else {"judged_by": judged_by}
    with pytest.raises(UserError, match=said):
        run(Launcher(), space, **more)
    assert run(Launcher(), n_trials=2).jobs == {}


def test_the_same_search_in_two_processes_is_refused():
    run(Launcher(), n_trials=2)
    [lock] = store_directory().glob("*.lock")
    with (
        safe_files.locked(lock),
        pytest.raises(UserError, match="'night' is running in another process"),
    ):
        run(Launcher())
    assert len(run(Launcher()).jobs) == 6


def test_a_database_that_is_none_is_one_sentence():
    database = store_directory().parent / search.DATABASE
    database.write_text("no database " * 200)
    with pytest.raises(UserError, match="sweeps.db cannot be used: .*not a database"):
        run(Launcher())


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a=range(5,50,10)", optuna.distributions.IntDistribution(5, 45, step=10)),
        ("a=range(5,1,-2)", optuna.distributions.IntDistribution(3, 5, step=2)),
        ("a=int(interval(1,5))", optuna.distributions.IntDistribution(1, 5)),
        ("a=interval(0.1,1)", optuna.distributions.FloatDistribution(0.1, 1.0)),
        ("a=tag(log,int(interval(1,100)))", optuna.distributions.IntDistribution(1, 100, log=True)),
        ("a=5,null,'x y'", optuna.distributions.CategoricalDistribution(["5", "null", "'x y'"])),
        ("a=shuffle(3,1,2)", optuna.distributions.CategoricalDistribution(["1", "2", "3"])),
    ],
)
def test_a_space_is_written_in_hydras_words(override, expected):
    space = distributions.read([override, "b=1", "~c"])
    assert space.searched == {"a": expected}
    assert space.fixed == ["b=1", "~c"]


def test_the_database_is_made_whole_and_beside_the_store(empty):
    database = store_directory().parent / search.DATABASE
    database.unlink()
    half = database.with_name(f"{database.name}.making-1")
    half.write_text("of a process that was killed")
    assert len(run(Launcher(), n_trials=2).jobs) == 2
    assert not half.exists()
    assert {path.name for path in database.parent.iterdir()} == {"sweeps.db", "tracking_store"}


def test_of_two_words_for_a_key_the_later_one_counts():
    assert distributions.read(["a=1,2", "b=1,2", "a=3"]).fixed == ["a=3"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["a=1"], "needs a space to search"),
        (["a=interval(5,1)"], "needs a start below its end"),
        (["a=tag(log,interval(0,1))"], "above 0 for log"),
        (["a=range(5,5)"], "names no value"),
    ],
)
def test_a_space_that_is_none_is_one_sentence(overrides, said):
    with pytest.raises(UserError, match=said):
        distributions.read(overrides)


def test_a_trial_is_given_up_below_the_median_of_the_means_after_as_many_folds():
    scores = [[0.1, 0.3, 0.5], [0.2, 0.4, 0.9], [0.3, 0.1, 0.1], [0.4, 0.2, 0.3], [0.5, 0.9, 0.7]]
    assert search.medians(scores) == pytest.approx([0.3, 0.3])
    assert search.medians(scores[1:]) == []  # of four trials nothing follows


def test_a_trial_that_was_given_up_counts_and_is_not_repeated():
    launcher = Launcher()
    usual = launcher.run
    given_up = JobReturn()
    given_up.status, given_up.return_value = JobStatus.COMPLETED, None
    launcher.run = lambda number, job: given_up if number == 2 else usual(number, job)
    run(launcher)
    assert [trial.state.name for trial in study().trials].count("PRUNED") == 1
    assert run(Launcher()).jobs == {}


@pytest.mark.parametrize("wrong", [{"n_trials": 0}, {"n_trials": None}, {"batch": 1.5}])
def test_a_setting_that_cannot_be_is_named(wrong):
    with pytest.raises(UserError, match=r"hydra.sweeper.\w+ must be a whole number above 0, found"):
        search.settings(OmegaConf.create(), **{"n_trials": 5, **wrong})
