"""Runs in the embedded store: names, states, values, surroundings, and how they are found."""

import argparse
import dataclasses
import datetime
import enum
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from util_lib import git_state, tracking
from util_lib.errors import UserError

ROOT = Path(__file__).resolve().parents[4]


def read(run):
    return tracking.Api().run(f"{run.project}/{run.id}")


def test_a_run_gets_a_name_that_counts_within_its_project():
    runs = []
    for project in ("a", "a", "b"):
        with tracking.init(project=project) as run:
            runs.append(run)
    for run, number in zip(runs, (1, 2, 1), strict=True):
        assert re.fullmatch(rf"[a-z]+-[a-z]+-{number}", run.name)
        assert re.fullmatch(r"[a-z0-9]{8}", run.id)
        assert run.path == f"local/{run.project}/{run.id}"
        assert run.url is None


def test_the_default_project_is_that_of_the_demo():
    with tracking.init() as run:
        assert run.project == tracking.DEFAULT_PROJECT == "songs_demo"


def test_what_is_not_given_comes_from_the_environment(monkeypatch):
    given = {
        "WANDB_PROJECT": "p",
        "WANDB_RUN_GROUP": "g",
        "WANDB_JOB_TYPE": "j",
        "WANDB_NAME": "n",
        "WANDB_NOTES": "words",
        "WANDB_TAGS": "a, b",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with tracking.init() as run:
        assert (run.project, run.group, run.job_type, run.name) == ("p", "g", "j", "n")
        assert (run.notes, run.tags) == ("words", ("a", "b"))
    with tracking.init(project="q", job_type="k", name="m", notes="w", tags="c") as run:
        assert (run.project, run.job_type, run.name) == ("q", "k", "m")
        assert (run.notes, run.tags) == ("w", ("c",))


@pytest.mark.parametrize("project", ["", "a/b", "a:b", "x" * 129])
def test_an_impossible_project_is_refused_before_anything_is_recorded(project, store):
    with pytest.raises(ValueError, match="[Pp]roject"):
        tracking.init(project=project)
    assert store.runs() == []


def test_impossible_tags_and_ids_are_refused():
    with pytest.raises(ValueError, match="Tag at index 1 is empty"):
        tracking.init(tags=["a", ""])
    with pytest.raises(ValueError, match="is 65 characters. Tags must be between 1 and 64"):
        tracking.init(tags=["x" * 65])
    with pytest.raises(ValueError, match="Run ID cannot contain the characters"):
        tracking.init(id="a/b")


def test_an_id_is_used_once(answer):
    with tracking.init(id="mine"):
        code, _, said = answer("from util_lib import tracking; tracking.init(id='mine')")
        assert code == 1 and "'mine' is running already" in said
    for _ in range(2):  # the first leaves nothing behind that says it runs
        with pytest.raises(UserError, match="there is a run 'mine' already"):
            tracking.init(id="mine")


def test_the_active_run_is_the_one_that_has_not_finished():
    assert tracking.active_run() is None
    with tracking.init() as run:
        assert tracking.active_run() is run
    assert tracking.active_run() is None


@pytest.mark.parametrize(
    "error, state, exit_code",
    [
        (RuntimeError("no"), "failed", 1),
        (KeyboardInterrupt(), "killed", 130),
        (SystemExit(143), "killed", 143),
        (SystemExit(3), "failed", 3),
        (SystemExit("words"), "failed", 1),
        (SystemExit(0), "finished", 0),
    ],
)
def test_leaving_by_an_exception_says_how_the_run_ended(error, state, exit_code):
    with pytest.raises(type(error)):
        with tracking.init() as run:
            raise error
    seen = read(run)
    assert (seen.state, seen.exit_code) == (state, exit_code)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="Linux tells what is open")
def test_a_run_that_has_ended_leaves_no_file_open():
    n_open = []
    for _ in range(3):  # the first opens the database
        with tracking.init() as run:
            pass
        with pytest.raises(UserError, match="there is a run"):
            tracking.init(id=run.id)
        n_open.append(len(os.listdir("/proc/self/fd")))
    assert n_open[1] == n_open[2]


def test_a_run_ends_well_though_somebody_emptied_the_folder_of_temporary_files(store):
    with tracking.init(project="p") as run:
        for path in store.files.tmp.iterdir():
            path.unlink()
    assert read(run).state == "finished"


def test_a_run_whose_process_was_killed_is_shown_as_crashed(python):
    process = python(
        """
import time
from util_lib import tracking
run = tracking.init(project="p")
print(run.id, flush=True)
time.sleep(60)
"""
    )
    run_id = process.stdout.readline().strip()
    assert tracking.Api().run(f"p/{run_id}").state == "running"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert tracking.Api().run(f"p/{run_id}").state == "crashed"
    assert [run.id for run in tracking.Api().runs("p", {"state": "crashed"})] == [run_id]


def test_a_living_child_does_not_keep_a_dead_run_alive(python):
    process = python(
        """
import os, signal, time
from util_lib import tracking
run = tracking.init(project="p")
print(run.id, flush=True)
if os.fork() == 0:
    print(os.getpid(), flush=True)
time.sleep(60)
"""
    )
    run_id, child = (process.stdout.readline().strip() for _ in range(2))
    process.kill()
    process.wait()
    try:
        os.kill(int(child), 0)  # it lives
        assert tracking.Api().run(f"p/{run_id}").state == "crashed"
    finally:
        os.kill(int(child), signal.SIGKILL)
        process.communicate()


def test_a_forked_child_neither_ends_the_run_nor_loses_what_it_logs():
    with tracking.init(project="p") as run:
        child = os.fork()
        if child == 0:
            try:
                with tracking.init(project="p", name="child") as own:
                    own.log({"a": 1})
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        run.log({"a": 2})
        assert read(run).state == "running"
    assert read(run).state == "finished"
    (seen,) = tracking.Api().runs("p", {"display_name": "child"})
    assert (seen.state, seen.summary) == ("finished", {"a": 1})


@pytest.mark.parametrize("last, state", [("pass", "finished"), ("raise ValueError", "failed")])
def test_a_run_that_is_never_finished_ends_with_its_program(answer, last, state):
    source = f"from util_lib import tracking\nprint(tracking.init(project='p').id)\n{last}"
    _, run_id, _ = answer(source)
    assert tracking.Api().run(f"p/{run_id.strip()}").state == state


def test_nothing_is_printed_when_all_goes_well(answer):
    source = """
from util_lib import tracking
with tracking.init(config={"a": 1}) as run:
    artifact = tracking.Artifact("x", type="t")
    with artifact.new_file("a") as file:
        file.write("a")
    run.log_artifact(artifact).wait()
    run.use_artifact("x:latest").file()
    run.log({"loss": 1})
"""
    assert answer(source) == (0, "", "")


def test_importing_tracking_loads_nothing_heavy(answer):
    source = """
import sys
from util_lib import tracking
tracking.init, tracking.Artifact, tracking.Image, tracking.Api
heavy = {"mlflow", "pandas", "numpy", "wandb", "matplotlib", "PIL", "pydantic", "requests"}
print(sorted(heavy & set(sys.modules)))
"""
    assert answer(source)[1] == "[]\n"


def test_values_of_numpy_become_plain_numbers():
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    with tracking.init(config={"depth": numpy.int64(3), "grid": numpy.arange(3)}) as run:
        run.log({"loss": numpy.float32(0.5), "n": numpy.int8(2)})
        run.summary["flag"] = numpy.bool_(True)
    seen = read(run)
    assert seen.config == {"depth": 3, "grid": [0, 1, 2]}
    assert seen.summary == {"loss": 0.5, "n": 2, "flag": True}
    assert {type(value) for value in seen.summary.values()} == {float, int, bool}


def test_values_of_other_kinds_are_kept_as_what_they_hold():
    kind = enum.Enum("kind", {"one": "first"})
    forest = dataclasses.make_dataclass("Forest", ["depth", "kind"])
    config = {
        "forest": forest(5, kind.one),
        "kind": kind.one,
        "options": argparse.Namespace(depth=3, names=("a", "b")),
        "text": "é".encode() + b"\xff",
        "set": {3, "a", 1},
        "day": datetime.date(2024, 1, 2),
        "path": Path("a/b"),
        "other": 1 + 2j,
    }
    with tracking.init(config=config) as run:
        pass
    assert read(run).config == {
        "forest": {"depth": 5, "kind": "first"},
        "kind": "first",
        "options": {"depth": 3, "names": ["a", "b"]},
        "text": "é\ufffd",
        "set": [1, 3, "a"],
        "day": "2024-01-02",
        "path": "a/b",
        "other": "(1+2j)",
    }


def test_nan_and_the_infinities_survive():
    with tracking.init() as run:
        run.log({"a": float("nan"), "b": float("inf"), "c": float("-inf")})
    (row,) = read(run).history()
    assert math.isnan(row["a"])
    assert (row["b"], row["c"]) == (math.inf, -math.inf)
    assert math.isnan(read(run).summary["a"])


def test_an_earlier_step_is_refused_with_a_warning(capsys):
    with tracking.init() as run:
        run.log({"loss": 1.0}, step=5)
        run.log({"loss": 9.0}, step=3)
    assert "step 3 is less than the current step 5" in capsys.readouterr().err
    assert [(row["_step"], row["loss"]) for row in read(run).history()] == [(5, 1.0)]


def test_history_can_be_narrowed_and_sampled():
    with tracking.init() as run:
        for epoch in range(10):
            run.log({"epoch": epoch, "loss": 1.0} if epoch % 2 else {"epoch": epoch})
    seen = read(run)
    assert seen.history(keys=["loss"], x_axis="epoch")[0] == {"epoch": 1, "loss": 1.0}
    assert [row["epoch"] for row in seen.history(samples=3)] == [0, 4, 9]
    assert [row["epoch"] for row in seen.scan_history(min_step=2, max_step=4)] == [2, 3]


def test_metrics_are_there_while_the_run_goes_on():
    with tracking.init() as run:
        run.log({"loss": 1.0})
        assert read(run).summary == {"loss": 1.0}
        assert len(read(run).history()) == 1


def test_summary_values_are_set_read_and_removed():
    with tracking.init() as run:
        run.summary["a"] = 1
        run.summary.b = 2
        run.summary.update({"c": {"d": 3}})
        assert (run.summary.a, run.summary["b"], run.summary["c"]["d"]) == (1, 2, 3)
        assert run.summary.get("absent", 7) == 7
        del run.summary["a"]
        with pytest.raises(AttributeError, match="summary has no 'a'"):
            _ = run.summary.a
    assert read(run).summary == {"b": 2, "c": {"d": 3}}


def test_name_notes_and_tags_are_edited():
    with tracking.init(tags=["a"]) as run:
        run.name = "better"
        run.notes = "words"
        run.tags += ("b",)
    seen = read(run)
    assert (seen.name, seen.notes, seen.tags) == ("better", "words", ["a", "b"])


def test_images_come_from_figures_files_and_arrays(store, tmp_path):
    before = "matplotlib.pyplot" in sys.modules  # a test of the W&B client may have needed it
    figure_module = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed")
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    pytest.importorskip("PIL", reason="pillow is not installed")
    figure = figure_module.Figure(figsize=(2, 1), dpi=50)
    figure.add_subplot().plot([1, 2])
    figure.savefig(tmp_path / "picture.png")
    with tracking.init() as run:
        run.log({"figure": tracking.Image(figure, caption="words")})
        run.log({"bare": figure, "path": tracking.Image(tmp_path / "picture.png")})
        run.log({"array": tracking.Image(numpy.zeros((4, 6, 3)))})
        run.log({"several": [tracking.Image(numpy.ones((2, 2))), tracking.Image(figure)]})
    summary = read(run).summary
    assert summary["figure"]["caption"] == "words"
    assert (summary["figure"]["width"], summary["figure"]["height"]) == (100, 50)
    assert (summary["array"]["width"], summary["array"]["height"]) == (6, 4)
    assert len(summary["several"]) == 2
    paths = {path: sha256 for path, sha256, _ in store.run_files(run.id)}
    for key in ("figure", "bare", "path", "array"):
        assert paths[summary[key]["path"]] == summary[key]["sha256"]
        assert store.files.path(summary[key]["sha256"]).read_bytes()[1:4] == b"PNG"
    assert before == ("matplotlib.pyplot" in sys.modules)


def test_what_is_no_png_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(UserError, match="is not a PNG"):
        tracking.Image(tmp_path / "a.png")
    with pytest.raises(UserError, match="is not a file"):
        tracking.Image(tmp_path / "absent.png")


def test_the_git_commit_is_recorded_and_the_remote_without_credentials(tmp_path):
    def git(*arguments):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    assert git_state.git(tmp_path) == {}
    git("config", "user.email", "a@example.test")
    git("config", "user.name", "a")
    git("config", "commit.gpgsign", "false")
    (tmp_path / "a").write_text("one")
    git("add", "a")
    git("commit", "-m", "one")
    git("remote", "add", "origin", "https://me:secret@example.test/x.git")
    found = git_state.git(tmp_path)
    assert re.fullmatch("[0-9a-f]{40}", found["commit"])
    assert found["remote"] == "https://example.test/x.git"
    assert found["dirty"] is False
    (tmp_path / "a").write_text("two")
    assert git_state.git(tmp_path)["dirty"] is True


def test_a_run_knows_its_machine_and_program():
    with tracking.init() as run:
        pass
    metadata = read(run).metadata
    assert metadata["pid"] == os.getpid()
    assert metadata["python"] == ".".join(map(str, sys.version_info[:3]))
    assert metadata["host"]
    assert "git" in metadata


def test_code_and_files_are_kept_with_the_run(store, tmp_path):
    (tmp_path / "code" / "sub").mkdir(parents=True)
    (tmp_path / "code" / "a.py").write_text("pass")
    (tmp_path / "code" / "sub" / "b.py").write_text("pass")
    (tmp_path / "code" / "c.txt").write_text("no code")
    with tracking.init(project="p") as run:
        artifact = run.log_code(tmp_path / "code")
        assert run.save(str(tmp_path / "code" / "*.txt")) == [str(tmp_path / "code" / "c.txt")]
    assert artifact.type == "code"
    assert sorted(artifact.manifest.entries) == ["a.py", "sub/b.py"]
    [(path, sha256, size)] = store.run_files(run.id)
    assert (path, size) == ("c.txt", 7) and store.contents_of_runs() == {sha256}


@pytest.fixture
def sweep():
    for depth, auc in ((3, 0.7), (5, 0.9), (9, float("nan"))):
        with tracking.init(
            project="p",
            group="g",
            job_type="train",
            name=f"d{depth}",
            tags=[f"t{depth}"],
            config={"forest": {"max_depth": depth}, "data": {"rows": 9}},
        ) as run:
            run.summary["auc"] = auc
    with tracking.init(project="p", name="plain"):
        pass


@pytest.mark.parametrize(
    "filters, names",
    [
        ({}, ["d3", "d5", "d9", "plain"]),
        ({"group": "g", "config.forest.max_depth": 5}, ["d5"]),
        ({"jobType": "train", "summary_metrics.auc": {"$gt": 0.8}}, ["d5"]),
        ({"config.forest.max_depth": {"$in": [3, 9]}}, ["d3", "d9"]),
        ({"$or": [{"display_name": "plain"}, {"tags": "t3"}]}, ["d3", "plain"]),
        ({"display_name": {"$regex": "^d[35]"}}, ["d3", "d5"]),
        ({"group": {"$exists": False}}, ["plain"]),
        ({"tags": {"$in": ["t5"]}}, ["d5"]),
        ({"config.forest.max_depth": {"$not": {"$lte": 5}}, "group": "g"}, ["d9"]),
    ],
)
def test_runs_are_filtered(sweep, filters, names):
    assert [run.name for run in tracking.Api().runs("p", filters)] == names


def test_runs_are_ordered_and_those_without_a_value_come_last(sweep):
    def names(order):
        return [run.name for run in tracking.Api().runs("any/p", order=order)]

    assert names("-created_at") == ["plain", "d9", "d5", "d3"]
    assert names("-summary_metrics.auc")[:2] == ["d5", "d3"]
    assert names("+config.forest.max_depth") == ["d3", "d5", "d9", "plain"]


def test_an_unknown_filter_is_an_error_that_lists_the_known_ones(sweep):
    with pytest.raises(UserError, match="unknown key 'colour'.*job_type"):
        tracking.Api().runs("p", {"colour": "red"})
    with pytest.raises(UserError, match="unknown operator '\\$near'"):
        tracking.Api().runs("p", {"group": {"$near": 1}})


def test_an_unknown_run_is_an_error_that_names_it(store):
    with tracking.init(project="other") as run:
        pass
    for run_id in ("absent", run.id):
        with pytest.raises(UserError, match=f"Could not find run p/{run_id}"):
            tracking.Api().run(f"p/{run_id}")
