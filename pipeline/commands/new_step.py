"""Write the folder of a new step, which runs as it is, where you stand.

Started by `mlflow run . -e new_step -P name=... -P inputs=... -P outputs=...`. The program
cookiecutter makes the same of the same template, cookie-mlflow-step.
"""

import argparse
import fcntl
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import yaml

from pipeline.commands import step_template
from pipeline.commands.step_template import NewStep
from pipeline.running.exit_code import exit_code
from pipeline.settings import surroundings
from util_lib import cli, safe_files, yaml_files
from util_lib.errors import UserError
from util_lib.project import ROOT
from util_lib.tracking.store.places import store_directory

HEAD = "# @package _global_\nsteps:\n"
OURS = ROOT / "conf" / "pipeline"
FIRST = re.compile(r"^  \w+:\n(?:    .*\n)+", re.MULTILINE)  # the entry that gets the data
NOTHING_WRITTEN = "nothing was written; free space there or correct its permissions"


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; the root MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument("--name", required=True, help="of the step and of its folder")
    parser.add_argument("--inputs", required=True, help="artifacts it reads, comma-separated")
    parser.add_argument("--outputs", required=True, help="artifact it writes")
    parser.add_argument("--parameters", default="", help='such as "min_len:int=3,lang:str=en"')
    parser.add_argument("--description", default="", help="what it does, in one line")
    parser.add_argument("--pipeline", default="", help="conf/pipeline/<name>.yaml gets the step")
    return parser


def request(arguments: argparse.Namespace) -> NewStep:
    """Return the step that was asked for, checked."""
    answers = {
        **step_template.template(),
        "step_name": arguments.name,
        "job_type": arguments.name,
        "inputs": arguments.inputs,
        "outputs": arguments.outputs,
        "parameters": arguments.parameters,
    }
    if arguments.description:
        answers["short_description"] = arguments.description.removesuffix(".")
    return step_template.check(answers)


def begun() -> str:
    """Return a pipeline file to begin with: its one step gets the data, as the project's does."""
    first = FIRST.search((OURS / "training.yaml").read_text(encoding="utf-8"))
    return HEAD + (first[0] if first else "")


def with_entry(path: Path, step: NewStep) -> str:
    """Return the pipeline file at `path` with the step at its end; what is there stays as it is."""
    try:
        before = yaml_files.text_of(path) if path.exists() else begun()
        was = yaml_files.parse(before, str(path)) or {}
        steps = was.get("steps") or {}
        if step.name in steps:
            raise UserError(f"{path} already has a step {step.name!r}: choose another name")
        after = f"{before.rstrip()}\n\n{step.entry}"
        added = {**steps, **yaml.safe_load(step.entry)}
        if yaml.safe_load(after) != {**was, "steps": added}:
            raise yaml.YAMLError
    except (yaml.YAMLError, AttributeError, TypeError, UnicodeDecodeError):
        raise UserError(
            f"{path} does not end with its steps, each indented by two spaces: leave pipeline= out "
            "and put what is then printed where it belongs"
        ) from None
    return after


def write(step: NewStep, home: Path, pipeline: str) -> None:
    """Write the step's folder into `home` and its entry into a pipeline file, or neither."""
    path = home / "conf" / "pipeline" / f"{pipeline}.yaml"
    if pipeline and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", pipeline):
        raise UserError(f"pipeline must be a word such as mine, found {pipeline!r}")
    if (OURS / path.name).exists() and not path.exists():
        raise UserError(f"pipeline {pipeline!r} is one of the project's own: choose another name")
    with (
        safe_files.writing(home, NOTHING_WRITTEN),
        # Others wait: each adds to the pipeline file that it finds.
        safe_files.flocked(home, fcntl.LOCK_EX),
        tempfile.TemporaryDirectory(dir=home, prefix=f".{step.name}.making-") as tmp,
    ):
        folder = home / step.name
        if os.path.lexists(folder):
            raise UserError(f"{folder} already exists: choose another name, or remove it")
        after = with_entry(path, step) if pipeline else ""
        made, draft = Path(tmp, "step"), Path(tmp, "pipeline.yaml")
        made.mkdir()
        step_template.render(step, made)
        draft.write_text(after, encoding="utf-8")
        if pipeline:
            path.parent.mkdir(parents=True, exist_ok=True)
        made.rename(folder)
        try:
            if pipeline:
                draft.replace(path)
        except OSError:
            shutil.rmtree(folder)
            raise


def go(argv: list[str]) -> None:
    """Write the step and say what to do with it."""
    surroundings.adopt_surroundings(store_directory().parent)
    arguments = build_parser().parse_args(argv)
    home = Path(os.environ["PIPELINE_HOME"])
    surroundings.refuse_unwritable(home)
    step = request(arguments)
    write(step, home, arguments.pipeline)
    print(f"{home / step.name} is there: what the step does is `work` in its {step.script}.")
    if arguments.pipeline:
        print(
            f"{home / 'conf' / 'pipeline' / arguments.pipeline}.yaml has it; it runs by "
            f"hydra_options=pipeline={arguments.pipeline}."
        )
    else:
        print(f"It runs where it stands in conf/pipeline/<name>.yaml, under steps:\n{step.entry}")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: go(sys.argv[1:])))
