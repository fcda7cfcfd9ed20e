"""The two scripts of docs/artifacts.md, whose good case tests/test_docs.py runs."""

import subprocess

import pytest
from step_support import ROOT

from tests import warm
from util_lib import tracking

UPLOAD = {
    "--input_file": "zen.txt",
    "--artifact_name": "zen_of_python",
    "--artifact_type": "text_file",
    "--artifact_description": "aphorisms",
}


def script(name, options):
    command = [warm.python(), ROOT / "exercises" / name]
    for option in options.items():
        command += option
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"--input_file": "zne.txt"}, "--input_file 'zne.txt' is no file"),
        ({"--input_file": "."}, "--input_file '.' is no file"),
        ({"--artifact_name": "zen:v1"}, "argument --artifact_name: Artifact name may only contain"),
        ({"--artifact_type": "a/b"}, "Artifact types must not contain"),
        ({"--project": "a/b"}, "Invalid project"),
    ],
)
def test_what_cannot_be_logged_is_one_sentence_and_nothing_is_logged(steps, changed, said):
    steps.put(b"of somebody else", "other")  # who only looks makes no store
    (steps.folder / "zen.txt").write_text("Beautiful is better than ugly.")
    done = script("upload_artifact.py", UPLOAD | changed)
    assert done.returncode == 1
    assert said in done.stderr and len(done.stderr.splitlines()) == 1
    assert not tracking.Api().artifact_exists("tests/zen_of_python:latest")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tests/zen_of_python", "fetch artifact without alias"),
        ("tests/zen_of_python:v7", "v7"),
        ("tests/zen_of_pyton:v0", "zen_of_pyton"),
        ("tests/picture:v0", "is no text that could be shown"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(steps, name, said):
    steps.put(b"Beautiful is better than ugly.", "zen_of_python")
    steps.put(b"\x89PNG", "picture")
    done = script("use_artifact.py", {"--artifact_name": name})
    assert done.returncode == 1
    assert said in done.stderr and len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_the_project_is_the_one_of_the_environment_unless_it_is_named(steps):
    (steps.folder / "zen.txt").write_text("Beautiful is better than ugly.")
    assert script("upload_artifact.py", UPLOAD).returncode == 0
    assert script("upload_artifact.py", UPLOAD | {"--project": "mine"}).returncode == 0
    for project in ("tests", "mine"):
        assert tracking.Api().artifact_exists(f"{project}/zen_of_python:v0")


def test_the_notebook_of_versions_runs_and_a_version_is_made_only_by_another_content(steps):
    done = script("upload_and_version_artifacts.py", {})
    assert done.returncode == 0, done.stderr
    assert "the same: True changed: True" in done.stdout
    assert "my_artifact.txt:v0 holds 'This is an example of an artifact.'" in done.stdout
    assert "my_artifact.txt:v0 was used by ['use']" in done.stdout
    api = tracking.Api()
    assert api.artifact("demo_artifact/my_artifact.txt:latest").version == "v1"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ({"--step": "3"}, 0, "INFO step 3, preprocess, is done"),
        ({"--step": "0", "--verbose": "true"}, 0, "WARNING steps are counted from 1, found 0"),
        ({"--step": "three"}, 2, "argument --step: invalid int value: 'three'"),
        ({}, 2, "the following arguments are required: --step"),
    ],
)
def test_a_script_says_what_goes_on_and_what_it_lacks(options, code, said):
    done = script("logging_argparse.py", options)
    assert done.returncode == code and said in done.stderr
