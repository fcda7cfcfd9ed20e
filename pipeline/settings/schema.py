"""The typed shape of the composed configuration: everything is checked before anything runs."""

from typing import Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BeforeValidator, Field, field_validator, model_validator

from util_lib import validation
from util_lib.dataset.declaration import Data
from util_lib.errors import UserError
from util_lib.model.config import RandomForestPipeline
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


class SweepSection(Section):
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
    sweep: SweepSection
    steps: dict[str, StepSource]


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
