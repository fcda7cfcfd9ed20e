"""What every request passes: who may ask, how large and slow it may be, what is logged."""

import json
import logging
import re
import socket
import time

import pytest
import requests
from service_support import ROW, running, until

from serving.model import prediction
from serving.service import batching, connection
from serving.service.json_logs import JsonLines
from serving.service.limits import ServiceLimits

TOKEN = "a token of enough characters"


def connect(service) -> socket.socket:
    host, port = service.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def everything_from(client: socket.socket) -> bytes:
    """Read until the service closes the connection."""
    parts = []
    try:
        while part := client.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def answer_to(service, text: bytes) -> bytes:
    with connect(service) as plain:
        plain.sendall(text)
        plain.shutdown(socket.SHUT_WR)
        return everything_from(plain)


def test_health_is_open_and_everything_else_needs_the_token(model_directory):
    with running(model_directory, token=TOKEN) as service:
        for path in ("/ping", "/health", "/", "/page/page.js"):
            assert service.get(path).status_code == 200
        for path in ("/model", "/metrics", "/ab", "/openapi.json", "/version", "/nothing"):
            refused = service.get(path)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
        for given in (TOKEN[:-1], f"{TOKEN}x", "", "ä"):
            headers = {"Authorization": f"Bearer {given}".encode()}
            assert service.predict(ROW, headers=headers).status_code == 401
        assert service.predict(ROW, headers={"Authorization": TOKEN}).status_code == 401
        right = {"Authorization": f"Bearer {TOKEN}"}
        assert service.predict(ROW, headers=right).status_code == 200


def test_without_a_token_a_request_for_another_host_name_is_refused(service):
    for host in ("evil.example", "evil.example:80", "", "localhost.evil.example"):
        assert service.get("/model", headers={"Host": host}).status_code == 421
    for host in ("localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:80", "[::1]"):
        assert service.get("/model", headers={"Host": host}).status_code == 200


def test_an_answer_carries_the_callers_id_unless_it_is_unfit_for_a_log(service):
    given = service.predict(ROW, headers={"X-Request-ID": "order-7.a:b"})
    assert given.headers["x-request-id"] == "order-7.a:b"
    for unfit in ("a b", "x" * 129, '"}', "ä".encode()):
        made = service.predict(ROW, headers={"X-Request-ID": unfit}).headers["x-request-id"]
        assert len(made) == 32 and made != unfit


def test_every_answer_forbids_scripts_and_frames_from_elsewhere(service):
    for answer in (service.get("/"), service.get("/nothing"), service.predict(ROW)):
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_body_that_comes_too_slowly_is_refused_and_others_are_answered_meanwhile(
    model_directory,
):
    with running(model_directory, limits=ServiceLimits(body_seconds=0.3)) as service:
        with connect(service) as slow:
            slow.sendall(
                b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n"
                b"Content-Type: application/json\r\n\r\n{"
            )
            assert service.predict(ROW).status_code == 200
            assert b" 408 " in slow.recv(65_536)
        assert service.predict(ROW).status_code == 200


def test_headers_that_never_end_are_cut_off(model_directory, monkeypatch):
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.3)
    with running(model_directory) as service:
        with connect(service) as silent, connect(service) as slow:
            slow.sendall(b"GET /ping HTTP/1.1\r\nHost:")
            assert service.get("/ping").status_code == 200
            assert everything_from(silent) == everything_from(slow) == b""
        with connect(service) as again:
            again.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\nGET /ping HTTP/1.1\r\n")
            assert everything_from(again).count(b" 200 ") == 1  # it was slow in its second request


def test_headers_that_are_too_long_are_refused(service):
    long = b"GET /ping HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 50_000 + b"\r\n\r\n"
    assert b" 400 " in answer_to(service, long)
    many = b"GET /ping HTTP/1.1\r\n" + b"X-A: 1234567890\r\n" * 5_000 + b"\r\n"
    assert b" 400 " in answer_to(service, many)
    assert service.get("/ping").status_code == 200


def test_a_client_that_does_not_read_its_answer_loses_it(model_directory, monkeypatch):
    monkeypatch.setattr(connection, "TAKE_SECONDS", 0.2)
    # A long answer: what fits into the buffers of the system is out of the service's hands.
    split = {"columns": list(ROW), "data": [list(ROW.values())] * 40_000}
    body = json.dumps({"dataframe_split": split}).encode()
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with running(model_directory, limits=ServiceLimits(len(body), rows=40_000)) as service:
        host, port = service.url.removeprefix("http://").split(":")
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            deaf.settimeout(20)
            deaf.connect((host, int(port)))
            deaf.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            answered = 'serving_requests_total{endpoint="/predict",status="200"} 1.0'
            until(lambda: answered in service.get("/metrics").text)
            time.sleep(0.7)
            answer = everything_from(deaf)
        length = int(re.search(rb"content-length: (\d+)", answer)[1])
        assert len(answer) < length  # the rest never came
        assert len(service.predict(*[ROW] * 10).json()["predictions"]) == 10


def test_a_client_that_goes_away_is_no_error(service):
    head = b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{"
    with connect(service) as leaving:
        leaving.sendall(head)
        time.sleep(0.05)
    counted = 'serving_requests_total{endpoint="other",status="499"} 1.0'
    until(lambda: counted in service.get("/metrics").text)


def test_a_compressed_body_is_refused(service):
    assert service.predict(ROW, headers={"Content-Encoding": "gzip"}).status_code == 415


def test_an_unknown_address_and_a_wrong_method_are_refused_in_the_same_form(service):
    for answer, status in (
        (service.get("/nothing"), 404),
        (service.get("/invocations"), 405),
        (service.post("/ping"), 405),
        (service.get("/page/../serve.py"), 404),
        (service.get("/page/%2e%2e/serve.py"), 404),
    ):
        assert answer.status_code == status
        assert answer.json()["message"] and answer.json()["request_id"]


def test_a_prediction_that_takes_too_long_is_given_up(model_directory, monkeypatch):
    with running(model_directory, limits=ServiceLimits(answer_seconds=0.2)) as service:
        quick = prediction.predict

        def slow(loaded, rows):
            time.sleep(0.6)
            return quick(loaded, rows)

        monkeypatch.setattr(batching, "predict", slow)
        rows = [ROW] * 300  # so many are predicted beside the event loop
        assert service.predict(*rows).status_code == 504
        monkeypatch.undo()
        until(lambda: service.predict(ROW).status_code == 200)


def test_a_log_line_is_json_and_holds_nothing_of_the_data(service, caplog):
    caplog.set_level(logging.INFO)
    secret = "a very secret title"
    service.predict({**ROW, "text_feature": secret}, headers={"X-Request-ID": "seen"})
    service.predict({**ROW, "energy": secret})
    service.get(f"/nothing/{secret}?{secret}")
    lines = [JsonLines().format(r) for r in caplog.records if r.name.startswith("serving")]
    assert not any("secret" in line for line in lines)
    line = next(line for line in map(json.loads, lines) if line.get("request_id") == "seen")
    assert {"time", "level", "status", "ms", "bytes", "rows", "version"} <= set(line)
    assert (line["endpoint"], line["status"], line["rows"]) == ("/invocations", 200, 1)


def test_a_defect_is_logged_with_its_place_and_without_its_text(
    model_directory, caplog, monkeypatch
):
    with running(model_directory) as service:

        def predict(loaded, rows):
            raise RuntimeError("quotes a secret value")

        monkeypatch.setattr(batching, "predict", predict)
        answer = service.predict(ROW)
    assert answer.status_code == 500 and "secret" not in answer.text
    line = next(r for r in caplog.records if r.levelname == "ERROR" and r.name.startswith("serv"))
    written = json.loads(JsonLines().format(line))
    assert written["error"] == "RuntimeError" and any("predict" in f for f in written["frames"])
    assert "secret" not in json.dumps(written)


def test_the_counters_tell_requests_rows_classes_and_refusals(model_directory):
    with running(model_directory) as service:
        service.predict(ROW, ROW)
        service.predict({**ROW, "tempo": 0})
        label = service.predict(ROW).json()["predictions"][0]
        text = service.get("/metrics").text
    version = service.model.version
    for line in (
        'serving_requests_total{endpoint="/invocations",status="200"} 2.0',
        'serving_requests_total{endpoint="/invocations",status="422"} 1.0',
        f'serving_rows_total{{role="champion",version="{version}"}} 3.0',
        f'serving_predictions_total{{label="{label}",role="champion",version="{version}"}} 3.0',
        'serving_broken_rules_total{column="tempo",rule="range"} 1.0',
    ):
        assert line in text, line


def test_openapi_names_the_columns_with_their_limits(service):
    document = service.get("/openapi.json").json()
    row = document["components"]["schemas"]["Row"]
    assert set(row["required"]) == {"energy", "tempo", "key"}
    tempo = row["properties"]["tempo"]
    assert (tempo["type"], tempo["minimum"], tempo["maximum"]) == ("number", 50, 250)
    assert tempo["unit"] == "BPM" and row["properties"]["key"]["type"] == "integer"
    assert {"title", "song_name"} <= set(row["properties"])


def test_the_card_says_what_the_model_is_and_shows_rows_that_it_takes(service):
    card = service.get("/model").json()
    assert card["digest"] == service.model.digest
    assert card["classes"] == ["Emo", "Pop", "techno"]
    assert card["data"]["digest"]
    assert service.predict(*card["examples"]).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/card"])
def test_no_page_fetches_anything_from_elsewhere(service, path):
    page = service.get(path)
    assert page.status_code == 200
    assert not re.search(r"""(?:src|href|action)=["']?(?:\w+:)?//|@import|url\(""", page.text)


def test_the_example_client_prints_the_status_and_the_labels(service, model_directory, capsys):
    from serving import client

    assert client.main(["--url", service.url]) == 0
    asked = capsys.readouterr().out
    example = model_directory / "input_example.json"
    assert client.main(["--url", service.url, "--example", str(example)]) == 0
    assert capsys.readouterr().out == asked
    status, labels = asked.splitlines()
    rows = service.get("/model").json()["examples"]
    assert status == "200" and labels == str(service.predict(*rows).json()["predictions"])
    assert client.without_nan([{"a": float("nan"), "b": None, "c": 1.5}]) == [
        {"a": None, "b": None, "c": 1.5}
    ]


def test_the_example_client_says_why_it_has_no_answer(service, tmp_path, capsys):
    from serving import client

    bad = tmp_path / "example.json"
    bad.write_text('{"columns": ["tempo"], "data": [[0]]}')
    assert client.main(["--url", service.url, "--example", str(bad)]) == 1
    assert "422" in capsys.readouterr().err
    assert client.main(["--url", "http://127.0.0.1:9"]) == 1
    assert "nothing answers at http://127.0.0.1:9: start the service" in capsys.readouterr().err
    assert requests.get(f"{service.url}/ping", timeout=5).ok
