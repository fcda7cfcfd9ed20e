"""A table of customers in many shapes, and a way to draft and to run it."""

import hashlib
import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from step_support import steps

from pipeline.planning.plan import plan
from pipeline.settings import overrides, resolvers, schema
from tools.describe import draft, run, table_files
from tools.describe.draft import Source
from util_lib import tracking
from util_lib.dataset import declaration
from util_lib.dataset.declaration import Data
from util_lib.tables import cleaning

__all__ = ["steps"]


def make_customers(n_rows: int = 240, seed: int = 5) -> pd.DataFrame:
    """Return one row for each customer: who leaves has a high fee."""
    random = np.random.default_rng(seed)
    fee = random.uniform(5, 80, n_rows).round(2)
    words = np.array(["please", "help", "thanks", "slow", "again", "login", "bill"])
    return pd.DataFrame(
        {
            "customer_id": [f"C-{number:04}" for number in random.permutation(n_rows)],
            "age": np.where(random.random(n_rows) < 0.1, np.nan, random.integers(18, 90, n_rows)),
            "fee": fee,
            "plan": random.choice(["basic", "family", "premium"], n_rows),
            "joined": pd.Series(pd.to_datetime("2020-01-01"), index=range(n_rows))
            + pd.to_timedelta(random.integers(0, 900, n_rows), "D"),
            "message": [" ".join(row) for row in random.choice(words, (n_rows, 4))],
            "left": np.where(fee + random.normal(0, 15, n_rows) > 45, "yes", "no"),
        }
    )


class Drafts:
    """Drafts in one folder, which stands for the folder where a user stands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.drafts = folder / "conf" / "dataset"

    def table(self, content, name: str) -> Path:
        """Write a table as it is, as CSV or as parquet."""
        path = self.folder / name
        if isinstance(content, str | bytes):
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        elif name.endswith(".parquet"):
            content.to_parquet(path)
        else:
            content.to_csv(path, index=False)
        return path

    def describe(self, file_url, *more: str) -> None:
        run.main(["--file_url", str(file_url), "--folder", str(self.drafts), *more])

    def text(self, name: str) -> str:
        return (self.drafts / f"{name}.yaml").read_text(encoding="utf-8")

    def draft(self, content, target: str | None = None, file: str = "customers.csv") -> Data:
        """Draft a table without its profile, and return what the draft declares."""
        path = self.table(content, file)
        table = table_files.read(path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        source = Source(str(path), file, sha256)
        name = file.partition(".")[0]
        made = draft.make(table, source, name, target)
        (self.drafts / f"{name}.yaml").write_text(made.text, encoding="utf-8")
        return declaration.load(self.drafts / f"{name}.yaml")

    def read(self, file: str, target: str | None = None) -> tuple[Data, pd.DataFrame]:
        """Draft a file of the folder; return what is declared, and the table cleaned by it."""
        data = self.draft((self.folder / file).read_bytes(), target, file)
        return data, cleaning.clean(cleaning.read(self.folder / file, data), data)

    def composed(self, name: str, *given: str) -> schema.Settings:
        """Return the whole configuration with the draft in it, checked as main.py checks it."""
        resolvers.register_resolvers()
        return schema.check(overrides.base_config([f"dataset={name}", *given]), name)

    def run_pipeline(self, name: str, monkeypatch) -> dict[str, float]:
        """Run every step in this process on the draft; return the figures of `evaluate`."""
        small = "random_forest_pipeline.random_forest.n_estimators=10"
        composed = self.composed(name, small)
        monkeypatch.setenv("WANDB_PROJECT", composed.main.project_name)
        for step in plan(composed):
            arguments = dict(step.parameters)
            for key, content in step.files.items():
                path = self.folder / f"{step.name}_{key}.yaml"
                path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
                arguments[key] = str(path)
            words = [word for key, value in arguments.items() for word in (f"--{key}", value)]
            importlib.import_module(f"{step.name}.run").main(words)
        return dict([r for r in tracking.Api().runs() if r.job_type == "evaluate"][-1].summary)


@pytest.fixture
def drafts(steps, monkeypatch) -> Drafts:
    (steps.folder / "conf" / "dataset").mkdir(parents=True)
    monkeypatch.setenv("PIPELINE_HOME", str(steps.folder))
    return Drafts(steps.folder)


@pytest.fixture
def customers() -> pd.DataFrame:
    return make_customers()
