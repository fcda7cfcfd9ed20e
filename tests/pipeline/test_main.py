"""main.py as a user starts it: real processes, real MLflow, six trivial steps in place of ours."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import yaml

from benchmarks.overhead import make_steps
from pipeline.planning.plan import plan
from pipeline.settings import overrides, resolvers, schema
from tests import warm
from tests.pipeline.trivial_steps import STEPS
from util_lib.model.config import RandomForestPipeline
from util_lib.tracking.mlflow_mirror import mlflow_lock

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(sys.executable).parent
TRAINING = ROOT / "conf" / "pipeline" / "training.yaml"

# What a trivial step does is told by the environment: nothing, fail, or wait to be stopped.
STEP = """
import json, os, signal, sys, time
from pathlib import Path
name = Path(__file__).parent.name
with open(os.environ["RAN"], "a") as ran:
    ran.write(json.dumps([name, sys.argv[1:]]) + chr(10))
print(f"{name} ran")
if "GET_DATA_URL" in os.environ:
    Path(os.environ["RAN"] + ".url").write_text(os.environ["GET_DATA_URL"])
does = json.loads(os.environ.get("DOES", "{}")).get(name)
if does == "fail":
    print("working on it")
    print(f"{name}: column 'tempo' is missing in table.parquet", file=sys.stderr)
    sys.exit(3)
if does == "crash":
    raise ValueError("the cat sat on the keyboard")
if does in ("wait", "ignore", "interrupt"):
    if does == "ignore":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if does == "interrupt":  # its traceback begins before main.py's signal comes
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    Path(os.environ["RAN"] + ".waiting").write_text(str(os.getpid()))
    time.sleep(120)
if outputs := json.loads(Path(__file__).with_name("outputs.json").read_text()):
    from util_lib import tracking

    with tracking.whole_step(), tracking.init(job_type=name) as run:
        for output in outputs:
            artifact = tracking.Artifact(output, type="text")
            with artifact.new_file("text") as file:
                file.write(f"{output} of {sys.argv[1:]}")
            run.log_artifact(artifact)
"""
HANGS_S = 600  # ends a test that would never end; a busy machine may need minutes
FULL = "database or disk is full"  # SQLite's own words


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Path:
    """Six trivial steps, and an MLflow database made once."""
    folder = tmp_path_factory.mktemp("template")
    resolvers.register_resolvers()
    steps = plan(schema.check(overrides.base_config([])))
    for (home, _), step in zip(make_steps(folder / "steps", steps), steps, strict=True):
        Path(home, "run.py").write_text(STEP)
        Path(home, "outputs.json").write_text(json.dumps(step.outputs))
    code = "import mlflow, sys; mlflow.MlflowClient(sys.argv[1]).search_experiments()"
    subprocess.run(
        [warm.python(), "-c", code, f"sqlite:///{folder / 'mlflow.db'}"], check=True, cwd=folder
    )
    return folder


class Place:
    """An empty folder in which a user stands."""

    def __init__(self, folder: Path, template: Path) -> None:
        self.folder = folder
        self.steps = template / "steps"
        shutil.copy(template / "mlflow.db", folder)
        self.environment = {**os.environ, "RAN": str(folder / "ran")}
        self.environment.pop("TRACKING_STORE", None)
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self.environment["PATH"] = f"{SCRIPTS}{os.pathsep}{self.environment['PATH']}"

    @property
    def uris(self) -> list[str]:
        """The trivial steps, which read nothing, whatever the pipeline file says."""
        places = [f"steps.{step}.uri={self.steps / step}" for step in STEPS]
        return places + [
            f"++steps.{step}.may_be_absent=[{','.join(entry['inputs'])}]"
            for step, entry in yaml.safe_load(TRAINING.read_text())["steps"].items()
            if "inputs" in entry
        ]

    def start(self, *command: str, **more: str) -> subprocess.Popen:
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self.environment, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def main(self, *given: str, **more: str) -> subprocess.CompletedProcess:
        command = [warm.python(), str(ROOT / "main.py"), "main.env_manager=local", *self.uris]
        process = self.start(*command, *given, **more)
        out, err = process.communicate(timeout=HANGS_S)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def wait_for_step(self) -> psutil.Process:
        waiting = self.folder / "ran.waiting"
        deadline = time.monotonic() + HANGS_S
        while not (waiting.exists() and waiting.read_text()):
            assert time.monotonic() < deadline, "the step never started"
            time.sleep(0.02)
        return psutil.Process(int(waiting.read_text()))

    def ran(self) -> list[str]:
        path = self.folder / "ran"
        return (
            [json.loads(line)[0] for line in path.read_text().splitlines()] if path.exists() else []
        )

    def runs(self) -> list:
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{self.folder / 'mlflow.db'}")
        experiments = [e.experiment_id for e in client.search_experiments()]
        return client.search_runs(experiments, order_by=["attributes.start_time"])

    def statuses(self) -> dict[str, str]:
        return {run.info.run_name: run.info.status for run in self.runs()}


def run_main(place: Place, *given: str) -> subprocess.CompletedProcess:
    """main.py with nothing but `given`."""
    process = place.start(warm.python(), str(ROOT / "main.py"), *given)
    out, err = process.communicate(timeout=HANGS_S)
    return subprocess.CompletedProcess(given, process.returncode, out, err)


@pytest.fixture
def place(tmp_path, template) -> Place:
    folder = tmp_path / "place"
    folder.mkdir()
    return Place(folder, template)


def test_steps_run_in_the_pipelines_order_nested_under_one_run(place):
    done = place.main("main.execute_steps='evaluate, get_data ,preprocess'", "main.jobs=1")
    assert done.returncode == 0, done.stderr
    assert place.ran() == ["get_data", "preprocess", "evaluate"]
    parent, *children = place.runs()
    assert [run.info.run_name for run in children] == ["get_data", "preprocess", "evaluate"]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in place.runs()} == {"FINISHED"}
    assert "[2/3] preprocess: done in" in done.stdout
    table = done.stdout[done.stdout.index("┃ artifacts") :]
    assert table.index("get_data") < table.index("preprocess") < table.index("evaluate")
    assert f"mlflow ui --backend-store-uri sqlite:///{place.folder}/mlflow.db" in done.stdout


def test_runs_lie_in_the_experiment_that_was_chosen_else_in_that_of_the_project(place):
    from mlflow import MlflowClient

    for given in ({}, {"MLFLOW_EXPERIMENT_NAME": "mine"}):
        done = place.main("main.execute_steps=segregate", "main.cache=false", **given)
        assert done.returncode == 0, done.stderr
    client = MlflowClient(f"sqlite:///{place.folder / 'mlflow.db'}")
    names = {each.experiment_id: each.name for each in client.search_experiments()}
    assert [names[run.info.experiment_id] for run in place.runs()] == [
        *("songs_demo", "songs_demo"),
        *("mine", "mine"),
    ]


def test_an_unknown_step_runs_nothing_and_names_the_nearest(place):
    done = place.main("main.execute_steps='get_data,preproces'")
    assert done.returncode == 1
    assert "unknown step 'preproces': the nearest is 'preprocess'" in done.stderr
    assert "Traceback" not in done.stderr
    assert place.ran() == [] and place.runs() == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("data.test_size=1.5", "data.test_size must be less than 1, found 1.5"),
        ("data.tst_size=0.5", "the nearest is 'data.test_size'"),
        ("dataset=song_demo", "the nearest is 'songs_demo'"),
        ("data.test_size=0.1,0.2", "add -m"),
        ("data.test_size=;", "cannot read the override"),
        ("@/nofile.txt", "cannot read the override '@/nofile.txt'"),
        ("datset=iris", "unknown config key 'datset': the nearest is 'dataset'; choose from"),
        ("--stesp=get_data", "unknown parameter 'stesp': the nearest is 'steps'"),
        ("--pln", "unknown option '--pln': the nearest is '--plan'; choose from --explain, --plan"),
        ("--plan=1", "--plan takes no value, found '--plan=1': write --plan"),
        ("data.columns.tmpo.nullable=true", "unknown column 'tmpo': the nearest is 'tempo'"),
        ("data.columns.tempo.nulable=true", "the nearest is 'data.columns.tempo.nullable'"),
        (
            "~data",
            "key 'data.file_url' is required and is not set: set it in conf/dataset",
        ),
    ],
)
def test_a_wrong_configuration_is_one_line_before_anything_runs(place, given, said):
    done = place.main(given)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert place.ran() == [] and place.runs() == []


def test_a_dataset_file_that_is_no_yaml_is_named(place):
    (place.folder / "dataset").mkdir()
    (place.folder / "dataset" / "mine.yaml").write_text("# @package _global_\ndata: [")
    done = run_main(place, "dataset=mine", f"hydra.searchpath=[pkg://conf,{place.folder}]")
    assert done.returncode == 1
    assert "no YAML file" in done.stderr and "mine.yaml" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_file_of_ones_own_that_stands_for_more_than_it_shows_is_one_line(place):
    own = place.folder / "conf" / "dataset"
    own.mkdir(parents=True)
    lists = [f"  {a}: &{a} [{', '.join([f'*{b}'] * 9)}]" for a, b in pairwise("jihgfedcba")]
    bomb = "\n".join(["data:", "  a: &a [x, x, x]", *reversed(lists)])
    for name, text in {"bomb": bomb, "deep": "[" * 5_000, "number": f"x: {'9' * 5_000}"}.items():
        (own / f"{name}.yaml").write_text(text)
        done = place.main(f"dataset={name}")
        assert done.returncode == 1
        assert f"{name}.yaml" in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert place.ran() == []


def test_a_section_of_the_configuration_is_printed_resolved(place):
    done = run_main(place, "--cfg", "job", "--resolve", "--package", "random_forest_pipeline")
    assert done.returncode == 0, done.stderr
    printed = yaml.safe_load(done.stdout)
    resolvers.register_resolvers()
    composed = schema.check(overrides.base_config([]))
    assert RandomForestPipeline(**printed) == composed.random_forest_pipeline


def test_help_shows_examples_and_every_key(place):
    done = run_main(place, "--help")
    assert done.returncode == 0
    for words in ("mlflow run .", "dataset=music_genre", "max_depth: 13", "ks_alpha: 0.05"):
        assert words in done.stdout


def test_a_failing_step_stops_the_pipeline_and_has_the_last_word(place):
    done = place.main(DOES='{"preprocess": "fail"}')
    assert done.returncode == 1
    assert place.ran() == ["get_data", "preprocess"]
    last = done.stderr.strip().splitlines()[-1]
    assert last == ("error: step preprocess failed: column 'tempo' is missing in table.parquet")
    assert "Traceback" not in done.stderr
    assert {"get_data": "FINISHED", "preprocess": "FAILED"}.items() <= place.statuses().items()
    assert place.runs()[0].info.status == "FAILED"
    assert "not run" in done.stdout[done.stdout.index("┃ artifacts") :]


def test_a_crashing_step_keeps_its_traceback_and_its_last_line_is_the_message(place):
    done = place.main(DOES='{"get_data": "crash"}')
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last == "error: step get_data failed: ValueError: the cat sat on the keyboard"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
    ],
)
def test_a_signal_stops_the_running_step_and_leaves_no_run_running(place, number, code):
    command = [sys.executable, str(ROOT / "main.py"), "main.env_manager=local", *place.uris]
    process = place.start(*command, DOES='{"preprocess": "wait"}')
    step = place.wait_for_step()
    process.send_signal(number)
    out, err = process.communicate(timeout=HANGS_S)
    assert process.returncode == code, err
    assert not step.is_running()
    assert err.strip().splitlines()[-1] == f"error: stopped by {number.name}"
    assert "RUNNING" not in place.statuses().values()
    assert place.statuses()["get_data"] == "FINISHED"
    assert "stopped" in out[out.index("┃ artifacts") :]


@pytest.mark.slow
def test_ctrl_c_in_a_step_that_cannot_answer_yet_shows_no_traceback(place):
    """A terminal sends SIGINT to all processes at once; the step has no handler of its own."""
    command = [sys.executable, str(ROOT / "main.py"), "main.env_manager=local", *place.uris]
    process = place.start(*command, DOES='{"get_data": "interrupt"}')
    step = place.wait_for_step()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=HANGS_S)
    assert process.returncode == 130
    assert not step.is_running()
    assert "Traceback" not in err and "KeyboardInterrupt" not in err
    assert err.strip().splitlines()[-1] == "error: stopped by SIGINT"


def test_ctrl_c_while_main_itself_starts_shows_no_traceback(place, tmp_path):
    """The first module that main.py imports from elsewhere is one that stops it."""
    (tmp_path / "modules").mkdir()
    stop = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"
    (tmp_path / "modules" / "hydra.py").write_text(stop)
    process = place.start(
        sys.executable, str(ROOT / "main.py"), PYTHONPATH=str(tmp_path / "modules")
    )
    out, err = process.communicate(timeout=HANGS_S)
    assert (process.returncode, err) == (130, "error: stopped\n")


def test_a_run_of_the_root_that_is_stopped_before_mlflow_is_up_is_ended(place):
    """Another process uses the database just now, so main.py waits before it imports MLflow."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place.folder / 'mlflow.db'}")
    root = client.create_run("0").info.run_id
    command = [sys.executable, str(ROOT / "main.py"), "main.env_manager=local", *place.uris]
    with mlflow_lock(place.folder / "tracking_store"):
        process = place.start(*command, MLFLOW_RUN_ID=root)
        said = [process.stdout.readline() for _ in range(2)]
        assert said[-1] == "starting MLflow\n", said
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=HANGS_S)
    assert process.returncode == 143
    assert client.get_run(root).info.status == "KILLED"


def test_a_step_that_ignores_the_signal_is_killed_by_the_second(place):
    command = [sys.executable, str(ROOT / "main.py"), "main.env_manager=local", *place.uris]
    process = place.start(*command, DOES='{"get_data": "ignore"}')
    step = place.wait_for_step()
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=HANGS_S)
    assert process.returncode == 143
    assert not step.is_running()


def mlflow_run(place: Place, *options: str) -> list[str]:
    given = " ".join(["main.env_manager=local", *place.uris, *options])
    return [
        str(SCRIPTS / "mlflow"),
        "run",
        str(ROOT),
        "--env-manager",
        "local",
        "-P",
        f"hydra_options={given}",
    ]


def test_mlflow_run_stopped_alone_takes_the_step_with_it(place):
    """SIGTERM to mlflow's pid only: MLflow passes nothing on to what it started."""
    process = place.start(*mlflow_run(place), DOES='{"get_data": "wait"}')
    step = place.wait_for_step()
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=HANGS_S)
    gone, alive = psutil.wait_procs([step], timeout=HANGS_S)
    assert not alive
    deadline = time.monotonic() + HANGS_S
    while "RUNNING" in place.statuses().values() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert "RUNNING" not in place.statuses().values()


def test_options_reach_the_steps_through_mlflow_as_they_were_typed(place):
    url = '/tables/irises’ (Setosa, $(touch X);`touch Y` *~ "a b").csv'
    options = [
        f"data.file_url='{url}'",
        "main.execute_steps='get_data,segregate'",
        "data.test_size=0.2",
        "main.experiment_name=pre-prod",
    ]
    process = place.start(warm.python(), *mlflow_run(place, *options))
    out, err = process.communicate(timeout=HANGS_S)
    assert process.returncode == 0, err
    lines = [json.loads(line) for line in (place.folder / "ran").read_text().splitlines()]
    arguments = dict(lines)
    get_data, segregate = arguments["get_data"], arguments["segregate"]
    assert get_data[get_data.index("--file_url") + 1] == url
    assert segregate[segregate.index("--test_size") + 1] == "0.2"
    parent, *children = place.runs()
    assert len(children) == 2 and parent.data.tags["group"] == "pre-prod"
    assert not list(place.folder.glob("[XY]")) and not list(ROOT.glob("[XY]"))


def test_a_sweep_makes_one_nested_run_for_each_job(place):
    done = place.main(
        "-m",
        "main.execute_steps=segregate",
        "data.test_size=0.2,0.3",
    )
    assert done.returncode == 0, done.stderr
    assert place.ran() == ["segregate", "segregate"]
    names = [run.info.run_name for run in place.runs()]
    jobs = [f"songs_demo · segregate · job {job} · 1 ran" for job in (0, 1)]
    assert names == [jobs[0], "segregate", jobs[1], "segregate"]


@pytest.mark.parametrize("said_by", ["an override", "config.yaml"])
def test_hydra_mode_makes_a_sweep_as_hydra_has_it(place, tmp_path, said_by):
    given, main = ["main.plan=true", "data.test_size=0.2,0.3"], ROOT / "main.py"
    if said_by == "an override":
        given.append("hydra.mode=MULTIRUN")
    else:
        copy = tmp_path / "copy"
        copy.mkdir()
        for name in ("main.py", "config.yaml", "conf", "pipeline", "util_lib", *STEPS):
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
        config = copy / "config.yaml"
        text = config.read_text()
        assert "\nhydra:\n" in text
        config.write_text(text.replace("\nhydra:\n", "\nhydra:\n  mode: MULTIRUN\n"))
        main = copy / "main.py"
    process = place.start(sys.executable, str(main), "main.env_manager=local", *given)
    said = process.communicate(timeout=HANGS_S)
    assert process.returncode == 0, said
    assert "Launching 2 jobs locally" in "".join(said)


def test_two_pipelines_that_start_at_once_in_an_empty_folder_both_succeed(place):
    (place.folder / "mlflow.db").unlink()
    command = [sys.executable, str(ROOT / "main.py"), "main.env_manager=local", "main.cache=false"]
    command += place.uris
    both = [place.start(*command) for _ in range(2)]
    said = [process.communicate(timeout=HANGS_S) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted(place.ran()) == sorted([*STEPS, *STEPS])
    assert len(place.runs()) == 14


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL]
)
def test_a_first_run_stopped_while_mlflow_builds_its_database_leaves_none_half_made(place, number):
    database = place.folder / "mlflow.db"
    database.unlink()
    command = [sys.executable, str(ROOT / "main.py"), "main.env_manager=local", *place.uris]
    process = place.start(*command)
    deadline = time.monotonic() + HANGS_S
    while not list(place.folder.glob("mlflow.db.*")):
        assert time.monotonic() < deadline and not database.exists()
        time.sleep(0.005)
    process.send_signal(number)
    process.communicate(timeout=HANGS_S)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGKILL: -9}[number]
    assert number == signal.SIGINT or not database.exists()  # that waits: it may be whole by now
    done = place.main("main.execute_steps=get_data")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in place.folder.glob("mlflow.db*")] == ["mlflow.db"]


def test_a_run_whose_output_nobody_reads_any_more_still_finishes(place):
    program = f"{sys.executable} {ROOT / 'main.py'} main.env_manager=local {' '.join(place.uris)}"
    process = place.start("bash", "-c", f"set -o pipefail; {program} | head -1")
    out, err = process.communicate(timeout=HANGS_S)
    assert len(out.splitlines()) == 1
    assert "Traceback" not in err and "Exception ignored" not in err
    assert process.returncode == 0, err
    assert place.ran() == list(STEPS)
    assert set(place.statuses().values()) == {"FINISHED"}


def test_a_tracking_server_that_does_not_answer_is_named(place):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        done = place.main(MLFLOW_TRACKING_URI=address)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert f"cannot use the tracking address {address}" in last
    assert "set MLFLOW_TRACKING_URI" in last
    assert place.ran() == []


@pytest.mark.parametrize("table", ["runs", "params"])
def test_a_disk_that_fills_up_under_mlflows_database_is_one_sentence(place, table):
    """In the database itself stands who refuses: a full disk cannot be had in a test."""
    refuse = f"CREATE TRIGGER full BEFORE INSERT ON {table} BEGIN SELECT RAISE(FAIL, '{FULL}'); END"
    with sqlite3.connect(place.folder / "mlflow.db") as database:
        database.execute(refuse)
    done = place.main("main.execute_steps=get_data")
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"error: MLflow cannot record the run in sqlite:///{place.folder}")
    assert FULL in last and "SQL:" not in last


def test_a_place_that_cannot_be_written_to_is_named(place):
    done = place.main(TRACKING_STORE="/proc/nowhere/tracking_store")
    assert done.returncode == 1
    assert "/proc/nowhere" in done.stderr and "that you may write to" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("manager", ["local", "uv"])
def test_code_of_a_step_that_is_nowhere_is_named(place, manager):
    done = place.main("steps.segregate.uri=nofolder", f"main.env_manager={manager}")
    assert done.returncode == 1
    assert "the code of step segregate is to come from 'nofolder'" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert place.ran() == []


def test_a_repository_that_does_not_answer_is_one_sentence(place):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"https://127.0.0.1:{closed.getsockname()[1]}/steps.git"
        done = place.main(f"steps.segregate.uri='{address}'", "main.execute_steps=segregate")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert f"step segregate could not be fetched from {address}" in last


def test_a_relative_database_that_the_root_found_elsewhere_is_explained(place):
    """`mlflow run <other folder>` stands here, main.py there."""
    other = place.folder / "other"
    other.mkdir()
    process = place.start(
        *("bash", "-c", f"cd other && {sys.executable} {ROOT / 'main.py'}"),
        MLFLOW_TRACKING_URI="sqlite:///x.db",
        MLFLOW_RUN_ID="made_by_mlflow_run",
    )
    out, err = process.communicate(timeout=HANGS_S)
    assert process.returncode == 1
    assert "MLFLOW_TRACKING_URI=sqlite:///x.db is relative" in err and "$PWD/x.db" in err
    assert len(err.splitlines()) == 1, err
    assert not list(other.iterdir())


def test_the_secrets_of_an_address_reach_get_data_and_nothing_that_is_kept(place):
    url = "https://${oc.env:WHO}@files.example/a.csv?token=${oc.env:TOKEN}"
    secrets = {"WHO": "ann:passw0rd", "TOKEN": "t0ps3cret"}
    done = place.main(
        "main.execute_steps='get_data,preprocess'", f"data.file_url='{url}'", **secrets
    )
    assert done.returncode == 0, done.stderr
    get_data, *_ = [json.loads(line) for line in (place.folder / "ran").read_text().splitlines()]
    assert "https://files.example/a.csv?token=***" in get_data[1]
    whole = (place.folder / "ran.url").read_text()
    assert whole == "https://ann:passw0rd@files.example/a.csv?token=t0ps3cret"
    (place.folder / "ran.url").unlink()
    kept = [path.read_bytes() for path in place.folder.rglob("*") if path.is_file()]
    kept += [done.stdout.encode(), done.stderr.encode()]
    for secret in (b"passw0rd", b"t0ps3cret"):
        assert not [content for content in kept if secret in content]


def test_the_temporary_files_of_a_run_are_gone_afterwards(place, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = place.main("main.execute_steps=preprocess", TMPDIR=str(temporary))
    assert done.returncode == 0, done.stderr
    line = json.loads((place.folder / "ran").read_text())
    config = Path(line[1][line[1].index("--dataset_config") + 1])
    assert config.suffix == ".yaml" and not config.exists()
    assert not list(temporary.iterdir())


def test_conda_runs_the_steps_where_it_is_chosen(place, stand_in_conda):
    for step in STEPS:
        environment = place.steps / step / "conda.yml"
        environment.write_text("channels: [conda-forge]\ndependencies:\n  - python=3.11.7\n")
        spec = (place.steps / step / "MLproject").read_text()
        if "conda_env" not in spec:
            (place.steps / step / "MLproject").write_text(f"conda_env: conda.yml\n{spec}")
    done = place.main(
        "main.env_manager=conda",
        "main.execute_steps='get_data,segregate'",
        MLFLOW_CONDA_HOME=str(stand_in_conda.home),
        MLFLOW_ENV_ROOT=str(place.folder / "envs"),
    )
    assert done.returncode == 0, done.stderr
    assert sorted(place.ran()) == ["get_data", "segregate"]  # side by side: in any order
    calls = stand_in_conda.calls()
    assert len([call for call in calls if call[:2] == ["env", "create"]]) == 1
    assert len([call for call in calls if call[:1] == ["activate"]]) == 2


def test_the_roots_environment_manager_is_inherited(place, stand_in_conda):
    """The root was started with uv; conda is there too, and auto alone would take it."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place.folder / 'mlflow.db'}")
    root = client.create_run("0", tags={"mlflow.project.env": "uv"}).info.run_id
    version = sys.version.split()[0]
    environment = f"dependencies:\n  - python={version}\n  - pip=26.3\n  - pip: [six==1.17.0]\n"
    step = place.steps / "segregate"
    (step / "conda.yml").write_text(environment)
    if "conda_env" not in (spec := (step / "MLproject").read_text()):
        (step / "MLproject").write_text(f"conda_env: conda.yml\n{spec}")
    done = place.main(
        *("main.env_manager=auto", "main.execute_steps=segregate"),
        MLFLOW_RUN_ID=root,
        MLFLOW_CONDA_HOME=str(stand_in_conda.home),
        MLFLOW_ENV_ROOT=str(place.folder / "envs"),
    )
    assert done.returncode == 0, done.stderr
    assert list((place.folder / "envs").glob("*/.complete.json"))
    assert not (stand_in_conda.home / "calls.jsonl").exists()
    assert client.get_run(root).info.status == "FINISHED"


def test_a_step_may_live_in_another_git_repository(place, tmp_path):
    """Through a rewritten address: MLflow clones, git finds the clone's origin on this machine."""
    work = tmp_path / "work"
    shutil.copytree(place.steps / "segregate", work / "steps" / "segregate")
    git = ["git", "-C", str(work), "-c", "user.name=t", "-c", "user.email=t@example.test"]
    for words in (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        ["commit", "-qm", "one"],
        ["tag", "v1"],
    ):
        subprocess.run([*git, *words], check=True)
    (work / "steps" / "segregate" / "run.py").write_text("raise SystemExit('not v1')")
    subprocess.run([*git, "commit", "-qam", "two"], check=True)
    bare = tmp_path / "bare.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(bare)], check=True)
    address = "https://git.example.test/org/steps.git"
    rewritten = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{bare.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": address,
    }
    remote = [f"steps.segregate.uri='{address}#steps/segregate'", "main.execute_steps=segregate"]
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    rewritten["TMPDIR"] = str(temporary)
    done = place.main(*remote, "steps.segregate.version=v1", **rewritten)
    assert done.returncode == 0, done.stderr
    assert not list(temporary.iterdir()), "a clone was left behind"
    assert place.ran() == ["segregate"]
    newest = place.main(*remote, **rewritten)
    assert newest.returncode == 1 and "not v1" in newest.stderr
    missing = place.main(*remote, "steps.segregate.version=v9", **rewritten)
    assert missing.returncode == 1
    assert "v9" in missing.stderr.strip().splitlines()[-1]
