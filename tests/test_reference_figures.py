"""The figures of the real tables, for which the documents give numbers to compare with."""

import importlib

import pytest
from step_support import steps

from pipeline.planning.plan import plan
from pipeline.settings import overrides, resolvers, schema

__all__ = ["steps"]

# rows after cleaning, rows to fit and validate on, metrics: value, how far off it may be
FIGURES = {
    "iris": (150, 105, {"test_accuracy": (0.95, 0.05)}),
    "pokemon": (413, 330, {"test_r2": (0.963, 0.01), "test_mae": (17.4, 1)}),
    "pokemon_types": (413, 330, {"test_r2": (0.32, 0.02)}),
    "nyc_airbnb": (
        19_001,
        15_200,
        {
            "val_r2": (0.552, 0.01),
            "val_mae": (34.13, 0.5),
            "test_r2": (0.564, 0.01),
            "test_mae": (33.85, 0.5),
        },
    ),
    "song_halves": (21_235, 14_864, {"test_roc_auc_ovo_macro": (0.9532, 0.005)}),
    "music_genre": (
        41_975,
        29_382,
        {
            "val_roc_auc_ovo_macro": (0.9544, 0.002),
            "test_roc_auc_ovo_macro": (0.9532, 0.002),
            "test_accuracy": (0.688, 0.01),
        },
    ),
    "music_genre pipeline=gradient_boosting": (
        41_975,
        29_382,
        {"val_accuracy": (0.74, 0.01), "test_accuracy": (0.74, 0.01)},
    ),
}
SLOW = ("song_halves", "music_genre", "music_genre pipeline=gradient_boosting")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in FIGURES]
)
def test_the_known_scores_of_a_table_are_reproduced(real_data, steps, monkeypatch, name):
    monkeypatch.setenv("PIPELINE_DATA", str(real_data))
    resolvers.register_resolvers()
    configured = schema.check(overrides.base_config(f"dataset={name}".split()), name)
    if "://" in configured.data.file_url:
        pytest.skip(f"{name}: its file is not in {real_data}")
    for step in plan(configured):
        files = {key: steps.yaml(value, f"{key}.yaml") for key, value in step.files.items()}
        given = [
            w for key, text in {**step.parameters, **files}.items() for w in (f"--{key}", text)
        ]
        importlib.import_module(f"{step.name}.run").main(given)

    rows, train_rows, metrics = FIGURES[name]
    sizes = [
        steps.artifact(f"{table}:latest").metadata["rows"]
        for table in ("preprocessed_data.parquet", "data_train.parquet")
    ]
    assert sizes == [rows, train_rows]
    measured = {**steps.run(configured.sweep.step).summary, **steps.run("evaluate").summary}
    for metric, (value, tolerance) in metrics.items():
        assert measured[metric] == pytest.approx(value, abs=tolerance), metric
