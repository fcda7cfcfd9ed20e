"""A review says what a change touches, and refuses one that does harm."""

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.reviewing.changes import Change
from pipeline.reviewing.measured import Scores
from pipeline.reviewing.report import Review, against, as_markdown
from tests import warm
from tests.pipeline.caching.test_reuse import Place, make_place
from tests.pipeline.checkout import commit, git, make_checkout
from tests.pipeline.trivial_steps import ROOT, STEPS

TEST = "def test_it():\n    assert {}\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    """A checkout whose evaluate has a test, and a user who reviews in it."""
    place = make_place(tmp_path_factory.mktemp("review"))
    make_checkout(place)
    git(place.project, "tag", "before")
    tests = place.project / "tests"
    for name in ("test_house", "test_steps_agree", "evaluate/test_evaluate"):
        (tests / name).parent.mkdir(exist_ok=True, parents=True)
        (tests / f"{name}.py").write_text(TEST.format(True))
    shutil.copy(ROOT / "tests" / "changed.py", tests)
    (place.project / "README.md").write_text("What it is.\n")
    commit(place.project, "with tests")
    return place


@pytest.fixture
def review(place):
    """Review the working tree; afterwards it is as committed again."""
    yield lambda *given: reviewed(place, *given)
    git(place.project, "checkout", "--quiet", "--force", "main")
    git(place.project, "clean", "--quiet", "--force", "-d")


def reviewed(place: Place, *given: str) -> SimpleNamespace:
    ran, path = Path(place.environment["RAN"]), place.home / "report.md"
    ran.write_text("")
    path.unlink(missing_ok=True)
    options = "--hydra_options=data.file_url=table.csv data.sha256=null"
    command = [warm.python(), "-m", "pipeline.commands.review", "--env_manager=local", options]
    done = subprocess.run(
        [*command, "--base=main", *given],
        cwd=place.home,
        env={**place.environment, "PYTHONPATH": str(place.project)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    text = path.read_text() if path.exists() else ""
    return SimpleNamespace(
        code=done.returncode, said=done.stdout + done.stderr, ran=ran.read_text().split(), text=text
    )


@pytest.mark.slow
def test_the_same_commit_differs_in_nothing_and_then_an_edit_runs_its_step_alone(place, review):
    same = review()
    assert (same.code, same.ran) == (0, list(STEPS)), same.said
    assert "with itself (main): 0 files differ" in same.text
    assert "Touched: 0 of 6 steps." in same.text
    assert "Different: 0 of 6 metrics that the steps recorded: all differences are 0." in same.text
    assert "Another digest: 0 of 7 artifacts." in same.text
    assert "| base | 6 of 6 |" in same.text and "| now | 0 of 6 |" in same.text

    place.edit("evaluate/run.py", "salt = ", "# an edit\nsalt = ")
    edited = review()
    assert (edited.code, edited.ran) == (0, ["evaluate"]), edited.said
    assert "1 file not committed with that commit (main): 1 file differs" in edited.text
    assert "| evaluate | evaluate/run.py changed | ran |" in edited.text
    assert "Touched: 1 of 6 steps." in edited.text and "3 passed" in edited.text
    assert "`tests/evaluate/test_evaluate.py`" in edited.text
    assert git(place.project, "worktree", "list").count("\n") == 1

    commit(place.project)  # on another branch's name for it: what is committed counts as much
    git(place.project, "branch", "--quiet", "--force", "edited")
    git(place.project, "reset", "--quiet", "--hard", "HEAD~1")
    git(place.project, "checkout", "--quiet", "--detach", "edited")
    again = review()
    assert (again.code, again.ran) == (0, [])
    assert "no branch is checked out" in again.text
    assert "| evaluate | evaluate/run.py changed | - |" in again.text


def test_of_documents_nothing_is_run(place, review):
    (place.project / "README.md").write_text("What it is, and more.\n")
    done = review()
    assert (done.code, done.ran) == (0, [])
    assert "Only documents differ: no step and no test was run." in done.text


@pytest.mark.slow
def test_a_failing_test_and_a_pipeline_that_does_not_run_are_refused(place, review):
    place.edit("evaluate/run.py", "salt = ", "sys.exit('broken here')\nsalt = ")
    (place.project / "tests/evaluate/test_evaluate.py").write_text(TEST.format(False))
    done = review()
    assert done.code == 3
    assert "- the pipeline does not run: error: step evaluate failed" in done.text
    assert "- tests fail: 1 failed, 2 passed" in done.text
    assert "| evaluate | did not finish | ran |" in done.text


def test_what_git_does_not_know_is_one_sentence(place, review, tmp_path):
    done = review("--base=origin/nowhere")
    assert done.code == 1
    assert "error: base=origin/nowhere is no commit of this clone" in done.said
    assert done.text == "" and "Traceback" not in done.said

    other = Place(tmp_path)
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{place.project}", "project")
    git(other.project, "fetch", "--quiet", "--depth=1", "origin", "tag", "before")
    other.home.mkdir()
    done = reviewed(other, "--base=before")
    assert done.code == 1 and "this clone is shallow" in done.said

    shutil.rmtree(other.project / ".git")
    done = reviewed(other)
    assert done.code == 1 and "is no git checkout with a commit" in done.said


def test_a_metric_that_fell_by_more_than_chance_is_refused_and_another_is_not():
    fell = {"before": 0.9, "now": 0.8, "low": -0.12, "high": -0.08, "fell": True}
    may_be_chance = {"before": 0.9, "now": 0.8, "low": -0.2, "high": 0.01, "fell": False}
    change = Change("main", "a" * 40, "b" * 40, "main", ["evaluate/run.py"], [], "")
    scores = Scores("evaluate", 100, "all", {"accuracy": fell, "f1_macro": may_be_chance})
    review = Review(change, "", "", None, None, None, {}, [scores], [], {})
    [reason] = against(review)
    assert reason.startswith("accuracy is worse: 0.9000 -> 0.8000 on the same 100 rows")
    assert "95 % interval of the difference -0.1200 to -0.0800" in as_markdown(review)
