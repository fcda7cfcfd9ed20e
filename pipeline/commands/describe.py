"""Draft the dataset file of a table: the step `describe`, in its environment, beside the pipeline.

Started by `mlflow run . -e describe -P file_url=...`.
"""

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pipeline.planning.step import Step
from pipeline.running import pipeline_run
from pipeline.running.exit_code import exit_code
from pipeline.settings import overrides, resolvers, surroundings
from pipeline.settings.schema import Main
from pipeline.settings.surroundings import ROOT_RUN
from util_lib import cli, validation
from util_lib.project import ROOT
from util_lib.tracking.store.places import store_directory
from util_lib.urls import table_name, whole_address, without_secrets

CLONE = re.compile(r"tmp[a-z0-9_]{8}")  # where MLflow puts a project that it fetched


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; the root MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument("--file_url", required=True, help="http(s) address or path of the table")
    parser.add_argument("--target", default="", help="column to predict; empty = guessed")
    parser.add_argument("--name", default="", help="of the dataset; empty = the file's name")
    parser.add_argument("--sheet", default="", help="of an Excel file; empty = its only one")
    parser.add_argument("--overwrite", default="false", help="true: replace an existing file")
    parser.add_argument("--env_manager", default="auto", help="as main.env_manager")
    parser.add_argument("--tracking", default="auto", help="as main.tracking")
    return parser


def home() -> Path:
    """Return the folder where the user's results lie."""
    return Path(os.environ["PIPELINE_HOME"])


def is_fetched() -> bool:
    """Say whether this project is a copy that MLflow fetched and that nobody will find again."""
    temporary = Path(tempfile.gettempdir()).resolve()
    if ROOT_RUN not in os.environ or not ROOT.is_relative_to(temporary):
        return False
    return bool(CLONE.fullmatch(ROOT.relative_to(temporary).parts[0]))


def locate(file_url: str) -> str:
    """Return the address or path; a path that is not in the project is looked for in `home`."""
    if "://" in file_url or (ROOT / Path(file_url).expanduser()).exists():
        return file_url
    mine = home() / file_url
    return str(mine) if mine.is_file() else file_url


def plan(arguments: argparse.Namespace) -> Step:
    """Return the step to run."""
    url = locate(whole_address(arguments.file_url))
    parameters = {
        "file_url": url,
        "target": arguments.target,
        "name": arguments.name or table_name(url),
        "sheet": arguments.sheet,
        "overwrite": arguments.overwrite,
        "folder": str(home() / "conf" / "dataset") if is_fetched() else "conf/dataset",
    }
    name = parameters["name"]
    outputs = (f"{name}_profile", f"{name}_draft")
    return Step(
        "describe", parameters, inputs=(), outputs=outputs, uri="tools/describe", source="file_url"
    )


def go(argv: list[str]) -> None:
    """Run the step and say what is different where the project was fetched."""
    surroundings.adopt_surroundings(store_directory().parent)
    arguments = build_parser().parse_args(argv)
    surroundings.refuse_unwritable(store_directory().parent)
    step = plan(arguments)
    resolvers.register_resolvers()
    config: Any = OmegaConf.to_container(overrides.base_config([]).main, resolve=False)
    config |= {"project_name": step.parameters["name"], "experiment_name": "describe"}
    config |= {"env_manager": arguments.env_manager, "tracking": arguments.tracking}
    if os.environ.get(ROOT_RUN) and without_secrets(arguments.file_url) != arguments.file_url:
        print(
            "MLflow has recorded the address with its secrets: next time put it into GET_DATA_URL "
            f"and type {without_secrets(arguments.file_url)}",
            flush=True,
        )
    pipeline_run.run_alone(validation.check(Main, config, "describe"), step)
    if is_fetched():
        print(
            f"The dataset file lies in {step.parameters['folder']}, for the project itself was "
            f"fetched. Started from {home()}, `mlflow run` on the same address finds it with "
            f'-P hydra_options="dataset={step.parameters["name"]}".',
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(exit_code(lambda: go(sys.argv[1:])))
