"""What scikit-learn's random forests take: checked before any data is read, without scikit-learn.

The rules are scikit-learn's own; a test holds them against the version that is installed.
"""

from collections.abc import Callable, Mapping
from typing import Any

from util_lib import validation

Rule = tuple[str, Callable[[Any], bool]]  # in words; whether a value passes


def _whole(least: int) -> Rule:
    return f"a whole number of at least {least}", lambda v: type(v) is int and v >= least


def _fraction(words: str, test: Callable[[float], bool]) -> Rule:
    return f"a fraction {words}", lambda v: type(v) is float and test(v)


def _number(words: str, test: Callable[[float], bool]) -> Rule:
    return f"a number {words}", lambda v: type(v) in (int, float) and test(v)


def _word(*words: str) -> Rule:
    return " or ".join(repr(word) for word in words), lambda v: isinstance(v, str) and v in words


NULL: Rule = ("null", lambda v: v is None)
FLAG: Rule = ("true or false", lambda v: type(v) is bool)
SHARE = _fraction("above 0, up to 1", lambda v: 0 < v <= 1)
NOT_NEGATIVE = _number("from 0", lambda v: 0 <= v < float("inf"))

BOTH: dict[str, tuple[Rule, ...]] = {
    "n_estimators": (_whole(1),),
    "max_depth": (_whole(1), NULL),
    "min_samples_split": (_whole(2), SHARE),
    "min_samples_leaf": (_whole(1), _fraction("between 0 and 1", lambda v: 0 < v < 1)),
    "min_weight_fraction_leaf": (_number("from 0 to 0.5", lambda v: 0 <= v <= 0.5),),
    "max_features": (_whole(1), SHARE, _word("sqrt", "log2"), NULL),
    "max_leaf_nodes": (_whole(2), NULL),
    "min_impurity_decrease": (NOT_NEGATIVE,),
    "bootstrap": (FLAG,),
    "oob_score": (FLAG,),
    "n_jobs": (("a whole number other than 0", lambda v: type(v) is int and v != 0), NULL),
    "random_state": (
        ("a whole number from 0 to 4294967295", lambda v: type(v) is int and 0 <= v < 2**32),
        NULL,
    ),
    "verbose": (_whole(0), FLAG),
    "warm_start": (FLAG,),
    "ccp_alpha": (NOT_NEGATIVE,),
    "max_samples": (_whole(1), SHARE, NULL),
    "monotonic_cst": (("a list", lambda v: isinstance(v, list)), NULL),
}
OWN: dict[str, dict[str, tuple[Rule, ...]]] = {
    "classification": {
        "criterion": (_word("gini", "entropy", "log_loss"),),
        "class_weight": (
            _word("balanced", "balanced_subsample"),
            ("a mapping {class: weight}", lambda v: isinstance(v, dict)),
            NULL,
        ),
    },
    "regression": {
        "criterion": (_word("squared_error", "absolute_error", "poisson"),),
        "class_weight": (NULL,),  # a regressor has none: null is left out
    },
}
FORESTS = {"classification": "RandomForestClassifier", "regression": "RandomForestRegressor"}


def check(parameters: Mapping[str, Any], task: str) -> None:
    """Raise `ValueError` for the first of `parameters` that the forest of `task` does not take."""
    rules = BOTH | OWN[task]
    for name, value in parameters.items():
        if name not in rules:
            raise ValueError(validation.choose("hyperparameter", name, list(rules)))
        if not any(test(value) for _, test in rules[name]):
            expected = ", or ".join(words for words, _ in rules[name])
            # what scikit-learn called it until 1.3
            former = {"classification": "'sqrt'", "regression": "1.0"}[task]
            hint = f"; write {former}, which is what 'auto' meant" if value == "auto" else ""
            raise ValueError(
                f"the {name!r} parameter of {FORESTS[task]} must be {expected}, found {value!r}"
                f"{hint}"
            )
    if parameters.get("bootstrap", True) is False:
        for name in ("oob_score", "max_samples"):
            if parameters.get(name):
                raise ValueError(
                    f"{name} {parameters[name]!r} needs bootstrap: true: without it every tree "
                    "sees all rows"
                )
