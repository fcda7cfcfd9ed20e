"""How often `update` moves prod while nothing changes: simulated half-years.

A half-year is 26 weeks of invented songs, all drawn alike. Every week a model is fitted as
train_random_forest fits it, on the weeks before the newest one, and asked against the model in use
on the newest week, as `promote` asks it: by each rule, in the same half-years. Printed are

    promotions    of a half-year on average, and in how many of the weeks
    gained        what the last model in use scores on 5,000 other songs, less what the first did

    python benchmarks/quiet_promotions.py [--half-years 30] [--weeks 26] [--rows 600]
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dataset.make_songs_demo import make_table
from pipeline.planning.plan import plan
from pipeline.settings import resolvers
from pipeline.settings.composing import settings_of
from serving.model.served_model import ServedModel
from serving.promotion import comparison
from train_random_forest.run import TRAINER
from util_lib.model import inference_pipeline, metric_names, training
from util_lib.model.config import RandomForestPipeline
from util_lib.tables import cleaning

WINDOW = 6  # weeks, the newest of which is the test
OTHERS = 5_000  # songs that no model has seen and no rule asks
OPTIONS = ["dataset=songs_demo", "random_forest_pipeline.random_forest.n_estimators=30"]


def songs(config: RandomForestPipeline, rows: int, seed: list[int]) -> pd.DataFrame:
    """Return invented songs with the columns that a model takes."""
    frame = make_table(rows, int(np.random.SeedSequence(seed).generate_state(1)[0])).to_pandas()
    frame = frame.drop_duplicates(ignore_index=True)
    frame = cleaning.fill_missing_text(frame, config.declaration.columns)
    return cleaning.add_text_feature(frame, config.declaration.text_feature)


def fitted(rows: pd.DataFrame, config: RandomForestPipeline, args: Any, version: int) -> Any:
    """Return the model that the training step would export of these rows, as serving has it."""
    train, _ = training.split(rows, args)
    pipeline = inference_pipeline.make_inference_pipeline(config)
    inference_pipeline.fit(pipeline, train, config)
    names = config.features.names()
    return ServedModel(
        reference=f"v{version}",
        version=f"v{version}",
        digest=str(version),
        metadata={},
        features=config.features,
        columns=config.declaration.of_table(config.features, config.target),
        sources={},
        declaration=config.declaration,
        task=config.task,
        target=config.target,
        classes=np.asarray(pipeline.classes_),
        example=rows[names].head(1),
        pipeline=pipeline,
        direct=None,
    )


def promoted(week: pd.DataFrame, new: Any, old: Any, rules: comparison.Rules) -> bool:
    """Return what a rule says of a candidate, on rows that neither model has seen."""
    measured = [comparison.measure(model, week, 0) for model in ([new, old] if old else [new])]
    found: dict[str, Any] = {"candidate": measured[0][0], "champion": None}
    if old is None:
        found["difference"] = comparison.gain_over_baseline(week, new, rules.metric, measured[0])
        return comparison.decide(found, rules).promote
    found["champion"] = measured[1][0]
    scores = [about["scores"][rules.metric] for about, _ in measured]
    if scores[0] <= scores[1]:  # no rule lets it through, and its interval costs most of the time
        return False
    found["difference"] = comparison.gain(week, new, rules.metric, *measured)
    falls = [*comparison.falls_of(found, rules)]
    found["sure_falls"] = comparison.sure_falls(week, new, falls, *measured)
    return comparison.decide(found, rules).promote


def half_year(seed: int, weeks: int, rows: int, config: Any, args: Any, rules: Any) -> Any:
    """Return for each rule the weeks in which prod moved, and what it gained over the first."""
    tables = [songs(config, rows, [seed, week]) for week in range(weeks + WINDOW - 1)]
    others = songs(config, OTHERS, [seed, 10_000])
    prods: list[Any] = [None] * len(rules)
    firsts, moved = [None] * len(rules), [0] * len(rules)
    for week in range(weeks):
        seen = pd.concat(tables[week : week + WINDOW - 1], ignore_index=True)
        newest = tables[week + WINDOW - 1]
        candidate = fitted(seen, config, args, week)
        for place, rule in enumerate(rules):
            if promoted(newest, candidate, prods[place], rule):
                moved[place] += prods[place] is not None
                firsts[place] = firsts[place] or candidate
                prods[place] = candidate
    metric = rules[0].metric
    gained = []
    for first, last in zip(firsts, prods, strict=True):
        scores = [comparison.measure(m, others, 0)[0]["scores"][metric] for m in (first, last)]
        gained.append(scores[1] - scores[0])
    return moved, gained


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--half-years", type=int, default=30)
    parser.add_argument("--weeks", type=int, default=26)
    parser.add_argument("--rows", type=int, default=600, help="songs a week")
    given = parser.parse_args()
    comparison.SINGLE_ROWS = 1  # how long a model takes is not asked here
    resolvers.register_resolvers()
    settings = settings_of(OPTIONS)
    config = settings.random_forest_pipeline
    step = next(each for each in plan(settings) if each.name == TRAINER.name)
    words = [f"--{name}={value}" for name, value in step.parameters.items()]
    args = training.build_parser(TRAINER).parse_args([*words, "--model_config=none"])
    drop = settings.promotion.max_class_drop
    metric = metric_names.of_task(config.task)[0]
    rules = [comparison.Rules(metric, 0.0, drop, rule) for rule in comparison.RULES]
    found = [
        half_year(seed, given.weeks, given.rows, config, args, rules)
        for seed in range(given.half_years)
    ]
    moved = np.array([each[0] for each in found])
    gained = np.array([each[1] for each in found])
    print(f"{given.half_years} x {given.weeks} quiet weeks of {given.rows} songs, by {metric}")
    for place, rule in enumerate(comparison.RULES):
        print(
            f"{rule:>10}   {moved[:, place].mean():5.2f} promotions a half-year, in "
            f"{moved[:, place].sum() / moved.shape[0] / (given.weeks - 1):.1%} of the weeks; "
            f"gained {gained[:, place].mean():+.4f}"
        )


if __name__ == "__main__":
    main()
