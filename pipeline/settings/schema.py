"""The typed shape of the composed configuration: everything is checked before anything runs."""

import re
from typing import Annotated, Any, Literal

from omegaconf import Container, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_validator

from pipeline.settings import interpolations, references
from pipeline.settings.surroundings import step_folder
from pipeline.settings.updates import Promotion, Update
from util_lib import validation
from util_lib.dataset.declaration import Data
from util_lib.errors import UserError
from util_lib.model.config import GradientBoostingPipeline, ModelPipeline, RandomForestPipeline
from util_lib.project import ROOT
from util_lib.tracking.names import check_aliases, check_artifact_name, parse_reference
from util_lib.validation import Section

STEP_NAME = re.compile(r"[A-Za-z][\w-]{0,99}", re.ASCII)
SWEEP_NAME = re.compile(r"\w[\w.-]{0,99}")
# W&B refuses these in a project's name: they have a meaning in its URLs.
FORBIDDEN_IN_PROJECT = set("/\\#?%:")

EnvManager = Literal["auto", "conda", "uv", "virtualenv", "local"]


def _step_names(value: Any) -> Any:
    """Accept a list, a comma-separated text with spaces, or `all`; return the names as a list."""
    value = validation.null_word(value)  # "null" is text here, and names no step
    names = value.split(",") if isinstance(value, str) else value or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"must be a list or a comma-separated text of step names, found {value!r}")
    return [name.strip() for name in names if name.strip()]


def _workers(given: Any) -> str | None:
    if given is None:
        return None
    from util_lib.processes import tasks  # few need it

    try:
        return tasks.workers(str(given))
    except UserError as error:
        raise ValueError(str(error)) from None


class Main(Section):
    """The `main` section."""

    project_name: Annotated[str, Field(min_length=1, max_length=128)]
    experiment_name: Annotated[str, Field(min_length=1, max_length=128)]
    execute_steps: Annotated[list[str], BeforeValidator(_step_names)]
    random_seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    env_manager: EnvManager
    tracking: Literal["auto", "wandb", "local"]
    cache: bool
    allow_unchecked: bool = False  # receipts of before do not hold it
    trust_pickle: bool = False  # receipts of before do not hold it
    explain: bool
    plan: bool | Literal["mermaid"]
    jobs: Annotated[int, Field(ge=1)] | None = None  # receipts do not hold it
    workers: Annotated[str | None, BeforeValidator(_workers)] = None  # receipts do not hold it
    components_repository: str | None
    components_version: str | None

    @field_validator("project_name")
    @classmethod
    def _allowed_in_a_url(cls, name: str) -> str:
        if bad := FORBIDDEN_IN_PROJECT & set(name):
            raise ValueError(f"{name!r} cannot contain {' '.join(sorted(bad))}")
        return name


class StepEntry(Section):
    """One step of a pipeline file, filled in; docs/pipelines.md says what each key does."""

    uri: str | None = None
    version: Annotated[
        str | None, BeforeValidator(lambda v: str(v) if isinstance(v, int | float) else v)
    ] = None
    folder: str | None = None
    inputs: dict[str, str | None] = {}
    parameters: dict[str, str | int | float | bool | None] = {}
    files: dict[str, dict[str, Any]] = {}
    outputs: list[str | None] = []
    only_when: dict[str, bool] = {}
    may_be_absent: list[str] = []
    gate: bool = False
    source: str | None = None
    sink: str | None = None
    in_all: bool = True
    also_called: list[str] = []
    _keys: dict[str, str] = PrivateAttr(default_factory=dict)

    @property
    def address(self) -> str | None:
        """The parameter that may hold secrets."""
        return self.source or self.sink

    @property
    def keys(self) -> dict[str, str]:
        """Where what is given comes from: "dataset_config.columns": "data.columns"."""
        return self._keys

    @model_validator(mode="after")
    def _version_needs_uri(self) -> "StepEntry":
        if self.version and not self.uri:
            raise ValueError(
                f"version {self.version!r} is set but uri is not: a version chooses among the "
                "commits of a repository, so set uri too"
            )
        return self

    @model_validator(mode="after")
    def _names_what_it_gives(self) -> "StepEntry":
        given = [*self.inputs, *self.parameters, *self.files]
        if twice := sorted({name for name in given if given.count(name) > 1}):
            raise ValueError(f"{twice[0]!r} is given twice: by inputs, parameters or files")
        for key, name in {"source": self.source, "sink": self.sink}.items():
            if name is not None and name not in self.parameters:
                raise ValueError(
                    f"{key}: {validation.choose('parameter', name, [*self.parameters])}"
                )
        if self.source and self.sink:
            raise ValueError("a step has a source or a sink: let one step read, and another write")
        for name in self.may_be_absent:
            if name not in self.inputs:
                raise ValueError(
                    f"may_be_absent: {validation.choose('input', name, [*self.inputs])}"
                )
        keys = [f"{file}.{key}" for file, content in self.files.items() for key in content]
        known = [*given, *keys, *(output for output in self.outputs if output)]
        for name in self.only_when:
            if name not in known:
                raise ValueError(f"only_when: {validation.choose('name', name, known)}")
        outputs = [output for output in self.outputs if output is not None]
        for output in outputs:
            check_artifact_name(output)
            if outputs.count(output) > 1:
                raise ValueError(f"outputs: {output!r} stands there twice: list it once")
        for key, reference in self.inputs.items():
            if reference is not None:
                _check_input(key, reference)
        return self


def _check_input(key: str, text: str) -> None:
    try:
        reference = parse_reference(text)
        check_artifact_name(reference.name)
        check_aliases(reference.alias)
    except UserError:
        raise ValueError(
            f"inputs.{key} must be the name of an artifact and an alias or version, such as "
            f"raw_data.parquet:latest or project/raw_data.parquet:v3, found {text!r}"
        ) from None


class SweepSection(Section):
    """The `sweep` section: what a multirun of the training step does; docs/sweeps.md."""

    step: str | None = None
    name: Annotated[str | None, BeforeValidator(validation.null_word)]
    metric: str | list[str] | None
    cv: Annotated[int, Field(ge=0)]
    export: Literal["winner", "all"]
    give_up: list[float]

    @field_validator("name")
    @classmethod
    def _can_be_a_file(cls, name: str | None) -> str | None:
        if name is not None and not SWEEP_NAME.fullmatch(name):
            raise ValueError(
                f"must be at most 100 letters, digits, '_', '.' and '-', and begin with a letter, "
                f"a digit or '_'; found {name!r}; null = made of the time"
            )
        return name

    @field_validator("cv")
    @classmethod
    def _no_single_fold(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("cross-validation needs two folds or more, found 1; 0 = none")
        return folds


class StoreSection(Section):
    """The `store` section: the table of a database that a step writes; docs/databases.md."""

    database: Annotated[str | None, BeforeValidator(validation.null_word)] = None
    table: Annotated[str | None, BeforeValidator(validation.null_word)] = None
    mode: Literal["replace", "append", "upsert"] = "replace"
    key: Annotated[str | None, BeforeValidator(validation.null_word)] = None


class Settings(Section):
    """The whole configuration."""

    main: Main
    data: Data
    random_forest_pipeline: RandomForestPipeline
    gradient_boosting_pipeline: GradientBoostingPipeline | None = None
    sweep: SweepSection
    update: Update = Update()  # receipts do not hold it
    promotion: Promotion = Promotion()  # receipts do not hold it
    store: StoreSection = StoreSection()  # receipts do not hold it
    steps: dict[str, StepEntry] = {}
    _steps_as_written: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def steps_as_written(self) -> dict[str, Any]:
        """The steps as the pipeline file has them, with their `${...}`."""
        return self._steps_as_written


def check(config: DictConfig, dataset: str | None = None) -> Settings:
    """Check the composed `config`; raise `UserError` with one sentence for the first fault.

    `dataset` is the dataset file chosen, which the sentence names where the fault may lie there.
    """
    with references.together():
        return _check(config, dataset)


def _check(config: DictConfig, dataset: str | None) -> Settings:
    _refuse_what_is_missing(config, dataset)
    try:
        mapping = {
            name: OmegaConf.to_container(section, resolve=True, throw_on_missing=True)
            if isinstance(section := config[name], Container)
            else section
            for name in config
            if name != "steps"
        }
    except (OmegaConfBaseException, AttributeError, TypeError) as error:
        raise UserError(f"config: {' '.join(str(error).split())}") from None
    try:
        settings = validation.check(Settings, mapping, "config")
    except UserError as error:
        if dataset and "config: data." in str(error):
            where = f"config (conf/dataset/{dataset}.yaml, or an override)"
            raise UserError(str(error).replace("config", where, 1)) from None
        raise
    settings = _with_steps(settings, config)
    _parts_agree(settings)
    return settings


class _Steps(Section):
    steps: dict[str, StepEntry]


def _with_steps(settings: Settings, config: DictConfig) -> Settings:
    """Return `settings` with the pipeline's steps, filled in, and those to run in running order."""
    if not config.get("steps"):
        raise UserError(
            "config: the pipeline has no steps: conf/pipeline/<name>.yaml lists them under "
            "'steps', below `# @package _global_` as its first line"
        )
    steps = config.steps
    written: Any = (
        OmegaConf.to_container(steps, resolve=False) if OmegaConf.is_dict(steps) else steps
    )
    _refuse_wrong_shapes(written)
    try:
        filled = interpolations.fill_in(steps, written, settings.model_dump())
    except (OmegaConfBaseException, AttributeError, TypeError) as error:
        raise UserError(f"config: steps: {' '.join(str(error).split())}") from None
    filled = {name: entry or {} for name, entry in filled.items()}
    entries = validation.check(_Steps, {"steps": filled}, "config").steps
    for name, entry in entries.items():
        entry._keys = interpolations.keys(written[name] or {})
    _refuse_names_of_rooms(entries)
    names = _in_running_order(settings.main.execute_steps, entries)
    if settings.sweep.step is not None and settings.sweep.step not in entries:
        raise UserError(
            f"config: sweep.step: {validation.choose('step', settings.sweep.step, [*entries])}"
        )
    main = settings.main.model_copy(update={"execute_steps": names})
    found = settings.model_copy(update={"main": main, "steps": entries})
    found._steps_as_written = written
    return found


def _refuse_wrong_shapes(written: Any) -> None:
    """What stands under `steps` maps names to mappings; names become folders and files."""
    parts = {"steps": written}
    for name, entry in written.items() if isinstance(written, dict) else ():
        if not isinstance(name, str) or not STEP_NAME.fullmatch(name) or name == "all":
            raise UserError(
                f"config: steps: {str(name)[:60]!r} cannot be the name of a step: expected a "
                "letter, then at most 99 letters, digits, _ and -, and not 'all'"
            )
        parts[f"steps.{name}"] = entry
        for key in ("inputs", "parameters", "files", "only_when"):
            if isinstance(entry, dict):
                parts[f"steps.{name}.{key}"] = entry.get(key)
    for key, part in parts.items():
        if part is not None and not isinstance(part, dict):
            raise UserError(
                f"config: {key} must be a mapping (key: value), found {str(part)[:60]!r}"
            )


def _refuse_names_of_rooms(entries: dict[str, StepEntry]) -> None:
    """A step elsewhere is not called like a folder of the project that is none: `util_lib`."""
    for name, entry in entries.items():
        folder = ROOT / name
        is_room = (folder / "__init__.py").exists() or not (folder / "MLproject").exists()
        if entry.uri and folder.is_dir() and is_room and step_folder(entry.uri) != folder:
            raise UserError(
                f"config: steps: {name!r} cannot be the name of a step: the project has a folder "
                "of that name that is no step; choose another name"
            )


def _in_running_order(given: list[str], entries: dict[str, StepEntry]) -> list[str]:
    """Return the steps that `main.execute_steps` names, in the order of the pipeline."""
    key = "config: main.execute_steps:"
    for name, entry in entries.items():
        if not entry.model_fields_set - {"uri", "version"}:
            others = [other for other in entries if other != name]
            raise UserError(
                f"config: steps: {validation.choose('step', name, others)}; a step of your own "
                "says its inputs, parameters or outputs, if only `outputs: []`"
            )
    called = _also_called(entries)
    if len(given) > 1 and "all" in given:
        raise UserError(f"{key} 'all' means every step and stands alone, found {', '.join(given)}")
    if not given:
        raise UserError(f"{key} names no step: choose from {', '.join(entries)}")
    if given == ["all"]:
        if everything := [name for name, entry in entries.items() if entry.in_all]:
            return everything
        raise UserError(f"{key} 'all' is no step here, each has in_all: false: name one of them")
    wanted = {called.get(name, name) for name in given}
    for name in sorted(wanted - {*entries}):
        raise UserError(f"{key} {validation.choose('step', name, [*entries])}")
    return [name for name in entries if name in wanted]


def _also_called(entries: dict[str, StepEntry]) -> dict[str, str]:
    """Map the other names of steps to the steps; each name means one step."""
    called: dict[str, str] = {}
    for name, entry in entries.items():
        for other in entry.also_called:
            if other in (*entries, *called, "all"):
                means = other if other in entries else called.get(other, "every step")
                raise UserError(
                    f"config: steps.{name}.also_called: {other!r} already means {means}: choose "
                    "another name"
                )
            called[other] = name
    return called


def _refuse_what_is_missing(config: DictConfig, dataset: str | None) -> None:
    """Keys that every dataset file sets: not there, or deleted with ~ on the command line."""
    file = f"conf/dataset/{dataset}.yaml" if dataset else "the dataset file"
    for group, place in {"dataset": file, "pipeline": "conf/pipeline/<name>.yaml"}.items():
        if group in config:
            raise UserError(
                f"{place} must have `# @package _global_` as its first line: without it Hydra puts "
                f"its keys under {group!r}, where nothing reads them"
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
    models: list[ModelPipeline | None] = [
        settings.random_forest_pipeline,
        settings.gradient_boosting_pipeline,
    ]
    for model in filter(None, models):
        if model.calibrate and not settings.data.val_size:
            raise UserError(
                f"config: {model.SECTION}.calibrate {model.calibrate!r} needs validation rows and "
                "data.val_size is 0: set it above 0, or calibrate to null"
            )
        _features_are_columns(model, columns, settings.data)


def _features_are_columns(model: ModelPipeline, columns: list[str], data: Data) -> None:
    named = {f"{model.SECTION}.target": [model.target]}
    for kind, names in model.features:
        named[f"{model.SECTION}.features.{kind}"] = names
    for key, names in named.items():
        for name in names:
            if name not in columns:
                raise UserError(f"config: {key}: {validation.choose('column', name, columns)}")
    for name in model.features.numerical:
        column = data.columns.get(name)
        dtype = column.dtype if column else "string"  # the joined text is no column of the file
        if dtype in ("string", "datetime"):
            raise UserError(
                f"config: {model.SECTION}.features.numerical: column {name!r} has dtype "
                f"{dtype}, and a numerical feature needs numbers: move it to another kind of "
                "features, or leave it out"
            )
