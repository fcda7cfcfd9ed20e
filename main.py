"""Run the pipeline that conf/pipeline describes, step by step or as a sweep of trials.

Configured by config.yaml and conf/ through Hydra; every step is an MLflow project of its own, run
in its own environment. Usually started by `mlflow run .`; `python main.py --help` says more.
"""

from pipeline import interrupts

if __name__ == "__main__":
    from util_lib.project import explain_missing_packages

    interrupts.answer_at_once()
    explain_missing_packages()

import sys
from typing import Any

import hydra
from omegaconf import DictConfig

from pipeline import startup


@hydra.main(version_base="1.3", config_path=".", config_name="config")
def go(config: DictConfig) -> Any:
    """Run one job: the pipeline as `config` says, or one trial of a sweep; return its objective."""
    return startup.run_job(config)


if __name__ == "__main__":
    sys.exit(startup.main(go))
