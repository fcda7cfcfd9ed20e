"""One request never blocks the service, and who sends nothing keeps nobody out."""

import json
import os
import signal
import socket
import threading
from contextlib import ExitStack, contextmanager

import psutil
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from service_support import ROW, running, until

from serving.request_body import bounded_json
from serving.request_body.refusals import RequestError
from serving.service import connection
from serving.service.limits import ServiceLimits
from util_lib.tables import json_files

COLUMNS = ", ".join(f'"x{n}": 1' for n in range(200_000))
WRONG = {name: 7 if isinstance(value, str) else "x" for name, value in ROW.items()}
ATTACKS = {
    "rows without values": (b'{"inputs": [' + b"[]," * 3_300_000 + b"[]]}", 413, "10,000 rows"),
    "rows without keys": (b'{"instances": [' + b"{}," * 20_000 + b"{}]}", 413, "10,000 rows"),
    "a row of very many keys": (f'{{"inputs": [{{{COLUMNS}}}]}}'.encode(), 413, "10,000 values"),
    "one row of very many keys": (f'{{"inputs": {{{COLUMNS}}}}}'.encode(), 413, "10,000 values"),
    "a value of very many": (
        b'{"inputs": [{"energy": [' + b"[]," * 100_000 + b"0]}]}",
        413,
        "10,000 values",
    ),
    "very many wrong rows": (
        json.dumps({"dataframe_records": [WRONG] * 10_000}).encode(),
        422,
        "(and at least ",
    ),
    "deep lists": (b'{"inputs": ' + b"[" * 5_000_000, 400, "nested too deeply"),
    "deep objects": (b'{"inputs":' * 500_000, 400, "nested too deeply"),
    "a very long text": (
        json.dumps({"inputs": [{**ROW, "text_feature": "x" * 200_000}]}).encode(),
        413,
        "200,000 characters",
    ),
    "no end": (b'{"inputs": [' + b'{"energy": 1}, ' * 9_000, 400, "must be JSON"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_and_the_next_request_is_answered(service, attack):
    body, status, words = ATTACKS[attack]
    answer = service.post("/invocations", data=body)
    assert (answer.status_code, words in answer.json()["message"]) == (status, True), answer.text
    assert len(answer.text) < 5_000
    assert service.predict(ROW).status_code == service.get("/ping").status_code == 200


def test_a_csv_file_of_very_many_columns_is_refused(service):
    answer = service.post("/invocations", data=b"x," * 2_000_000 + b"y\n1\n", kind="text/csv")
    assert answer.status_code in (400, 413)  # the names must differ, too
    header = ",".join(f"x{n}" for n in range(20_000))
    answer = service.post("/invocations", data=f"{header}\n1\n", kind="text/csv")
    assert (answer.status_code, "10,000 fields" in answer.text) == (413, True)


def test_a_large_request_gets_the_answers_that_its_rows_get_alone(service):
    rows = [{**ROW, "tempo": 60 + n % 180, "loudness": None} for n in range(3_000)]
    alone = [service.predict(row).json()["predictions"][0] for row in rows[:180]]
    for more in ({}, {"unknown": "y" * 50}, {"unknown": [1, {"a": 2}]}):
        answer = service.predict(*[{**row, **more} for row in rows])
        assert answer.status_code == 200, answer.text
        assert answer.json()["predictions"][:180] == alone
    split = {"columns": list(ROW), "data": [list(row.values()) for row in rows]}
    answer = service.post("/invocations", {"dataframe_split": split})
    assert answer.json()["predictions"][:180] == alone
    assert len(service.post("/predict", {"dataframe_split": split}).json()["predictions"]) == 3_000


def test_of_a_large_request_the_wrong_row_is_named_by_its_number(service):
    rows = [ROW] * 2_000
    for place in (1_555, 3):
        rows[place] = {**ROW, "tempo": 9_999}
        answer = service.predict(*rows)
        assert answer.json()["message"].startswith(f"row {place}: column 'tempo' must lie in")
    rows[3] = {**ROW, "energy": [1] * 500}
    assert answer.status_code == 422 and service.predict(*rows).status_code == 422
    rows = [{name: value for name, value in ROW.items() if name != "tempo"} | {"tempoo": 1}] * 2_000
    assert "the nearest is 'tempoo'" in service.predict(*rows).json()["message"]


def reader() -> psutil.Process:
    """The process that reads the large requests of the service in this one."""
    found = [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE
        and "serving.request_body.reader" in " ".join(child.cmdline())
    ]
    return max(found, key=psutil.Process.create_time)  # the other services here began before


@contextmanager
def held(service):
    """Have a large request sent, and the process that reads it stopped; give its answer."""
    large, answers = [ROW] * 5_000, []
    assert service.predict(*large).status_code == 200  # the process is there
    os.kill(reader().pid, signal.SIGSTOP)
    body = json.dumps({"dataframe_records": large}).encode()
    head = b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    host, port = service.url.removeprefix("http://").split(":")

    def send():
        with socket.create_connection((host, int(port)), timeout=60) as client:
            client.sendall(head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
            client.sendall(body)
            answers.append(b"".join(iter(lambda: client.recv(65_536), b"")))

    sending = threading.Thread(target=send)
    sending.start()
    yield answers
    sending.join()


def test_while_a_large_request_is_read_others_are_answered(model_directory):
    with running(model_directory) as service:
        with held(service) as answers:
            for _ in range(20):
                assert service.get("/ping").status_code == 200
                assert service.predict(ROW).status_code == 200
            assert not answers
            os.kill(reader().pid, signal.SIGCONT)
        assert answers[0].startswith(b"HTTP/1.1 200 ")


def test_a_request_that_takes_too_long_to_read_is_refused_and_the_next_one_is_read(
    model_directory,
):
    with running(model_directory, limits=ServiceLimits(read_seconds=5)) as service:
        with held(service) as answers:
            before = reader().pid
        assert answers[0].startswith(b"HTTP/1.1 413 ") and b"more than 5 s to read" in answers[0]
        assert service.predict(*[ROW] * 5_000).status_code == 200
        assert reader().pid != before


def test_the_process_that_reads_may_be_killed_and_ends_with_the_service(model_directory):
    with running(model_directory) as service:
        with held(service) as answers:
            until(lambda: service.get("/ping").status_code == 200)
            reader().kill()
        assert answers[0].startswith(b"HTTP/1.1 503 ")
        assert service.predict(*[ROW] * 5_000).status_code == 200
        last = reader()
    until(lambda: not last.is_running() or last.status() == psutil.STATUS_ZOMBIE)


def connect(service) -> socket.socket:
    host, port = service.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


BEGUN = b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{"


@pytest.mark.parametrize("sent", [b"", b"GET /ping HT", BEGUN, b"GET /ping HTTP/1.1\r\n\r\n"])
def test_of_too_many_silent_connections_the_oldest_are_dropped(model_directory, monkeypatch, sent):
    monkeypatch.setattr(connection, "MOST", 20)
    with running(model_directory) as service, ExitStack() as stack:
        silent = []
        for _ in range(60):
            silent.append(stack.enter_context(connect(service)))
            silent[-1].sendall(sent)
        for path in ("/ping", "/health", "/model") * 5:
            assert requests.get(service.url + path, timeout=20).status_code == 200
        assert service.predict(ROW).status_code == 200
        until(lambda: sum(map(is_closed, silent)) >= 40)
        assert not any(map(is_closed, silent[-10:]))


def is_closed(client: socket.socket) -> bool:
    """Say whether the service has closed the connection."""
    client.setblocking(False)
    try:
        while client.recv(4_096):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def test_of_too_many_requests_only_health_checks_are_answered(model_directory):
    limits = ServiceLimits(requests=3)
    with running(model_directory, limits=limits) as service, ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connect(service)).sendall(BEGUN)
        until(lambda: service.get("/model").status_code == 503)
        assert service.get("/ping").status_code == service.get("/health").status_code == 200
        refused = service.predict(ROW)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")


def test_who_sends_much_does_not_keep_out_who_sends_little(model_directory):
    limits = ServiceLimits(held_bytes=100_000)
    with running(model_directory, limits=limits) as service, connect(service) as much:
        head = BEGUN.replace(b"500", b"99500")
        much.sendall(head + b" " * 99_000)
        until(lambda: service.post("/invocations", data=b" " * 90_000).status_code == 503)
        assert service.predict(ROW).status_code == 200


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def as_json(text: str, read) -> str:
    try:
        return repr(read(text))
    except ValueError:
        return "no JSON"


@settings(deadline=None, max_examples=300)
@given(
    value=VALUES,
    indent=st.sampled_from([None, 1]),
    cut=st.integers(0, 200),
    window=st.integers(1, 40),
)
def test_counted_json_is_what_python_reads(value, indent, cut, window):
    whole = json.dumps(value, indent=indent, ensure_ascii=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounded_json, "WINDOW", window)
        for text in (whole, whole[:cut], f"{whole[:cut]}]{whole[cut:]}", f"[{whole},{whole}]"):
            found = as_json(text, lambda text: bounded_json.loads(text, 1_000, 1_000))
            assert found == as_json(text, json_files.loads)


@pytest.mark.parametrize("text", ["[1, 2, 3]", '{"a": 1, "b": 2, "c": 3}', "[[1, 2, 3]]"])
def test_json_is_refused_at_the_first_value_that_is_too_many(monkeypatch, text):
    monkeypatch.setattr(bounded_json, "WINDOW", 2)
    assert bounded_json.loads(text, 3, 3) == json.loads(text)
    with pytest.raises(RequestError, match="2 rows of 2 values"):
        bounded_json.loads(f"{text[:-1]} and what is no JSON", 2, 2)
