"""Environments are chosen once, made once, whole or not at all."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from pipeline.environments import making
from pipeline.settings import surroundings
from tests import warm
from util_lib.errors import UserError

ROOT = Path(__file__).resolve().parents[3]

PREPARE = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from pipeline.environments import making
    making.use_own_tools()
    needed = making.needed(sys.argv[1], [Path(p) for p in sys.argv[2:]])
    making.prepare(needed, lambda text: print(text, flush=True))
    """
)


def make_project(folder: Path, name: str, packages: list[str]) -> Path:
    project = folder / name
    project.mkdir()
    (project / "MLproject").write_text(
        f"name: {name}\nconda_env: conda.yml\nentry_points:\n  main:\n    command: python run.py\n"
    )
    pip = "".join(f"      - {package}\n" for package in packages)
    (project / "conda.yml").write_text(
        f"channels: [conda-forge]\ndependencies:\n  - python={sys.version.split()[0]}\n"
        f"  - pip=26.3\n  - pip:\n{pip}"
    )
    return project


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MLFLOW_ENV_ROOT", str(tmp_path / "envs"))
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    return make_project(tmp_path, "one", ["six==1.17.0"])


def start(manager: str, *projects: Path, python: str | None = None) -> subprocess.Popen:
    return subprocess.Popen(
        [python or warm.python(), "-c", PREPARE, manager, *map(str, projects)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def prepare(manager: str, *projects: Path) -> str:
    process = start(manager, *projects)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def the_environment(tmp_path: Path) -> Path:
    [path] = [p for p in (tmp_path / "envs").iterdir() if p.is_dir()]
    return path


def imports_six(environment: Path) -> bool:
    python = environment / "bin" / "python"
    return subprocess.run([python, "-c", "import six"], check=False).returncode == 0


def only_on_path(monkeypatch, tmp_path, *names: str) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CONDA_EXE", raising=False)


@pytest.mark.parametrize("manager", ["conda", "uv", "virtualenv"])
def test_auto_takes_what_the_root_was_started_with(manager, monkeypatch, tmp_path):
    only_on_path(monkeypatch, tmp_path, "conda", "uv", "pyenv")
    assert making.choose("auto", manager) == manager


@pytest.mark.parametrize(
    ("found", "manager"), [(["conda", "uv"], "conda"), (["uv"], "uv"), (["conda"], "conda")]
)
def test_auto_without_a_root_environment_takes_conda_then_uv(found, manager, monkeypatch, tmp_path):
    only_on_path(monkeypatch, tmp_path, *found)
    assert making.choose("auto", None) == manager


def test_auto_with_nothing_installed_says_what_to_install(monkeypatch, tmp_path):
    only_on_path(monkeypatch, tmp_path)
    with pytest.raises(UserError, match="neither conda nor uv.*main.env_manager=local"):
        making.choose("auto", None)


@pytest.mark.parametrize(
    ("manager", "tool"), [("conda", "conda"), ("uv", "uv"), ("virtualenv", "pyenv")]
)
def test_a_chosen_manager_that_is_missing_is_named(manager, tool, monkeypatch, tmp_path):
    only_on_path(monkeypatch, tmp_path)
    with pytest.raises(UserError, match=f"main.env_manager={manager} needs {tool} on the PATH"):
        making.choose(manager, None)


def test_local_needs_nothing(monkeypatch, tmp_path):
    only_on_path(monkeypatch, tmp_path)
    assert making.choose("local", "uv") == "local"


def test_an_environment_is_made_once_and_marked(project, tmp_path):
    assert "making the environment of one with uv" in prepare("uv", project)
    environment = the_environment(tmp_path)
    assert json.loads((environment / making.MARKER).read_text())["manager"] == "uv"
    assert imports_six(environment)
    assert prepare("uv", project) == ""


def test_equal_lists_of_packages_share_one_environment(project, tmp_path):
    twin = make_project(tmp_path, "two", ["six==1.17.0"])
    said = prepare("uv", project, twin)
    assert said.count("making") == 1
    assert the_environment(tmp_path).is_dir()


def test_an_environment_without_marker_is_made_again(project, tmp_path):
    prepare("uv", project)
    environment = the_environment(tmp_path)
    (environment / making.MARKER).unlink()
    for module in environment.glob("lib/python*/site-packages/six.py"):
        module.unlink()
    assert not imports_six(environment)
    said = prepare("uv", project)
    assert "no completion marker: making it again" in said
    assert imports_six(environment)


def test_an_environment_whose_making_was_killed_is_made_again(project, tmp_path):
    for _ in range(20):  # on a busy machine the kill may come too late
        process = start("uv", project, python=sys.executable)
        while not list((tmp_path / "envs").glob("*/pyvenv.cfg")) and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if not (the_environment(tmp_path) / making.MARKER).exists():
            break
        shutil.rmtree(the_environment(tmp_path))
    assert not (the_environment(tmp_path) / making.MARKER).exists()
    prepare("uv", project)
    assert imports_six(the_environment(tmp_path))


def test_what_a_killed_pipeline_left_at_work_is_ended_before_another_makes_the_environment(
    project, tmp_path, monkeypatch
):
    (tmp_path / "bin").mkdir()
    uv, number = tmp_path / "bin" / "uv", tmp_path / "number"
    uv.write_text(f"#!/bin/sh\necho $$ > {number}.new\nmv {number}.new {number}\nexec sleep 300\n")
    uv.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{uv.parent}{os.pathsep}{os.environ['PATH']}")
        process = start("uv", project)
        while not number.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
    process.kill()
    process.wait()
    at_work = psutil.Process(int(number.read_text()))
    assert at_work.status() != psutil.STATUS_ZOMBIE
    (tmp_path / "link").symlink_to(tmp_path / "envs")  # the same folder by another name
    monkeypatch.setenv("MLFLOW_ENV_ROOT", f"{tmp_path}/link/")
    prepare("uv", project)
    assert imports_six(the_environment(tmp_path))
    assert not at_work.is_running() or at_work.status() == psutil.STATUS_ZOMBIE


def test_two_pipelines_at_once_make_an_environment_once(project, tmp_path):
    both = [start("uv", project), start("uv", project)]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("making the environment" in text for text in said) == 1
    assert imports_six(the_environment(tmp_path))


def test_a_package_that_does_not_exist_is_named_and_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ENV_ROOT", str(tmp_path / "envs"))
    project = make_project(tmp_path, "broken", ["six==999.0"])
    process = start("uv", project)
    said, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    last = said.strip().splitlines()[-1]
    assert "environment of broken" in last and "six==999.0" in last and "nothing of it" in last
    assert not [path for path in (tmp_path / "envs").iterdir() if path.is_dir()]


def test_a_tool_that_says_nothing_is_told_with_its_command_and_exit_code(
    project, tmp_path, monkeypatch
):
    (tmp_path / "bin").mkdir()
    uv = tmp_path / "bin" / "uv"
    uv.write_text("#!/bin/sh\necho >&2\nexit 3\n")
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{uv.parent}{os.pathsep}{os.environ['PATH']}")
    said, _ = start("uv", project).communicate(timeout=300)
    assert "with uv: Non-zero exit code: 3 Command: ['uv', 'venv'," in said.splitlines()[-1]


def test_conda_is_called_where_it_is_chosen(project, tmp_path, monkeypatch, stand_in_conda):
    said = prepare("conda", project)
    assert "making the environment of one with conda" in said
    calls = stand_in_conda.calls()
    [created] = [call for call in calls if call[:2] == ["env", "create"]]
    assert created[-1] == str(project / "conda.yml")
    assert created[created.index("-n") + 1].startswith("mlflow-")
    prepare("conda", project)
    assert len([call for call in stand_in_conda.calls() if call[:2] == ["env", "create"]]) == 1


def test_a_conda_environment_without_marker_is_made_again(project, stand_in_conda):
    prepare("conda", project)
    [environment] = stand_in_conda.environments.iterdir()
    (environment / making.MARKER).unlink()
    assert "making it again" in prepare("conda", project)
    assert ["env", "remove"] in [call[:2] for call in stand_in_conda.calls()]
    assert (environment / making.MARKER).is_file()


def test_bytecode_is_cached_in_the_steps_environments(monkeypatch, tmp_path):

    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    surroundings.adopt_surroundings(tmp_path)
    assert "PYTHONDONTWRITEBYTECODE" not in os.environ
