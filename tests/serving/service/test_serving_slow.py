"""Proofs under load: malformed requests without end, and a model that moves under full load."""

import json
import random
import signal
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import requests
from service_support import ROW, command
from test_champion_and_challenger import move, two

__all__ = ["command", "two"]

pytestmark = pytest.mark.slow

COLUMNS = list(ROW)
VALUES = [
    *(None, True, False, "", "x", "0.5", "NaN", "-", "\x00", "ä" * 500, "<script>", "2019-05-26"),
    *(0, -1, 1.5, 1e308, -1e308, 1e-320, 2**53 + 1, 2**63, 2**64, 10**300, -(10**30)),
    *(float("nan"), float("inf"), -float("inf"), [], [1], [[[]]], {}, {"a": {"b": 1}}, "\ud800"),
]
SECONDS, MOVES, CONNECTIONS = 60, 20, 16


def malformed() -> list[tuple[bytes, str]]:
    """Bodies with their content types; most of them wrong in one way."""
    json_type, csv_type = "application/json", "text/csv"
    made = []
    for column in COLUMNS:
        for value in VALUES:
            row = {**ROW, column: value}
            split = {"columns": COLUMNS, "data": [[row[name] for name in COLUMNS]]}
            made.append((json.dumps({"dataframe_records": [row]}).encode(), json_type))
            made.append((json.dumps({"dataframe_split": split}).encode(), json_type))
            cell = json.dumps(value)
            made.append((f"{column},energy2\n{cell},1\n".encode("utf-8", "replace"), csv_type))
    good = json.dumps({"dataframe_records": [ROW]})
    for encoding in ("utf-16", "utf-32", "utf-7", "cp500"):
        made.append((good.encode(encoding), json_type))
    for cut in range(1, len(good), 7):
        made.append((good[:cut].encode(), json_type))
    for depth in (100, 900, 5_000, 1_000_000):
        made.append((b'{"inputs":' * depth, json_type))
        made.append((b'{"inputs":' + b"[" * depth + b"]" * depth + b"}", json_type))
        made.append((b'{"inputs":' * depth + b"1" + b"}" * depth, json_type))
    for digits in (400, 4_000, 5_000, 1_000_000):
        made.append((b'{"dataframe_records":[{"tempo":' + b"9" * digits + b"}]}", json_type))
    for kind in ("", "text/plain", "application/json; charset=utf-16", "multipart/form-data", "/"):
        made.append((good.encode(), kind))
    chance = random.Random(5)
    for size in (0, 1, 2, 10, 1_000, 100_000):
        for kind in (json_type, csv_type):
            made.append((chance.randbytes(size), kind))
    made.append((json.dumps({"dataframe_records": [ROW] * 10_001}).encode(), json_type))
    made.append((b"x" * 10_000_001, csv_type))
    return made


def raw() -> list[bytes]:
    """What is no HTTP, or less than a request."""
    chance = random.Random(6)
    head = b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return [
        *[chance.randbytes(size) for size in (1, 10, 1_000, 100_000)],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /%ff%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        head + b"Content-Length: -1\r\n\r\n",
        head + b"Content-Length: 99999999999999999999\r\n\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        head + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        head + b"X: " + b"y" * 1_000_000 + b"\r\n\r\n",
        head + b"Content-Length: 100\r\n\r\n{",
        head,
    ]


def memory_mb(process) -> float:
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def send_raw(url: str, content: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) as client:
        try:
            client.sendall(content)
            client.shutdown(socket.SHUT_WR)
            return client.recv(65_536)
        except ConnectionError:
            return b""


def test_of_malformed_requests_none_is_an_error_of_the_service_and_memory_is_stable(command):
    one = command()
    url = one.url()
    bodies, pieces = malformed(), raw()
    assert len(bodies) >= 300
    used, statuses = [], set()
    with requests.Session() as session:
        for _ in range(4):
            for path in ("/invocations", "/predict", "/explain"):
                for body, kind in bodies:
                    headers = {"Content-Type": kind}
                    answer = session.post(f"{url}{path}", body, headers=headers, timeout=30)
                    statuses.add(answer.status_code)
                    assert answer.status_code < 500, (path, kind, body[:200], answer.text)
                    assert answer.ok or answer.json()["message"]
            for content in pieces:
                assert not send_raw(url, content).startswith(b"HTTP/1.1 5"), content[:200]
            slow = [
                socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
                for _ in range(50)
            ]
            for client in slow:
                client.sendall(b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Le")
            good = session.post(f"{url}/invocations", json={"dataframe_records": [ROW]}, timeout=30)
            assert good.status_code == 200
            for client in slow:
                client.close()
            used.append(memory_mb(one.process))
    print("memory after each round, MB:", [round(mb) for mb in used], "statuses:", sorted(statuses))
    assert {200, 400, 413, 415, 422} <= statuses
    assert used[-1] < used[1] * 1.1, used
    assert one.end(signal.SIGTERM) == 143
    assert not [line for line in one.lines if line.get("status", 0) >= 500]


def test_prod_moves_twenty_times_under_full_load_and_no_request_fails(two, command):
    one = command("--model", "model_export:prod", "--poll_seconds", "0.2")
    url = one.url()
    rows = [{**ROW, "tempo": tempo} for tempo in (80, 120, 160)]
    body = {"dataframe_records": rows}
    expected = {}
    for version in ("v1", "v0"):
        move(two, "prod", version)
        while version not in expected:
            found = requests.post(f"{url}/predict", json=body, timeout=30).json()
            expected[found["model"].rpartition(":")[2]] = found["predictions"]
            time.sleep(0.1)
    assert expected["v0"] != expected["v1"]
    seen, failed, seconds, stop = [], [], [], threading.Event()

    def load():
        with requests.Session() as session:
            while not stop.is_set():
                begin = time.perf_counter()
                answer = session.post(f"{url}/predict", json=body, timeout=30)
                seconds.append(time.perf_counter() - begin)
                version = answer.headers.get("x-model-version", "").rpartition(":")[2]
                if answer.status_code != 200:
                    failed.append(answer.text)
                elif answer.json()["predictions"] != expected[version]:
                    failed.append(f"{version} answered as another")
                else:
                    seen.append(version)

    loading = [threading.Thread(target=load) for _ in range(CONNECTIONS)]
    for thread in loading:
        thread.start()
    for number in range(MOVES):
        move(two, "prod", "v1" if number % 2 == 0 else "v0")
        time.sleep(SECONDS / MOVES)
    stop.set()
    for thread in loading:
        thread.join()
    counters = requests.get(f"{url}/metrics", timeout=30).text
    p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1000
    print(f"{len(seen):,} answers, {len(failed)} failed, p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    assert not failed
    assert min(seen.count("v0"), seen.count("v1")) > len(seen) / 10
    taken = counters.partition('serving_model_replacements_total{role="champion"} ')[2]
    assert float(taken.split()[0]) >= MOVES
    assert one.end(signal.SIGTERM) == 143
