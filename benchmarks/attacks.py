"""How long `/ping` and a good request take while somebody attacks the service.

    nobody        the service is idle
    empty rows    10 MB of `[]`
    wide row      one row of 900,000 keys
    wrong rows    10,000 rows in which every value is wrong
    deep          10 MB of `[`
    silent        1,200 connections that send nothing, opened again where they are dropped
    large         10,000 good rows: no attack, and as much work as a request may be

Each attacker is a process that sends one request after the other, without a pause, while this one
asks in turn for `/ping` and for the prediction of one row, each on a connection of its own. Other
programs slow a service down too: "idle" is the 99th percentile of `/ping` just before and after an
attack, while nobody attacks.

    python benchmarks/attacks.py [--model model_export:latest] [--seconds 10]

Run it where the model's store is; a directory with a model does as well.
"""

import argparse
import collections
import contextlib
import json
import multiprocessing
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # instead of this folder: a file in it has the name of the folder `serving`

import numpy as np

from serving.model import served_model

SILENT = 1_200
PAUSE = 0.005  # between two questions
TIMEOUT = 60


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="model_export:latest", help="an artifact or directory")
    parser.add_argument("--seconds", type=float, default=10, help="of each attack")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        directory = args.model
        if not Path(directory).is_dir():
            directory = served_model.find(args.model).download(str(Path(tmp, "model")))
        under_attack(directory, args.seconds)


def under_attack(directory: str, seconds: float) -> None:
    """Start the service, attack it in each way and print how it answers."""
    example = json.loads(Path(directory, "input_example.json").read_text(encoding="utf-8"))
    split = example["dataframe_split"]
    row = dict(zip(split["columns"], split["data"][0], strict=True))
    port, server = start(directory)
    try:
        print(
            f"{'attack':12} {'ping p50 ms':>12} {'p99':>8} {'max':>8} "
            f"{'row p50 ms':>12} {'p99':>8} {'max':>8} {'idle':>8}  answers to the attack"
        )
        good = {"dataframe_records": [row]}
        before, _ = ask(port, good, seconds / 2)
        for name, body in attacks(row).items():
            told: Any = multiprocessing.Queue()
            attacker = multiprocessing.Process(target=attack, args=(port, body, seconds + 2, told))
            attacker.start()
            time.sleep(1)
            pings, rows = ask(port, good, seconds)
            answers = ", ".join(f"{n} x {status}" for status, n in sorted(told.get().items()))
            attacker.join()
            time.sleep(1)
            after, _ = ask(port, good, seconds / 2)
            idle = np.quantile([*before, *after], 0.99, method="higher") * 1000
            before = after
            print(
                f"{name:12} {quantiles(pings)} {quantiles(rows)} {idle:8.2f}  {answers}", flush=True
            )
    finally:
        server.terminate()
        server.wait()


def attacks(row: dict[str, Any]) -> dict[str, Callable[[], bytes] | None]:
    """Return what each attacker sends; None where it is nothing but connections."""
    wrong = {name: "x" if isinstance(value, int | float) else 7 for name, value in row.items()}

    def records(*rows: str, times: int = 1) -> bytes:
        return f'{{"dataframe_records": [{", ".join(rows * times)}]}}'.encode()

    return {
        "nobody": lambda: b"",
        "empty rows": lambda: b'{"inputs": [' + b"[]," * 3_300_000 + b"[]]}",
        "wide row": lambda: records("{" + ",".join(f'"{n:x}":1' for n in range(900_000)) + "}"),
        "wrong rows": lambda: records(json.dumps(wrong), times=10_000),
        "deep": lambda: b'{"inputs": ' + b"[" * 9_900_000,
        "silent": None,
        "large": lambda: records(json.dumps(row), times=10_000),
    }


def attack(port: int, make: Callable[[], bytes] | None, seconds: float, told: Any) -> None:
    """Send the same body as often as there is time for; tell how often which status came."""
    end, answers = time.monotonic() + seconds, collections.Counter()
    if make is None:
        keep_silent(port, end, answers)
    elif body := make():
        while time.monotonic() < end:
            answers[post(port, body)[0]] += 1
    told.put(dict(answers))


def keep_silent(port: int, end: float, answers: collections.Counter) -> None:
    """Hold connections open without a word."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    held: collections.deque[socket.socket] = collections.deque()
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            held.append(socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT))
            answers["connections"] += 1
        if len(held) >= SILENT:
            held.popleft().close()  # the service has dropped the oldest by now
            time.sleep(0.002)


def ask(port: int, body: Any, seconds: float) -> tuple[list[float], list[float]]:
    """Ask for `/ping` and for a prediction in turn; return how long each answer took."""
    pings, rows, content = [], [], json.dumps(body).encode()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for times, path, sent in ((pings, "/ping", None), (rows, "/invocations", content)):
            status, taken = post(port, sent, path)
            if status != 200:
                print(f"{path} was answered with {status}", file=sys.stderr)
            times.append(taken if status == 200 else float("inf"))
            time.sleep(PAUSE)
    return pings, rows


def post(port: int, body: bytes | None, path: str = "/invocations") -> tuple[int | str, float]:
    """Return the status of the answer to one request, and the seconds that it took."""
    begun = time.perf_counter()
    client = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        headers = {"Content-Type": "application/json"}
        client.request("GET" if body is None else "POST", path, body, headers)
        answer = client.getresponse()
        answer.read()
        return answer.status, time.perf_counter() - begun
    except (OSError, HTTPException) as error:
        return type(error).__name__, time.perf_counter() - begun
    finally:
        client.close()


def quantiles(seconds: list[float]) -> str:
    """Return median, 99th percentile and the worst, in ms."""
    p50, p99 = np.quantile(seconds, [0.5, 0.99], method="higher") * 1000
    return f"{p50:12.2f} {p99:8.2f} {max(seconds) * 1000:8.2f}"


def start(directory: str) -> tuple[int, subprocess.Popen]:
    """Start the service; return its port when it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "serving" / "serve.py")]
        + ["--model", directory, "--port", str(port)],
        env={name: value for name, value in os.environ.items() if name != "SERVING_TOKEN"},
        stdout=subprocess.DEVNULL,
    )
    end = time.monotonic() + TIMEOUT
    while post(port, None, "/ping")[0] != 200:
        if server.poll() is not None or time.monotonic() > end:
            raise SystemExit("the service does not start")
        time.sleep(0.2)
    return port, server


if __name__ == "__main__":
    main()
