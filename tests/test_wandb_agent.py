"""A sweep of W&B's own: its agent runs main.py for each trial, on the double of the service."""

import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from sweep_support import DEPTH, PROJECT, ROOT, TREES
from sweep_support import Place as Tiny

from tests import warm
from tests.pipeline.caching.test_reuse import Place, make_place
from tests.pipeline.trivial_steps import STEPS

wandb = pytest.importorskip("wandb", reason="the genuine W&B client is not installed")

SHIPPED = ROOT / "conf" / "wandb_sweep" / "forest.yaml"
TRAINING = "train_random_forest"


def shipped(folder: Path, project: str, program: Path, *words: str, **told: object) -> Path:
    """Write the shipped sweep file with other values, and with what a test's steps are run by."""
    content = yaml.safe_load(SHIPPED.read_text())
    command = content["command"]
    command[command.index("main.env_manager=uv")] = "main.env_manager=local"
    command[command.index("${args_no_hyphens}") : 0] = words
    content |= {"project": project, "program": str(program), "method": "grid", **told}
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def client(folder: Path, environment: dict[str, str], *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("wandb")), *words],
        cwd=folder,
        env=environment | {"WANDB_SILENT": "false"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def made(folder: Path, environment: dict[str, str], path: Path) -> str:
    """Make the sweep, and return what `wandb agent` is to be given."""
    said, _ = client(folder, environment, "sweep", str(path)).communicate()
    found = re.search(r"wandb agent (\S+)", re.sub(r"\x1b\[\d*m", "", said))
    assert found, said
    return found[1]


@pytest.fixture
def account(wandb_account) -> dict[str, str]:
    ours = {**wandb_account.environment, "HOME": wandb_account.environment["WANDB_DIR"]}
    del ours["WANDB_DIR"]  # main.py has to choose it
    return ours


@pytest.fixture
def ending():
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def tiny(tmp_path, account) -> Tiny:
    """A folder whose store at W&B has the rows for training, by somebody who is logged in."""
    place = Tiny(tmp_path, account)
    place.declare()
    return place


@pytest.fixture
def trivial(tmp_path, account) -> Place:
    """The pipeline with trivial steps, by somebody who is logged in."""
    place = make_place(tmp_path)
    place.environment |= warm.first_on_path(place.environment) | account
    return place


@pytest.mark.slow
def test_five_trials_of_an_agent_are_five_runs_and_none_takes_the_place_of_another(tiny, wandb_api):
    depths = [1, 2, 3, 4, 2]  # the last is not taken from the cache: it is a run of its own
    path = shipped(
        *(tiny.folder, PROJECT, ROOT / "main.py", "dataset=tiny"),
        f"main.execute_steps=[{TRAINING}]",
        parameters={DEPTH: {"values": depths}},
    )
    sweep = made(tiny.folder, tiny.environment, path)
    agent = client(tiny.folder, tiny.environment, "agent", sweep)
    said, _ = agent.communicate(timeout=900)
    assert agent.returncode == 0, said
    assert said.count(f"{TRAINING}: done in") == 5, said
    runs = [*wandb_api.runs(PROJECT, order="+created_at")]
    trials = [run for run in runs if run.sweep_name == sweep.rpartition("/")[2]]
    assert [run.state for run in trials] == ["finished"] * 5
    assert [run.config[DEPTH] for run in trials] == depths
    assert {run.job_type for run in trials} == {TRAINING}
    scores = [run.summary["val_roc_auc_ovo_macro"] for run in trials]
    assert len({*scores}) > 1
    assert scores[1] == scores[4]
    assert not [run for run in runs if run.job_type == "pipeline" and run.sweep_name]


@pytest.mark.slow
def test_what_trials_share_runs_once_and_training_alone_is_the_trial(trivial, wandb_api):
    path = shipped(
        *(trivial.home, "songs_demo", trivial.project / "main.py"),
        *("data.file_url=table.csv", "data.sha256=null"),
        parameters={DEPTH: {"values": [3, 4]}},
    )
    Path(trivial.environment["RAN"]).write_text("")
    sweep = made(trivial.home, trivial.environment, path)
    agent = client(trivial.home, trivial.environment, "agent", sweep)
    said, _ = agent.communicate(timeout=600)
    ran = Path(trivial.environment["RAN"]).read_text().split()
    assert sorted(ran) == sorted([*STEPS[:5], TRAINING]), said
    runs = [*wandb_api.runs("songs_demo")]
    assert [run.job_type for run in runs if run.sweep_name] == [TRAINING] * 2
    assert len({run.id for run in runs}) == len(runs) == 6 + 2  # two receipts


@pytest.mark.slow
def test_a_trial_that_the_agent_stops_ends_before_it_is_killed(
    tiny, wandb_api, wandb_service, ending
):
    words = ("dataset=tiny", f"main.execute_steps=[{TRAINING}]", f"{TREES}=1000000")
    path = shipped(
        *(tiny.folder, PROJECT, ROOT / "main.py", *words), parameters={DEPTH: {"values": [3]}}
    )
    sweep = made(tiny.folder, tiny.environment, path)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # a Python as it is
    agent = client(tiny.folder, tiny.environment | {"PATH": path}, "agent", sweep)
    ending.callback(agent.terminate)  # it waits for its trial

    def trials(state: str) -> list:
        wandb_api.flush()
        found = [run for run in wandb_api.runs(PROJECT) if run.sweep_name]
        return [run.id for run in found if run.state == state]

    while not (running := trials("running")):
        assert agent.poll() is None
        time.sleep(0.2)
    wandb_service.ask("stop", running[0])
    said, _ = agent.communicate(timeout=600)
    # The agent kills what has not ended 30 s after it was asked to: main.py, and not its steps.
    assert f"Stop: {running[0]}" in said
    assert "Kill:" not in said
    assert said.count("Agent received command: stop") <= 2  # it asks again every 5 s
    assert f"{TRAINING}: stopped in" in said
    assert trials("failed") == running


# What is not a trial of theirs is one sentence. No agent is needed for that.

TRIAL = {"WANDB_RUN_ID": "abc", "WANDB_SWEEP_ID": "s1", "WANDB_SWEEP_PARAM_PATH": os.devnull}


@pytest.mark.parametrize(
    ("given", "more", "words"),
    [
        ((), {}, "trial of the sweep s1.*wandb login"),
        (("main.tracking=local",), {}, "main.tracking=wandb"),
        (
            ("main.tracking=wandb", "main.execute_steps=[get_data]"),
            {"WANDB_API_KEY": "k" * 40},
            "no step that runs trains: add train_random_forest",
        ),
        (
            ("main.tracking=wandb",),
            {"WANDB_API_KEY": "k" * 40, "WANDB_PROJECT": "other"},
            "wandb sweep --project songs_demo",
        ),
        (("-m", f"{DEPTH}=3,4"), {}, "one trial of the sweep s1.*-m makes many"),
    ],
)
def test_a_trial_that_would_be_no_run_of_its_sweep_is_one_sentence(given, more, words, refusing):
    done = refusing.run(*given, **TRIAL, **more)
    assert done.returncode == 1, done.stdout
    [line] = done.stderr.splitlines()
    assert re.search(words, line), line
    assert not Path(refusing.environment["RAN"]).read_text()


@pytest.fixture(scope="module")
def refusing(tmp_path_factory) -> Place:
    place = make_place(tmp_path_factory.mktemp("refusing"))
    place.environment |= {"NETRC": os.devnull, "WANDB_CONFIG_DIR": os.devnull}
    return place
