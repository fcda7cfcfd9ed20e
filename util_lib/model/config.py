"""The section of a model: what it is fitted with, and on which columns."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from util_lib import validation
from util_lib.dataset import expressions
from util_lib.dataset.columns import Column, Monitored
from util_lib.dataset.declaration import Csv, TextFeature
from util_lib.errors import DamagedModelError, UserError
from util_lib.model import hyperparameters
from util_lib.tracking.names import check_artifact_name
from util_lib.validation import Section, null_word


class Features(Section):
    """The model's input columns by treatment."""

    numerical: list[str]
    categorical: list[str]  # one number for each category
    one_hot: list[str] = []  # one column for each category
    dates: list[str] = []  # days before the newest date of training
    nlp: list[str]

    def names(self) -> list[str]:
        """Return all columns in the order in which the model takes them."""
        return [*self.numerical, *self.categorical, *self.one_hot, *self.dates, *self.nlp]

    @model_validator(mode="after")
    def _each_column_once(self) -> "Features":
        names = self.names()
        if not names:
            raise ValueError("no feature is named: a model needs at least one column")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"column {twice[0]!r} is named twice; a column is used once")
        return self


class Tfidf(Section):
    """How text becomes numbers; `max_features` None keeps every word.

    `binary` takes a word as there or not, however often; `stop_words` english leaves out words such
    as "the".
    """

    max_features: Annotated[int, Field(gt=0)] | None
    binary: bool = True
    stop_words: Literal["english"] | None = None


TEXT = Column(dtype="string", role="text", nullable=True)
DATE = Column(dtype="datetime", role="date", nullable=True)


class Declaration(Section):
    """What the dataset file says of the columns that the model gets, and how some are made.

    It travels with the model: whoever sends it rows is held to what the training data were.
    `columns` holds the features and the columns that `text_feature` and `derived` are made of.
    """

    columns: dict[str, Column] = {}
    target: Column | None = None
    csv: Csv = Csv()  # how the CSV file was written that the model is from
    text_feature: TextFeature | None = None
    derived: dict[str, str] = {}

    def of_table(self, features: Features, target: str) -> dict[str, Column]:
        """Return the columns of the tables that the model is fitted and measured on.

        Of those that nobody has declared only what is clear from their use is said.
        """
        used = dict.fromkeys(features.nlp, TEXT) | dict.fromkeys(features.dates, DATE)
        return used | self.columns | ({target: self.target} if self.target else {})

    def recipes(self) -> dict[str, list[str]]:
        """Return the columns that are made, each with those it is made of."""
        recipes = {n: expressions.columns_of(how, n) for n, how in self.derived.items()}
        if text := self.text_feature:
            recipes[text.name] = text.columns
        return recipes

    def modes(self) -> dict[str, Monitored]:
        """Return what monitoring keeps of each column, those that are made included.

        A column that is made of others shows no more of them than they do themselves, unless it is
        declared how it is monitored.
        """
        modes = {name: column.monitored for name, column in self.columns.items()}
        strict, recipes = get_args(Monitored), self.recipes()
        for name, sources in [*recipes.items()] * len(recipes):  # some are made of made ones
            column = self.columns.get(name)
            if column is None or column.monitor is None:
                among = [modes[source] for source in sources if source in modes]
                is_text = column is None or column.dtype == "string"
                among = [mode if is_text or mode != "length" else "keep" for mode in among]
                own = modes.get(name, "keep")
                modes[name] = max([own, *among], key=strict.index)
        return modes

    def monitored(self, names: list[str]) -> dict[str, Monitored]:
        """Return what monitoring keeps of those `names` that it keeps anything of, in order."""
        modes = self.modes()
        return {name: modes[name] for name in names if modes.get(name, "drop") != "drop"}

    @field_validator("derived")
    @classmethod
    def _expressions_are_harmless(cls, derived: dict[str, str]) -> dict[str, str]:
        return expressions.check_all(derived)


class Described(BaseModel):
    """What the metadata of an exported model must say, whoever wrote them."""

    model_config = ConfigDict(strict=True, frozen=True)

    target: str
    task: Literal["classification", "regression"] = "classification"
    features: Features
    declaration: Declaration = Declaration()


def described(metadata: dict[str, Any], where: str) -> Described:
    """Return what a model's metadata say of its columns; `DamagedModelError` where they do not."""
    try:
        return validation.check(Described, metadata, where)
    except UserError as error:
        raise DamagedModelError(
            f"{error}: a model says which columns it uses, as train_random_forest writes it"
        ) from None


class ModelPipeline(Section):
    """What the sections of all models hold.

    `SECTION` is what such a section is called, `ESTIMATOR` its key that goes to scikit-learn as
    it is.
    """

    SECTION: ClassVar[str]
    ESTIMATOR: ClassVar[str]

    target: str
    task: Literal["classification", "regression"] = "classification"
    export_artifact: Annotated[
        Annotated[str, AfterValidator(check_artifact_name)] | None, BeforeValidator(null_word)
    ] = None
    export_format: Literal["skops", "cloudpickle"] = "skops"
    features: Features
    declaration: Declaration = Declaration()
    max_rows: Annotated[int, Field(ge=10)] | None = None  # of the training data; None = all
    # How the validation rows set the probabilities of a classifier right; None = not at all.
    calibrate: Literal["isotonic", "temperature"] | None = None
    category_orders: dict[str, list[Any]] = {}  # from low to high; other categories are sorted

    @model_validator(mode="after")
    def _the_estimator_takes_its_parameters(self) -> Self:
        try:
            hyperparameters.check(self.estimator, self.task, self.ESTIMATOR)
        except ValueError as error:
            raise ValueError(f"{self.ESTIMATOR}: {error}") from None
        return self

    @model_validator(mode="after")
    def _target_is_no_feature(self) -> Self:
        if self.target in self.features.names():
            raise ValueError(
                f"features holds the target {self.target!r}: a model that sees its answer learns "
                "nothing; remove it there"
            )
        return self

    @model_validator(mode="after")
    def _probabilities_are_calibrated(self) -> Self:
        if self.calibrate and self.task == "regression":
            raise ValueError(
                f"calibrate {self.calibrate!r} sets probabilities right, and a regression has "
                "none: leave it null"
            )
        return self

    @property
    def estimator(self) -> dict[str, Any]:
        """The hyperparameters."""
        return getattr(self, self.ESTIMATOR)


class RandomForestPipeline(ModelPipeline):
    """The `random_forest_pipeline` section."""

    SECTION: ClassVar[str] = "random_forest_pipeline"
    ESTIMATOR: ClassVar[str] = "random_forest"

    numerical_imputer: Literal["median", "mean", "zero"] = "median"
    tfidf: Tfidf = Tfidf(max_features=10)
    random_forest: dict[str, Any]


class GradientBoostingPipeline(ModelPipeline):
    """The `gradient_boosting_pipeline` section; its model takes missing values as they are."""

    SECTION: ClassVar[str] = "gradient_boosting_pipeline"
    ESTIMATOR: ClassVar[str] = "gradient_boosting"

    tfidf: Tfidf = Tfidf(max_features=100)
    gradient_boosting: dict[str, Any]


AnyPipeline = RandomForestPipeline | GradientBoostingPipeline
P = TypeVar("P", bound=ModelPipeline)


def load(path: str | Path, section: type[P]) -> P:
    """Read a model's section from a YAML file."""
    return validation.load(section, path, section.SECTION)
