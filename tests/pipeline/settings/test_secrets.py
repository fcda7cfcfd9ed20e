"""Secrets that a user types or sets: the steps get what they need, and no byte is kept or said."""

import http.server
import os
import shutil
import subprocess
import sys
import threading

import pytest

from pipeline.settings.redacted import put_apart
from tests.pipeline.caching.test_reuse import Place
from tests.pipeline.trivial_steps import STEPS, make_project
from util_lib import redaction, urls

PLANTED = {
    "user": "zaphod-b",
    "password": "hunter2-pass",
    "token": "t0p-s3cret",
    "key": "k3y-in-env",
}
ECHO = """
import os, sys
# a step that says all that it knows
print("step sees", {n: v for n, v in os.environ.items() if n != "RAN"}, flush=True)
Path(os.environ["RAN"] + "." + name).write_text(repr(dict(os.environ)))
"""


@pytest.fixture(scope="module")
def server():
    """A table behind a user, a password and a token, which asks for each of them."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers.get("Authorization", "")))
            self.send_response(200)
            self.send_header("ETag", "always")
            self.send_header("Content-Length", "8")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(b"a,b\n1,2\n")

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{served.server_port}/t.csv", asked
    served.shutdown()


@pytest.fixture
def place(tmp_path) -> Place:
    """A project whose steps do nothing but say and keep their whole environment."""
    from pipeline.planning.plan import plan
    from pipeline.settings import overrides, resolvers, schema

    resolvers.register_resolvers()
    project = make_project(tmp_path / "project", plan(schema.check(overrides.base_config([]))))
    for step in STEPS:
        path = project / step / "run.py"
        text = path.read_text().replace("def main():", f"{ECHO}def main():", 1)
        path.write_text(
            text.replace(
                "texts += [file.read_text() for file in files]",
                "texts.append(__import__('requests').get(os.environ['GET_DATA_URL']).text)",
            )
        )
    (tmp_path / "home").mkdir()
    return Place(tmp_path)


def written_and_said(place: Place, done: subprocess.CompletedProcess) -> dict[str, bytes]:
    """Return every byte that was written and printed, but for what the steps keep for the test."""
    found = {"stdout": done.stdout.encode(), "stderr": done.stderr.encode()}
    for path in place.home.parent.rglob("*"):
        if path.is_file() and not path.name.startswith("ran."):
            found[str(path)] = path.read_bytes()
    return found


def leaks(found: dict[str, bytes], *secrets: str) -> list[tuple[str, str]]:
    return [(s, name) for s in secrets for name, content in found.items() if s.encode() in content]


@pytest.mark.parametrize(
    ("multirun", "how"),
    [
        (False, "typed"),
        (True, "by variables"),
        pytest.param(False, "by variables", marks=pytest.mark.slow),
        pytest.param(True, "typed", marks=pytest.mark.slow),
    ],
)
def test_planted_secrets_are_in_no_byte_that_a_pipeline_writes_or_prints(
    place, server, how, multirun
):
    address, asked = server
    user, password, token, key = PLANTED.values()
    given = {"SOMETHING_API_KEY": key}
    url = f"http://{user}:{password}@{address}?token={token}"
    if how == "by variables":
        given |= {"WHO": f"{user}:{password}", "SIGNED": token}
        url = "http://${oc.env:WHO}@" + address + "?token=${oc.env:SIGNED}"
    more = ["-m", "main.random_seed=1,2", "sweep.step=null"] if multirun else []
    done = place.run(f"data.file_url='{url}'", *more, **given)
    assert done.returncode == 0, done.stdout + done.stderr
    assert asked[-1][0].endswith(f"?token={token}"), "get_data did not get the whole address"
    assert "step sees" in done.stdout and "***" in done.stdout
    assert not leaks(written_and_said(place, done), *PLANTED.values())
    for step in STEPS[1:]:
        seen = (place.home.parent / f"ran.{step}").read_text()
        assert not [s for s in (user, password, token) if s in seen], step
        assert key in seen  # the user's own variable, which is no part of an address


def test_a_secret_that_mlflow_has_recorded_is_taken_out_of_its_database(
    place, empty_mlflow_database
):
    from mlflow import MlflowClient

    password, token = PLANTED["password"], PLANTED["token"]
    typed = f"data.file_url='https://u:{password}@127.0.0.1:9/x?token={token}' --plan"
    database = place.home / "mlflow.db"
    shutil.copy(empty_mlflow_database, database)
    client = MlflowClient(f"sqlite:///{database}")
    run_id = client.create_run("0").info.run_id
    for key, value in (("hydra_options", typed), ("execute_steps", "x" * 5000)):
        client.log_param(run_id, key, value)  # as `mlflow run` does before it starts main.py
    assert password.encode() in database.read_bytes()
    done = place.run(f"--hydra_options={typed}", MLFLOW_RUN_ID=run_id)
    assert done.returncode == 0, done.stderr
    assert "it is no longer in its database. Next time" in done.stdout
    assert not leaks(written_and_said(place, done), password, token)
    found = client.get_run(run_id).data.params
    assert found["hydra_options"] == "data.file_url='https://127.0.0.1:9/x?token=***' --plan"
    assert found["execute_steps"] == "x" * 5000


def test_messages_about_the_command_line_repeat_no_secret(place):
    password, token = PLANTED["password"], PLANTED["token"]
    for words in (
        [f"data.file_url=http://u:{password}@host/a;b?token={token}"],
        [f"--hydra_options=data.file_url='http://u:{password}@host/a?token={token}"],
        [f"nothing.password={password}", f"nothing.url=https://h/a?sig={token}"],
        [f"++steps.get_data.parameters.api_key={token}"],
        [f"++steps.preprocess.parameters.where=http://u:{password}@host/x?sig={token}"],
        ["main.random_seed=x", f"++data.password={password}", "data.token=${oc.env:TOKEN}"],
    ):
        done = place.run(*words, TOKEN=token)
        assert done.returncode == 1 and done.stderr.startswith("error: "), done.stderr
        assert not leaks(written_and_said(place, done), password, token), words


def test_a_secret_among_a_steps_parameters_is_refused_and_the_way_out_is_told(place):
    done = place.run("++steps.preprocess.parameters.api_key=abcdefgh")
    assert done.returncode == 1
    assert "steps.preprocess.parameters.api_key holds a secret" in done.stderr
    assert "environment variable" in done.stderr


def test_a_preview_needs_no_secrets(place, server):
    url = f"http://${{oc.env:WHO}}@{server[0]}?token=${{oc.env:SIGNED}}"
    done = place.run("--plan", f"data.file_url='{url}'")
    assert done.returncode == 0, done.stderr
    assert "run: the secrets of its" in done.stdout
    done = place.run(f"data.file_url='{url}'")
    assert done.returncode == 1 and "'WHO' not found" in done.stderr


def test_the_composed_configuration_is_printed_without_secrets(place):
    url = "https://ann:hunter2-pass@host/a.csv?token=${oc.env:SIGNED}"
    done = subprocess.run(
        [
            sys.executable,
            place.project / "main.py",
            "--cfg",
            "job",
            "--resolve",
            f"data.file_url='{url}'",
        ],
        cwd=place.home,
        env={**place.environment, "SIGNED": "t0p-s3cret"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "file_url: https://host/a.csv?token=***" in done.stdout
    assert not leaks(written_and_said(place, done), "hunter2-pass", "t0p-s3cret")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://ann:pw@h.e/a.csv?token=abc&raw=true", "https://h.e/a.csv?token=***&raw=true"),
        ("http://u:p@ss@h/x", "http://h/x"),
        ("http://u:p/ss@h/x", "http://h/x"),
        ("https://h:8080/a/@b/c", "https://h:8080/a/@b/c"),
        ("https://h/a?aloneS3cret", "https://h/a?***"),
        ("https://h/a#access_token=zz", "https://h/a#access_token=***"),
        ("https://github.com/org/steps.git#folder", "https://github.com/org/steps.git#folder"),
        ("https://h/?x=1;sig=2", "https://h/?x=***;sig=***"),
        ("postgresql://u:p@h/db", "postgresql://h/db"),
        ("sqlite:////home/me/mlflow.db", "sqlite:////home/me/mlflow.db"),
    ],
)
def test_an_address_is_shown_without_its_secrets_alone_and_in_a_sentence(address, shown):
    assert urls.shown_address(address) == urls.shown_address(shown) == shown
    assert redaction.redacted(f"see '{address}', then") == f"see '{shown}', then"


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *[(name, True) for name in ("db.password", "PGPASSWORD", "API_KEY", "token", "HF_TOKEN")],
        *[(name, False) for name in ("mask_token", "max_tokens", "tokenizer", "sort_key", "PWD")],
    ],
)
def test_names_of_secrets_are_told_from_others(name, secret):
    assert redaction.is_secret_name(name) == secret


def test_what_is_no_secret_stays_as_it_was_typed(monkeypatch):
    for name in [name for name in os.environ if name.startswith("PIPELINE_SECRET_")]:
        monkeypatch.delenv(name)
    for text in (
        "data.file_url=https://host/a.csv?raw=true",
        "main.random_seed=1,2,3",
        "data.password=null",
        "data.file_url='https://${oc.env:WHO}@host/a.csv?token=${oc.env:TOKEN}'",
        "+a={mask_token: '[MASK]', n: 3}",
    ):
        assert put_apart(text) == text
    assert (
        put_apart("+a={password: 'x y', n: 3}")
        == "+a={password: '${oc.env:PIPELINE_SECRET_1}', n: 3}"
    )
