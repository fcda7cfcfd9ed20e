"""A folder in which a user sweeps: a small table's training and test rows lie in its store."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml
from step_support import DECLARED, make_songs, with_text

from tests import warm

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "tiny"
DEPTH = "random_forest_pipeline.random_forest.max_depth"
TREES = "random_forest_pipeline.random_forest.n_estimators"
WORDS = "random_forest_pipeline.tfidf.max_features"
LOG_ROWS = """
import sys
from util_lib import tracking
with tracking.init(project=sys.argv[1], job_type="segregate") as run:
    for path in sys.argv[2:]:
        run.log_artifact(path, name=path.rpartition("/")[2], type="split_data").wait()
"""


class Place:
    """Where the user stands; `environment` is what their shell has."""

    def __init__(self, folder: Path, more: dict[str, str] | None = None) -> None:
        self.folder = folder
        ours = ("WANDB_", "MLFLOW_", "TRACKING_", "PIPELINE_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        kept |= {"NETRC": os.devnull, "WANDB_CONFIG_DIR": os.devnull, "PYTHONPATH": str(ROOT)}
        self.environment = warm.first_on_path(kept) | (more or {})

    def declare(self) -> None:
        """Write `dataset=tiny`, and log the rows that training and evaluate read."""
        conf = self.folder / "conf" / "dataset"
        conf.mkdir(parents=True)
        model = {
            "random_forest": {"n_estimators": 5, "max_depth": 3},
            "tfidf": {"max_features": 5},
        }
        content = {
            "main": {"project_name": PROJECT},
            "data": DECLARED,
            "random_forest_pipeline": model,
        }
        text = f"# @package _global_\n{yaml.safe_dump(content, sort_keys=False)}"
        (conf / "tiny.yaml").write_text(text)
        songs = with_text(make_songs(400))
        paths = []
        for name, rows in (("data_train.parquet", songs[:300]), ("data_test.parquet", songs[300:])):
            path = self.folder / name
            rows.to_parquet(path, index=False)
            paths.append(str(path))
        done = self.call(warm.python(), "-c", LOG_ROWS, PROJECT, *paths, TRACKING_PUBLISH="parent")
        assert done.returncode == 0, done.stderr

    def command(self, python: str, *given: str) -> list[str]:
        options = ["main.env_manager=local", "dataset=tiny", *given]
        if not any("execute_steps" in word for word in given):
            options.append("main.execute_steps=train_random_forest")
        return [python, str(ROOT / "main.py"), *options]

    def main(self, *given: str, **more: str) -> subprocess.CompletedProcess:
        return self.call(*self.command(warm.python(), *given), **more)

    def sweep(self, name: str, *given: str, **more: str) -> subprocess.CompletedProcess:
        return self.main("-m", f"sweep.name={name}", *given, **more)

    def start(self, *given: str) -> subprocess.Popen:
        """Start main.py as it is, for what is said of signals."""
        return subprocess.Popen(
            self.command(sys.executable, *given),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def call(self, *command: str, **more: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def ask(self, code: str) -> object:
        """Evaluate an expression that sees `api` and `trials(name)`."""
        program = (
            "import json; from util_lib import tracking; from pipeline.sweeps import record;"
            f"api = tracking.Api(); trials = lambda n: record.trials({PROJECT!r}, n);"
            f"print(json.dumps({code}))"
        )
        done = self.call(warm.python(), "-c", program)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


def said(done: subprocess.CompletedProcess) -> list[str]:
    """Return the lines about trials, without their seconds."""
    lines = [line for line in done.stdout.splitlines() if re.match(r"trial [\d/]+ \(", line)]
    return sorted(re.sub(r" in [\d.]+ s$", "", line) for line in lines)
