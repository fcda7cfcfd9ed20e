"""What the pipeline costs around the steps' own work, as ratios measured in one run.

Six trivial steps (they print one line) are run in three ways, in turn, several times:

    python run.py x 6     the floor: six processes, no MLflow
    plain MLflow          `mlflow run` of a main.py that calls `mlflow.run` on the six folders
    this project          `mlflow run` of this project, its steps replaced by the six folders

All with --env-manager local, the same interpreter, each in a git checkout (MLflow asks git for the
commit) and with its own warm SQLite database, so that what differs is main.py. Figures are medians;
CPU is user + system time of all processes.

    python benchmarks/overhead.py [--repeats 5]
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipeline.planning.plan import plan
from pipeline.planning.step import Step
from pipeline.settings import (
    overrides,
    resolvers,
    schema,
)

PLAIN_MAIN = """import json, sys
import mlflow
with mlflow.start_run():
    for folder, parameters in json.load(open(sys.argv[1])):
        mlflow.run(folder, "main", parameters=parameters, env_manager="local")
"""


def parameters_of(step: Step) -> dict[str, str]:
    """Return what the step is called with; its YAML files as some path."""
    return {**step.parameters, **{name: "some.yaml" for name in step.files}}


def make_steps(folder: Path, steps: list[Step]) -> list[tuple[str, dict[str, str]]]:
    """Write one trivial MLproject for each step; return folders and parameters."""
    made = []
    for step in steps:
        home = folder / step.name
        home.mkdir(parents=True)
        names = parameters_of(step)
        flags = " ".join(f"--{name} {{{name}}}" for name in names)
        entry = {
            "parameters": {name: {"type": "string"} for name in names},
            "command": f"python run.py {flags}",
        }
        project = {"name": step.name, "entry_points": {"main": entry}}
        (home / "MLproject").write_text(yaml.safe_dump(project))
        (home / "run.py").write_text(f"print('{step.name} ran')\n")
        made.append((str(home), names))
    return made


def idle(name: str, entry: schema.StepEntry) -> str:
    """Return the overrides by which a step may read and make nothing."""
    outputs = [output for output in entry.outputs if entry.only_when.get(str(output)) is False]
    return (
        f"++steps.{name}.outputs=[{','.join(map(str, outputs))}] "
        f"++steps.{name}.may_be_absent=[{','.join(entry.inputs)}]"
    )


def plain_environment() -> dict[str, str]:
    """Return this process's variables without those that lead runs elsewhere."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MLFLOW_", "WANDB_", "TRACKING_", "PIPELINE_"))
        and name != "PYTHONDONTWRITEBYTECODE"
    }
    scripts = str(Path(sys.executable).parent)
    environment["PATH"] = f"{scripts}{os.pathsep}{environment['PATH']}"
    return environment


def measure(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Run `command` in `folder`; return CPU and wall seconds of it and all its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, wall


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="runs of each way (default 5)")
    args = parser.parse_args()
    resolvers.register_resolvers()
    settings = schema.check(overrides.base_config([]))
    steps = plan(settings)
    environment = plain_environment()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        trivial = make_steps(folder / "steps", steps)
        plain = folder / "plain"
        plain.mkdir()
        (plain / "main.py").write_text(PLAIN_MAIN)
        (plain / "calls.json").write_text(json.dumps(trivial))
        entry = {"command": "python main.py calls.json"}
        (plain / "MLproject").write_text(
            yaml.safe_dump({"name": "plain", "entry_points": {"main": entry}})
        )
        git = ["git", "-C", str(folder), "-c", "user.name=b", "-c", "user.email=b@example.test"]
        for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "steps"]):
            subprocess.run([*git, *words], check=True)
        floor = " && ".join(f"python {home}/run.py" for home, _ in trivial)
        # The trivial steps make and read nothing, so they run one after the other by main.jobs.
        given = " ".join(
            f"steps.{step.name}.uri={home} {idle(step.name, settings.steps[step.name])}"
            for step, (home, _) in zip(steps, trivial, strict=True)
        )
        options = f"hydra_options=main.env_manager=local main.cache=false main.jobs=1 {given}"
        local = ["--env-manager", "local"]
        ways = {
            "python run.py x 6": ["bash", "-c", floor],
            "plain MLflow": ["mlflow", "run", str(plain), *local],
            "this project": ["mlflow", "run", str(ROOT), *local, "-P", options],
        }
        figures: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for repeat in range(args.repeats + 1):
            for number, (way, command) in enumerate(ways.items()):
                home = folder / f"home{number}"
                home.mkdir(exist_ok=True)
                figure = measure(command, home, environment)
                if repeat:  # the first makes databases and bytecode
                    figures[way].append(figure)
                print(f"{repeat}/{args.repeats} {way}: {figure[0]:.2f} CPU s", file=sys.stderr)
    medians = {way: [statistics.median(f[k] for f in figures[way]) for k in (0, 1)] for way in ways}
    cpu, wall = medians["plain MLflow"]
    print(f"{'':20} {'CPU s':>7} {'wall s':>7} {'CPU / plain':>12} {'wall / plain':>13}")
    for way, (its_cpu, its_wall) in medians.items():
        print(
            f"{way:20} {its_cpu:7.2f} {its_wall:7.2f} {its_cpu / cpu:12.2f} {its_wall / wall:13.2f}"
        )


if __name__ == "__main__":
    main()
