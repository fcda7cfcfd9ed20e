#!/usr/bin/env python
"""Draft the dataset file of a table, and log a profile page of it.

Beside the pipeline, before its first run. Reads an http(s) address or a path; writes
`<folder>/<name>.yaml` and the artifacts `<name>_profile` (an HTML page) and `<name>_draft`.
"""

import argparse
import contextlib
import logging
import os
import re
import shlex
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    explain_missing_packages()

import pandas as pd

from tools.describe import draft, table_files
from tools.describe.columns import ASK
from tools.describe.draft import Draft, Source
from util_lib import cli, downloads, tracking
from util_lib.errors import UserError
from util_lib.project import ROOT, resolve_path
from util_lib.tracking.choice import choose
from util_lib.tracking.store.places import store_directory
from util_lib.urls import file_name, table_name, whole_address, without_secrets

logger = logging.getLogger("describe")

FOLDER = "conf/dataset"  # where main.py looks for dataset=<name>
PROFILED_ROWS = 20_000  # of a longer table a sample of so many is profiled
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}")
NOT_NAMES = ("null", "true", "false", "nan", "inf")  # Hydra takes dataset=null for no dataset

DRAFTED = """\

Drafted {path}: {n_rows:,} rows, {features}, target {target} ({why}), {task}.
{split}{suspects}{asked}Read and correct it, then run the pipeline on it:
"""
RUN_HERE = """\

  cd {root}
  python main.py dataset={name} main.execute_steps=get_data,preprocess,check_data
  python main.py dataset={name}

or by MLflow: mlflow run . --env-manager uv -P hydra_options="dataset={name}"
"""
RUN_THERE = """\

  mlflow run <project> --env-manager uv -P hydra_options="dataset={name}"
"""
PROFILE = """\
The profile page shows every column's values: {where}.
"""
WHERE_IN_MLFLOW = "in `mlflow ui`, run describe, Artifacts, pages"
WHERE_ON_WANDB = "on W&B, project {name}, Artifacts, profile, {name}_profile"
FETCH_PROFILE = """\
Or fetch it, here as well, and open it in a browser:

  {store}python -m util_lib.tracking download {name}/{name}_profile:latest {name}_profile
"""


def check_name(name: str) -> str:
    """Return `name` if it is fit for a file, a project and `dataset=<name>`."""
    if not NAME.fullmatch(name) or name.lower() in NOT_NAMES:
        raise UserError(
            f"name {name!r} is not fit for a dataset: expected a letter, then letters, digits, "
            f"_ and -, at most 100 in all, such as {table_name(name)!r}"
        )
    return name


@contextlib.contextmanager
def reserved(folder: Path, name: str, overwrite: bool) -> Iterator[Path]:
    """Yield a new file in `folder`; at the end it becomes `<name>.yaml`, unless an error came.

    An existing file is replaced only if `overwrite`, also one that appeared meanwhile.
    """
    path = folder / f"{name}.yaml"
    if path.exists() and not overwrite:
        raise _exists(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=f".{name}.", suffix=".part", dir=folder)
        os.close(handle)
    except OSError as error:
        raise UserError(
            f"the draft cannot be written to {folder} ({error.strerror}): make it writable, or "
            "choose another folder with --folder"
        ) from error
    try:
        yield Path(part)
        os.chmod(part, 0o666 & ~_umask())
        _publish(Path(part), path, overwrite)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        Path(part).unlink(missing_ok=True)


def _publish(part: Path, path: Path, overwrite: bool) -> None:
    """Give a finished file its name; `FileExistsError` where there is one and it is to stay."""
    if not overwrite:
        try:
            os.link(part, path)  # never replaces
            return
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if path.exists():
                raise FileExistsError from None
    os.replace(part, path)


def _exists(path: Path) -> UserError:
    return UserError(
        f"{path} exists already: choose another name with -P name=..., or replace the file with "
        "-P overwrite=true"
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def locate(file_url: str) -> str:
    """Return what a dataset file says of `file_url`: within the project, a relative path."""
    if "://" in file_url:
        return file_url
    path = resolve_path(Path(file_url).expanduser()).resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def profile(frame: pd.DataFrame, title: str, path: Path) -> None:
    """Write skrub's report on `frame` to `path`, a page that needs nothing from elsewhere."""
    from skrub import TableReport

    if len(frame) > PROFILED_ROWS:
        title = f"{title} ({PROFILED_ROWS:,} rows of {len(frame):,}, drawn at random)"
        frame = frame.sample(PROFILED_ROWS, random_state=0).sort_index()
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells of texts that look numeric
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the page shows what they say: values that are infinite
        page = TableReport(frame, title=title, verbose=0).html()
    path.write_text(page, encoding="utf-8")


def say_next(made: Draft, frame: pd.DataFrame, path: Path, name: str) -> None:
    """Print what to do with the draft.

    A folder outside of this project is one that the project finds where the user stands: the
    project itself may be a copy that goes with the run.
    """
    roles = [column.role for column in made.data.columns.values()]
    split = made.data.split
    n_features = sum(role not in ("ignore", "target") for role in roles)
    text = DRAFTED.format(
        path=path,
        n_rows=len(frame),
        features="1 feature" if n_features == 1 else f"{n_features} features",
        target=made.target.name,
        why=made.target.why,
        task=made.target.task,
        split=f"Rows are divided by {split.by} of {split.column!r}: at random scores flatter.\n"
        if split.column
        else "",
        suspects="What may give the target away is marked `Leak?` in it.\n"
        if made.suspects
        else "",
        asked=f"It asks `{ASK}` of {', '.join(map(repr, made.asked))}: left alone till then.\n"
        if made.asked
        else "",
    )
    on_wandb = choose().backend == "wandb"
    where = WHERE_ON_WANDB if on_wandb else WHERE_IN_MLFLOW
    profile = PROFILE.format(where=where.format(name=name))
    if path.is_relative_to(ROOT):
        place = store_directory()
        usual = on_wandb or place == ROOT / place.name
        store = "" if usual else f"TRACKING_STORE={shlex.quote(str(place))} "
        text += RUN_HERE.format(root=ROOT, name=name) + "\n" + profile
        text += FETCH_PROFILE.format(name=name, store=store)
    else:
        text += RUN_THERE.format(name=name) + "\n" + profile
    print(text, flush=True)


def build_parser() -> argparse.ArgumentParser:
    """Name the step's inputs; MLproject declares the same ones."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--file_url",
        required=True,
        help="http(s) address or path of the table; a relative path starts at the project root",
    )
    parser.add_argument("--target", default="", help="column to predict; empty = guessed")
    parser.add_argument(
        "--name",
        default="",
        help="name of the dataset and of its project; empty = the file's name",
    )
    parser.add_argument(
        "--sheet", default="", help="sheet of an Excel file with the table; empty = its only one"
    )
    parser.add_argument(
        "--overwrite",
        type=cli.true_or_false,
        default="false",
        help="true: replace an existing dataset file",
    )
    parser.add_argument(
        "--folder",
        default=FOLDER,
        help="where the dataset file is written; relative to the project root",
    )
    parser.add_argument(
        "--max_bytes",
        type=cli.positive_int,
        default="2000000000",
        help="a longer file is refused",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the step; `argv` defaults to the command line."""
    args = build_parser().parse_args(argv)
    shown = without_secrets(args.file_url)
    name = check_name(args.name or table_name(args.file_url))
    config: dict[str, Any] = vars(args) | {"file_url": shown, "name": name}
    folder = resolve_path(Path(args.folder).expanduser())
    with (
        tracking.init(project=name, job_type="describe", config=config) as run,
        tempfile.TemporaryDirectory() as tmp,
        reserved(folder, name, args.overwrite) as part,
    ):
        address = whole_address(args.file_url)
        file = Path(tmp, file_name(args.file_url, "table"))
        received = downloads.fetch(address, file, args.max_bytes)
        table = table_files.read(file, args.sheet or None)
        frame = table.frame
        secret = None if without_secrets(address) == address else f"{name.upper()}_URL"
        source = Source(locate(shown), file_name(shown, shown), received.sha256, secret)
        made = draft.make(table, source, name, args.target or None)
        part.write_text(made.text, encoding="utf-8")
        page, copy = Path(tmp, f"{name}_profile.html"), Path(tmp, f"{name}.yaml")
        copy.write_text(made.text, encoding="utf-8")
        profile(frame, name, page)
        for path, artifact, kind, text in (
            (page, f"{name}_profile", "profile", f"Profile of {source.shown}"),
            (copy, f"{name}_draft", "dataset", f"Drafted dataset file of {source.shown}"),
        ):
            logged = tracking.log_file(run, path, artifact, kind, text)
            logger.info("logged %s", logged.name)
        run.summary["rows"] = len(frame)
        run.summary["columns"] = frame.shape[1]
    say_next(made, frame, folder / f"{name}.yaml", name)


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
