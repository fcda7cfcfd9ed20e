"""An estimator takes what scikit-learn's own takes, and says so before any data are read."""

import math

import pytest
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.utils._param_validation import InvalidParameterError

from util_lib.model import hyperparameters

FORESTS = {"classification": RandomForestClassifier, "regression": RandomForestRegressor}
ESTIMATORS = {
    ("random_forest", "classification"): RandomForestClassifier,
    ("random_forest", "regression"): RandomForestRegressor,
    ("gradient_boosting", "classification"): HistGradientBoostingClassifier,
    ("gradient_boosting", "regression"): HistGradientBoostingRegressor,
}
WORDS = ["sqrt", "log2", "auto", "gini", "entropy", "log_loss", "balanced", "balanced_subsample"]
WORDS += ["squared_error", "absolute_error", "friedman_mse", "poisson", "mse", ""]
WORDS += ["gamma", "quantile", "pairwise", "no_interactions", "accuracy"]
NUMBERS = [-3, -1, 0, 1, 2, 3, 255, 256, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, -0.5, math.nan, math.inf]
VALUES = [None, True, False, {}, *NUMBERS, *WORDS]
MADE = {"categorical_features"}  # of the features
# ours is narrower: a mistake, whatever scikit-learn makes of it
NARROWER = {
    ("n_jobs", "0"),  # refused when fitting starts
    ("monotonic_cst", "{}"),
    ("max_samples", "1.5"),  # more rows than there are
    ("min_impurity_decrease", "inf"),
    ("ccp_alpha", "inf"),
    ("max_samples", "inf"),
    ("learning_rate", "inf"),
    ("l2_regularization", "inf"),
    ("tol", "inf"),
}


def ours(name, value, key, task):
    try:
        hyperparameters.check({name: value}, task, key)
    except ValueError:
        return False
    return True


def scikit_learns(name, value, key, task):
    estimator = ESTIMATORS[key, task]()
    if name == "class_weight" and task == "regression":
        return value is None  # it has no such parameter, and null is left out
    try:
        estimator.set_params(**{name: value})._validate_params()
    except InvalidParameterError:
        return False
    return True


@pytest.mark.parametrize(("key", "task"), ESTIMATORS)
def test_an_estimator_takes_what_scikit_learns_own_takes(key, task):
    names = {*ESTIMATORS[key, task]().get_params(), "class_weight"} - MADE
    taken = hyperparameters.ESTIMATORS[key][task]
    assert set(taken.model_fields) == names
    different = []
    for name in names:
        for value in VALUES:
            words = hyperparameters.expected(taken, name)
            assert words
            is_flag = isinstance(value, bool) and "true or false" not in words
            if is_flag or (name, repr(value)) in NARROWER:
                assert not ours(name, value, key, task), (name, value)
            elif ours(name, value, key, task) != scikit_learns(name, value, key, task):
                different.append((name, value))
    assert different == []


@pytest.mark.parametrize(("key", "task"), ESTIMATORS)
def test_the_defaults_are_scikit_learns(key, task):
    ours = hyperparameters.ESTIMATORS[key][task]().model_dump()
    theirs = ESTIMATORS[key, task]().get_params()
    assert {k: v for k, v in theirs.items() if k not in MADE}.items() <= ours.items()


@pytest.mark.parametrize(
    ("name", "value", "task", "sentence"),
    [
        ("max_depth", -3, "classification", "a whole number of at least 1, or null, found -3"),
        ("n_jobs", 0, "regression", "a whole number other than 0, or null, found 0"),
        ("n_estimators", True, "regression", "a whole number of at least 1, found True"),
        ("class_weight", {}, "regression", "null, found {}"),
        (
            "criterion",
            "gini",
            "regression",
            "'squared_error' or 'absolute_error' or 'poisson', found",
        ),
        (
            "max_features",
            "auto",
            "regression",
            "'sqrt' or 'log2', or null, found 'auto'; write 1.0",
        ),
        ("max_samples", 1.5, "classification", "above 0, up to 1, or null, found 1.5"),
    ],
)
def test_a_refusal_says_what_is_expected_and_found(name, value, task, sentence):
    with pytest.raises(ValueError) as error:
        hyperparameters.check({name: value}, task)
    forest = FORESTS[task].__name__
    assert str(error.value).startswith(f"the {name!r} parameter of {forest} must be ")
    assert sentence in str(error.value)


@pytest.mark.parametrize("parameters", [{"oob_score": True}, {"max_samples": 0.5}])
def test_what_needs_drawn_rows_is_refused_without_them(parameters):
    with pytest.raises(ValueError, match="needs bootstrap: true"):
        hyperparameters.check({**parameters, "bootstrap": False}, "classification")
