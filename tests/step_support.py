"""What the tests of the steps share: a made table of songs, and a way to put it in the store."""

import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from util_lib import tracking
from util_lib.tables import reading
from util_lib.tracking.store.places import store_directory

ROOT = Path(__file__).resolve().parents[1]
GENRES = ("Emo", "Pop", "techno")


@contextmanager
def small_disk(most: int) -> Iterator[None]:
    """Let no file become longer than `most` bytes in this block, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def make_songs(n_rows: int = 300, seed: int = 1) -> pd.DataFrame:
    """Return rows like those of the real table: three genres told apart by energy and title."""
    random = np.random.default_rng(seed)
    genre = np.array(GENRES)[np.arange(n_rows) % len(GENRES)]
    loudness = random.normal(-8, 2, n_rows)
    loudness[::5] = np.nan
    return pd.DataFrame(
        {
            "energy": np.clip(random.normal(0.2 + 0.2 * (np.arange(n_rows) % 3), 0.1), 0, 1),
            "loudness": loudness,
            "tempo": random.uniform(60, 200, n_rows),
            "key": random.integers(0, 12, n_rows),
            "title": np.where(genre == "techno", "warehouse beats", None),
            "song_name": np.where(genre == "techno", None, "a song"),
            "genre": genre,
        }
    )


DECLARED = {
    "file_url": "songs.parquet",
    "target": "genre",
    "stratify": "genre",
    "text_feature": {"name": "text_feature", "columns": ["title", "song_name"]},
    "columns": {
        "energy": {"dtype": "float", "role": "numerical", "min": 0, "max": 1},
        "loudness": {
            "dtype": "float",
            "role": "numerical",
            "nullable": True,
            "min": -35,
            "max": 5,
            "unit": "dB",
        },
        "tempo": {"dtype": "float", "role": "numerical", "min": 50, "max": 250, "unit": "BPM"},
        "key": {"dtype": "int", "role": "categorical", "min": 0, "max": 11},
        "title": {"dtype": "string", "role": "text", "nullable": True},
        "song_name": {"dtype": "string", "role": "text", "nullable": True},
        "genre": {"dtype": "string", "role": "target", "allowed": list(GENRES)},
    },
}

MODEL = {
    "target": "genre",
    "task": "classification",
    "features": {
        "numerical": ["energy", "loudness", "tempo"],
        "categorical": ["key"],
        "nlp": ["text_feature"],
    },
    "numerical_imputer": "median",
    "tfidf": {"max_features": 5},
    "random_forest": {"n_estimators": 10, "max_depth": 4, "random_state": 3},
}


def with_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the songs as `preprocess` leaves them."""
    title, song_name = frame["title"].fillna(""), frame["song_name"].fillna("")
    return frame.assign(title=title, song_name=song_name, text_feature=title + " " + song_name)


class Steps:
    """The store of one test: what goes in before a step, what came out after it."""

    def __init__(self, folder: Path):
        self.folder = folder

    def put(self, content, name: str, type: str = "data") -> str:
        """Log a table, or bytes, as an artifact with one file of the same name."""
        path = self.folder / "put" / name
        path.parent.mkdir(exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            reading.write(content, path)
        with tracking.init(job_type="test") as run:
            return run.log_artifact(str(path), name=name, type=type).name

    def artifact(self, name: str):
        return tracking.Api().artifact(name)

    def exists(self, name: str) -> bool:
        return store_directory().exists() and tracking.Api().artifact_exists(name)

    def table(self, name: str) -> pd.DataFrame:
        return reading.read(self.artifact(name).file(str(self.folder / "got" / name)))

    def bytes(self, name: str) -> bytes:
        return Path(self.artifact(name).file(str(self.folder / "got" / name))).read_bytes()

    def run(self, job_type: str):
        """The last run of a step."""
        return [run for run in tracking.Api().runs() if run.job_type == job_type][-1]

    def yaml(self, content: dict, name: str = "config.yaml") -> str:
        path = self.folder / name
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return str(path)


@pytest.fixture
def steps(tmp_path, monkeypatch, caplog) -> Steps:
    """A fresh store; runs are not published to MLflow, whose import takes seconds."""
    monkeypatch.setenv("TRACKING_PUBLISH", "parent")
    monkeypatch.setenv("WANDB_PROJECT", "tests")
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO)
    return Steps(tmp_path)
