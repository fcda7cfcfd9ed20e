#!/usr/bin/env python
"""Run a notebook from top to bottom and log it with all that it showed, as notebook and as page.

Reads the table that the notebook names, of the given dataset; writes the artifact
`<notebook>_notebook`. Where a cell fails, the notebook up to that cell is logged all the same, and
the sentence of the failure is the last one said.
"""

import argparse
import ast
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from traitlets.config import Config

from data_analysis import notebooks
from util_lib import cli, tracking, validation
from util_lib.errors import UserError
from util_lib.project import ROOT
from util_lib.tracking.store.places import user_directory

logger = logging.getLogger("data_analysis")

GIVEN = "parameters"  # tag of the cell that others may be written below, as papermill has it


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--notebook",
        required=True,
        help="eda, modelling or unsupervised, or the path of another .py or .ipynb",
    )
    parser.add_argument(
        "--dataset",
        default="songs_demo",
        help="name of a file of conf/dataset, or the path of one",
    )
    parser.add_argument(
        "--artifact",
        type=lambda text: cli.optional(text) and cli.artifact_reference(text),
        default="null",
        help="the table to read, e.g. raw_data.parquet:v0; null = the one that the notebook names",
    )
    parser.add_argument(
        "--cell_seconds",
        type=cli.positive_int,
        default="1800",
        help="a cell that takes longer ends the notebook",
    )
    return parser


def dataset_file(name: str) -> Path:
    """Return the file of a dataset: the user's own before the project's."""
    if name.endswith((".yaml", ".yml")):
        return user_directory() / name
    folders = [user_directory() / "conf/dataset", ROOT / "conf/dataset"]
    for folder in folders:
        if (path := folder / f"{name}.yaml").is_file():
            return path
    there = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
    raise UserError(validation.choose("dataset", name, there))


def parameters_of(notebook: Any, name: str) -> tuple[int, dict[str, Any]]:
    """Return the place of the cell of parameters, and what it sets."""
    for number, cell in enumerate(notebook.cells):
        if GIVEN in cell.metadata.get("tags", []):
            return number, {
                line.targets[0].id: ast.literal_eval(line.value)
                for line in ast.parse(cell.source).body
                if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name)
            }
    raise UserError(
        f"{name} has no cell with the tag {GIVEN!r} that sets dataset, project and artifact: "
        "begin as percent/eda.py does"
    )


def run(notebook: Any, seconds: int, name: str) -> str | None:
    """Run all cells in place; return what the first one that fails says, or None."""
    client = NotebookClient(
        notebook,
        timeout=seconds,
        kernel_name="python3",  # the one of this environment
        record_timing=False,  # the same results are the same file
        config=Config({"KernelManager": {"transport_encryption": "auto"}}),  # nobody else listens
        resources={"metadata": {"path": str(notebooks.FOLDER)}},
    )
    client.on_cell_start = lambda cell, cell_index: logger.info(
        "cell %d of %d: %s", cell_index + 1, len(notebook.cells), first_line(cell)
    )
    try:
        client.execute(env=notebooks.environment() | {"WANDB_NOTEBOOK_NAME": name})
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        place = next(
            (
                f"cell {number} ({first_line(cell)})"
                for number, cell in enumerate(notebook.cells, start=1)
                if any(output.output_type == "error" for output in cell.get("outputs", []))
            ),
            "a cell",
        )
        if isinstance(error, CellExecutionError):
            return f"{place} fails: {error.ename}: {error.evalue}"
        if isinstance(error, CellTimeoutError):
            return f"a cell took longer than {seconds} seconds: raise cell_seconds"
        return "the kernel died: most likely the machine has no memory left"
    return None


def first_line(cell: Any) -> str:
    """Return the beginning of a cell, to know it by."""
    lines = [line for line in cell.source.splitlines() if line.strip()]
    return lines[0][:60] if lines else "empty"


def page(notebook: Any) -> str:
    """Return the notebook as one page of HTML that needs no network."""
    from nbconvert import HTMLExporter

    elsewhere = (
        "mathjax_url",
        "require_js_url",
        "jquery_url",
        "mermaid_js_url",
        "widget_renderer_url",
    )
    exporter = HTMLExporter(embed_images=True, **dict.fromkeys(elsewhere, ""))
    return exporter.from_notebook_node(notebook)[0]


def main(argv: list[str] | None = None) -> None:
    """Run the notebook; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    logging.getLogger("traitlets").setLevel(logging.ERROR)  # Jupyter's own remarks
    path = notebooks.find(args.notebook)
    declared = dataset_file(args.dataset)
    about = validation.read(declared, "data")
    project = (about.get("main") or {}).get("project_name", declared.stem)
    notebook = jupytext.read(path)
    place, own = parameters_of(notebook, path.name)
    name = f"{path.stem}_notebook"
    with (
        tracking.init_reader(project=project, job_type="notebook", config=vars(args)) as run_,
        tempfile.TemporaryDirectory() as tmp,
    ):
        source = run_.use_artifact(args.artifact or own["artifact"])
        given = {"dataset": str(declared), "project": project, "artifact": source.source_name}
        lines = [f"{key} = {value!r}" for key, value in given.items()]
        cell = nbformat.v4.new_code_cell("\n".join(lines))
        notebook.cells.insert(place + 1, cell)
        logger.info("running %s on %s/%s", path.name, project, source.source_name)
        failure = run(notebook, args.cell_seconds, str(path))
        folder = Path(tmp, "out")
        folder.mkdir()
        nbformat.write(notebook, folder / f"{path.stem}.ipynb")
        Path(folder, f"{path.stem}.html").write_text(page(notebook), encoding="utf-8")
        what = f"{path.stem}.py with all that it showed"
        logged = tracking.log_file(run_, folder, name, "notebook", what)
        logger.info("logged %s: %s.ipynb and %s.html", logged.name, path.stem, path.stem)
        if failure:
            raise UserError(f"{path.name}: {failure}; up to there it is logged as {logged.name}")


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
