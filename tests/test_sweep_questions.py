"""A sweep is one question: trials of other data, settings or code never win under its name."""

import itertools
import re
import shutil

import pytest
from step_support import make_songs, with_text
from sweep_support import DEPTH, LOG_ROWS, PROJECT, ROOT, TREES, Place, said

from tests import warm

STEP = "train_random_forest"
OWN = f"steps.{STEP}.uri=./mine"  # a training step whose code lies where the user stands
SEEDS = itertools.count(5)  # of rows that were not there before
SEARCH = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=2")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    place = Place(tmp_path_factory.mktemp("questions"))
    place.declare()
    shutil.copytree(ROOT / STEP, place.folder / "mine")
    return place


def other_data(place: Place) -> list[str]:
    path = place.folder / "data_train.parquet"
    with_text(make_songs(300, seed=next(SEEDS))).to_parquet(path, index=False)
    done = place.call(warm.python(), "-c", LOG_ROWS, PROJECT, str(path), TRACKING_PUBLISH="parent")
    assert done.returncode == 0, done.stderr
    return []


def other_settings(place: Place) -> list[str]:
    return [f"{TREES}=1"]


def other_code(place: Place) -> list[str]:
    with (place.folder / "mine" / "run.py").open("a") as code:
        code.write("# edited\n")
    return []


CHANGES = {"data": other_data, "settings": other_settings, "code": other_code}


def winner(place: Place, name: str, project: str = PROJECT) -> dict:
    """Return the config of the newest run that logged a winner of the sweep."""
    filters = {"group": name, "job_type": "sweep"}
    return place.ask(f"[r.config for r in api.runs({project!r}, filters={filters!r})][-1]")


@pytest.mark.slow
@pytest.mark.parametrize("what", CHANGES)
def test_a_trial_of_another_question_never_wins_and_is_listed_apart(place, what):
    first = place.sweep(what, OWN, f"{DEPTH}=4,1")
    assert first.returncode == 0, first.stdout + first.stderr
    again = place.sweep(what, OWN, f"{DEPTH}=1,2", *CHANGES[what](place))
    assert again.returncode == 0, again.stdout + again.stderr
    assert len(said(again)) == 2 and "recorded earlier" not in again.stdout
    board, apart = again.stdout[again.stdout.index(f"sweep {what}, project") :].split(
        "2 of the trials of this name are not compared: their data, settings or code are not today"
    )
    assert re.findall(r"^ +(\d) ", board, re.M) and "trial 1 (max_depth=4): val_" in apart
    about = winner(place, what)["sweep"]
    assert about["overrides"][DEPTH] in (1, 2) and about["winner"] in (3, 4)
    # the winner's file fed back gives the winner's bytes
    exported = place.ask("api.artifact('tiny/model_export:best').digest")
    done = place.main(OWN, f"+best={what}", "main.cache=false")
    assert done.returncode == 0, done.stderr
    assert place.ask("api.artifact('tiny/model_export:latest').digest") == exported
    # what is on the screen is also what the leaderboard says later
    later = place.call(
        *(warm.python(), "-m", "pipeline.commands.leaderboard", f"--sweep={PROJECT}/{what}")
    )
    assert "2 of the trials of this name are not compared" in later.stdout, later.stderr


@pytest.mark.slow
def test_who_asks_the_first_question_again_gets_its_winner_without_a_new_trial(place):
    for given in ([], [f"{TREES}=1"], []):
        done = place.sweep("back", OWN, f"{DEPTH}=1,3", *given)
        assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split(":")[1].endswith("recorded earlier") for line in said(done)] == [True, True]
    assert winner(place, "back")["sweep"]["winner"] in (1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("what", CHANGES)
def test_a_search_refuses_a_name_whose_question_changed(place, what):
    name = f"search-{what}"
    first = place.sweep(name, OWN, *SEARCH, f"{DEPTH}=range(1,4)")
    assert first.returncode == 0, first.stdout + first.stderr
    again = place.sweep(name, OWN, *SEARCH, f"{DEPTH}=range(1,4)", *CHANGES[what](place))
    assert again.returncode == 1 and not said(again)
    key = {"data": "input data_train.parquet", "settings": TREES, "code": f"{STEP}/run.py"}[what]
    assert f"'{name}' was begun with another {key}: " in again.stderr.splitlines()[-1]


@pytest.mark.slow
def test_trials_on_a_file_that_has_changed_since_at_its_address_never_win(place):
    file = place.folder / "songs.parquet"
    steps = f"main.execute_steps=[get_data,preprocess,segregate,{STEP}]"
    done = []
    for depths in ("4,1", "1,2"):
        make_songs(300, seed=next(SEEDS)).to_parquet(file, index=False)
        given = (f"data.file_url={file}", "main.project_name=address", steps, f"{DEPTH}={depths}")
        done.append(place.sweep("address", *given))
        assert done[-1].returncode == 0, done[-1].stdout + done[-1].stderr
    assert len(said(done[1])) == 2 and "recorded earlier" not in done[1].stdout
    assert "2 of the trials of this name are not compared: their data" in done[1].stdout
    about = winner(place, "address", "address")["sweep"]
    assert about["overrides"][DEPTH] in (1, 2) and about["winner"] in (3, 4)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", ["0.2,0.3,0.4", "0.4,0.3,0.2"])  # in one the winner is not last
def test_after_a_sweep_over_data_the_latest_are_what_the_winner_read(place, sizes):
    file = place.folder / "rows.parquet"
    make_songs(300, seed=next(SEEDS)).to_parquet(file, index=False)
    steps = f"main.execute_steps=[get_data,preprocess,segregate,{STEP}]"
    given = (
        f"data.file_url={file}",
        "main.project_name=tables",
        steps,
        "data.test_size=0.2,0.3,0.4",
    )
    name = f"tables-{sizes[2]}"
    done = place.sweep(name, *given)
    assert done.returncode == 0, done.stdout + done.stderr
    about = winner(place, name, "tables")["sweep"]
    trials = place.ask(
        f"[r.config['sweep'] for r in api.runs('tables', filters={{'group': {name!r}}})"
        " if 'sweep' in r.config]"
    )
    (read,) = [t["made"] for t in trials if t.get("trial") == about["winner"] and "made" in t]
    latest = place.ask("api.artifact('tables/data_train.parquet:latest').source_name")
    assert latest in read.values()
