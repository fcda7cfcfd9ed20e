"""Whether the direct path gives a model's own answers: tried when the model is loaded.

The rows are made from what the pipeline was fitted with: numbers near and far from the mean,
categories known and unknown, dates before and after those of training, words of the vocabulary and
others, and gaps everywhere.
"""

import logging
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from serving.model.fast_path import Direct, NoFastPath

logger = logging.getLogger("serving")

N_ROWS = 120
N_ALONE = 12  # of them also one by one
GAPS = 0.15  # share of values that are missing


def direct_path(pipeline: Pipeline, examples: pd.DataFrame | None = None) -> Direct | None:
    """Return the direct path of a fitted pipeline, None where it cannot be relied on.

    `examples` are tried besides the rows made up here.
    """
    try:
        direct = Direct(pipeline)
        frame = trial_rows(pipeline)
        same = _agree(direct, pipeline, frame)
        if same and examples is not None and len(examples):
            same = _agree(direct, pipeline, examples)
    except NoFastPath as error:
        logger.info("no direct path for this model (%s): the pipeline itself answers", error)
        return None
    if not same:
        logger.warning("the direct path has other answers: the pipeline itself answers, slower")
    return direct if same else None


def trial_rows(pipeline: Pipeline, n_rows: int = N_ROWS, seed: int = 0) -> pd.DataFrame:
    """Return rows as a caller may send them, the same for the same pipeline and seed."""
    random = np.random.default_rng(seed)
    values: dict[str, list[Any]] = {}
    for _, fitted, names in pipeline["processor"].transformers_:
        if isinstance(fitted, str):
            continue
        last = fitted[-1] if isinstance(fitted, Pipeline) else fitted
        for place, name in enumerate(names):
            values[name] = _values(last, place, n_rows, random)
    frame = pd.DataFrame({name: pd.Series(made, dtype=object) for name, made in values.items()})
    frame = frame.mask(random.random(frame.shape) < GAPS, None)
    numbers = [name for name in pipeline["columns"].number_columns_ if name in frame.columns]
    return frame.astype(dict.fromkeys(numbers, "float64"))


def _values(fitted: Any, place: int, n_rows: int, random: np.random.Generator) -> list[Any]:
    if hasattr(fitted, "mean_") and hasattr(fitted, "scale_"):
        spread = random.choice([0.0, 1.0, 1e3, 1e15], n_rows, p=[0.1, 0.7, 0.1, 0.1])
        return list(
            fitted.mean_[place] + fitted.scale_[place] * spread * random.normal(size=n_rows)
        )
    if hasattr(fitted, "categories_"):
        known = fitted.categories_[place].tolist()
        unknown = "never seen" if isinstance(known[0], str) else max(known) + 0.5
        return [
            known[i] if i < len(known) else unknown
            for i in random.integers(0, len(known) + 1, n_rows)
        ]
    if hasattr(fitted, "newest_"):
        newest, oldest = pd.Timestamp(fitted.newest_[place]), pd.Timestamp(fitted.oldest_[place])
        shares = random.uniform(-0.5, 1.5, n_rows)
        return [(oldest + (newest - oldest) * share).round("s").isoformat() for share in shares]
    if hasattr(fitted, "vocabulary_"):
        words = [*fitted.vocabulary_, "Zürich", "ΔX", "", "42"]
        picked = [random.choice(words, random.integers(0, 6)) for _ in range(n_rows)]
        return [" ".join(w.upper() if i % 3 else w for i, w in enumerate(p)) for p in picked]
    raise NoFastPath(f"treatment {type(fitted).__name__}")


def _agree(direct: Direct, pipeline: Pipeline, frame: pd.DataFrame) -> bool:
    """Say whether both answer the same to the last bit, the rows together and some alone."""
    ask = pipeline.predict_proba if hasattr(pipeline[-1], "predict_proba") else pipeline.predict
    expected = ask(frame)
    alone = range(min(N_ALONE, len(frame)))
    return np.array_equal(direct.predict(frame), expected) and all(
        np.array_equal(direct.predict(frame.iloc[[row]]), expected[[row]]) for row in alone
    )
