"""The model that answers, whoever asks: batch, HTTP, promotion.

Fetched through `util_lib.tracking`, and its content compared with its digest before anything of it
is loaded, because loading a model can run code.
"""

import dataclasses
import json
import logging
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from serving.aliases import move
from serving.model.fast_path import Direct, NoFastPath
from serving.model.fast_path_trial import direct_path
from serving.model.rows import Problem, absent_column, check_rows
from util_lib import tracking
from util_lib.dataset.columns import Column
from util_lib.errors import DamagedModelError, UserError
from util_lib.model import export, inference_pipeline
from util_lib.model.config import Declaration, Features, described
from util_lib.tables import cleaning, computing, reading
from util_lib.tracking import names
from util_lib.tracking.local.manifest import directory_digest

logger = logging.getLogger("serving")


@dataclass(frozen=True)
class ServedModel:
    """One version of a model, whole: nothing of it changes after it is loaded.

    `reference` is as it was asked for, `version` what that stood for: `project/name:v3`. `columns`
    declares the model's input columns, in the order of its features, and `sources` those that some
    of them can be made of, such as the parts of a joined text. `classes` is None for a model that
    predicts numbers. `example` holds rows of the training data, `direct` the fast way to answers.
    """

    reference: str
    version: str
    digest: str
    metadata: dict[str, Any]
    features: Features
    columns: dict[str, Column]
    sources: dict[str, Column]
    declaration: Declaration
    task: str
    target: str
    classes: np.ndarray | None
    example: pd.DataFrame | None = field(repr=False)
    pipeline: Any = field(repr=False)
    direct: Direct | None = field(repr=False)

    def read(self, rows: dict[str, list[Any]]) -> pd.DataFrame:
        """Return rows, given by column as JSON has them, in the declared types.

        A value of another type stays what it is: `examine` names it.
        """
        declared, form = self.columns | self.sources, self.declaration.csv
        return pd.DataFrame(
            {
                name: reading.row_values(values, declared[name], form)
                if name in declared
                else pd.Series(values, dtype=object)
                for name, values in rows.items()
            }
        )

    def absent(self, there: list[str]) -> list[str]:
        """Say which columns that may be missing are not among those `there`: maybe misspelt."""
        known, made = {**self.columns, **self.sources}, self.declaration.recipes()
        return [
            absent_column(name, there, known)
            for name, column in self.columns.items()
            if column.nullable and name not in made and name not in there
        ]

    def examine(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, list[Problem]]:
        """Return the rows of `frame` that are as declared, with every column, and what others lack.

        `frame` is what `read`, or a reader of files, made of values: here nothing is read again. A
        feature that a row lacks is made of its sources where they are there. The rows keep their
        numbers, counted from 0, as index.
        """
        frame = self._with_absent_sources(frame)
        made = self._makeable(frame)
        asked = {name: column for name, column in self.columns.items() if name not in made}
        frame, problems = _sorted_out(frame.reset_index(drop=True), asked)
        for name in made:
            frame, more = self._with(frame, name)
            problems += more
        return frame, sorted(problems, key=lambda p: -1 if p.row is None else p.row)

    def _with_absent_sources(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Add, as null, what may be null and is not there, where another part of its column is."""
        there = {*map(str, frame.columns)}
        absent = [
            source
            for recipe in self.declaration.recipes().values()
            if there & {*recipe}
            for source in recipe
            if source not in there and source in self.sources and self.sources[source].nullable
        ]
        return frame.assign(**dict.fromkeys(absent))

    def _makeable(self, frame: pd.DataFrame) -> list[str]:
        """Name the columns that some rows lack and that can be made, in the order of making."""
        made: list[str] = []
        there = {*map(str, frame.columns)}
        lacking = {
            name: sources
            for name, sources in self.declaration.recipes().items()
            if name in self.columns | self.sources
            and (name not in there or frame[name].isna().any())
        }
        while ready := [n for n, s in lacking.items() if n not in made and {*s} <= there]:
            made += ready
            there |= {*ready}
        return made

    def _with(self, frame: pd.DataFrame, name: str) -> tuple[pd.DataFrame, list[Problem]]:
        """Return `frame` with a column made where it is null, without the rows that are wrong."""
        lacking = frame[name].isna() if name in frame.columns else pd.Series(True, frame.index)
        recipe = self.declaration.recipes()[name]
        sources = {source: self.sources[source] for source in recipe if source in self.sources}
        part, problems = _sorted_out(frame[lacking], sources)
        frame = frame.drop(index=[p.row for p in problems if p.row is not None])
        if self.declaration.text_feature and name == self.declaration.text_feature.name:
            values = cleaning.add_text_feature(part, self.declaration.text_feature)[name]
        else:
            try:
                values = cleaning.derive(
                    part, name, self.declaration.derived[name], self.declaration.columns
                )
            except computing.TooLargeError as error:
                rows = [int(part.index[place]) for place in error.rows]
                expected = "be computed in whole numbers of 64 bits"
                problems += [Problem(row, name, "range", None, expected) for row in rows]
                frame, more = self._with(frame.drop(index=rows), name)
                return frame, problems + more
        if name in frame.columns:
            values = frame[name].astype(object).where(frame[name].notna(), values)
        frame = frame.assign(**{name: values})
        column = self.columns.get(name) or self.sources[name]
        frame, more = _sorted_out(frame, {name: column})
        return frame, problems + more

    def predict(self, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray | None]:
        """Return a label for each row, and the probabilities: rows by `classes`.

        A model that predicts numbers has no probabilities: None. The answers are those of the
        pipeline to the last bit. Raises `ValueError` for values that it cannot take, such as a
        text for a number; `examine` finds these before.
        """
        answers = self._answers(frame)
        if self.classes is None:
            return answers, None
        return self.classes.take(answers.argmax(axis=1)), answers

    def _answers(self, frame: pd.DataFrame) -> np.ndarray:
        if not len(frame):
            return np.zeros(0 if self.classes is None else (0, len(self.classes)))
        if self.direct is not None:
            try:
                return self.direct.predict(frame)
            except NoFastPath:
                pass  # the pipeline knows, or says what is wrong
        with inference_pipeline.predicting(self.pipeline, frame):
            if self.classes is None:
                return self.pipeline.predict(frame)
            return self.pipeline.predict_proba(frame)


def _sorted_out(
    frame: pd.DataFrame, columns: dict[str, Column]
) -> tuple[pd.DataFrame, list[Problem]]:
    """Return the rows that are as `columns` declare, and the problems of the others by index."""
    found = check_rows(frame, columns)
    places = [problem.row for problem in found if problem.row is not None]
    if len(places) < len(found):  # a column is not there
        return frame.iloc[:0], found
    rows = [int(frame.index[place]) for place in places]
    problems = [problem._replace(row=row) for problem, row in zip(found, rows, strict=True)]
    return frame.drop(index=rows), problems


def find(reference: str, project: str | None = None) -> Any:
    """Return the artifact that `reference` stands for now; nothing is fetched yet.

    `project` is for a reference that names none; without it, `WANDB_PROJECT`, else the demo's.
    """
    move.finish_interrupted_move()  # before anybody reads an alias
    overrides = {"project": project or names.default_project()}
    return tracking.Api(overrides=overrides).artifact(reference)


def load(reference: str, project: str | None = None, trust_pickle: bool = False) -> ServedModel:
    """Return the model that `reference` stands for now.

    `reference` is an artifact, `model_export:prod` or `project/model_export:v3`, or the path of a
    model directory; see `find` for `project`. A pickle is loaded only with `trust_pickle`. A model
    that does not answer its own example is damaged, as one whose files are: `DamagedModelError`.
    """
    directory = Path(reference)
    if directory.is_dir():
        return _in_directory(directory, trust_pickle)
    with tempfile.TemporaryDirectory() as tmp:
        directory = fetched(find(reference, project), Path(tmp))
        found = _in_directory(directory, trust_pickle)
    return dataclasses.replace(found, reference=reference)


def fetched(artifact: Any, folder: Path) -> Path:
    """Return the directory of a model, fetched into `folder`; a file beside says which it is."""
    refuse_no_model(artifact)
    directory = Path(artifact.download(str(folder / "model")))
    about = {"version": f"{artifact.project}/{artifact.source_name}", "digest": artifact.digest}
    beside = directory.with_name(f"{directory.name}.json")
    beside.write_text(json.dumps(about) + "\n", encoding="utf-8")
    return directory


def first_sound(versions: list[str], trust_pickle: bool = False) -> ServedModel:
    """Load the first of `versions` that is not damaged; those before it are named in the log."""
    damaged: list[str] = []
    for version in versions:
        try:
            return load(version, trust_pickle=trust_pickle)
        except export.PickleError:
            raise
        except UserError as error:
            logger.error("%s is passed over: %s", version, error)
            damaged.append(f"{version} ({error})")
    raise DamagedModelError(
        f"none of the {len(versions)} versions before can be loaded: {'; '.join(damaged)}; promote "
        "another version"
    )


def refuse_no_model(artifact: Any) -> None:
    """Raise `UserError` for an artifact that holds something else; nothing is fetched for it."""
    if "MLmodel" not in artifact.manifest.entries:
        raise UserError(
            f"{artifact.source_name} (type {artifact.type}) is no model: expected an artifact such "
            "as train_random_forest exports, for example model_export:latest"
        )


def _in_directory(directory: Path, trust_pickle: bool) -> ServedModel:
    """Load a model directory; `<directory>.json` beside it says which version it is, if there."""
    beside = directory.with_name(f"{directory.name}.json")
    known: dict[str, Any] = {"version": str(directory), "digest": None}
    if beside.is_file():
        try:
            known |= json.loads(beside.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{beside} is no JSON ({error}): write it again") from None
    return _load(directory, str(directory), known["version"], known["digest"], trust_pickle)


def _load(
    directory: Path, reference: str, version: str, digest: str | None, trust_pickle: bool
) -> ServedModel:
    export.check_paths(directory)
    found = directory_digest(directory)
    if digest is not None and found != digest:
        raise DamagedModelError(
            f"model {version} is damaged or was changed: its files have the digest {found}, not "
            f"{digest}; nothing of it was loaded: promote or export another version"
        )
    pipeline, metadata = export.load(directory, trust_pickle)
    about = described(metadata, f"model {version}")
    example = _example(directory)
    try:
        undeclared = _undeclared(pipeline, about.features)
        classes = None if about.task == "regression" else pipeline.classes_
        direct = direct_path(pipeline, example)
    except Exception as error:  # whatever the file holds instead of what training exports
        raise DamagedModelError(f"model {version} {_is_no_use(error)}") from error
    columns, sources = _declared(about.declaration, about.features, undeclared)
    model = ServedModel(
        reference=reference,
        version=version,
        digest=found,
        metadata=metadata,
        features=about.features,
        columns=columns,
        sources=sources,
        declaration=about.declaration,
        task=about.task,
        target=about.target,
        classes=classes,
        example=example,
        pipeline=pipeline,
        direct=direct,
    )
    _try_out(model)
    return model


def _try_out(model: ServedModel) -> None:
    """Raise `DamagedModelError` for a model that has no sound answer to its own example."""
    if model.example is None:
        return
    try:
        labels, probabilities = model.predict(model.example)
        numbers = np.asarray(labels if probabilities is None else probabilities, dtype=float)
    except Exception as error:
        raise DamagedModelError(f"model {model.version} {_is_no_use(error)}") from error
    right = len(labels) == len(model.example) and bool(np.isfinite(numbers).all())
    if right and probabilities is not None:
        right = bool((numbers >= 0).all() and np.allclose(numbers.sum(axis=1), 1))
    if not right:
        raise DamagedModelError(
            f"model {model.version} is damaged: its answer to its own example is no prediction"
        )


def _is_no_use(error: Exception) -> str:
    said = " ".join(str(error).split())[:200]
    return f"does not answer its own example ({type(error).__name__}: {said}): it is damaged"


def _example(directory: Path) -> pd.DataFrame | None:
    """Return the input example of a model directory, where it has one."""
    path = directory / "input_example.json"
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content = content.get("dataframe_split", content)
        return pd.DataFrame(content["data"], columns=content["columns"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        logger.warning("%s cannot be read: the model has no example", path.name)
        return None


def _declared(
    declaration: Declaration, features: Features, undeclared: dict[str, Column]
) -> tuple[dict[str, Column], dict[str, Column]]:
    """Return the declared columns of the features, and of what some of them are made of."""
    columns = {name: declaration.columns.get(name, undeclared[name]) for name in features.names()}
    if (text := declaration.text_feature) and text.name in columns:
        words = f"{' and '.join(text.columns)}, joined with one space"
        columns[text.name] = columns[text.name].model_copy(update={"description": words})
    # An MLmodel file has its keys sorted: the order is that of the recipes.
    parts = dict.fromkeys(name for recipe in declaration.recipes().values() for name in recipe)
    others = [name for name in parts if name in declaration.columns and name not in columns]
    return columns, {name: declaration.columns[name] for name in others}


def _undeclared(pipeline: Any, features: Features) -> dict[str, Column]:
    """Declare the columns of a model that says no more of them than how it uses them."""
    numbers = pipeline["columns"].number_columns_
    roles = {
        "numerical": features.numerical,
        "categorical": [*features.categorical, *features.one_hot],
        "date": features.dates,
        "text": features.nlp,
    }
    columns = {}
    for role, listed in roles.items():
        for name in listed:
            dtype = "float" if name in numbers else "datetime" if role == "date" else "string"
            columns[name] = Column.model_validate({"dtype": dtype, "role": role, "nullable": True})
    return columns
