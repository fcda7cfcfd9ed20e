"""Locks: two people get the same packages, byte for byte, or are told that they do not."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from pipeline.commands import lock
from pipeline.environments import locks
from tests.pipeline.environments.test_environments import (
    make_project,
    prepare,
    start,
    the_environment,
)
from util_lib.errors import UserError
from util_lib.project import ROOT

LOCKED = sorted(
    path
    for pattern in ("requirements.txt", "requirements-dev.txt", "*/conda.yml", "*/*/conda.yml")
    for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize("path", LOCKED, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_lock_holds_every_pin_and_a_digest_of_every_package_and_no_address(path):
    text = locks.beside(path).read_text(encoding="utf-8")
    assert "://" not in text and "index" not in text
    packages = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in package for package in packages)
    held = {re.match(r"([^ ;\\]+)", package)[1] for package in packages}
    if path.suffix == ".yml":
        [pins] = [
            entry["pip"]
            for entry in yaml.safe_load(path.read_text())["dependencies"]
            if isinstance(entry, dict)
        ]
    else:
        lines = path.read_text().splitlines()
        pins = [line for line in lines if re.match(r"[a-z]", line)]
    assert {re.sub(r"\[.*\]", "", pin).partition(" ")[0].lower() for pin in pins} <= held


def write_lock(project: Path, lines: str) -> None:
    """Lock a project; `lines` are what the packages of its conda.yml are to be, others free."""
    (project / "conda.yml").rename(project / "conda.keep")
    (project / "conda.yml").write_text(
        f"dependencies: [pip=26.3, {{pip: [{', '.join(lines.split())}]}}]\n"
    )
    (project / locks.NAME).unlink(missing_ok=True)
    lock.go([str(project)])
    (project / "conda.keep").rename(project / "conda.yml")


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project whose package asks for another one, `six`, in any version."""
    monkeypatch.setenv("MLFLOW_ENV_ROOT", str(tmp_path / "envs"))
    # what the project's own lock says of six is not for this one
    monkeypatch.setattr(lock, "EVERYTHING", tmp_path / "requirements-dev.txt")
    (tmp_path / "requirements-dev.lock").write_text("")
    return make_project(tmp_path, "one", ["python-dateutil==2.9.0.post0"])


def version_of_six(tmp_path: Path) -> str:
    [path] = the_environment(tmp_path).glob("lib/*/site-packages/six-*.dist-info")
    return path.name.removeprefix("six-").removesuffix(".dist-info")


@pytest.mark.environments
@pytest.mark.parametrize(
    "manager",
    [
        "uv",
        pytest.param(
            "virtualenv",
            marks=pytest.mark.skipif(not shutil.which("pyenv"), reason="needs pyenv"),
        ),
    ],
)
def test_an_environment_is_what_its_lock_says_and_made_again_for_another_lock(
    project, tmp_path, manager
):
    write_lock(project, "python-dateutil==2.9.0.post0 six==1.16.0")
    prepare(manager, project)
    assert version_of_six(tmp_path) == "1.16.0"
    assert prepare(manager, project) == ""
    write_lock(project, "python-dateutil==2.9.0.post0 six==1.17.0")
    assert "has another lock: making it again" in prepare(manager, project)
    assert version_of_six(tmp_path) == "1.17.0"
    (project / locks.NAME).unlink()  # a step of one's own with the same pins has no lock
    assert prepare(manager, project) == ""


@pytest.mark.environments
def test_a_python_that_cannot_be_had_is_named_once_and_the_lock_is_not_blamed(project):
    (project / locks.NAME).write_text("six==1.17.0 \\\n    --hash=sha256:00\n")
    config = project / "conda.yml"
    config.write_text(re.sub("python=.*", "python=3.11.99", config.read_text()))
    process = start("uv", project)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 1 and "lock" not in said
    assert "error: No interpreter found for Python 3.11.99" in said
    assert "unexpected error" not in said


@pytest.mark.environments
def test_a_package_that_is_not_what_the_lock_says_is_refused(project, tmp_path):
    write_lock(project, "python-dateutil==2.9.0.post0 six==1.16.0")
    path = project / locks.NAME
    path.write_text(re.sub(r"sha256:\w{6}", "sha256:000000", path.read_text()))
    process = start("uv", project)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 1 and "nothing of it was kept" in said
    assert not [path for path in (tmp_path / "envs").iterdir() if path.is_dir()]


@pytest.mark.environments
def test_where_a_lock_does_not_fit_the_environment_is_made_by_its_pins_and_that_is_said(
    project, tmp_path
):
    write_lock(project, "python-dateutil==2.8.2 six==1.16.0")
    assert "the lock of one does not fit here" in prepare("uv", project)
    assert version_of_six(tmp_path)


@pytest.mark.environments
def test_a_pin_that_was_changed_and_not_locked_is_found(project):
    write_lock(project, "python-dateutil==2.9.0.post0")
    lock.go(["--check", str(project)])
    conda = project / "conda.yml"
    conda.write_text(conda.read_text().replace("2.9.0.post0", "2.8.2"))
    with pytest.raises(UserError, match="not current: .*requirements.lock; .*make lock"):
        lock.go(["--check", str(project)])
