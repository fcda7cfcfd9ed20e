"""Run the pipeline: get_data, preprocess, check_data, segregate, train_random_forest, evaluate.

Configured by config.yaml and conf/dataset/<name>.yaml through Hydra; every step is an MLflow
project of its own, run in its own environment. Usually started by `mlflow run .`.
"""

import gc
import os
import re
import signal
import sys
from typing import Any


def _stop_early(_number: int, _frame: object) -> None:
    """Answer Ctrl-C while modules are imported: nothing has begun, and a traceback helps nobody."""
    os.write(2, b"error: stopped\n")
    os._exit(130)


if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _stop_early)
# Most of main.py's time is importing MLflow, and the collector would walk its modules in vain.
gc.set_threshold(200_000)
if os.environ.get("MLFLOW_RUN_ID"):
    # The environment is the project's own: without cached bytecode every start compiles MLflow.
    sys.dont_write_bytecode = False
# Nor does it look through all that is installed for plugins of pydantic.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

import hydra
import yaml
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pipeline.planning.plan import plan
from pipeline.running import pipeline_run
from pipeline.running.exit_code import exit_code, fail
from pipeline.settings import overrides, resolvers, schema, surroundings
from pipeline.sweeps import context
from util_lib.errors import UserError
from util_lib.project import ROOT
from util_lib.tracking.store.places import store_directory

CONFIG = ROOT / "config.yaml"
SWEEP_FILE = re.compile(
    r"(^| )(- |\+)?sweep(=|: (?!null))", re.MULTILINE
)  # which may set hydra.mode

resolvers.register_resolvers()


@hydra.main(version_base="1.3", config_path=".", config_name="config")
def go(config: DictConfig) -> Any:
    """Check the configuration, plan the steps, run them; return a sweep's objective."""
    job, dataset = _job_number(), HydraConfig.get().runtime.choices.get("dataset")
    if context.current():
        from pipeline.sweeps import trial

        return trial.run(config, dataset, [*HydraConfig.get().overrides.task], job)
    try:
        checked = schema.check(config, dataset)
        if checked.main.plan:
            pipeline_run.show_plan(checked, plan(checked))
        else:
            pipeline_run.run_pipeline(checked, plan(checked), job)
    except UserError as error:
        if job is None:  # Hydra would print a line of its own below the message
            sys.exit(fail(error, 1))
        raise
    return None


def _job_number() -> int | None:
    """Return the number of this job in a multirun, None in a single run."""
    now = HydraConfig.get()
    return now.job.num if now.mode == RunMode.MULTIRUN else None


def main() -> int:
    """Run `go`; every error is one sentence and an exit code other than 0."""
    if signal.getsignal(signal.SIGINT) is _stop_early:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return exit_code(_main)


def _adapt_hydra() -> None:
    """Spare Hydra a second composition of everything, which only looks for `hydra.mode`.

    That takes a sixth of a run in which all steps are cached. Who sets anything of Hydra's own, or
    chooses a file of conf/sweep, gets Hydra's way; else `-m` alone says whether this is a multirun.
    A multirun is framed by what a sweep needs before and after its jobs (`pipeline.sweeps.sweep`).
    """
    composed, multirun = Hydra.get_mode, Hydra.multirun

    def get_mode(self: Hydra, config_name: str | None, overrides: list[str]) -> RunMode | None:
        text = CONFIG.read_text(encoding="utf-8")
        words = " ".join(overrides)
        if "MULTIRUN" in text or "hydra" in words or SWEEP_FILE.search(f"{text}\n{words}"):
            return composed(self, config_name, overrides)
        return None

    def framed(self: Hydra, *given: Any, **named: Any) -> Any:
        from pipeline.sweeps import sweep

        return sweep.framed(multirun)(self, *given, **named)

    Hydra.get_mode, Hydra.multirun = get_mode, framed


def _main() -> None:
    _adapt_hydra()
    try:
        surroundings.adopt_surroundings(store_directory().parent)
        sys.argv[1:] = overrides.command_line(sys.argv[1:])
        if {"-h", "--help"} & set(sys.argv):
            print(overrides.help_text(sys.argv[1:]))
            return
        if not [word for word in sys.argv[1:] if word.startswith("-") and word != "-m"]:
            surroundings.refuse_unwritable(store_directory().parent)  # other options only print
        os.environ["HYDRA_FULL_ERROR"] = "1"  # hand errors to us instead of printing them
        go()
    except (HydraException, OmegaConfBaseException) as error:
        raise overrides.explain(error, sys.argv[1:]) from error
    except yaml.YAMLError as error:
        raise UserError(f"no YAML file: {' '.join(str(error).split())}") from error


if __name__ == "__main__":
    sys.exit(main())
