"""Steps that do not need each other run side by side: proven by steps that wait for each other."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from pipeline.planning.plan import plan
from pipeline.planning.step import Step
from pipeline.running.scheduler import waits_for
from pipeline.settings import overrides, resolvers, schema
from tests.pipeline.trivial_steps import STEPS

ROOT = Path(__file__).resolve().parents[3]
# A step that says that it has begun, waits for what others say, and logs one small artifact.
ALL = "songs_demo · all steps · 3 ran"  # the pipeline's run in MLflow
RUN = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from util_lib import tracking
name, place = Path(__file__).parent.name, Path(os.environ["PLACE"])
given = dict(word[2:].split("=", 1) for word in sys.argv[1:])
def tell(what):
    (place / f"{{name}}.{{what}}").write_text(str(os.getpid()))
    with open(place / "told", "a") as told:
        told.write(f"{{name}}.{{what}} ")
tell("begun")
for other in filter(None, given["waits"].split("+")):
    for _ in range(6000):
        if (place / other).exists():
            break
        time.sleep(0.01)
    else:
        sys.exit(f"{{name}}: {{other}} never came")
if given["fails"] == "yes" and not (place / "mended").exists():
    tell("failed")
    sys.exit(f"{{name}}: told to fail")
with tracking.init(job_type=name) as run:
    for key in ("first", "second"):
        if given[key]:
            run.use_artifact(given[key])
    artifact = tracking.Artifact(f"{{name}}.txt", type="text")
    with artifact.new_file("text") as file:
        file.write(name + given["says"])
    run.log_artifact(artifact)
    run.summary[f"{{name}}_letters"] = len(name)
tell("ended")
"""
GO = """
import json, sys
from pathlib import Path
from pipeline.planning.step import Step
from pipeline.running import pipeline_run
from pipeline.running.exit_code import exit_code
from pipeline.settings import overrides, resolvers, schema, surroundings
resolvers.register_resolvers()
def go():
    surroundings.adopt_surroundings(Path.cwd())
    checked = schema.check(overrides.base_config(sys.argv[2:]))
    steps = [Step(**step) for step in json.loads(sys.argv[1])]
    pipeline_run.run_pipeline(checked, steps)
sys.exit(exit_code(go))
"""


class Place:
    """Small steps in folders of their own, and where they tell what they do."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.told = folder, folder / "telling"
        self.told.mkdir()
        self.steps: list[dict] = []

    def add(self, name: str, reads: tuple = (), waits: tuple = (), fails: str = "no") -> None:
        home = self.folder / "steps" / name
        home.mkdir(parents=True)
        references = (*(f"{other}.txt:latest" for other in reads), "", "")
        parameters = {"first": references[0], "second": references[1], "waits": "+".join(waits)}
        parameters |= {"fails": fails, "says": ""}
        command = f"python run.py {' '.join(f'--{key}={{{key}}}' for key in parameters)}"
        entry = {"parameters": dict.fromkeys(parameters, "string"), "command": command}
        project = {"name": name, "entry_points": {"main": entry}}
        (home / "MLproject").write_text(yaml.safe_dump(project))
        (home / "conda.yml").write_text("name: small\n")
        (home / "run.py").write_text(RUN.format(root=str(ROOT)))
        inputs = [reference for reference in references if reference]
        made = {"outputs": [f"{name}.txt"], "uri": str(home)}
        self.steps.append({"name": name, "parameters": parameters, "inputs": inputs, **made})

    def begin(self, *given: str) -> subprocess.Popen:
        for file in self.told.iterdir():
            file.unlink()
        options = ["main.env_manager=local", "main.tracking=local", *given]
        return subprocess.Popen(
            [sys.executable, "-c", GO, json.dumps(self.steps), *options],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PLACE": str(self.told)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *given: str) -> tuple[int, str, str]:
        process = self.begin(*given)
        out, err = process.communicate(timeout=600)
        return process.returncode, out, err

    def order(self) -> list[str]:
        return (self.told / "told").read_text().split()


@pytest.fixture
def place(tmp_path, monkeypatch) -> Place:
    monkeypatch.setenv("TRACKING_STORE", str(tmp_path / "tracking_store"))
    return Place(tmp_path)


def runs(place: Place) -> dict[str, tuple[str, str | None]]:
    """Return status and parent of every run in MLflow by name."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place.folder / 'mlflow.db'}")
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    names = {run.info.run_id: run.info.run_name for run in found}
    parents = {run.info.run_id: run.data.tags.get("mlflow.parentRunId") for run in found}
    return {
        run.info.run_name: (run.info.status, names.get(parents[run.info.run_id])) for run in found
    }


def test_two_steps_meet_and_a_cached_one_is_taken_while_another_runs(place):
    place.add("left", waits=("right.begun",))
    place.add("right", waits=("left.begun",))
    place.add("both", reads=("left", "right"))
    code, out, err = place.run("main.jobs=2")
    assert code == 0, out + err
    assert {*place.order()[:2]} == {"left.begun", "right.begun"}
    assert place.order()[4:] == ["both.begun", "both.ended"]
    nested = dict.fromkeys(("left", "right", "both"), ("FINISHED", ALL))
    assert runs(place) == {**nested, ALL: ("FINISHED", None)}
    rows = [line for line in out.splitlines() if line.startswith("│")]
    for row, name in zip(rows, ("left", "right", "both"), strict=True):
        assert "done" in row and f"{name}.txt:v0" in row and f"{name}_letters" in row
    for number, name in enumerate(("left", "right", "both"), start=1):
        assert f"[{number}/3] {name}: done in" in out and f"made {name}.txt:v0" in out

    # `right` waits for a step that comes after the cached `left`, which must not wait for `right`.
    place.steps[1]["parameters"] |= {"says": "again", "waits": "late.begun"}
    place.add("late", reads=("left",), waits=("right.begun",))
    code, out, err = place.run("main.jobs=2")
    assert code == 0, out + err
    assert "[1/4] left: cached, has left.txt:v0" in out
    assert {*place.order()[:2]} == {"right.begun", "late.begun"}


@pytest.mark.slow
def test_with_one_job_the_steps_run_in_the_order_of_the_plan(place):
    for name in ("one", "two", "three"):
        place.add(name)
    code, out, err = place.run("main.jobs=1")
    assert code == 0, out + err
    whole = [f"{name}.{what}" for name in ("one", "two", "three") for what in ("begun", "ended")]
    assert place.order() == whole


@pytest.mark.slow
def test_beside_a_failure_the_others_end_and_count_the_next_time(place):
    place.add("left", waits=("right.begun",), fails="yes")
    place.add("right", waits=("left.failed",))
    place.add("both", reads=("left", "right"))
    code, out, err = place.run("main.jobs=2")
    assert code == 1
    assert err.splitlines()[-1] == "error: step left failed: told to fail"
    assert place.order() == ["left.begun", "right.begun", "left.failed", "right.ended"] or (
        place.order() == ["right.begun", "left.begun", "left.failed", "right.ended"]
    )
    assert [line.split()[3] for line in out.splitlines() if line.startswith("│")] == [
        *("failed", "done", "not")
    ]
    place.steps[0]["parameters"] |= {"waits": "", "fails": "no"}
    code, out, err = place.run("main.jobs=2")
    assert code == 0, out + err
    assert "right: cached" in out
    assert [told for told in place.order() if told.endswith("begun")] == [
        "left.begun",
        "both.begun",
    ]


def test_a_signal_stops_all_of_them(place):
    place.add("left", waits=("right.begun", "never"))
    place.add("right", waits=("left.begun", "never"))
    process = place.begin("main.jobs=2")
    for _ in range(6000):
        if len([*place.told.glob("*.begun")]) == 2 or process.poll() is not None:
            break
        time.sleep(0.01)
    steps = [psutil.Process(int(path.read_text())) for path in place.told.glob("*.begun")]
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 143, out + err
    assert len(steps) == 2 and not [step for step in steps if step.is_running()]
    assert out.count("│ stopped │") == 2
    assert "RUNNING" not in {status for status, _ in runs(place).values()}
    assert "Traceback" not in out + err


def step(name: str, reads: tuple[str, ...] = (), makes: tuple[str, ...] = ()) -> Step:
    return Step(name, {}, reads, makes, name)


def test_a_step_waits_for_what_it_reads_for_who_reads_what_it_makes_and_for_the_checks():
    steps = [
        step("a", makes=("x",)),
        step("reader", reads=("x:latest",)),
        step("other"),
        step("old", reads=("y:prod",)),
        step("y", makes=("y",)),
        step("x again", makes=("x",)),
        dataclasses.replace(step("checks", reads=("y:latest",)), gate=True),
        step("last"),
    ]
    assert waits_for(steps) == [set(), {0}, set(), set(), {3}, {0, 1}, {4}, {6}]


def test_in_the_pipeline_nothing_overtakes_the_checks():
    resolvers.register_resolvers()
    six = plan(schema.check(overrides.base_config([])))
    waits = waits_for(six)
    gate = STEPS.index("check_data")
    assert all(gate in waits[place] for place in range(gate + 1, len(six)))


@pytest.mark.parametrize("jobs", ["0", "-1", "two"])
def test_a_number_of_jobs_that_is_none_is_named(jobs):
    resolvers.register_resolvers()
    with pytest.raises(schema.UserError, match=r"main\.jobs"):
        schema.check(overrides.base_config([f"main.jobs={jobs}"]))
