"""How much each parameter of a sweep mattered, by Optuna's PED-ANOVA."""

import warnings
from typing import Any, Literal

from pipeline.sweeps.leaderboard.ranking import RankedSweep
from pipeline.sweeps.record import as_text, is_maximised

FEWEST = 8  # trials; of fewer nothing can be said

WORDS = (
    "Share of each parameter in reaching the best tenth of the trials (PED-ANOVA, Watanabe et al. "
    "2023, as in Optuna {version}); they add up to 100%. Estimated from {n} trials: little "
    "differences mean nothing."
)


def shares(sweep: RankedSweep) -> tuple[dict[str, float], str]:
    """Return each varied parameter's share of 1, and how it was found or why it was not.

    Parameters that some trial lacks are left out. With several objectives it is the share in
    reaching the Pareto front.
    """
    trials = sweep.measured
    keys = [key for key in sweep.varied if all(key in trial.overrides for trial in trials)]
    keys = [key for key in keys if len({as_text(t.overrides[key]) for t in trials}) > 1]
    if len(trials) < FEWEST or len(keys) < 2:
        return {}, (
            f"Needs {FEWEST} finished trials and two parameters; here are {len(trials)} and "
            f"{len(keys)}."
        )
    import optuna  # takes a while, and only a page asks for it

    space = {key: _distribution(optuna, [t.overrides[key] for t in trials]) for key in keys}
    directions: list[Literal["maximize", "minimize"]] = [
        "maximize" if is_maximised(name) else "minimize" for name in sweep.objectives
    ]
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(directions=directions)
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params={key: _value(space[key], trial.overrides[key]) for key in keys},
                    distributions=space,
                    values=sweep.values(trial),
                )
                for trial in trials
            ]
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that a feature is new
            found = optuna.importance.get_param_importances(study)
    finally:
        optuna.logging.set_verbosity(before)
    words = WORDS.format(version=optuna.__version__, n=len(trials))
    return {key: float(found[key]) for key in keys}, words


def _distribution(optuna: Any, values: list[Any]) -> Any:
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return optuna.distributions.IntDistribution(min(values), max(values))
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return optuna.distributions.FloatDistribution(min(values), max(values))
    return optuna.distributions.CategoricalDistribution(sorted({as_text(v) for v in values}))


def _value(distribution: Any, value: Any) -> Any:
    return as_text(value) if hasattr(distribution, "choices") else value
