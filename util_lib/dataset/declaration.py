"""The declaration of a table: where it is, its columns, its target. One YAML file says it once.

What a key means is said here, beside its type: docs/datasets.md shows these descriptions, and
`python -m util_lib.dataset.declaration` prints them.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from util_lib import partitions, validation
from util_lib.dataset import expressions, key_table
from util_lib.dataset.clean import Clean
from util_lib.dataset.columns import Column, Mark, Share, check_date_format, not_of_type
from util_lib.dataset.partition import Partition
from util_lib.dataset.repeats import Duplicates
from util_lib.dataset.splits import Split
from util_lib.dataset.sql_source import SqlSource
from util_lib.dataset.table_checks import Checks
from util_lib.errors import UserError
from util_lib.tracking.names import check_artifact_name, parse_reference
from util_lib.urls import is_database
from util_lib.validation import Section, null_word

Fraction = Annotated[float, Field(gt=0, lt=1)]
Text = Annotated[str, Field(min_length=1)]


class Csv(Section):
    """How a CSV file is written."""

    separator: Annotated[Mark, Field(description="one character between fields")] = ","
    encoding: Annotated[str, Field(description="such as `utf-8` or `latin-1`")] = "utf-8"
    header: Annotated[
        bool,
        Field(
            description="`false`: no line names the columns; they are called as `columns` "
            "declares them (before `clean.rename`), in that order"
        ),
    ] = True
    skip_lines: Annotated[
        int, Field(ge=0, description="lines to pass over before the header or the first row")
    ] = 0
    footer_lines: Annotated[
        int, Field(ge=0, description="lines below the last row that are none, such as footnotes")
    ] = 0
    trailing_separator: Annotated[
        bool, Field(description="`true`: rows end in a separator, which the header does not")
    ] = False
    quote: Annotated[Mark, Field(description="character around a field that holds others")] = '"'
    escape: Annotated[
        Mark | None,
        Field(description="character before a quote within a field; none = the quote is doubled"),
    ] = None
    comment: Annotated[
        Mark | None, Field(description="character that begins a line which is no row")
    ] = None
    trim: Annotated[bool, Field(description="`true`: blanks around a field are no part of it")] = (
        False
    )
    decimal: Annotated[Mark, Field(description="decimal mark of numbers")] = "."
    thousands: Annotated[
        Mark | None, Field(description="mark between thousands, such as `.` or a blank")
    ] = None
    missing: Annotated[
        list[str], Field(description="words that stand for a missing value, in every column")
    ] = []
    date_format: Annotated[
        str | None,
        Field(description="how dates are written, such as `%d.%m.%Y %H:%M`; none = ISO 8601"),
    ] = None

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, encoding: str) -> str:
        try:
            "".encode(encoding)
        except LookupError:
            raise ValueError(f"must be an encoding that Python knows, found {encoding!r}") from None
        return encoding

    @field_validator("date_format")
    @classmethod
    def _date_format_can_be_read(cls, written: str | None) -> str | None:
        return check_date_format(written)

    @model_validator(mode="after")
    def _marks_differ(self) -> "Csv":
        marks: dict[str, str] = {}
        for key in ("separator", "decimal", "thousands", "quote", "escape", "comment"):
            mark = getattr(self, key)
            if mark is not None and (other := marks.setdefault(mark, key)) != key:
                raise ValueError(f"{other} and {key} are both {mark!r}: they must differ")
        return self


class TextFeature(Section):
    """Text columns joined, in this order, with one space into the column `name`."""

    name: Annotated[Text, Field(description="name of the joined column")]
    columns: Annotated[
        list[str], Field(min_length=1, description="text columns, joined with one space")
    ]


def _is_sha256(text: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise ValueError(f"must be 64 hexadecimal digits or null, found {text!r}")
    return text


def _is_reference(text: str) -> str:
    try:
        parse_reference(text)
    except UserError as error:
        raise ValueError(str(error)) from None
    return text


def _names_a_table(name: str) -> str:
    if PurePosixPath(name).suffix not in (".parquet", ".csv"):
        raise ValueError(f"must end in .parquet or .csv, which says its format, found {name!r}")
    return name


class Data(Section):
    """The `data` section: one table, how it is cleaned, checked and split."""

    file_url: Annotated[
        Text,
        Field(
            description="http(s) address or path of a parquet or CSV file, or a folder or glob "
            "of files that are one table; a relative path starts at the project root; or the "
            "address of a database (docs/databases.md), or of a file in a bucket (docs/buckets.md)"
        ),
    ]
    sql: Annotated[
        SqlSource, Field(description="which rows of a database are the table, see below")
    ] = SqlSource()
    sha256: Annotated[
        Annotated[str, AfterValidator(_is_sha256)] | None,
        BeforeValidator(null_word),
        Field(description="64 hexadecimal digits (`sha256sum FILE`); another content is refused"),
    ] = None
    max_bytes: Annotated[int, Field(gt=0, description="a longer file is refused")] = 2_000_000_000
    max_rows: Annotated[
        int,
        Field(
            gt=0,
            description="a table with more rows, or more than 20 times as many values, is refused "
            "while it is read: a small file can stand for a large table",
        ),
    ] = 10_000_000
    format: Annotated[
        Literal["auto", "parquet", "csv", "json", "excel", "arrow"],
        Field(
            description="`auto`: by the file's name, else by its first bytes; `json` is a list of "
            "records or one in each line"
        ),
    ] = "auto"
    sheet: Annotated[
        str | None,
        Field(description="sheet of an Excel file that holds the table; none = its only"),
    ] = None
    csv: Annotated[Csv, Field(description="how a CSV file is written")] = Csv()
    target: Annotated[Text, Field(description="column to predict; it has role `target`")]
    task: Annotated[
        Literal["classification", "regression"],
        Field(description="predict a class or a number"),
    ] = "classification"
    columns: Annotated[
        dict[str, Column],
        Field(
            min_length=1,
            description="the columns after cleaning; the model gets its features in this order",
        ),
    ]
    clean: Annotated[Clean, Field(description="how the table is cleaned")] = Clean()
    drop_duplicates: Annotated[
        bool, Field(description="drop rows that equal an earlier one in every column of the file")
    ] = False
    duplicates: Annotated[
        Duplicates | None,
        Field(description="drop rows that repeat others in some columns, see below"),
    ] = None
    derived: Annotated[
        dict[str, str],
        Field(
            description="`{name: expression}`: new columns made of others (docs/datasets.md); "
            "`columns` declares them like the others"
        ),
    ] = {}
    text_feature: Annotated[
        TextFeature | None, Field(description="text columns joined into one feature")
    ] = None
    stratify: Annotated[
        str | None,
        BeforeValidator(null_word),
        Field(
            description="column whose classes keep their shares in every split; `null` = random "
            "(config.yaml: the target of a classification)"
        ),
    ] = None
    split: Annotated[Split, Field(description="by what rows are divided")] = Split()
    partition: Annotated[
        Partition, Field(description="which deliveries of a table that grows are taken, see below")
    ] = Partition()
    test: Annotated[
        Literal["share", "newest_partition"],
        Field(
            description="what is kept for `evaluate`: `share`: rows drawn by `split` and "
            "`test_size`; `newest_partition`: all rows of the newest partition, which the model in "
            "use cannot have seen"
        ),
    ] = "share"
    test_size: Annotated[
        Fraction, Field(description="fraction of all rows kept for `evaluate`, between 0 and 1")
    ] = 0.3
    val_size: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="fraction of the remaining rows kept for validation, from 0 to below 1; "
            "0 = the model is fitted on all of them and measured by `evaluate` only",
        ),
    ] = 0.3
    reference_half: Annotated[
        bool,
        Field(
            description="`true`: half of the raw rows, drawn at random, become the artifact "
            "`reference_data` (parquet), and only the other half is used"
        ),
    ] = False
    reference_dataset: Annotated[
        str,
        AfterValidator(_is_reference),
        Field(description="artifact that `check_data` compares new data with"),
    ] = "preprocessed_data.parquet:reference"
    ks_alpha: Annotated[
        Fraction,
        Field(
            description="chance of at least one false alarm over all tests for drift, between 0 "
            "and 1; higher = stricter"
        ),
    ] = 0.05
    min_effect: Annotated[
        Share,
        Field(
            description="a numerical column drifts only if its KS statistic, the largest gap "
            "between the two distribution functions, also reaches this, 0 to 1"
        ),
    ] = 0.05
    kl_threshold: Annotated[
        float,
        Field(
            ge=0,
            description="categories drift only if the Kullback-Leibler divergence of their shares "
            "from the reference's, in bits, also reaches this",
        ),
    ] = 0.02
    drift: Annotated[
        Literal["fail", "warn"],
        Field(
            description="what is done about columns that drift from the reference; `update` only "
            "warns where monitoring has seen the drift in use"
        ),
    ] = "fail"
    leakage: Annotated[
        Literal["off", "warn", "fail"],
        Field(description="what is done about columns that give the target away"),
    ] = "warn"
    checks: Annotated[Checks, Field(description="what is asked of the table as a whole")] = Checks()
    large_rows: Annotated[
        int, Field(gt=0, description="a longer table is worked on in batches (docs/large.md)")
    ] = 5_000_000
    memory: Annotated[
        str,
        AfterValidator(validation.check_memory),
        Field(description="what a step takes of it for a large table, such as `500MB`"),
    ] = "2GB"
    raw_artifact: Annotated[
        str,
        AfterValidator(check_artifact_name),
        Field(description="name of the table as downloaded"),
    ] = "raw_data.parquet"
    preprocessed_artifact: Annotated[
        str,
        AfterValidator(check_artifact_name),
        AfterValidator(_names_a_table),
        Field(description="name of the cleaned table, in `.parquet` or `.csv`: it says the format"),
    ] = "preprocessed_data.parquet"

    @property
    def table_columns(self) -> dict[str, Column]:
        """The columns of the table after `preprocess`: those declared, and those that it adds."""
        found = dict(self.columns)
        if self.text_feature:
            found[self.text_feature.name] = Column(dtype="string", role="text", nullable=True)
        if self.test == partitions.NEWEST:
            found[partitions.COLUMN] = Column(dtype="string", role="ignore")
        return found

    @field_validator("columns", mode="before")
    @classmethod
    def _no_column_by_accident(cls, columns: Any) -> Any:
        """An override that mistypes a column's name looks like a new column."""
        for name, column in columns.items() if isinstance(columns, dict) else ():
            if isinstance(column, dict) and not {"dtype", "role"} & set(column):
                others = [other for other in columns if other != name]
                raise ValueError(
                    f"{validation.choose('column', name, others)}; a new one needs dtype and role"
                )
        return columns

    @field_validator("derived")
    @classmethod
    def _expressions_are_harmless(cls, derived: dict[str, str]) -> dict[str, str]:
        return expressions.check_all(derived)

    @model_validator(mode="after")
    def _names_are_declared(self) -> "Data":
        columns = list(self.columns)
        named = {
            "target": [self.target],
            "stratify": [self.stratify] if self.stratify else [],
            "split.column": [self.split.column] if self.split.column else [],
            "partition.column": [self.partition.column] if self.partition.column else [],
            "derived": list(self.derived),
        }
        if self.text_feature:
            named["text_feature.columns"] = self.text_feature.columns
        for key, names in named.items():
            for name in names:
                if name not in columns:
                    raise ValueError(f"{key}: {validation.choose('column', name, columns)}")
        for name, column in self.columns.items():
            if (column.role == "target") != (name == self.target):
                raise ValueError(
                    f"column {name!r} has role {column.role!r} and data.target is "
                    f"{self.target!r}: exactly the target has role 'target'"
                )
        for name, keep in self.clean.keep_rows.items():
            for value in (keep.allowed or []) if name in columns else ():
                if reason := not_of_type(value, self.columns[name].dtype):
                    raise ValueError(f"clean.keep_rows.{name}.allowed holds {reason}")
        for name in self.clean.drop_columns:
            if name in self.columns:
                raise ValueError(f"clean.drop_columns: {name!r} is declared in columns: choose one")
        return self

    @model_validator(mode="after")
    def _rows_of_a_database_are_said(self) -> "Data":
        given = [key for key in ("table", "query") if getattr(self.sql, key) is not None]
        if is_database(self.file_url) and len(given) != 1:
            raise ValueError("file_url is a database: give sql.table or sql.query, one of them")
        if is_database(self.file_url) and self.sha256 is not None:
            raise ValueError("sha256 is that of a file, and file_url is a database: set it to null")
        if not is_database(self.file_url) and self.sql != SqlSource():
            raise ValueError(
                "sql belongs to a file_url that is a database: sqlite:///, duckdb:/// or "
                "postgresql://"
            )
        return self

    @model_validator(mode="after")
    def _the_newest_partition_is_known(self) -> "Data":
        if self.test == partitions.NEWEST and self.partition.by is None:
            raise ValueError("test: newest_partition needs partition.by: file or column")
        return self

    @model_validator(mode="after")
    def _task_fits_the_target(self) -> "Data":
        target = self.columns[self.target]
        if self.task == "regression":
            if target.dtype not in ("int", "float"):
                raise ValueError(
                    f"task regression predicts numbers, and target {self.target!r} has dtype "
                    f"{target.dtype}: use classification, or another target"
                )
            if self.stratify == self.target:
                raise ValueError(
                    f"stratify: {self.target!r} is a number to predict and has no classes: use a "
                    "categorical column, or null"
                )
            if self.checks.min_class_share is not None:
                raise ValueError("checks.min_class_share belongs to task classification")
        return self


def load(path: str | Path) -> Data:
    """Read the `data` section of a dataset file, or of what main.py prints of it.

    A file that builds on others of its folder names them under `defaults`, as Hydra wants it.
    """
    return validation.check(Data, _composed(Path(path)), str(path))


def _composed(path: Path) -> Any:
    content = validation.read(path, "data")
    if not isinstance(content, dict):
        return content
    section = content.get("data", content)
    for name in reversed(content.get("defaults", [])):
        if name != "_self_":
            section = _merged(_composed(path.with_name(f"{name}.yaml")), section)
    return section


def _merged(base: Any, changes: Any) -> Any:
    """Return mappings merged key by key, as Hydra does; anything else is replaced."""
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    return base | {key: _merged(base.get(key), value) for key, value in changes.items()}


def reference() -> str:
    """Return the keys of `data` and of its parts as Markdown tables: key, meaning, default."""
    sections: dict[str, type[Section]] = {
        "Keys of `data`": Data,
        "Keys of a column": Column,
        "Keys of `data.csv`": Csv,
        "Keys of `data.sql`": SqlSource,
        "Keys of `data.split`": Split,
        "Keys of `data.partition`": Partition,
        "Keys of `data.clean`": Clean,
        "Keys of `data.duplicates`": Duplicates,
        "Keys of `data.text_feature`": TextFeature,
        "Keys of `data.checks`": Checks,
    }
    return "\n\n".join(key_table.written(title, one) for title, one in sections.items()) + "\n"
