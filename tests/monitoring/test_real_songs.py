"""The real songs: a change of requests is named, and accuracy is estimated without labels."""

import importlib

import numpy as np
import pandas as pd
import pytest
from step_support import steps

from monitoring.judging import judge
from monitoring.judging.records import Recorded, Thresholds, Window
from pipeline.planning.plan import plan
from pipeline.settings import overrides, resolvers, schema
from util_lib.model import export, monitoring_reference
from util_lib.model.config import described
from util_lib.tables import reading

__all__ = ["steps"]

WEEK = Window("2026-W14", "week", pd.Timestamp("2026-03-30"), pd.Timestamp("2026-04-06"))
CLOSE = 0.04  # an estimate to the true accuracy

SHIFTS = {
    "none": lambda songs: songs,
    "energy x 0.8": lambda songs: songs.assign(energy=songs["energy"] * 0.8),
    "energy x 0.5": lambda songs: songs.assign(energy=songs["energy"] * 0.5),
    "tempo + 10": lambda songs: songs.assign(tempo=(songs["tempo"] + 10).clip(50, 250)),
    "loudness - 3": lambda songs: songs.assign(loudness=(songs["loudness"] - 3).clip(-35, 5)),
    "danceability x 0.8": lambda songs: songs.assign(danceability=songs["danceability"] * 0.8),
    "loud songs": lambda songs: songs[songs["energy"] > 0.8],
    "more Dark Trap": lambda songs: drawn(songs, songs["genre"] == "Dark Trap"),
    "more techno": lambda songs: drawn(songs, songs["genre"] == "techno"),
    "more Hiphop": lambda songs: drawn(songs, songs["genre"] == "Hiphop"),
}


def drawn(songs: pd.DataFrame, more: pd.Series) -> pd.DataFrame:
    weights = np.where(more, 6.0, 1.0)
    return songs.sample(len(songs), replace=True, weights=weights, random_state=1)


@pytest.mark.slow
def test_energy_that_is_lower_is_named_and_accuracy_estimated_under_shifts(
    real_data, steps, monkeypatch, tmp_path
):
    monkeypatch.setenv("PIPELINE_DATA", str(real_data))
    resolvers.register_resolvers()
    config = overrides.base_config(["dataset=music_genre"])
    for step in plan(schema.check(config, "music_genre")):
        if step.name != "check_data":
            files = {key: steps.yaml(value, f"{key}.yaml") for key, value in step.files.items()}
            given = {**step.parameters, **files}
            words = [word for key, text in given.items() for word in (f"--{key}", text)]
            importlib.import_module(f"{step.name}.run").main(words)
    artifact = steps.artifact("model_export:latest")
    model, metadata = export.load(artifact.download(str(tmp_path / "model")))
    about = described(metadata, "the model")
    reference = monitoring_reference.read(tmp_path / "model", "mine", about, artifact)
    assert reference.score.split == "test"
    table = steps.artifact("data_test.parquet:latest")
    path = reading.fetch(table, str(tmp_path / "data"))
    songs = reading.read_own(path, about.declaration.of_table(about.features, about.target))

    def judged(songs: pd.DataFrame) -> dict:
        rows = songs[about.features.names()].reset_index(drop=True)
        answers = model.predict_proba(rows)
        frame = pd.DataFrame(
            {
                "time": WEEK.start,
                "request": [f"r{number}" for number in range(len(rows))],
                "row": 0,
                "role": "champion",
                "version": "mine",
                "share": 1.0,
                "rejected": None,
                "prediction": model.classes_[answers.argmax(axis=1)],
            }
        )
        for name, mode in reference.modes.items():
            if mode == "length":
                rows[name] = rows[name].str.len().astype("Int32")
        labels = frame[["request", "row"]].assign(label=songs["genre"].to_numpy(), time=WEEK.end)
        recorded = Recorded(frame, rows, answers.max(axis=1))
        found = judge.window(recorded, labels, reference, Thresholds(), WEEK)
        return {(each.test, each.column): each for each in found}

    for name, shift in SHIFTS.items():
        found = judged(shift(songs))
        true, estimated = found["score", None], found["estimated score", None]
        assert estimated.statistic == pytest.approx(true.statistic, abs=CLOSE), name
    gone = judged(songs.assign(text_feature=""))  # too far away for an estimate, and known to be
    for test in (("missing", "text_feature"), ("score", None), ("estimated score", None)):
        assert gone[test].outcome == "failed"
    week = songs.sample(1_000, random_state=0)
    quiet, lower = judged(week), judged(week.assign(energy=week["energy"] * 0.8))
    moved = [
        {key for key, each in found.items() if each.family == "inputs" and each.outcome == "failed"}
        for found in (quiet, lower)
    ]
    assert moved == [set(), {("drift", "energy")}]
    assert "column 'energy' drifts" in lower["drift", "energy"].reason
