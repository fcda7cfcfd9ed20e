"""The image: what is in its build context, who builds it, and that its command answers."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
from step_support import make_songs, with_text

from serving import image
from serving.model.served_model import load
from util_lib.errors import UserError
from util_lib.model import monitoring_reference

TOKEN = "a-token-for-the-tests-of-the-image"
PORT = "8080"  # in the image


def write(steps, *given):
    """Write the context of `model_export:prod` and return its folder."""
    image.main(["--build", "false", *given])
    return steps.folder / "store" / "serving_image"


def command(context):
    """The command of the image, read from its Dockerfile."""
    return json.loads(re.findall(r"^CMD (.*)$", (context / "Dockerfile").read_text(), re.M)[-1])


def test_the_context_holds_the_model_its_code_and_exact_requirements(exported):
    context = write(exported)
    assert {path.name for path in context.iterdir()} == {
        *("Dockerfile", "requirements.txt", "sbom.cdx.json"),
        *("model.json", "model", "serving", "util_lib"),
    }
    model = exported.artifact("model_export:prod")
    assert json.loads((context / "model.json").read_text()) == {
        "version": "tests/model_export:v0",
        "digest": model.digest,
    }
    served = load(str(context / "model"))
    assert (served.version, served.digest) == ("tests/model_export:v0", model.digest)
    assert (context / "model" / monitoring_reference.INPUTS_FILE).is_file()
    lines = (context / "requirements.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    names = {line.partition("==")[0] for line in lines}
    assert {"scikit-learn", "joblib", "threadpoolctl", "pydantic-core"} <= names
    assert not names & {"wandb", "mlflow-skinny", "pytest", "sqlalchemy"}
    assert not [*context.rglob("__pycache__")]


def test_hadolint_has_nothing_against_the_dockerfile(exported):
    context = write(exported)
    asked = ["hadolint", "--failure-threshold", "style", str(context / "Dockerfile")]
    # Without a settings file of the machine's.
    done = subprocess.run(
        [str(Path(sys.executable).parent / asked[0]), *asked[1:]],
        capture_output=True,
        text=True,
        cwd=context,
        env={"HOME": str(context)},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_runs_as_nobody_asks_for_health_and_listens_on_8080(exported):
    text = (write(exported) / "Dockerfile").read_text()
    assert re.findall(r"^FROM (.*)$", text, re.M) == ["python:3.11.7-slim-bookworm"]
    user = re.findall(r"^USER (\d+):", text, re.M)
    assert user and user[-1] != "0" and text.index("USER") > text.index("RUN python -m pip")
    assert "EXPOSE 8080" in text and "/health" in text.partition("HEALTHCHECK")[2]
    with_digest = f"python@sha256:{'a' * 64}"
    text = (write(exported, "--base", with_digest) / "Dockerfile").read_text()
    assert f"FROM {with_digest}\n" in text


def test_nobody_can_read_all_of_it_whatever_the_umask(exported):
    before = os.umask(0o077)
    try:
        context = write(exported)
    finally:
        os.umask(before)
    modes = {path.is_dir(): path.stat().st_mode & 0o777 for path in context.rglob("*")}
    assert modes == {True: 0o755, False: 0o644} and context.stat().st_mode & 0o777 == 0o755


def test_the_image_carries_a_bill_of_what_is_in_it(exported):
    context = write(exported)
    bill = json.loads((context / "sbom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    listed = {f"{each['name']}=={each['version']}" for each in bill["components"]}
    assert listed == set((context / "requirements.txt").read_text().split())
    about = json.loads((context / "model.json").read_text())
    model = bill["metadata"]["component"]
    assert (model["name"], model["hashes"][0]["content"]) == (about["version"], about["digest"])
    assert "sbom.cdx.json" in (context / "Dockerfile").read_text()


def test_a_context_is_written_anew_and_a_folder_of_somebody_else_is_left_alone(exported):
    context = write(exported)
    (context / "left.txt").write_text("from before")
    assert not (write(exported) / "left.txt").exists()
    other = exported.folder / "store" / "mine"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="mine is there and was not written by image"):
        write(exported, "--context", "mine")
    assert [path.name for path in other.iterdir()] == ["notes.txt"]
    left = {path.name for path in (exported.folder / "store").iterdir()}
    assert left == {"tracking_store", ".tracking_stores", "serving_image", "mine"}


@pytest.fixture
def docker(tmp_path, monkeypatch):
    """A docker command that notes what it is told; `answer(engine, build)` says how it ends."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def answer(engine, build=0):
        script = folder / "docker"
        script.write_text(
            f'#!/bin/sh\necho "$@" >> {folder}/told\n'
            f'[ "$1" = build ] && exit {build}\n'
            f'[ {engine} = 0 ] || echo "Cannot connect to the Docker daemon." >&2\nexit {engine}\n'
        )
        script.chmod(0o755)
        return folder / "told"

    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return answer


def test_where_an_engine_runs_the_image_is_built_under_its_tag(exported, docker):
    told = docker(engine=0)
    context = exported.folder / "store" / "serving_image"
    image.main([])
    assert told.read_text().splitlines()[-1] == f"build --tag model_export:v0 {context}"
    image.main(["--tag", "team/songs:1.0"])
    assert told.read_text().splitlines()[-1] == f"build --tag team/songs:1.0 {context}"
    docker(engine=0, build=3)
    with pytest.raises(UserError, match="docker build ended with exit code 3"):
        image.main([])


def test_without_an_engine_the_context_is_left_and_one_sentence_says_so(exported, docker):
    docker(engine=1)
    sentence = "not built, because no Docker engine answers here .*Cannot connect.*: docker build"
    with pytest.raises(UserError, match=sentence):
        image.main([])
    assert command(exported.folder / "store" / "serving_image")[:2] == [
        "python",
        "serving/serve.py",
    ]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--model", "model_export:champion"], "artifact 'model_export:champion' not found"),
        (
            ["--model", "data_train.parquet:latest"],
            r"data_train.parquet:v0 \(type data\) is no mod",
        ),
        (["--tag", "Songs:v1"], "tag 'Songs:v1' cannot name an image: expected lower-case"),
        (["--base", "python"], "base must be an image with a tag or a digest"),
        (["--base", "python:3\nRUN x"], "base must be an image with a tag or a digest"),
    ],
)
def test_what_cannot_be_is_one_sentence(exported, given, sentence):
    with pytest.raises(UserError, match=sentence):
        write(exported, *given)
    assert not (exported.folder / "store" / "serving_image").exists()


def test_a_model_that_was_made_with_other_versions_is_refused(exported, monkeypatch):
    newer = image.requirements() | {"scikit-learn": "9.0"}
    monkeypatch.setattr(image, "requirements", lambda: newer)
    with pytest.raises(UserError, match="made with scikit-learn==.* and the image would have 9.0"):
        write(exported)
    assert not (exported.folder / "store" / "serving_image").exists()


@pytest.mark.environments
def test_the_command_of_the_image_answers_in_a_clean_environment(exported, tmp_path):
    context = write(exported)
    python = tmp_path / "clean" / "bin" / "python"
    for made in (
        ["uv", "venv", "--python", "3.11.7", str(tmp_path / "clean")],
        ["uv", "pip", "install", "--no-deps", "--python", str(python)]
        + ["-r", str(context / "requirements.txt")],
    ):
        subprocess.run(made, check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [str(port) if word == PORT else word for word in command(context)]
    environment = {"PATH": f"{python.parent}:/usr/bin:/bin"}
    refused = subprocess.run(words, cwd=context, env=environment, capture_output=True, text=True)
    assert refused.returncode == 1 and "SERVING_TOKEN" in refused.stderr
    server = subprocess.Popen(
        words,
        cwd=context,
        env=environment | {"SERVING_TOKEN": TOKEN},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{address}/ping", server)
        health = re.search(r"HEALTHCHECK .*?CMD (\[.*?\])\n", dockerfile(context), re.S)[1]
        asked = json.loads(health.replace(f":{PORT}/", f":{port}/"))
        assert subprocess.run(asked, env=environment).returncode == 0
        rows = with_text(make_songs(20, seed=5))
        features = load(str(context / "model")).features.names()
        split = json.loads(rows[features].to_json(orient="split", index=False))
        answer = requests.post(
            f"{address}/invocations",
            json={"dataframe_split": split},
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
        expected = load("model_export:prod").predict(rows[features])[0]
        assert answer.json()["predictions"] == expected.tolist()
        server.terminate()
        assert server.wait(30) == 143
    finally:
        server.kill()
        server.communicate()
    assert subprocess.run(asked, env=environment, capture_output=True).returncode != 0


def dockerfile(context):
    return (context / "Dockerfile").read_text()


def wait_for(url, server, seconds=60):
    for _ in range(10 * seconds):
        if server.poll() is not None:
            pytest.fail(f"it ended with {server.returncode}: {server.stdout.read()}")
        try:
            if requests.get(url, timeout=5).status_code == 200:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    pytest.fail(f"{url} does not answer")
