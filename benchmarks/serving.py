"""How fast a model answers over HTTP, beside `mlflow models serve` on the same model.

Both servers run at once, from the same model directory, and are asked in turn by the same client in
this process, so that what else the machine does falls on both: one row on one connection, then one
row each on 16 connections. The answers are compared first: a faster wrong answer counts nothing.

    python benchmarks/serving.py --model model_export:latest [--rounds 5] [--requests 200]

Run it where the model's store is. One process each; requests are kept alive where the server does.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # instead of this folder: this file has the name of the folder `serving`

import requests

from serving.model import served_model

CONNECTIONS = 16
START_SECONDS = 120


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="model_export:latest", help="an artifact")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each server")
    parser.add_argument("--requests", type=int, default=200, help="of each turn")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        directory = served_model.find(args.model).download(str(Path(tmp, "model")))
        over_http(directory, args.rounds, args.requests)


def over_http(directory: str, rounds: int, n_requests: int) -> None:
    """Ask both servers in turn; print latency of one row and throughput of 16 connections."""
    ours, theirs = free_port(), free_port()
    commands = {
        "serving": [sys.executable, str(ROOT / "serving" / "serve.py")]
        + ["--model", directory, "--port", str(ours)],
        "mlflow models serve": [sys.executable, "-m", "mlflow", "models", "serve"]
        + ["-m", directory, "--env-manager", "local", "--port", str(theirs)],
    }
    ports = dict(zip(commands, (ours, theirs), strict=True))
    path = Path(directory, "input_example.json")
    content = json.loads(path.read_text(encoding="utf-8"))["dataframe_split"]
    body = json.dumps({"dataframe_split": content | {"data": content["data"][:1]}}).encode()
    servers = [start(command) for command in commands.values()]
    try:
        answers = {name: ready(port, body) for name, port in ports.items()}
        if len(set(answers.values())) > 1:
            raise SystemExit(f"the servers answer differently: {answers}")
        seconds: dict[str, list[float]] = {name: [] for name in ports}
        rates: dict[str, list[float]] = {name: [] for name in ports}
        for _ in range(rounds):
            for name, port in ports.items():
                seconds[name] += asyncio.run(ask(port, body, 1, n_requests))[0]
            for name, port in ports.items():
                rates[name].append(asyncio.run(ask(port, body, CONNECTIONS, n_requests))[1])
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait()
    show(seconds, rates)


def show(seconds: dict[str, list[float]], rates: dict[str, list[float]]) -> None:
    """Print medians over all turns, and how many times better the first is than the second."""
    print(f"| way | p50 ms, 1 row | p99 ms, 1 row | requests/s, {CONNECTIONS} connections |")
    print("|---|---|---|---|")
    rows = {}
    for name, measured in seconds.items():
        cuts = statistics.quantiles(measured, n=100)
        rows[name] = (cuts[49] * 1000, cuts[98] * 1000, statistics.median(rates[name]))
        print(f"| {name} | {rows[name][0]:.2f} | {rows[name][1]:.2f} | {rows[name][2]:.0f} |")
    ours, theirs = rows.values()
    print(
        f"| times better | {theirs[0] / ours[0]:.1f} | {theirs[1] / ours[1]:.1f} "
        f"| {ours[2] / theirs[2]:.1f} |"
    )


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(command: list[str]) -> subprocess.Popen:
    """Start a server; what it logs is thrown away."""
    environment = {k: v for k, v in os.environ.items() if k != "SERVING_TOKEN"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def ready(port: int, body: bytes) -> str:
    """Wait until the server on `port` answers `body`, and return its predictions."""
    address, headers = f"http://127.0.0.1:{port}", {"Content-Type": "application/json"}
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            requests.get(f"{address}/ping", timeout=5).raise_for_status()
        except requests.RequestException:
            time.sleep(0.2)
            continue
        answer = requests.post(f"{address}/invocations", body, headers=headers, timeout=30)
        answer.raise_for_status()
        return str(answer.json()["predictions"])
    raise SystemExit(f"no server on port {port} within {START_SECONDS} s")


async def ask(port: int, body: bytes, connections: int, n: int) -> tuple[list[float], float]:
    """Send `n` requests over `connections` at a time; return each one's seconds, and requests/s."""
    left = iter(range(n))
    seconds: list[float] = []
    begin = time.perf_counter()
    await asyncio.gather(*[client(port, body, left, seconds) for _ in range(connections)])
    return seconds, n / (time.perf_counter() - begin)


async def client(port: int, body: bytes, left: object, seconds: list[float]) -> None:
    """Send requests over one connection as long as there are some left."""
    head = (
        "POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in left:
        begin = time.perf_counter()
        writer.write(head.encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = answer.partition(b"content-length:")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        seconds.append(time.perf_counter() - begin)
        if b" 200 " not in answer.partition(b"\r\n")[0]:
            raise SystemExit(f"port {port} refused a request: {answer.decode()}")
    writer.close()


if __name__ == "__main__":
    main()
