"""What a sweep costs, beside the fits alone and beside one `mlflow.run` per trial.

    PIPELINE_DATA=../shared/data python benchmarks/sweep.py --dataset music_genre --trials 40

Prints CPU seconds (of all processes) and wall seconds: of the sweep by joblib (cold: processes,
data and MLflow start within it), of (a) the fits alone, one after the other in one process with
the data loaded, and of (b) the same sweep by joblib with one `mlflow.run` per trial, for `--plain`
trials of a middle depth, scaled. (c) is Optuna alone, one trial after the
other in one process, with the same values and an objective that fits and scores; nothing is kept.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
DEPTH = "random_forest_pipeline.random_forest.max_depth"
WORDS = "random_forest_pipeline.tfidf.max_features"
TREES = "random_forest_pipeline.random_forest.n_estimators"
WORD_VALUES = (50, 100, 150, 200, 250)
LOOK_S = 0.25  # between two looks at the CPU of all processes
LOCAL = "main.env_manager=local"  # the environments' making is not what is measured

# Fits what the single run with these values would fit, and prints its CPU seconds. With `optuna`
# the same values are handed to a study, whose objective fits and scores on the validation rows.
FITS = """
import argparse, json, sys, tempfile, time, warnings
sys.path.insert(0, {root!r})
from train_random_forest import run as step
from util_lib import tracking
from util_lib.model import inference_pipeline, measuring, training
from util_lib.model import config as model_config
given = json.loads(sys.argv[1])
last = [r for r in tracking.Api().runs(given["project"]) if r.job_type == step.logger.name][-1]
section = last.config["random_forest_pipeline"]
data = tracking.Api().artifact(f"{{given['project']}}/data_train.parquet:latest")
config = model_config.RandomForestPipeline.model_validate(section)
with tempfile.TemporaryDirectory() as folder:
    frame, _ = training.read_rows(data, config, folder, argparse.Namespace())
train, val = training.split(frame, argparse.Namespace(**{{**last.config, "random_seed": 42}}))
cpu, wall = time.process_time(), time.perf_counter()
def fit(depth, words):
    forest = section["random_forest"] | {{"max_depth": depth, "n_estimators": given["trees"]}}
    tfidf = section["tfidf"] | {{"max_features": words}}
    values = section | {{"random_forest": forest, "tfidf": tfidf}}
    config = model_config.RandomForestPipeline.model_validate(values)
    pipeline = inference_pipeline.make_inference_pipeline(config)
    inference_pipeline.fit(pipeline, train, config)
    return pipeline
def objective(trial):
    pipeline = fit(trial.suggest_int("depth", 1, 100), trial.suggest_int("words", 1, 1000))
    truth = val[config.target].to_numpy()
    return [*measuring.score(pipeline, val, truth, config.task, "val")[0].values()][0]
if given.get("optuna"):
    import optuna
    study = optuna.create_study(direction="maximize")
    for depth, words in given["trials"]:
        study.enqueue_trial({{"depth": depth, "words": words}})
    study.optimize(objective, n_trials=len(given["trials"]))
else:
    for depth, words in given["trials"]:
        fit(depth, words)
print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall]))
"""


def build_parser() -> argparse.ArgumentParser:
    """Name what can be chosen."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", default="songs_demo", help="a dataset of conf/dataset")
    parser.add_argument("--trials", type=int, default=10, help="a multiple of 5")
    parser.add_argument("--plain", type=int, default=4, help="trials run by mlflow.run, 2 to 5")
    parser.add_argument("--trees", type=int, default=100, help="of each forest")
    return parser


def measured(folder: Path, *command: str) -> tuple[float, float, str]:
    """Run a command and return CPU seconds of it and all below it, wall seconds, and its output.

    Processes that are killed by their parents are counted too, up to the last look.
    """
    seen: dict[tuple[int, float], float] = {}
    over = threading.Event()
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"TRACKING_STORE": str(folder / "tracking_store")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def look() -> None:
        while not over.wait(LOOK_S):
            try:
                root = psutil.Process(process.pid)
                found = [root, *root.children(recursive=True)]
            except psutil.Error:
                continue
            for one in found:
                try:
                    times = one.cpu_times()
                    seen[one.pid, one.create_time()] = times.user + times.system
                except psutil.Error:
                    continue

    watcher = threading.Thread(target=look)
    watcher.start()
    said, _ = process.communicate()
    over.set()
    watcher.join()
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{said}")
    return sum(seen.values()), time.perf_counter() - started, said


def main(folder: Path, dataset: str, *given: str) -> tuple[float, float, str]:
    """Run main.py."""
    command = [sys.executable, str(ROOT / "main.py"), f"dataset={dataset}", LOCAL]
    return measured(folder, *command, *given)


def fits(folder: Path, about: dict[str, Any]) -> tuple[float, float]:
    """Fit in one process what `about` says; return CPU and wall seconds without its start."""
    script = FITS.format(root=str(ROOT))
    _, _, said = measured(folder, sys.executable, "-c", script, json.dumps(about))
    cpu, wall = json.loads(said.splitlines()[-1])
    return cpu, wall


def show(what: str, cpu: float, wall: float, trials: int, base: float) -> None:
    """Print one row."""
    print(
        f"{what:34} {cpu:8.1f} CPU s {wall:8.1f} s wall {60 * trials / wall:7.1f} trials/min"
        f" {cpu / base:6.2f} x CPU of (a)",
        flush=True,
    )


def compare(folder: Path, args: argparse.Namespace) -> None:
    """Measure each way, and print a row for it."""
    import yaml

    # The data that all ways train on, and one run whose configuration they take.
    main(
        folder,
        args.dataset,
        "main.execute_steps='get_data,preprocess,segregate,train_random_forest'",
    )
    depths = [10 + 5 * step for step in range(args.trials // len(WORD_VALUES))]
    trials = [[depth, words] for depth in depths for words in WORD_VALUES]
    text = (ROOT / "conf" / "dataset" / f"{args.dataset}.yaml").read_text(encoding="utf-8")
    project = yaml.safe_load(text)["main"]["project_name"]
    about = {"project": project, "trials": trials, "trees": args.trees}
    base, wall = fits(folder, about)
    print(f"{len(trials)} trials of {args.trees} trees on {args.dataset}, {os.cpu_count()} cores")
    show("(a) the fits alone, one process", base, wall, len(trials), base)
    show(
        "(c) Optuna alone, one process", *fits(folder, about | {"optuna": True}), len(trials), base
    )

    train = "main.execute_steps=train_random_forest"
    swept = (f"{DEPTH}={','.join(map(str, depths))}", f"{WORDS}={','.join(map(str, WORD_VALUES))}")
    options = ("-m", "hydra/launcher=joblib", f"{TREES}={args.trees}")
    cpu, wall, _ = main(folder, args.dataset, train, *options, *swept)
    show("sweep by joblib", cpu, wall, len(trials), base)

    # A step that is named by its address is run as any MLflow project, once for each job.
    address = f"steps.train_random_forest.uri={ROOT / 'train_random_forest'}"
    middle = depths[len(depths) // 2]
    words = ",".join(map(str, WORD_VALUES[: args.plain]))
    plain = (f"{DEPTH}={middle}", f"{WORDS}={words}", "main.cache=false")
    cpu, wall, _ = main(folder, args.dataset, train, address, *options, *plain)
    scale = len(trials) / args.plain
    what = f"(b) mlflow.run each, {args.plain} scaled"
    show(what, cpu * scale, wall * scale, len(trials), base)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="sweep_") as made:
        compare(Path(made), build_parser().parse_args())
