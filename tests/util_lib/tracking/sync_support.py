"""A history that is played on either backend, and all that W&B shows of it afterwards."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil

from tests import warm
from util_lib.tracking.store.database import Store

ROOT = Path(__file__).resolve().parents[3]

ACTOR = """
import json, os, sys
from pathlib import Path
from util_lib import tracking

def png():
    if not Path("dot.png").exists():
        from PIL import Image
        Image.new("RGB", (3, 2), "red").save("dot.png")
    return "dot.png"

def log_artifact(name, files, aliases=None, type="raw_data", **details):
    artifact = tracking.Artifact(name, type=type, **details)
    for path, text in files.items():
        with artifact.new_file(path) as file:
            file.write(text)
    run.log_artifact(artifact, aliases=aliases).wait()

def give_alias(name, alias):
    artifact = tracking.Api().artifact(name)
    artifact.aliases.append(alias)
    artifact.save()

for line in sys.stdin:
    if line.startswith("init"):
        run = eval("tracking." + line)
    else:
        exec(line)
    print("done", flush=True)
"""

SNAPSHOT = """
import json, sys
import wandb

def plain(value):
    if hasattr(value, "items"):
        return {key: plain(item) for key, item in value.items()}
    return value

def without(row, *keys):
    return {key: value for key, value in row.items() if key not in keys}

def key(artifact):
    return f"{artifact.project}/{artifact.source_name}"

api = wandb.Api()
found = {"runs": {}, "artifacts": {}, "clocks": {}, "ids": {}}
for project in json.loads(sys.argv[1]):
    for run in api.runs(project):
        name = f"{project}/{run.id}"
        found["ids"].setdefault(project, []).append(run.id)
        rows = [*run.scan_history()]
        found["clocks"][name] = [
            [row["_step"], row["_timestamp"], row["_runtime"]] for row in rows
        ]
        found["runs"][name] = {
            "name": run.name, "state": run.state, "group": run.group, "job_type": run.job_type,
            "notes": run.notes, "tags": run.tags, "config": run.config, "commit": run.commit,
            "summary": without(plain(run.summary), "_runtime", "_timestamp", "_wandb"),
            "history": [without(plain(row), "_runtime", "_timestamp") for row in rows],
            "figures": {
                file.name: [file.md5, file.size]
                for file in run.files() if file.name.startswith("media/")
            },
            "logged": sorted(map(key, run.logged_artifacts())),
            "used": sorted(map(key, run.used_artifacts())),
        }
    for kind in api.artifact_types(project):
        for collection in kind.collections():
            for artifact in api.artifacts(kind.name, f"{project}/{collection.name}"):
                found["artifacts"][key(artifact)] = {
                    "type": artifact.type, "digest": artifact.digest, "size": artifact.size,
                    "aliases": sorted(artifact.aliases), "description": artifact.description,
                    "metadata": artifact.metadata, "made_by": artifact.logged_by().id,
                    "used_by": sorted(run.id for run in artifact.used_by()),
                    "files": {
                        path: [entry.digest, entry.size]
                        for path, entry in artifact.manifest.entries.items()
                    },
                }
print("SNAPSHOT", json.dumps(found))
wandb.teardown()
"""


class Actor:
    """A process that does one run, line by line."""

    def __init__(self, folder, environment, python=None):
        folder.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [python or warm.python(), "-c", ACTOR],
            cwd=folder,
            env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, line):
        self._process.stdin.write(line.strip() + "\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        assert said == "done\n", said

    def finish(self, code=0):
        self(f"run.finish(exit_code={code})")
        self.leave()

    def leave(self):
        self._process.stdin.close()
        assert self._process.wait(60) == 0
        self._process.stdout.close()

    def kill(self):
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


PROJECTS = ("songs", "other")


def play(folder, environment):
    """Play it: parallel runs, versions of three kinds, moved aliases, all ways a run can end."""

    def start(line, python=None):
        actor = Actor(folder, {"TRACKING_PUBLISH": "parent", **environment}, python)
        actor(line)
        return actor

    first = start(
        'init(project="songs", id="first", name="amber-lake-1", job_type="get_data", group="g1",'
        ' config={"depth": {"max": 3}, "rate": 0.1, "none": None}, tags=["a", "b"], notes="n")'
    )
    first('run.log({"loss": 1.0, "figure": tracking.Image(png())})')
    first('run.log({"loss": 0.5, "nested": {"a": 1}}, step=4)')
    first(
        'log_artifact("table", {"data.txt": "one"}, ["first"], description="d", metadata={"r": 1})'
    )
    first('run.log({"loss": float("nan"), "text": "good"})')
    second = start('init(project="songs", id="second", name="bold-sea-2", group="g1")')
    second('run.use_artifact("table:v0")')
    second('log_artifact("table", {"data.txt": "two"})')
    first('log_artifact("table", {"data.txt": "three", "more/notes.md": "m"}, ["prod"])')
    second('log_artifact("table", {"data.txt": "one"})')  # older content, once more
    second('run.log({"two": [tracking.Image(png(), caption="c"), tracking.Image(png())]})')
    first('run.summary["best"] = 0.25')
    first('run.config.update({"late": True})')
    first.finish()
    second.finish()
    third = start('init(project="other", id="third", name="calm-oak-1", job_type="train")')
    third('run.use_artifact("songs/table:latest")')
    third('log_artifact("model", {"MLmodel": "x", "code/a.py": "y"}, type="model_export")')
    third.finish()
    crash = 'init(project="songs", id="crashed", name="dark-elm-3", config={"a": 1})'
    crashed = start(crash, sys.executable)
    crashed('run.use_artifact("table:prod")')
    crashed('log_artifact("table", {"data.txt": "four"}, ["crashed"])')
    crashed.kill()
    for number, (name, code) in enumerate({"failed": 1, "killed": 130}.items(), start=4):
        actor = start(f'init(project="songs", id="{name}", name="{name}-{number}")')
        actor('run.log({"loss": 2})')
        actor.finish(code)
    again = start('init(project="songs", id="again", name="deep-fir-6")')
    again('log_artifact("table", {"data.txt": "two"})')  # `latest` goes back to v1
    again('give_alias("songs/table:v3", "prod")')
    again('give_alias("songs/table:v1", "best")')
    again.finish()


def snapshot(environment, projects=PROJECTS):
    """Return all that an account shows of these projects, with the client's own read side."""
    done = subprocess.run(
        [warm.python(), "-c", textwrap.dedent(SNAPSHOT), json.dumps(projects)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = [line for line in done.stdout.splitlines() if line.startswith("SNAPSHOT ")]
    assert found, done.stderr
    return json.loads(found[0].removeprefix("SNAPSHOT "), parse_constant=str)


def command(*given, environment, folder, python=sys.executable, **more):
    """Start `python -m util_lib.tracking`."""
    return subprocess.Popen(
        [python, "-m", "util_lib.tracking", *map(str, given)],
        cwd=folder,
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT), **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run_command(*given, **named):
    """Run it to its end: exit code, stdout, stderr."""
    process = command(*given, python=warm.python(), **named)
    stdout, stderr = process.communicate(timeout=300)
    return process.returncode, stdout, stderr


class Plane:
    """A machine that was offline, with an account of the double."""

    def __init__(self, folder, account):
        self.folder, self.account = folder, account
        self.environment = {**account.environment, "TRACKING_STORE": str(folder / "store")}

    def command(self, *given, **more):
        return run_command(*given, environment={**self.environment, **more}, folder=self.folder)

    def sync(self, *given, **more):
        code, stdout, stderr = self.command("sync", *given, **more)
        assert code == 0, stdout + stderr
        assert not self.left_over()
        return stdout

    def pull(self, *given, **more):
        code, stdout, stderr = self.command("pull", *given, **more)
        assert code == 0, stdout + stderr
        assert not self.left_over()
        return stdout

    def refused(self, *given, **more):
        code, stdout, stderr = self.command(*given, **more)
        assert code == 1 and stderr.count("\n") == 1, stdout + stderr
        assert self.account.api_key not in stdout + stderr
        assert not self.left_over()
        return stderr

    def left_over(self):
        """Return the client's service processes that outlived their sync."""
        return [process for process in psutil.process_iter() if self._is_mine(process)]

    def snapshot(self, *projects):
        return snapshot(self.account.environment, *([projects] if projects else []))

    def clocks(self):
        """Return step, timestamp and runtime of every step in the store, run by run."""
        return {
            f"{run.project}/{run.id}": [
                [row["_step"], row["_timestamp"], row["_runtime"]] for row in run.history()
            ]
            for run in Store(self.folder / "store").runs()
        }

    def _is_mine(self, process):
        try:
            key = process.environ().get("WANDB_API_KEY")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False
        return process.name() == "wandb-core" and key == self.account.api_key

    def elsewhere(self, source):
        """Let somebody else do something at W&B."""
        done = subprocess.run(
            [warm.python(), "-c", f"from util_lib import tracking\n{source}"],
            cwd=self.folder.parent,
            env={**os.environ, **self.account.environment, "PYTHONPATH": str(ROOT)}
            | {"TRACKING_BACKEND": "wandb", "TRACKING_PUBLISH": "parent"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


def same(found, expected):
    """Compare two snapshots, run by run and version by version; clocks differ."""
    for part in ("runs", "artifacts"):
        assert sorted(found[part]) == sorted(expected[part])
        for name in expected[part]:
            for key, value in expected[part][name].items():
                assert found[part][name][key] == value, (name, key)
