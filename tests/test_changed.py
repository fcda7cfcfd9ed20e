"""`make check` runs the tests of what differs: which those are."""

import subprocess
import sys
from pathlib import Path

import changed
import pytest
from step_support import ROOT

# Figures, data and exercises are looked at by people; `conf` marks a folder for Hydra.
UNTESTED = ("benchmarks", "conf", "tests", "exercises")
KNOWN = subprocess.run(
    ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
)
FOLDERS = sorted(
    {
        file.parent.as_posix(): file.as_posix()
        for file in map(Path, KNOWN.stdout.split())
        if file.parts[0][0] != "." and file.parts[0] not in UNTESTED and len(file.parts) > 1
    }.items()
)


@pytest.mark.parametrize(("folder", "file"), FOLDERS)
def test_a_change_in_any_folder_of_code_runs_tests(folder, file):
    found = changed.tests_of(file)
    assert found, folder
    for place in found:
        assert (ROOT / place).exists(), folder


@pytest.fixture
def project(tmp_path):
    """A small project whose last commit is tagged v1."""
    (tmp_path / "room").mkdir()
    for path in ("tests/room/test_room.py", "tests/other/test_other.py", "room/code.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("", encoding="utf-8")
    (tmp_path / "tests" / "changed.py").write_bytes((ROOT / "tests" / "changed.py").read_bytes())
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message=first")
    git(tmp_path, "tag", "v1")
    return tmp_path


def git(place, *words):
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *who, *words], cwd=place, check=True)


def chosen(project):
    said = subprocess.check_output([sys.executable, "tests/changed.py"], cwd=project, text=True)
    return {*said.split()} - {*changed.ALWAYS}


def test_what_is_not_committed_counts_as_much_as_what_is(project):
    assert chosen(project) == set()
    (project / "room" / "code.py").write_text("A = 1\n", encoding="utf-8")
    assert chosen(project) == {"tests/room/test_room.py"}
    git(project, "commit", "--quiet", "--all", "--message=second")
    (project / "other").mkdir()
    (project / "other" / "new.py").write_text("", encoding="utf-8")
    assert chosen(project) == {"tests/room/test_room.py", "tests/other/test_other.py"}


def test_a_test_that_was_deleted_is_not_asked_for(project):
    (project / "tests" / "room" / "test_room.py").unlink()
    assert chosen(project) == set()


def test_the_branch_that_others_have_counts_before_a_tag(project):
    (project / "room" / "code.py").write_text("A = 1\n", encoding="utf-8")
    git(project, "commit", "--quiet", "--all", "--message=second")
    git(project, "update-ref", "refs/remotes/origin/main", "HEAD")
    assert chosen(project) == set()
