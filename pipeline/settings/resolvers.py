"""The functions that config.yaml and the dataset files call in `${...}`."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from pipeline.settings import references
from pipeline.settings.redacted import read_environment
from util_lib.dataset import expressions
from util_lib.project import ROOT
from util_lib.urls import HIDDEN


def register_resolvers() -> None:
    """Make the functions known that config.yaml and the dataset files call in `${...}`.

    What they, and references between keys, can stand for has an end from now on.
    """
    references.bound()
    functions: dict[str, Callable[..., Any]] = {
        "columns_with_role": _columns_with_role,
        "category_orders": _category_orders,
        "text_features": _text_features,
        "declaration": _declaration,
        "by_task": _by_task,
        "oc.env": _environment,  # OmegaConf's own, which knows of no secrets
        "local_or_url": _local_or_url,
        "suffix": lambda name: PurePosixPath(name).suffix,
        "own_conf": _own_conf,
        "project_root": lambda: str(ROOT),
    }
    for name, function in functions.items():
        OmegaConf.register_new_resolver(name, function, replace=True)


def _columns_with_role(role: str, encoding: str | None = None, *, _root_: DictConfig) -> ListConfig:
    """Name the columns of a role, and of an encoding where one is given."""
    return ListConfig(
        [
            name
            for name, column in _root_.data.columns.items()
            if column.get("role") == role
            and (encoding is None or column.get("encoding", "ordinal") == encoding)
        ]
    )


def _category_orders(*, _root_: DictConfig) -> DictConfig:
    columns = _root_.data.columns.items()
    return DictConfig({name: c.get("allowed") for name, c in columns if c.get("ordered")})


def _declaration(section: str = "random_forest_pipeline", *, _root_: DictConfig) -> DictConfig:
    """Return what `data` says of the columns of a model; see `model_config.Declaration`.

    What is wrong with `data` itself is left for `check` to say.
    """
    data, features = _root_.data, _root_[section].get("features") or {}
    needed = {str(name) for kind in features for name in features[kind] or []}
    text_feature = data.get("text_feature")
    if text_feature and text_feature.name in needed:
        needed |= set(text_feature.columns)
    derived: dict[Any, Any] = {}
    for name, expression in reversed([*(data.get("derived") or {}).items()]):
        if name in needed:
            derived = {name: expression, **derived}
            with contextlib.suppress(ValueError):
                needed |= set(expressions.columns_of(expression, name))
    return DictConfig(
        {
            "columns": {name: column for name, column in data.columns.items() if name in needed},
            "target": data.columns.get(data.get("target")),
            "csv": data.get("csv") or {},
            "text_feature": text_feature if text_feature and text_feature.name in needed else None,
            "derived": derived,
        }
    )


def _by_task(classification: Any, regression: Any, *, _root_: DictConfig) -> Any:
    """Choose between the values for the two tasks."""
    return regression if _root_.data.task == "regression" else classification


def _environment(name: str, *default: str | None, _root_: DictConfig) -> str | None:
    """Return an environment variable; `--plan` does without those that are not set."""
    missing = (HIDDEN,) if OmegaConf.select(_root_, "main.plan") else ()
    return read_environment(name, *(default or missing))


def _local_or_url(name: str, url: str) -> str:
    """Return the path of file `name` in the folder that `PIPELINE_DATA` names, or else `url`."""
    folder = os.environ.get("PIPELINE_DATA")
    path = Path(folder or "data").expanduser().absolute() / name
    return str(path) if path.is_file() else url


def _own_conf() -> str:
    """Return where Hydra finds the user's own files: `conf` beside the user's results.

    The project's own where there is none: Hydra would warn of a folder that does not exist.
    """
    folder = Path(os.environ.get("PIPELINE_HOME", ".")).absolute() / "conf"
    return f"own://{folder}" if folder.is_dir() else "pkg://conf"


def _text_features(*, _root_: DictConfig) -> ListConfig:
    text_feature = _root_.data.get("text_feature")
    return ListConfig([text_feature.name] if text_feature else [])
