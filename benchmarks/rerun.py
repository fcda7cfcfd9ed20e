"""What it costs to run the pipeline again when nothing has changed, as ratios measured in one run.

The first run of the whole pipeline, then, in turn and several times:

    python -c pass            the floor of every Python program
    python -c 'import hydra'  the floor of every program configured by Hydra
    python main.py            every step cached
    mlflow run .              every step cached
    dvc, zenml, prefect       six trivial steps, every one cached; only with --peers

Steps run with the packages installed here (main.env_manager=local); the runs lie in a temporary
folder. Figures are medians; CPU is user + system time of all processes. docs/benchmarks.md says how
the peers are installed.

    python benchmarks/rerun.py [--repeats 7] [--options "dataset=iris"] [--peers FOLDER]
"""

import argparse
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.overhead import ROOT, measure, plain_environment

PEERS = Path(__file__).resolve().parent / "peers"
BASE = "python main.py"


# What each says of a step that it does not run again; None: there are no steps.
CACHED = {
    "python -c pass": None,
    "python -c 'import hydra'": None,
    BASE: ": cached",
    "mlflow run .": ": cached",
    "dvc": "didn't change, skipping",
    "zenml": "Using cached version of step",
    "prefect": "Cached(type=COMPLETED)",
}


class Way(NamedTuple):
    """A command, where it runs, and with which environment."""

    command: list[str]
    folder: Path
    environment: dict[str, str]


def refuse_work(name: str, way: Way) -> None:
    """Run a way once more, which makes bytecode; end this program unless six steps are cached."""
    done = subprocess.run(
        way.command, cwd=way.folder, env=way.environment, capture_output=True, text=True, check=True
    )
    words = CACHED[name if name in CACHED else name.split()[0]]
    if words and (found := (done.stdout + done.stderr).count(words)) != 6:
        raise SystemExit(f"{name}: {found} of 6 steps are cached:\n{done.stdout}\n{done.stderr}")


def ours(folder: Path, options: str) -> tuple[dict[str, Way], dict[str, Way]]:
    """Return the floors, and this project's two ways, each with a folder of its own."""
    environment = plain_environment() | {"TRACKING_BACKEND": "local"}
    given = f"main.env_manager=local {options}".strip()
    started = ["mlflow", "run", str(ROOT), "--env-manager", "local"]
    floors = {
        "python -c pass": ["python", "-c", "pass"],
        "python -c 'import hydra'": ["python", "-c", "import hydra"],
    }
    pipelines = {
        BASE: ["python", str(ROOT / "main.py"), *shlex.split(given)],
        "mlflow run .": [*started, "-P", f"hydra_options={given}"],
    }
    return tuple(
        {name: Way(words, home(folder, name), environment) for name, words in commands.items()}
        for commands in (floors, pipelines)
    )


def home(folder: Path, name: str) -> Path:
    """Make the folder in which a way runs."""
    path = folder / "".join(letter if letter.isalnum() else "_" for letter in name)
    path.mkdir()
    return path


def peers(folder: Path, installed: Path) -> dict[str, Way]:
    """Prepare the peers that are installed, each with settings and results of its own."""
    found = {}
    for name in ("dvc", "zenml", "prefect"):
        scripts = installed / name / "bin"
        if not scripts.is_dir():
            continue
        place = home(folder, name)
        environment = plain_environment() | {
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(place),
            "DVC_NO_ANALYTICS": "1",
            "ZENML_CONFIG_PATH": str(place / "zenml"),
            "ZENML_ANALYTICS_OPT_IN": "false",
            "PREFECT_HOME": str(place / "prefect"),
            "DO_NOT_TRACK": "1",
        }
        command = ["dvc", "repro"]
        if name == "dvc":
            shutil.copy(PEERS / "dvc.yaml", place)
            (place / "start.txt").write_text("start\n")
            prepare = [["git", "init", "-q"], ["dvc", "init", "-q"]]
        else:
            shutil.copy(PEERS / f"{name}_steps.py", place)
            prepare = [["zenml", "init"]] if name == "zenml" else []
            command = ["python", f"{name}_steps.py"]
        for words in prepare:
            subprocess.run(words, cwd=place, env=environment, check=True, capture_output=True)
        version = subprocess.run(
            ["python", "-c", f"from importlib import metadata; print(metadata.version('{name}'))"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        found[f"{name} {version}"] = Way(command, place, environment)
    return found


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="runs of each way (default 7)")
    parser.add_argument("--options", default="", help="overrides for main.py, as one text")
    parser.add_argument("--peers", type=Path, help="folder of environments dvc, zenml, prefect")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        floors, pipelines = ours(Path(temporary), args.options)
        others = peers(Path(temporary), args.peers.resolve()) if args.peers else {}
        ways = {**floors, **pipelines, **others}
        figures: dict[str, list[tuple[float, float]]] = {
            f"{name}, first": [measure(*way)] for name, way in (pipelines | others).items()
        }
        for name, way in ways.items():
            refuse_work(name, way)
        for repeat in range(1, args.repeats + 1):
            for name, way in ways.items():
                figure = measure(*way)
                figures.setdefault(name, []).append(figure)
                print(f"{repeat}/{args.repeats} {name}: {figure[0]:.2f} CPU s", file=sys.stderr)
    medians = {
        name: [statistics.median(f[k] for f in figures[name]) for k in (0, 1)] for name in figures
    }
    cpu, wall = medians[BASE]
    print(f"{'':26} {'CPU s':>7} {'wall s':>7} {f'CPU / {BASE}':>21} {'wall / it':>10}")
    for name in [*ways, *(name for name in medians if name not in ways)]:
        its_cpu, its_wall = medians[name]
        print(
            f"{name:26} {its_cpu:7.2f} {its_wall:7.2f} {its_cpu / cpu:21.2f}"
            f" {its_wall / wall:10.2f}"
        )


if __name__ == "__main__":
    main()
