"""A copy of this project whose six steps do next to nothing: they log texts made of their inputs.

What a step logs depends on its parameters, on the texts of its inputs and on the word `salt` in
its run.py, and on nothing else: so it can be worked out what a run from scratch would log.
"""

import shutil
from pathlib import Path

from pipeline.planning.step import Step

ROOT = Path(__file__).resolve().parents[2]
STEPS = ("get_data", "preprocess", "check_data", "segregate", "train_random_forest", "evaluate")
COPIED = ("main.py", "config.yaml", "conf", "pipeline", "util_lib", "tools", "hydra_plugins")

RUN = """
import hashlib, json, os, sys, tempfile
from pathlib import Path
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from util_lib import cli, tracking
salt = "plain"
name = Path(__file__).parent.name
given = dict(word[2:].split("=", 1) for word in sys.argv[1:])

def main():
    with open(os.environ["RAN"], "a") as ran:
        ran.write(name + chr(10))
    if os.environ.get("FAILS") == name:
        sys.exit(f"{name}: told to fail")
    with tracking.init(job_type=name, config=given) as run:
        texts = [salt]
        for key in sorted(given):
            value = given[key]
            if key == "file_url":
                path = Path(__file__).parents[1].joinpath(value)
                files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
                texts += [file.read_text() for file in files]
            elif key in ("dataset_config", "model_config"):
                texts.append(Path(value).read_text())
            elif ":" in value and key != "reference_artifact":
                with tempfile.TemporaryDirectory() as folder:
                    texts.append(Path(run.use_artifact(value).file(folder)).read_text())
            else:
                texts.append(f"{key}={value}")
        for output in json.loads(Path(__file__).with_name("outputs.json").read_text()):
            artifact = tracking.Artifact(output, type="text")
            with artifact.new_file("text") as file:
                file.write(hashlib.sha256("|".join([output, *texts]).encode()).hexdigest())
            run.log_artifact(artifact)
        run.summary["letters"] = len("".join(texts))

sys.exit(cli.exit_code(main))
"""


def make_project(folder: Path, steps: list[Step]) -> Path:
    """Write the project into `folder`: this checkout's main.py and what it needs, other steps."""
    import json

    import yaml

    folder.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name)  # with its bytecode
        else:
            shutil.copy(source, folder / name)
    for step in steps:
        home = folder / step.name
        home.mkdir()
        names = [*step.parameters, *step.files]
        flags = " ".join(f"--{name}={{{name}}}" for name in names)
        entry = {
            "parameters": {name: {"type": "string"} for name in names},
            "command": f"python run.py {flags}",
        }
        project = {"name": step.name, "entry_points": {"main": entry}}
        (home / "MLproject").write_text(yaml.safe_dump(project))
        (home / "conda.yml").write_text("name: trivial\n")
        (home / "outputs.json").write_text(json.dumps(list(step.outputs)))
        (home / "run.py").write_text(RUN)
    return folder
