"""The forest takes what scikit-learn's own takes, and says so before any data are read."""

import math

import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.utils._param_validation import InvalidParameterError

from util_lib.model import hyperparameters

FORESTS = {"classification": RandomForestClassifier, "regression": RandomForestRegressor}
WORDS = ["sqrt", "log2", "auto", "gini", "entropy", "log_loss", "balanced", "balanced_subsample"]
WORDS += ["squared_error", "absolute_error", "friedman_mse", "poisson", "mse", ""]
NUMBERS = [-3, -1, 0, 1, 2, 3, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, -0.5, math.nan, math.inf]
VALUES = [None, True, False, {}, *NUMBERS, *WORDS]
# ours is narrower: a mistake, whatever scikit-learn makes of it
NARROWER = {
    ("n_jobs", "0"),  # refused when fitting starts
    ("monotonic_cst", "{}"),
    ("max_samples", "1.5"),  # more rows than there are
    ("min_impurity_decrease", "inf"),
    ("ccp_alpha", "inf"),
    ("max_samples", "inf"),
}


def ours(name, value, task):
    try:
        hyperparameters.check({name: value}, task)
    except ValueError:
        return False
    return True


def scikit_learns(name, value, task):
    forest = FORESTS[task]()
    if name == "class_weight" and task == "regression":
        return value is None  # it has no such parameter, and null is left out
    try:
        forest.set_params(**{name: value})._validate_params()
    except InvalidParameterError:
        return False
    return True


@pytest.mark.parametrize("task", FORESTS)
def test_a_forest_takes_what_scikit_learns_own_takes(task):
    names = {*FORESTS[task]().get_params(), "class_weight"}
    rules = hyperparameters.BOTH | hyperparameters.OWN[task]
    assert set(rules) == names
    different = []
    for name in names:
        for value in VALUES:
            is_flag = isinstance(value, bool) and all(
                words != "true or false" for words, _ in rules[name]
            )
            if is_flag or (name, repr(value)) in NARROWER:
                assert not ours(name, value, task), (name, value)
            elif ours(name, value, task) != scikit_learns(name, value, task):
                different.append((name, value))
    assert different == []


@pytest.mark.parametrize("parameters", [{"oob_score": True}, {"max_samples": 0.5}])
def test_what_needs_drawn_rows_is_refused_without_them(parameters):
    with pytest.raises(ValueError, match="needs bootstrap: true"):
        hyperparameters.check({**parameters, "bootstrap": False}, "classification")
