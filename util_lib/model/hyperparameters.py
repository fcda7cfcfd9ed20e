"""What scikit-learn's estimators take: checked before any data is read, without scikit-learn.

The rules and the defaults are scikit-learn's own; a test holds them against the version that is
installed. A description says in words what a type takes.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, get_args, get_origin

from pydantic import Field, InstanceOf, ValidationError, model_validator

from util_lib import validation
from util_lib.validation import Section

FromZero = Annotated[int, Field(ge=0, description="a whole number of at least 0")]
FromOne = Annotated[int, Field(ge=1, description="a whole number of at least 1")]
FromTwo = Annotated[int, Field(ge=2, description="a whole number of at least 2")]
# Fractions are no whole numbers: 1 is one row or column, 1.0 is all of them.
Share = Annotated[InstanceOf[float], Field(gt=0, le=1, description="a fraction above 0, up to 1")]
Part = Annotated[InstanceOf[float], Field(gt=0, lt=1, description="a fraction between 0 and 1")]
Half = Annotated[float, Field(ge=0, le=0.5, description="a number from 0 to 0.5")]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, description="a number from 0")]
Columns = FromOne | Share | Literal["sqrt", "log2"] | None
Workers = Annotated[
    Annotated[int, Field(ge=1)] | Annotated[int, Field(le=-1)],
    Field(description="a whole number other than 0"),
]
Seed = Annotated[int, Field(ge=0, lt=2**32, description="a whole number from 0 to 4294967295")]
Weights = Annotated[dict, Field(description="a mapping {class: weight}")]
WORDS = {bool: "true or false", type(None): "null", list: "a list", str: "a word"}


class Hyperparameters(Section):
    """What an estimator takes: `estimator` is its class in scikit-learn.

    `former` maps a word that older versions took to what is to be written today.
    """

    estimator: ClassVar[str]
    former: ClassVar[dict[str, str]] = {}


class Forest(Hyperparameters):
    """What both forests take."""

    n_estimators: FromOne = 100
    max_depth: FromOne | None = None
    min_samples_split: FromTwo | Share = 2
    min_samples_leaf: FromOne | Part = 1
    min_weight_fraction_leaf: Half = 0.0
    max_leaf_nodes: FromTwo | None = None
    min_impurity_decrease: NotNegative = 0.0
    bootstrap: bool = True
    oob_score: bool = False
    n_jobs: Workers | None = None
    random_state: Seed | None = None
    verbose: FromZero | bool = 0
    warm_start: bool = False
    ccp_alpha: NotNegative = 0.0
    max_samples: FromOne | Share | None = None
    monotonic_cst: list | None = None

    @model_validator(mode="after")
    def _needs_drawn_rows(self) -> Self:
        for name in ("oob_score", "max_samples"):
            if not self.bootstrap and (value := getattr(self, name)):
                raise ValueError(
                    f"{name} {value!r} needs bootstrap: true: without it every tree sees all rows"
                )
        return self


class ForestClassifier(Forest):
    """What RandomForestClassifier takes."""

    estimator: ClassVar[str] = "RandomForestClassifier"
    former: ClassVar[dict[str, str]] = {"auto": "'sqrt'"}

    criterion: Literal["gini", "entropy", "log_loss"] = "gini"
    max_features: Columns = "sqrt"
    class_weight: Literal["balanced", "balanced_subsample"] | Weights | None = None


class ForestRegressor(Forest):
    """What RandomForestRegressor takes."""

    estimator: ClassVar[str] = "RandomForestRegressor"
    former: ClassVar[dict[str, str]] = {"auto": "1.0"}

    criterion: Literal["squared_error", "absolute_error", "poisson"] = "squared_error"
    max_features: Columns = 1.0
    class_weight: None = None  # a regressor has none: null is left out


class Boosting(Hyperparameters):
    """What boosted trees take; which features are categories is made of the configuration."""

    learning_rate: Annotated[
        float, Field(gt=0, allow_inf_nan=False, description="a number above 0")
    ] = 0.1
    max_iter: FromOne = 100
    max_leaf_nodes: FromTwo | None = 31
    max_depth: FromOne | None = None
    min_samples_leaf: FromOne = 20
    l2_regularization: NotNegative = 0.0
    max_features: Share = 1.0
    max_bins: Annotated[int, Field(ge=2, le=255, description="a whole number from 2 to 255")] = 255
    monotonic_cst: list | None = None
    interaction_cst: Literal["pairwise", "no_interactions"] | list | None = None
    warm_start: bool = False
    early_stopping: Literal["auto"] | bool = "auto"
    scoring: str | None = "loss"
    validation_fraction: FromOne | Part | None = 0.1
    n_iter_no_change: FromOne = 10
    tol: NotNegative = 1e-7
    verbose: FromZero | bool = 0
    random_state: Seed | None = None


class BoostingClassifier(Boosting):
    """What HistGradientBoostingClassifier takes."""

    estimator: ClassVar[str] = "HistGradientBoostingClassifier"

    loss: Literal["log_loss"] = "log_loss"
    class_weight: Literal["balanced"] | Weights | None = None


class BoostingRegressor(Boosting):
    """What HistGradientBoostingRegressor takes."""

    estimator: ClassVar[str] = "HistGradientBoostingRegressor"

    loss: Literal["squared_error", "absolute_error", "poisson", "gamma", "quantile"] = (
        "squared_error"
    )
    quantile: Annotated[float, Field(ge=0, le=1, description="a number from 0 to 1")] | None = None
    class_weight: None = None  # a regressor has none: null is left out


# by the key of the configuration that holds them, and by task
ESTIMATORS: dict[str, dict[str, type[Hyperparameters]]] = {
    "random_forest": {"classification": ForestClassifier, "regression": ForestRegressor},
    "gradient_boosting": {"classification": BoostingClassifier, "regression": BoostingRegressor},
}


def check(parameters: Mapping[str, Any], task: str, key: str = "random_forest") -> None:
    """Raise `ValueError` for the first of `parameters` that the estimator of `task` does not take.

    `key` is what the configuration calls these parameters.
    """
    taken = ESTIMATORS[key][task]
    for name in parameters:
        if name not in taken.model_fields:
            raise ValueError(validation.choose("hyperparameter", name, list(taken.model_fields)))
    try:
        taken.model_validate(dict(parameters))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if not first["loc"]:
            raise ValueError(str(first["ctx"]["error"])) from None
        name = str(first["loc"][0])
        value, hint = parameters[name], ""
        if isinstance(value, str) and value in taken.former:
            hint = f"; write {taken.former[value]}, which is what {value!r} meant"
        raise ValueError(
            f"the {name!r} parameter of {taken.estimator} must be {expected(taken, name)}, "
            f"found {value!r}{hint}"
        ) from None


def expected(taken: type[Hyperparameters], name: str) -> str:
    """Say in words what a parameter takes."""
    field = taken.model_fields[name]
    return field.description or ", or ".join(_words(field.annotation))


def _words(kind: Any) -> list[str]:
    if get_origin(kind) is Literal:
        return [" or ".join(map(repr, get_args(kind)))]
    if get_origin(kind) is Annotated:
        return [
            next(each.description for each in kind.__metadata__ if hasattr(each, "description"))
        ]
    return [WORDS[kind]] if kind in WORDS else [w for part in get_args(kind) for w in _words(part)]
