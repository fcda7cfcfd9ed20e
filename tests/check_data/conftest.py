import pytest
from check_data_support import NAME, REFERENCE
from step_support import DECLARED, steps

from check_data import run

__all__ = ["steps"]


@pytest.fixture
def check(steps):
    def go(
        table=None, reference=REFERENCE, sample=f"{NAME}:latest", alpha="0.05", keys=None, **columns
    ):
        if table is not None:
            steps.put(table, NAME)
        declared = {**DECLARED, **(keys or {}), "columns": {**DECLARED["columns"], **columns}}
        run.main(
            ["--reference_artifact", reference, "--sample_artifact", sample, "--ks_alpha", alpha]
            + ["--dataset_config", steps.yaml(declared)]
        )

    return go
