"""An inference pipeline as an MLflow model directory: written by training, read by all others.

The directory is self-contained: it loads where this repository was never seen, because the
transformers it needs travel with it. It says nothing about when, where and in which run it was
made, so that the same data and parameters give the same files, and thereby the same version.
"""

import hashlib
import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from util_lib import yaml_files
from util_lib.errors import DamagedModelError, UserError
from util_lib.model import held_out, monitoring_reference, skops_file
from util_lib.project import ROOT
from util_lib.safe_files import writing

# What a prediction needs to be installed, in the versions that trained the model.
REQUIREMENTS = ("numpy", "pandas", "scikit-learn", "scipy")
FORMATS = ("skops", "cloudpickle")  # each is also the package that reads it
# The part of this project that travels with the model, as util_lib/<name>.
CODE = ("__init__.py", "transformers.py")
EXAMPLE_ROWS = 2
EXAMPLE_FILE = "example.json"  # the input example as MLflow reads it
SKOPS_FILE = "model.skops"  # as MLflow calls it
NO_TIME = "1970-01-01 00:00:00"  # the run that made a version knows when


class PickleError(UserError):
    """A model is a pickle, and whoever loads it did not say that it may run."""


def save(
    pipeline: Any,
    directory: str | Path,
    example: pd.DataFrame,
    labels: np.ndarray,
    metadata: dict[str, Any],
    export_format: str = FORMATS[0],
    whole: Iterable[str] = (),
    rows: np.ndarray | None = None,
    reference: dict[str, Any] | None = None,
) -> None:
    """Write a fitted `pipeline` to the new `directory`, in one of `FORMATS`.

    `example` holds input rows as `FeatureColumns` gives them (numbers as doubles, so that a null
    in a request is no type error); the first two become the input example.
    `whole` names the columns that held integers. `labels` shows the type of a prediction.
    `metadata` is what a reader of the MLmodel file should know of the model: its parameters, its
    data, its commit. `rows` are the digests of its training rows (`held_out.hashes`),
    `reference` what `monitoring_reference.tables` made of them.
    """
    import mlflow.sklearn
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType

    directory = Path(directory)
    _forget_addresses(pipeline)
    # Every column is optional: the pipeline fills what is missing. MLflow refuses integers for
    # doubles and doubles, which gaps turn integers into, for integers; both must pass.
    columns = [str(name) for name in example]
    types = [AnyType() if name in whole else _mlflow_type(example[name]) for name in columns]
    inputs = Schema(
        [ColSpec(kind, name, required=False) for name, kind in zip(columns, types, strict=True)]
    )
    outputs = Schema([ColSpec(_mlflow_type(pd.Series(labels)))])
    with (
        _disk_errors(directory),
        tempfile.TemporaryDirectory() as tmp,
        _quiet("mlflow.sklearn", "mlflow.utils"),
    ):
        code = Path(tmp, "util_lib")
        code.mkdir()
        for name in CODE:
            shutil.copyfile(ROOT / "util_lib" / name, code / name)
        mlflow.sklearn.save_model(
            pipeline,
            str(directory),
            serialization_format=export_format,
            skops_trusted_types=skops_file.trusted(pipeline) if export_format == "skops" else None,
            mlflow_model=Model(model_uuid=None, utc_time_created=NO_TIME),
            signature=ModelSignature(inputs, outputs),
            input_example=example.head(EXAMPLE_ROWS).reset_index(drop=True),
            pip_requirements=[f"mlflow=={mlflow.__version__}"]
            + [f"{name}=={version(name)}" for name in sorted([*REQUIREMENTS, export_format])],
            code_paths=[str(code)],
            metadata=metadata,
        )
    if export_format == "skops":
        skops_file.make_the_same(directory / SKOPS_FILE)
    if rows is not None:
        np.save(directory / held_out.ROWS_FILE, np.unique(rows), allow_pickle=False)
    monitoring_reference.write(reference or {}, directory)
    _write_examples(directory)
    _name_by_content(directory)


def metadata(directory: str | Path) -> dict[str, Any]:
    """Return the metadata saved with a model; the model itself is not loaded."""
    found: dict[str, Any] = _described(Path(directory)).get("metadata") or {}
    return found


def load(directory: str | Path, trust_pickle: bool = False) -> tuple[Any, dict[str, Any]]:
    """Return the pipeline in an MLflow model directory, and the metadata saved with it.

    Whatever the MLmodel file says, the pipeline is read as a skops file, which makes nothing but
    what `skops_file` lists: a pickle runs what it holds, and is loaded only where the caller says
    `trust_pickle`. No module and no code that the MLmodel file names is used.
    """
    described = _described(Path(directory))
    metadata = described.get("metadata") or {}
    try:
        flavor = described["flavors"]["sklearn"]
        found = flavor.get("serialization_format")
        file = _inside(directory, flavor["pickled_model"])
    except (KeyError, TypeError, AttributeError):
        raise _no_model(Path(directory)) from None
    if found == "skops":
        return skops_file.load(file), metadata
    if found not in ("cloudpickle", "pickle"):
        raise DamagedModelError(
            f"{directory} has the format {found!r}: expected one of {', '.join(FORMATS)}"
        )
    if not trust_pickle:
        raise PickleError(
            f"{file.name} is a pickle, which runs whatever is in it: nothing of it was loaded; if "
            "you know who made it, say trust_pickle=true (a pipeline: main.trust_pickle=true), "
            "else export the model as skops"
        )
    import cloudpickle

    code = flavor.get("code")
    if code and (path := str(_inside(directory, code))) not in sys.path:
        sys.path.append(path)  # last: what is installed or here comes first
    with file.open("rb") as content:
        return cloudpickle.load(content), metadata


def check_paths(directory: str | Path) -> None:
    """Raise `DamagedModelError` if a link leads out of a model directory."""
    for path in Path(directory).rglob("*"):
        if path.is_symlink():
            _inside(directory, path.relative_to(directory))


def _described(directory: Path) -> dict[str, Any]:
    """Return what the MLmodel file says."""
    import yaml

    path = directory / "MLmodel"
    try:
        described = yaml_files.read(path)
    except (OSError, yaml.YAMLError, UnicodeDecodeError, UserError):
        raise _no_model(directory) from None
    if not isinstance(described, dict) or not isinstance(described.get("metadata") or {}, dict):
        raise _no_model(directory)
    return described


def _no_model(directory: Path) -> DamagedModelError:
    return DamagedModelError(
        f"{directory / 'MLmodel'} describes no scikit-learn model: expected a model directory such "
        "as train_random_forest exports"
    )


def _inside(directory: str | Path, name: Any) -> Path:
    """Return the path `name` in a model directory; `DamagedModelError` if it leads out of it."""
    top, path = Path(directory).resolve(), Path(directory, str(name))
    if Path(str(name)).is_absolute() or not path.resolve().is_relative_to(top):
        raise DamagedModelError(
            f"{directory} names {str(name)[:200]!r}, which lies outside of it: a model holds all "
            "that it is made of; nothing of it was loaded"
        )
    return path


@contextmanager
def _disk_errors(directory: Path) -> Iterator[None]:
    """Say of a full disk that it is full: MLflow takes it for code that cannot be copied."""
    from mlflow.exceptions import MlflowException

    way_out = "the model was not written: free space there, or set TMPDIR to another directory"
    with writing(directory, way_out):
        try:
            yield
        except MlflowException as error:
            if not isinstance(cause := error.__cause__, OSError):
                raise
            reason = cause.args[0][0][2] if isinstance(cause, shutil.Error) else cause.strerror
            raise UserError(f"cannot write {directory}: {reason}; {way_out}") from error


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Hold back MLflow's warnings: that cloudpickle was chosen, that only mlflow-skinny is here."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _mlflow_type(column: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(column):
        return "boolean"
    if pd.api.types.is_integer_dtype(column):
        return "long"
    return "double" if pd.api.types.is_numeric_dtype(column) else "string"


def _forget_addresses(estimator: Any) -> None:
    """Remove what scikit-learn's text vectorisers keep of a memory address.

    It only saves them a check, and it differs from process to process, and with it the file.
    """
    vars(estimator).pop("_stop_words_id", None)
    inner = [step for _, step in getattr(estimator, "steps", [])]
    inner += [treatment for _, treatment, _ in getattr(estimator, "transformers_", [])]
    for part in inner:
        if hasattr(part, "get_params"):
            _forget_addresses(part)


def _write_examples(directory: Path) -> None:
    """Rewrite MLflow's JSON examples as requests that can be sent as they are.

    It writes NaN, which JSON does not have and servers refuse (see
    https://github.com/mlflow/mlflow/pull/5000), and `input_example.json` without the name of its
    format, which `mlflow models predict` asks for. What MLflow itself reads lies beside.
    """
    from mlflow.models import Model

    path, request = directory / "input_example.json", directory / "serving_input_example.json"
    content = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    for place, example in (
        (path, {"dataframe_split": content}),
        (request, {"dataframe_split": content}),
        (directory / EXAMPLE_FILE, content),
    ):
        text = json.dumps(example, ensure_ascii=False, allow_nan=False)
        place.write_text(f"{text}\n", encoding="utf-8")
    described = Model.load(str(directory))
    described.saved_input_example_info = {
        **(described.saved_input_example_info or {}),
        "artifact_path": EXAMPLE_FILE,
    }
    described.save(str(directory / "MLmodel"))


def _name_by_content(directory: Path) -> None:
    """Give the model a UUID made of what it holds, where MLflow would give a random one."""
    from mlflow.models import Model

    digest = hashlib.md5(usedforsecurity=False)
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(directory).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    described = Model.load(str(directory))
    described.model_uuid = digest.hexdigest()
    described.save(str(directory / "MLmodel"))
