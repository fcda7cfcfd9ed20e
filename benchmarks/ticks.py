"""What a tick costs that has nothing to do: `update` called again and again on unchanged data.

One tick trains and promotes on six files of invented songs; then as many as are asked for find
nothing new. Printed are their CPU seconds, beside a bare `import hydra` in the same run, and
how many files of the store and of MLflow's database differ after them: a new version or run
would. The exit code is 1 where any does.

    python benchmarks/ticks.py [--ticks 100]
"""

import argparse
import hashlib
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

from dataset.make_songs_demo import make_table

OPTIONS = (
    "dataset=songs_demo main.env_manager=local main.tracking=local data.sha256=null "
    "data.file_url=incoming data.partition.by=file data.partition.window=6 "
    "data.test=newest_partition random_forest_pipeline.random_forest.n_estimators=30"
)


def cpu_seconds(words: list[str], home: Path) -> tuple[float, str]:
    """Run a command of Python; return its CPU seconds and its last line."""
    others = ("TRACKING_", "MLFLOW_", "PIPELINE_", "WANDB_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(others)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *words],
        cwd=home,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, "".join(done.stdout.splitlines()[-1:])


def stored(home: Path) -> dict[Path, str]:
    """Return the digests of all that the store and MLflow's database hold."""
    files = [path for path in home.rglob("*") if path.is_file()]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main() -> int:
    """Do the ticks and print what they cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ticks", type=int, default=100)
    n = parser.parse_args().ticks
    words = ["-m", "pipeline.commands.update", f"--hydra_options={OPTIONS}"]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "incoming").mkdir()
        for week in range(1, 7):
            path = home / "incoming" / f"songs_2026-W{week:02d}.parquet"
            make_table(600, week).to_pandas().to_parquet(path, index=False)
            os.utime(path, (time.time() - 600,) * 2)  # it has stopped growing
        words[-1] = words[-1].replace("=incoming", f"={home / 'incoming'}")
        first, said = cpu_seconds(words, home)
        print(f"the first tick: {first:.1f} CPU s: {said[:100]}", flush=True)
        before, ticks, floor = stored(home), [], []
        for _ in range(n):
            seconds, said = cpu_seconds(words, home)
            ticks.append(seconds)
            floor.append(cpu_seconds(["-c", "import hydra"], home)[0])
        after = stored(home)
        changed = [path for path in before | after if before.get(path) != after.get(path)]
    for what, found in (("a tick", ticks), ("import hydra", floor)):
        print(f"{what:>14}: median {statistics.median(found):.2f}, min {min(found):.2f} CPU s")
    print(f"{n} ticks on unchanged data changed {len(changed)} files; the last said: {said}")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
