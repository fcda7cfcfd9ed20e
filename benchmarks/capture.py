"""What recording costs a service: beside itself without, and beside a second one without.

Four services answer at once from the same model directory, two that record nothing (one of them is
the control: what differs between these two is chance), one that records a tenth of the requests and
one that records all. They are asked in short turns of some requests, one row on one connection, so
that what else the machine does falls on all; CPU is what all threads of a process used in a round
of many turns, the writer's included. Ratios are to the first service, of the same round: their
median, and from the 10 % to the 90 % quantile; below, the CPU of all rounds together.
Then the service that records all is sent many large requests at once, and the rows are counted.

    python benchmarks/capture.py --model model_export:latest [--rounds 20] [--requests 300]

`--model` is an artifact, or a directory; run it where the model's store is.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import numpy as np
import requests

from benchmarks.serving import ask, free_port, ready
from serving.model import served_model
from util_lib import monitoring_log

SERVICES = {"without": "0", "without, again": "0", "a tenth": "0.1", "all": "all"}
TURN = 10  # requests
WRITTEN_SECONDS = 1.5  # until what is left in the queue is written
LARGE_ROWS = 10_000
SENDERS = 8


def main() -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="model_export:latest", help="an artifact or directory")
    parser.add_argument("--rounds", type=int, default=20, help="of many turns of each service")
    parser.add_argument("--requests", type=int, default=300, help="of each round")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        directory = args.model
        if not Path(directory).is_dir():
            directory = served_model.find(args.model).download(str(Path(tmp, "model")))
        measure(directory, Path(tmp), args.rounds, args.requests)


def measure(directory: str, tmp: Path, rounds: int, n_requests: int) -> None:
    """Start the services, ask them in turn, and print what they took."""
    content = json.loads(Path(directory, "input_example.json").read_text(encoding="utf-8"))
    content = content.get("dataframe_split", content)
    body = json.dumps({"dataframe_split": content | {"data": content["data"][:1]}}).encode()
    ports = {name: free_port() for name in SERVICES}
    servers = {
        name: start(directory, ports[name], share, tmp / name) for name, share in SERVICES.items()
    }
    taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in SERVICES}
    try:
        for port in ports.values():
            ready(port, body)
            asyncio.run(ask(port, body, 1, n_requests))  # warm
        for number in range(rounds):
            random = np.random.default_rng(number)
            before = {name: cpu_seconds(server.pid) for name, server in servers.items()}
            seconds: dict[str, list[float]] = {name: [] for name in SERVICES}
            for _ in range(n_requests // TURN):
                for name in random.permutation([*SERVICES]).tolist():
                    seconds[name] += asyncio.run(ask(ports[name], body, 1, TURN))[0]
            for name, server in servers.items():
                used = (cpu_seconds(server.pid) - before[name]) / len(seconds[name])
                p50, p99 = np.quantile(seconds[name], [0.5, 0.99])
                taken[name].append((p50 * 1e3, p99 * 1e3, used * 1e3))
        show({name: np.array(found) for name, found in taken.items()})
        overload(ports["all"], content, tmp / "all")
    finally:
        for server in servers.values():
            server.terminate()
        for server in servers.values():
            server.wait()


def show(taken: dict[str, np.ndarray]) -> None:
    """Print medians of the rounds, ratios to the first service, and all rounds' CPU together."""
    first = next(iter(taken.values()))
    print("| capture | p50 ms | p99 ms | CPU ms | p50, ratio | p99, ratio | CPU, ratio |")
    print("|---|---|---|---|---|---|---|")
    for name, found in taken.items():
        cells = [f"{value:.3f}" for value in np.median(found, axis=0)]
        low, middle, high = np.quantile(found / first, [0.1, 0.5, 0.9], axis=0)
        cells += [
            f"{m:.3f} ({a:.2f} to {b:.2f})" for a, m, b in zip(low, middle, high, strict=True)
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    for name, found in taken.items():
        print(f"CPU of all rounds, ratio, {name}: {found[:, 2].sum() / first[:, 2].sum():.3f}")


def overload(port: int, content: dict, root: Path) -> None:
    """Send many rows from several senders at once; print what was answered and what recorded."""
    rows = (content["data"] * (LARGE_ROWS // len(content["data"]) + 1))[:LARGE_ROWS]
    body = json.dumps({"dataframe_split": content | {"data": rows}}).encode()
    address, headers = f"http://127.0.0.1:{port}", {"Content-Type": "application/json"}

    def send(_: int) -> int:
        return requests.post(f"{address}/invocations", body, headers=headers).status_code

    before = counted(address)
    with ThreadPoolExecutor(SENDERS) as senders:
        statuses = list(senders.map(send, range(10 * SENDERS)))
    time.sleep(WRITTEN_SECONDS)
    after = counted(address)
    gained = {name: after[name] - before.get(name, 0) for name in after}
    answered = statuses.count(200)
    print(f"\n{len(statuses)} requests of {LARGE_ROWS:,} rows by {SENDERS} senders at a time:")
    print(f"{answered} answered, {len(statuses) - answered} refused or failed")
    for name, n_rows in gained.items():
        print(f"{n_rows:>10,.0f} {name}")
    in_log = sum(
        batch.num_rows
        for path in root.rglob(f"*{monitoring_log.SUFFIX}")
        if (stream := monitoring_log.read_spool(path))
        for batch in stream.batches
    )
    print(f"{in_log:>10,} rows in the log, {sum(after.values()):,.0f} recorded or dropped in all")


def counted(address: str) -> dict[str, float]:
    """Return what the service has counted of recording."""
    lines = requests.get(f"{address}/metrics", timeout=30).text.splitlines()
    found = [line.rpartition(" ") for line in lines if line.startswith("serving_capture_")]
    return {name: float(value) for name, _, value in found}


def start(directory: str, port: int, share: str, root: Path) -> subprocess.Popen:
    """Start a service that records in `root`; what it logs is thrown away."""
    command = [sys.executable, str(ROOT / "serving" / "serve.py"), "--model", directory]
    command += ["--port", str(port), "--capture", share]
    environment = {k: v for k, v in os.environ.items() if k != "SERVING_TOKEN"}
    environment[monitoring_log.PLACE] = str(root)
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def cpu_seconds(pid: int) -> float:
    """Return what the threads of a process have used so far, to the nanosecond (Linux)."""
    tasks = Path("/proc", str(pid), "task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


if __name__ == "__main__":
    main()
