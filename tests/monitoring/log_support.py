"""Logs for tests: made rows of a model, in the streams that a service would have written."""

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml
from step_support import DECLARED, MODEL, Steps, make_songs, with_text

from util_lib import monitoring_log, tracking
from util_lib.model import monitoring_reference
from util_lib.model.config import Declaration, Features
from util_lib.monitoring_log import SpoolFile
from util_lib.tables import typed

VERSION = "tests/model_export:v0"
CLASSES = np.array(["Emo", "Pop", "techno"])
WEEK = datetime.timedelta(days=7)
MONDAY = datetime.datetime(2026, 3, 2, tzinfo=datetime.UTC)  # of 2026-W10
COLUMNS = ("energy", "loudness", "tempo", "key", "title", "song_name")
DECLARATION = {
    "columns": {name: DECLARED["columns"][name] for name in COLUMNS},
    "text_feature": DECLARED["text_feature"],
}
NAMES = Features.model_validate(MODEL["features"]).names()


def songs(n_rows: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    """Return rows with what a model of fixed strength answers to them: 70 % are right.

    `shift` is added to their energy.
    """
    random = np.random.default_rng(seed)
    rows = with_text(make_songs(n_rows, seed=seed))
    sure = random.choice([0.9, 0.7, 0.5], n_rows)
    wrong = random.random(n_rows) > sure
    truth = rows["genre"].to_numpy()
    rows["energy"] = (rows["energy"] + shift).clip(upper=1)
    rows["prediction"] = np.where(wrong, np.roll(truth, 1), truth)
    rows["confidence"] = sure
    rows["request"] = [f"r{seed}-{number}" for number in range(n_rows)]
    return rows


def export(steps: Steps, declaration: dict = DECLARATION, rows=None, **changes) -> str:
    """Log `model_export`, of which only what monitoring reads is there; return its name."""
    folder = steps.folder / "exported"
    folder.mkdir(exist_ok=True)
    rows = songs(900, seed=100) if rows is None else rows
    described = {"target": "genre", "features": MODEL["features"], "declaration": declaration}
    mlmodel = yaml.safe_dump({"metadata": described | changes})
    (folder / "MLmodel").write_text(mlmodel, encoding="utf-8")
    names = Features.model_validate((described | changes)["features"]).names()
    modes = Declaration.model_validate(declaration).monitored(names)
    made = monitoring_reference.tables(
        rows, modes, _probabilities(rows), rows["genre"].to_numpy(), CLASSES
    )
    monitoring_reference.write(made, folder)
    with tracking.init(job_type="train") as run:
        return tracking.log_file(run, folder, "model_export", "model_export", "made").name


def record(
    rows: pd.DataFrame,
    begin: datetime.datetime = MONDAY,
    length: datetime.timedelta = WEEK,
    **about: Any,
) -> Path:
    """Write rows as one finished stream, evenly over the time from `begin`; return its path.

    `about` are those of `begun`.
    """
    spool = begun(rows, begin, length, **about)
    spool.close()
    there = len([*spool.path.parent.glob(f"{begin:%Y%m%dT%H%M%S}*")])
    rest = spool.path.name.partition("-")[2]
    # the name that it would have had if it had been begun then
    return spool.path.rename(spool.path.with_name(f"{begin:%Y%m%dT%H%M%S}{there:06}-{rest}"))


def begun(
    rows: pd.DataFrame,
    begin: datetime.datetime = MONDAY,
    length: datetime.timedelta = WEEK,
    *,
    version: str = VERSION,
    role: str = "champion",
    declaration: dict = DECLARATION,
    names: list[str] = NAMES,
    classes: Sequence[str] = CLASSES,
) -> SpoolFile:
    """Write rows into a stream that is still open, in two batches."""
    root = monitoring_log.folder()
    monitoring_log.make(root)
    declared = Declaration.model_validate(declaration)
    schema = monitoring_log.schema(version, "classification", list(classes), declared, names)
    modes, n = monitoring_log.about(schema).monitor, len(rows)
    text = pa.string()
    inputs = [
        monitoring_log.kept(
            pa.Array.from_pandas(rows[name]).cast(
                typed.TYPES[declared.columns[name].dtype] if name in declared.columns else text
            ),
            mode,
            monitoring_log.key(root),
        )
        for name, mode in modes.items()
    ]
    times = [begin + length * ((place + 0.5) / n) for place in range(n)]
    columns = [
        *(pa.array(times, pa.timestamp("us", "UTC")), pa.array(rows["request"], text)),
        *(pa.array([0] * n, pa.int32()), pa.array([role] * n), pa.array([version] * n)),
        *(pa.array([1.0] * n), pa.nulls(n, text), pa.array(rows["prediction"], text)),
        pa.array([*_probabilities(rows)], pa.list_(pa.float32())),
        pa.StructArray.from_arrays(inputs, fields=[*schema.field("inputs").type]),
    ]
    spool, half = SpoolFile(root, schema, role), n // 2
    batch = pa.RecordBatch.from_arrays(columns, schema=schema)
    spool.write(batch.slice(0, half))
    spool.write(batch.slice(half))
    return spool


def verdict(said: str) -> dict:
    """Return the JSON that the monitor printed last."""
    return json.loads(said.strip().splitlines()[-1])


def _probabilities(rows: pd.DataFrame) -> np.ndarray:
    sure = rows["confidence"].to_numpy()[:, None]
    answered = rows["prediction"].to_numpy()[:, None] == CLASSES
    return np.where(answered, sure, (1 - sure) / 2)
