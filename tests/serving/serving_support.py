"""What the tests of serving share: models as training exports them."""

import numpy as np
import pandas as pd
from step_support import DECLARED, MODEL, make_songs, with_text

from train_random_forest import run as training

COLUMNS = ("energy", "loudness", "tempo", "key", "title", "song_name")
DECLARATION = {
    "columns": {name: DECLARED["columns"][name] for name in COLUMNS},
    "text_feature": DECLARED["text_feature"],
}

OFFICE = {
    "day": {"dtype": "datetime", "role": "date", "nullable": True, "date_format": "%d.%m.%Y"},
    "temp": {"dtype": "float", "role": "numerical", "nullable": True, "missing": [-999]},
    "fee": {"dtype": "int", "role": "numerical", "thousands": ".", "strip": ["EUR"]},
    "land": {"dtype": "string", "role": "categorical", "nullable": True},
    "code": {"dtype": "string", "role": "categorical", "missing": ["?"], "nullable": True},
    "flag": {"dtype": "bool", "role": "categorical", "nullable": True},
}
OFFICE_FORM = {"separator": ";", "decimal": ",", "trim": True, "footer_lines": 1}


def export_model(steps, table=None, **changes):
    """Train on a table, made songs by default; the model is `model_export:latest`."""
    table = with_text(make_songs()) if table is None else table
    config = steps.yaml({**MODEL, "declaration": DECLARATION, **changes})
    training.main(
        ["--train_data", steps.put(table, "data_train.parquet"), "--model_config", config]
        + ["--export_artifact", "model_export", "--random_seed", "42", "--val_size", "0"]
        + ["--stratify", "null"]
    )
    return steps.artifact("model_export:latest")


def office_rows(n_rows=120, seed=4):
    """Return rows as they are meant: missing is missing, numbers are numbers."""
    random = np.random.default_rng(seed)

    def gaps(values):
        missing = random.random(n_rows) < 0.15
        return [None if gap else value for value, gap in zip(values, missing, strict=True)]

    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 700, n_rows), "D")
    frame = pd.DataFrame(
        {
            "day": pd.Series(gaps(days), dtype="datetime64[us]"),
            "temp": pd.Series(gaps(random.normal(0, 10, n_rows).round(1)), dtype="float64"),
            "fee": random.integers(100, 9000, n_rows),
            "land": pd.Series(gaps(random.choice(["NA", "ZA", "NO"], n_rows)), dtype="str"),
            "code": pd.Series(gaps(random.choice(["4", "04", "1e3", "1000"], n_rows)), dtype="str"),
            "flag": pd.Series(gaps(random.random(n_rows) < 0.5), dtype="boolean"),
        }
    )
    left = (frame["land"] == "NA") ^ frame["code"].isin(["04", "1e3"]) ^ (frame["fee"] > 5000)
    return frame.assign(left=np.where(left, "yes", "no"))


def export_office_model(steps):
    """Train on an office's rows, as preprocess makes them of its CSV file."""
    features = {
        "numerical": ["temp", "fee"],
        "categorical": ["land", "code", "flag"],
        "dates": ["day"],
        "nlp": [],
    }
    declaration = {"columns": OFFICE, "csv": OFFICE_FORM}
    rows = office_rows(400, 1)
    return export_model(steps, rows, target="left", features=features, declaration=declaration)
