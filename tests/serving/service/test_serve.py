"""The command itself: how it starts, what it refuses, how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests
from service_support import ROW, command, until
from step_support import ROOT

from serving import serve
from util_lib.errors import UserError

__all__ = ["command"]

BODY = {"dataframe_records": [ROW] * 2_000}


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 0, marks=pytest.mark.slow)],
)
def test_a_signal_ends_it_after_the_requests_that_had_begun(command, number, code):
    one = command()
    url = one.url()
    assert requests.get(f"{url}/ping", timeout=10).status_code == 200
    body = json.dumps(BODY).encode()
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=30) as begun:
        begun.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        assert b" 100 " in begun.recv(1_000)  # the service waits for the body
        one.process.send_signal(number)
        time.sleep(0.3)
        begun.sendall(body)
        answer = b"".join(iter(lambda: begun.recv(65_536), b""))
    assert one.end() == code
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert len(json.loads(answer.partition(b"\r\n\r\n")[2])["predictions"]) == 2_000
    assert "Traceback" not in one.errors


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_the_run_of_a_service_that_is_stopped_has_not_failed(command, tmp_path, number):
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = mlflow.MlflowClient(uri)
    run_id = client.create_run("0").info.run_id
    one = command(MLFLOW_RUN_ID=run_id, MLFLOW_TRACKING_URI=uri)
    one.url()
    assert client.get_run(run_id).info.status == "RUNNING"
    one.end(number)
    client.set_terminated(run_id, "FAILED")  # as `mlflow run` does, whatever has become of it
    until(lambda: client.get_run(run_id).info.status == "FINISHED", 120)


def test_a_service_ends_with_the_mlflow_run_that_began_it(model_directory, tmp_path):
    pytest.importorskip("mlflow.projects", reason="MLflow's projects are not installed")
    told = tmp_path / "told.txt"
    with told.open("w") as out:
        mlflow_run = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "run", str(ROOT / "serving"), "--env-manager", "local"]
            + ["-P", f"model={model_directory}", "-P", "port=0"],
            stdout=out,
            stderr=subprocess.DEVNULL,
            cwd=tmp_path,
            env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"},
        )
    until(lambda: '"url"' in told.read_text() or mlflow_run.poll() is not None)
    url = next(json.loads(line)["url"] for line in told.read_text().splitlines() if '"url"' in line)
    mlflow_run.terminate()  # it dies at once, and passes nothing on
    mlflow_run.wait(timeout=60)
    port = int(url.rpartition(":")[2])

    def gone() -> bool:
        with socket.socket() as asked:
            return asked.connect_ex(("127.0.0.1", port)) != 0

    until(gone, 30)


def test_a_busy_port_is_told_in_one_sentence_before_the_model_is_loaded(command):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        one = command("--model", "no_such_model:prod", "--port", port)
        assert one.end() == 1
    assert f"port {port} cannot be listened on (Address already in use)" in one.errors
    assert one.errors.count("\n") == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_an_address_that_others_reach_needs_a_token(host):
    with pytest.raises(UserError, match="SERVING_TOKEN"):
        serve.check_token(host, None)
    assert serve.check_token(host, "x" * 16) == "x" * 16


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_the_loopback_needs_none(host):
    assert serve.check_token(host, None) is None


@pytest.mark.parametrize("token", ["short", "with ümlaut in it, long", "new\nline" * 4])
def test_a_token_that_is_short_or_unfit_for_a_header_is_refused(token):
    with pytest.raises(UserError, match="at least 16 printable ASCII"):
        serve.check_token("127.0.0.1", token)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "70000"],
        ["--port", "x"],
        ["--share", "1.1"],
        ["--share", "half"],
        ["--poll_seconds", "0"],
        ["--max_rows", "0"],
    ],
)
def test_an_argument_out_of_range_is_refused(arguments):
    with pytest.raises(UserError, match=arguments[0]):
        serve.build_parser().parse_args(arguments)


def test_with_a_token_it_is_served_on_every_address(command):
    one = command("--host", "0.0.0.0", SERVING_TOKEN="a token that is long enough")
    url = one.url().replace("0.0.0.0", "127.0.0.1")
    assert requests.get(f"{url}/model", timeout=10).status_code == 401
    headers = {"Authorization": "Bearer a token that is long enough", "Host": "any.example"}
    assert requests.get(f"{url}/model", headers=headers, timeout=10).status_code == 200
    assert one.end(signal.SIGTERM) == 143
    assert "a token that" not in json.dumps(one.lines)
