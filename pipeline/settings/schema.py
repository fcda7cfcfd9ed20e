"""The typed shape of the composed configuration: everything is checked before anything runs."""

import contextlib
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BeforeValidator, Field, field_validator, model_validator

from util_lib import validation
from util_lib.dataset import expressions
from util_lib.dataset.declaration import Data
from util_lib.errors import UserError
from util_lib.model.config import RandomForestPipeline
from util_lib.project import ROOT
from util_lib.validation import Section

# The steps in the order in which they run, whatever order a user lists them in.
STEPS = (
    "get_data",
    "preprocess",
    "check_data",
    "segregate",
    "train_random_forest",
    "evaluate",
)
# Measures the model that is prod. Never part of `all`, which must work before one is.
TEST_PROD = "test_regression_model"
# Names that other projects of this kind give the same steps.
OTHER_NAMES = {"download": "get_data", "checkdata": "check_data"}
# W&B refuses these in a project's name: they have a meaning in its URLs.
FORBIDDEN_IN_PROJECT = set("/\\#?%:")

EnvManager = Literal["auto", "conda", "uv", "virtualenv", "local"]


def _step_names(value: Any) -> Any:
    """Accept a list, a comma-separated text with spaces, or `all`; return them in running order."""
    value = validation.null_word(value)  # "null" is text here, and names no step
    names = value.split(",") if isinstance(value, str) else value or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"must be a list or a comma-separated text of step names, found {value!r}")
    if len(names) > 1 and "all" in [name.strip() for name in names]:
        raise ValueError(f"'all' means every step and stands alone, found {', '.join(names)}")
    wanted = {OTHER_NAMES.get(name.strip(), name.strip()) for name in names} - {""}
    if wanted == {"all"}:
        wanted = set(STEPS)
    for name in sorted(wanted - {*STEPS, TEST_PROD}):
        raise ValueError(validation.choose("step", name, [*STEPS, TEST_PROD]))
    if not wanted:
        raise ValueError(f"names no step: choose from {', '.join(STEPS)}")
    return [step for step in (*STEPS, TEST_PROD) if step in wanted]


class Main(Section):
    """The `main` section."""

    project_name: Annotated[str, Field(min_length=1, max_length=128)]
    experiment_name: Annotated[str, Field(min_length=1, max_length=128)]
    execute_steps: Annotated[list[str], BeforeValidator(_step_names)]
    random_seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    env_manager: EnvManager
    tracking: Literal["auto", "wandb", "local"]
    cache: bool
    explain: bool
    plan: bool | Literal["mermaid"]
    jobs: Annotated[int, Field(ge=1)] | None = None  # receipts do not hold it
    components_repository: str | None
    components_version: str | None

    @field_validator("project_name")
    @classmethod
    def _allowed_in_a_url(cls, name: str) -> str:
        if bad := FORBIDDEN_IN_PROJECT & set(name):
            raise ValueError(f"{name!r} cannot contain {' '.join(sorted(bad))}")
        return name


class StepSource(Section):
    """Where a step's code comes from; `uri` null = the local folder."""

    uri: str | None
    version: Annotated[str | None, BeforeValidator(lambda v: str(v) if isinstance(v, float) else v)]

    @model_validator(mode="after")
    def _version_needs_uri(self) -> "StepSource":
        if self.version and not self.uri:
            raise ValueError(
                f"version {self.version!r} is set but uri is not: a version chooses among the "
                "commits of a repository, so set uri too"
            )
        return self


class Sweep(Section):
    """The `sweep` section: what a multirun of the training step does; docs/sweeps.md."""

    name: Annotated[str, Field(pattern=r"^[\w][\w.-]*$", max_length=100)] | None
    metric: str | list[str] | None
    cv: Annotated[int, Field(ge=0)]
    export: Literal["winner", "all"]
    give_up: list[float]

    @field_validator("cv")
    @classmethod
    def _no_single_fold(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("cross-validation needs two folds or more, found 1; 0 = none")
        return folds


class Settings(Section):
    """The whole configuration."""

    main: Main
    data: Data
    random_forest_pipeline: RandomForestPipeline
    sweep: Sweep
    steps: dict[str, StepSource]


def register_resolvers() -> None:
    """Make the functions known that config.yaml and the dataset files call in `${...}`."""
    for name, function in {
        "columns_with_role": _columns_with_role,
        "category_orders": _category_orders,
        "text_features": _text_features,
        "declaration": _declaration,
        "by_task": _by_task,
        "local_or_url": _local_or_url,
        "own_conf": _own_conf,
        "project_root": lambda: str(ROOT),
    }.items():
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


def _declaration(*, _root_: DictConfig) -> DictConfig:
    """Return what `data` says of the model's columns; see `model_config.Declaration`.

    What is wrong with `data` itself is left for `check` to say.
    """
    data, features = _root_.data, _root_.random_forest_pipeline.get("features") or {}
    needed = {str(name) for kind in features for name in features[kind] or []}
    text_feature = data.get("text_feature")
    if text_feature and text_feature.name in needed:
        needed |= set(text_feature.columns)
    derived = {}
    for name, expression in reversed([*(data.get("derived") or {}).items()]):
        if name in needed:
            derived = {name: expression, **derived}
            with contextlib.suppress(ValueError):
                needed |= set(expressions.columns_of(expression, name))
    return DictConfig(
        {
            "columns": {name: column for name, column in data.columns.items() if name in needed},
            "text_feature": text_feature if text_feature and text_feature.name in needed else None,
            "derived": derived,
        }
    )


def _by_task(classification: Any, regression: Any, *, _root_: DictConfig) -> Any:
    """Choose between the values for the two tasks."""
    return regression if _root_.data.task == "regression" else classification


def _local_or_url(name: str, url: str) -> str:
    """Return the path of file `name` in the folder that `PIPELINE_DATA` names, or else `url`."""
    folder = os.environ.get("PIPELINE_DATA")
    path = Path(folder or "data").expanduser().absolute() / name
    return str(path) if path.is_file() else url


def _own_conf() -> str:
    """Return where Hydra finds the user's own dataset files: `conf` beside the user's results.

    The project's own where there is none: Hydra would warn of a folder that does not exist.
    """
    folder = Path(os.environ.get("PIPELINE_HOME", ".")).absolute() / "conf"
    return f"file://{folder}" if folder.is_dir() else "pkg://conf"


def _text_features(*, _root_: DictConfig) -> ListConfig:
    text_feature = _root_.data.get("text_feature")
    return ListConfig([text_feature.name] if text_feature else [])


def check(config: DictConfig, dataset: str | None = None) -> Settings:
    """Check the composed `config`; raise `UserError` with one sentence for the first fault.

    `dataset` is the dataset file chosen, which the sentence names where the fault may lie there.
    """
    _refuse_what_is_missing(config, dataset)
    try:
        mapping = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (OmegaConfBaseException, AttributeError, TypeError) as error:
        raise UserError(f"config: {' '.join(str(error).split())}") from None
    try:
        settings = validation.check(Settings, mapping, "config")
    except UserError as error:
        if dataset and "config: data." in str(error):
            where = f"config (conf/dataset/{dataset}.yaml)"
            raise UserError(str(error).replace("config", where, 1)) from None
        raise
    for step in settings.steps:
        if step not in STEPS:
            raise UserError(f"config: steps: {validation.choose('step', step, list(STEPS))}")
    _parts_agree(settings)
    return settings


def _refuse_what_is_missing(config: DictConfig, dataset: str | None) -> None:
    """Keys that every dataset file sets: not there, or deleted with ~ on the command line."""
    file = f"conf/dataset/{dataset}.yaml" if dataset else "the dataset file"
    if "dataset" in config:
        raise UserError(
            f"{file} must have `# @package _global_` as its first line: without it Hydra puts its "
            "keys under 'dataset', where nothing reads them"
        )
    for key in ("main.project_name", "data.file_url", "data.target", "data.columns"):
        section, _, name = key.partition(".")
        part = config.get(section)
        if part is None or name not in part or OmegaConf.is_missing(part, name):
            raise UserError(f"config: key {key!r} is required and is not set: set it in {file}")


def _parts_agree(settings: Settings) -> None:
    """What one section names, another one declares."""
    columns = list(settings.data.columns)
    if settings.data.text_feature:
        columns.append(settings.data.text_feature.name)
    model = settings.random_forest_pipeline
    named = {"random_forest_pipeline.target": [model.target]}
    for kind, names in model.features:
        named[f"random_forest_pipeline.features.{kind}"] = names
    for key, names in named.items():
        for name in names:
            if name not in columns:
                raise UserError(f"config: {key}: {validation.choose('column', name, columns)}")
    for name in model.features.numerical:
        column = settings.data.columns.get(name)
        dtype = column.dtype if column else "string"  # the joined text is no column of the file
        if dtype in ("string", "datetime"):
            raise UserError(
                f"config: random_forest_pipeline.features.numerical: column {name!r} has dtype "
                f"{dtype}, and a numerical feature needs numbers: move it to another kind of "
                "features, or leave it out"
            )
    needing = [step for step in ("evaluate", TEST_PROD) if step in settings.main.execute_steps]
    if not model.export_artifact and needing:
        raise UserError(
            f"config: {needing[0]} needs a model, and random_forest_pipeline.export_artifact is "
            f"null: give it a name such as model_export, or leave {needing[0]} out of "
            "main.execute_steps"
        )
