"""The command `tabular`: it does what the MLprojects' entry points do, and lists none itself."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from step_support import ROOT

from tabular import __main__ as command
from util_lib import tracking


def tabular(*words, cwd=ROOT, program=(sys.executable, "-m", "tabular")):
    return subprocess.run([*program, *words], cwd=cwd, capture_output=True, text=True, check=False)


def test_every_entry_point_of_the_root_and_of_a_model_in_use_is_a_word():
    commands = command.read(ROOT)
    for folder in ("", "serving", "monitoring", "data_analysis"):
        spec = yaml.safe_load((ROOT / folder / "MLproject").read_text())["entry_points"]
        assert {name for name in spec if name != "main"} <= {*commands}
    assert {"list", "show", "lineage", "sync", "pull", "download"} <= {*command.tracking(ROOT)}


def test_the_help_names_them_within_the_width_of_a_terminal(capsys, monkeypatch):
    monkeypatch.chdir(ROOT / "docs")  # below the checkout
    assert command.main([]) == 0
    shown = capsys.readouterr().out
    assert "promote " in shown and str(ROOT) in shown
    assert command.main(["promote", "--help"]) == 0
    shown += capsys.readouterr().out
    assert "--min_gain" in shown and "(default 0)" in shown
    assert max(len(line) for line in shown.splitlines() if not line.startswith("project:")) <= 80


def test_a_word_of_the_root_becomes_its_command_and_of_a_project_mlflow_run():
    commands = command.read(ROOT)
    words = command.words_of(ROOT, "update", commands["update"], ["--why", "true"])
    assert words[1:] == (
        "-m pipeline.commands.update --hydra_options= --why=true --until= --backfill=".split()
    )
    given = ["in file.csv", "--output=o.csv", "--env-manager", "local"]
    words = command.words_of(ROOT, "predict", commands["predict"], given)
    assert words[1:] == [
        *("-m", "mlflow", "run", str(ROOT / "serving"), "-e", "predict"),
        *("--env-manager", "local", "-P", "input=in file.csv", "-P", "output=o.csv"),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["promot"], "unknown command 'promot': the nearest is 'promote'"),
        (["update", "--whi", "true"], "unknown parameter '--whi': the nearest is '--why'"),
        (["predict", "a.csv"], "predict needs --output: The file to write"),
        (["gc", "delete=true"], "'delete=true' belongs to no parameter: write --name"),
        (["gc", "--keep"], "--keep stands without a value"),
        (
            ["promote", "--env-manager", "cnda"],
            "unknown env-manager 'cnda': the nearest is 'conda'",
        ),
    ],
)
def test_what_cannot_be_run_is_one_sentence(words, said, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert command.main(words) == 1
    told = capsys.readouterr().err
    assert said in told and len(told.splitlines()) == 1


def test_outside_of_a_checkout_it_says_so_and_how_one_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command.main(["list"]) == 1
    assert f"no checkout of tabular-pipeline at {tmp_path} or above" in capsys.readouterr().err
    monkeypatch.setenv(command.PROJECT, str(ROOT))
    assert command.main(["--help"]) == 0
    monkeypatch.setenv(command.PROJECT, str(tmp_path))
    assert command.main(["--help"]) == 1
    assert "TABULAR_PROJECT=" in capsys.readouterr().err


def test_versions_are_listed_from_a_folder_of_results(tmp_path, monkeypatch):
    with tracking.init(project="mine", job_type="test") as run:
        (tmp_path / "a.txt").write_text("a")
        tracking.log_file(run, tmp_path / "a.txt", "a.txt", "text", "a letter")
    monkeypatch.setenv(command.PROJECT, str(ROOT))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = tabular("list", cwd=tmp_path)
    assert done.returncode == 0 and "mine/a.txt:v0" in done.stdout, done.stderr


@pytest.mark.environments
def test_the_wheel_is_built_and_runs_in_an_environment_of_its_own(tmp_path, monkeypatch):
    monkeypatch.delenv("TRACKING_STORE")
    for line in (
        ["uv", "build", "--wheel", "--out-dir", tmp_path / "dist", ROOT],
        ["uv", "venv", "--quiet", tmp_path / "env"],
    ):
        subprocess.run(line, check=True)
    wheel = next((tmp_path / "dist").glob("*.whl"))
    python = tmp_path / "env/bin/python"
    install = ["uv", "pip", "install", "--quiet", "--python", python]
    locked = subprocess.run([*install, "-c", ROOT / "requirements.lock", wheel], check=False)
    assert locked.returncode == 0
    monkeypatch.setenv(command.PROJECT, str(ROOT))
    program = (str(tmp_path / "env/bin/tabular"),)
    assert "promote" in tabular("--help", program=program, cwd=tmp_path).stdout
    done = tabular("run", "--plan", program=program, cwd=tmp_path)
    assert done.returncode == 0 and "get_data" in done.stdout, done.stderr
    assert [path.name for path in Path(tmp_path).iterdir() if path.name == "tracking_store"] == []
