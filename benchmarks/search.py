"""What a Bayesian search reaches with as many trials as a grid has, over several seeds.

The grid is the one of the documents: 4 depths of the trees x 3 numbers of words = 12 trials. The
searches look through the whole numbers in the same box, 12 trials each:

    grid      depth 10, 20, 30, 40; 50, 100, 150 words
    random    hydra/sweeper=optuna whose every trial is a start-up trial
    optuna    hydra/sweeper=optuna, one trial after the other

All on one split of the data (main.random_seed), so that the scores compare; only the search's seed
differs. Steps run with the packages installed here, in a temporary folder. The score is that of
the validation rows, with its standard error.

    python benchmarks/search.py [--seeds 1,2,3,4,5] [--kinds grid,optuna,random]
        [--options "dataset=music_genre"]
"""

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.overhead import ROOT, plain_environment
from pipeline.sweeps import record
from pipeline.sweeps.leaderboard import ranking
from util_lib.tracking import choice

DEPTH = "random_forest_pipeline.random_forest.max_depth"
WORDS = "random_forest_pipeline.tfidf.max_features"
GRID = [f"{DEPTH}=range(10,50,10)", f"{WORDS}=range(50,200,50)"]
BOX = [f"{DEPTH}=range(10,41)", f"{WORDS}=range(50,151)"]
N_TRIALS = 12


class Reached(NamedTuple):
    """The best score of a sweep, its standard error, and the trial that reached it."""

    score: float
    error: float
    trial: record.Trial


def run(folder: Path, options: list[str], *given: str) -> None:
    """Run main.py in `folder`; end this program where it fails."""
    command = [sys.executable, str(ROOT / "main.py"), "main.env_manager=local", *options, *given]
    environment = plain_environment() | {
        name: os.environ[name] for name in ("PIPELINE_DATA",) if name in os.environ
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)} failed:\n{done.stdout}\n{done.stderr}")


def sweep(folder: Path, options: list[str], name: str, *given: str) -> Reached:
    """Run one sweep of the training step and return what it reached."""
    run(
        folder,
        options,
        "-m",
        "main.execute_steps=train_random_forest",
        f"sweep.name={name}",
        *given,
    )
    found = ranking.read(name)
    if len(found.measured) != N_TRIALS:
        raise SystemExit(f"sweep {name} has {len(found.measured)} trials, expected {N_TRIALS}")
    best = found.measured[0]
    return Reached(found.values(best)[0], found.error(best), best)


def shown(name: str, reached: list[Reached]) -> str:
    """Return one line: the median of the best scores, the lowest and the highest."""
    scores = sorted(each.score for each in reached)
    return (
        f"{name:8} median {statistics.median(scores):.4f}, "
        f"{scores[0]:.4f} to {scores[-1]:.4f} in {len(scores)} sweeps"
    )


def main(argv: list[str] | None = None) -> None:
    """Run everything and print it; `argv` defaults to the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="1,2,3,4,5", help="of the searches, comma-separated")
    parser.add_argument("--kinds", default="grid,optuna,random", help="what is run")
    parser.add_argument("--options", default="", help="overrides for every run")
    args = parser.parse_args(argv)
    options, kinds = shlex.split(args.options), args.kinds.split(",")
    found: dict[str, list[Reached]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory(prefix="search_") as name:
        folder = Path(name)
        os.environ["TRACKING_STORE"] = str(folder / "tracking_store")
        os.environ[choice.VARIABLE] = "local"
        run(folder, options, "main.execute_steps=[get_data,preprocess,segregate]")
        if "grid" in kinds:
            found["grid"].append(sweep(folder, options, "grid", *GRID))
            tell("grid", "", found["grid"][0])
        for kind in kinds:
            startup = {"optuna": "null", "random": str(N_TRIALS)}.get(kind)
            for seed in args.seeds.split(",") if startup else ():
                given = ["hydra/sweeper=optuna", f"hydra.sweeper.n_trials={N_TRIALS}"]
                given += [f"hydra.sweeper.seed={seed}", f"hydra.sweeper.startup={startup}"]
                found[kind].append(sweep(folder, options, f"{kind}-{seed}", *given, *BOX))
                tell(kind, seed, found[kind][-1])
    for kind in kinds:
        print(shown(kind, found[kind]))


def tell(kind: str, seed: str, reached: Reached) -> None:
    """Print what one sweep reached."""
    values: dict[str, Any] = reached.trial.overrides
    print(
        f"{kind} {seed}: {reached.score:.4f} ± {reached.error:.4f}, trial {reached.trial.number} "
        f"({record.described(values)})",
        flush=True,
    )


if __name__ == "__main__":
    main()
