"""What one step costs on each tracking backend, as CPU and wall seconds of its whole process.

A step starts a run, logs 50 metrics and a file of 1 MB as an artifact, fetches that artifact where
the backend can, and finishes. Three ways, in turn, several times:

    local             the embedded store
    wandb             the genuine client, on the test double of the service on loopback
    wandb offline     the genuine client by itself; offline it cannot use an artifact

CPU is user + system time of the process and its children, the client's service among them. The
double is a process of its own and not counted. Figures are medians; every way works in the same
interpreter on its own folder.

    python benchmarks/tracking.py [--repeats 7]
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.wandb_service.process import Process, client_environment

BYTES = 1_000_000
STEP = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from util_lib import tracking

def main():
    with tracking.init(project="benchmark", job_type="step") as run:
        for epoch in range(50):
            run.log({{"loss": 1 / (epoch + 1)}})
        artifact = tracking.Artifact("table", type="raw_data")
        with artifact.new_file("table.bin", mode="wb") as file:
            file.write(os.urandom({BYTES}))
        run.log_artifact(artifact).wait()
        run.use_artifact("table:latest").file(sys.argv[1])

with tracking.whole_step():
    main()
"""
OFFLINE = """
import os
import wandb

with wandb.init(project="benchmark", job_type="step", mode="offline") as run:
    for epoch in range(50):
        run.log({"loss": 1 / (epoch + 1)})
    artifact = wandb.Artifact("table", type="raw_data")
    with artifact.new_file("table.bin", mode="wb") as file:
        file.write(os.urandom(1_000_000))
    run.log_artifact(artifact)
"""


def measure(source: str, folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Run `source` in `folder`; return CPU and wall seconds of it and all its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", source, str(folder / "fetched")],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"the step failed:\n{done.stdout}\n{done.stderr}")
    fetched = folder / "fetched" / "table.bin"
    if source == STEP and fetched.stat().st_size != BYTES:
        raise SystemExit(f"the step did not fetch what it logged: {fetched}")
    fetched.unlink(missing_ok=True)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, wall


def ways(folder: Path, double: Process) -> dict[str, tuple[str, Path, dict[str, str]]]:
    """Return for each way what is run, where, and with which variables."""
    ours = ("MLFLOW_", "WANDB_", "TRACKING_", "PIPELINE_")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    plain.pop("PYTHONDONTWRITEBYTECODE", None)
    homes = {name: folder / name for name in ("local", "wandb", "wandb offline")}
    for home in homes.values():
        home.mkdir()
    # As main.py starts a step: it shows the run in MLflow itself.
    step = {**plain, "TRACKING_PUBLISH": "parent"}
    account = double.account(homes["wandb"]).environment
    offline = client_environment(double.url, homes["wandb offline"])
    variables = {
        "local": {**step, "TRACKING_BACKEND": "local"},
        "wandb": {**step, "TRACKING_BACKEND": "wandb", **account},
        "wandb offline": {**plain, **offline},
    }
    sources = {"local": STEP, "wandb": STEP, "wandb offline": OFFLINE}
    return {name: (sources[name], home, variables[name]) for name, home in homes.items()}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="runs of each way (default 7)")
    args = parser.parse_args()
    figures: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "service").mkdir()
        double = Process(folder / "service")
        try:
            chosen = ways(folder, double)
            for repeat in range(args.repeats + 1):
                for way, given in chosen.items():
                    figure = measure(*given)
                    if repeat:  # the first makes databases and bytecode
                        figures.setdefault(way, []).append(figure)
                    print(f"{repeat}/{args.repeats} {way}: {figure[0]:.2f} CPU s", file=sys.stderr)
        finally:
            double.stop()
    medians = {
        way: [statistics.median(figure[k] for figure in its) for k in (0, 1)]
        for way, its in figures.items()
    }
    cpu, wall = medians["wandb offline"]
    print(f"{'':14} {'CPU s':>6} {'wall s':>7} {'CPU / offline':>14} {'wall / offline':>15}")
    for way, (its_cpu, its_wall) in medians.items():
        print(
            f"{way:14} {its_cpu:6.2f} {its_wall:7.2f} {its_cpu / cpu:14.2f} {its_wall / wall:15.2f}"
        )


if __name__ == "__main__":
    main()
