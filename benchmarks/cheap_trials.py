"""What a trial of a sweep costs besides its fit, beside Hydra alone; and what the store grows by.

In an empty folder the demo's steps before training run once. Then two sweeps of forests of five
trees, one of few trials and one of many: their difference, by trial, is CPU of all processes. The
floor is Hydra with the same configuration and a job that does nothing. The fit itself takes about
0.05 s.

    python benchmarks/cheap_trials.py [--trials 40] [--overrides hydra/launcher=joblib]
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FEW = 2
FOREST = "random_forest_pipeline.random_forest."
HYDRA_ALONE = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import hydra
from pipeline.settings.resolvers import register_resolvers
register_resolvers()
@hydra.main(version_base="1.3", config_path={str(ROOT)!r}, config_name="config")
def go(config):
    return 0.0
go()
"""


def cpu_s(*command: str) -> float:
    """Run a command, and return the CPU seconds of it and of all that it started."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def size_mb() -> float:
    """Return what the store holds."""
    return sum(path.stat().st_size for path in Path("tracking_store").rglob("*")) / 1e6


def main() -> None:
    """Print CPU seconds a trial of both, and the growth of the store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--overrides", nargs="*", default=["hydra/launcher=joblib"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ |= {"PIPELINE_HOME": folder, "TRACKING_BACKEND": "local"}
        alone = Path("alone.py")
        alone.write_text(HYDRA_ALONE)
        main_py = (str(ROOT / "main.py"), "main.env_manager=local")
        cpu_s(*main_py, "main.execute_steps=[get_data,preprocess,check_data,segregate]")
        cost = {}
        for name, start in (("Hydra alone", (str(alone),)), ("a sweep", main_py)):
            seconds, sizes = [], [0.0]
            for n, first in ((FEW, 2), (args.trials, 2 + FEW)):
                depths = ",".join(map(str, range(first, first + n)))
                swept = (f"{FOREST}n_estimators=5", f"{FOREST}max_depth={depths}")
                seconds.append(cpu_s(*start, "-m", *args.overrides, *swept))
                sizes.append(size_mb())
            cost[name] = (seconds[1] - seconds[0]) / (args.trials - FEW)
            print(f"{name:12}{cost[name]:6.2f} CPU s a trial")
        print(f"ratio {cost['a sweep'] / cost['Hydra alone']:.2f}")
        print(f"the store grew by {sizes[2] - sizes[1]:.1f} MB in {args.trials} trials")


if __name__ == "__main__":
    main()
