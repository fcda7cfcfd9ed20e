"""A Bayesian search: the next values to try, chosen by Optuna."""
