"""From main.py's command line to one run of the pipeline, or to a sweep.

The configuration is composed here, once, by Hydra's composition API and config loader, and handed
to Hydra's own runner or sweeper. `hydra.main` would compose it twice, and knows nothing of what a
sweep needs before and after its jobs. What only prints (`--cfg job`, `--info`) is left to it.
"""

import contextlib
import inspect
import io
import os
import sys
from collections.abc import Callable
from typing import Any

import yaml
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import configure_log
from hydra.core.utils import run_job as run_hydra_job
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, read_write
from omegaconf.errors import OmegaConfBaseException

from pipeline.planning.plan import plan
from pipeline.running import pipeline_run
from pipeline.running.exit_code import exit_code, fail
from pipeline.settings import overrides, references, resolvers, schema, surroundings, wandb_trial
from pipeline.settings.redacted import VARIABLE, remember_addresses
from pipeline.sweeps import context
from util_lib.errors import UserError
from util_lib.project import ROOT
from util_lib.redaction import redacted, remember_environment
from util_lib.tracking import databases, mlflow_runs
from util_lib.tracking.store.places import store_directory

CONFIG = "config"  # config.yaml at the root
TYPED = (
    "MLflow has printed and recorded the secret among hydra_options before it started main.py; {}. "
    "Next time give it by an environment variable, key='${{oc.env:NAME}}'"
)


def main(go: Callable[..., Any]) -> int:
    """Run `go` as the command line says and return the exit code; an error is one sentence."""
    return exit_code(lambda: _start(go))


def run_job(config: DictConfig) -> Any:
    """Check the configuration, plan the steps and run them; in a sweep run one trial.

    Returns the trial's objective, None for a run of the pipeline.
    """
    now = HydraConfig.get()
    job, dataset = _job_number(), now.runtime.choices.get("dataset")
    if context.current():
        from pipeline.sweeps import trial

        return trial.run(config, dataset, overrides.of_job(now), now.job.num)
    try:
        checked = schema.check(config, dataset)
        remember_addresses(checked)
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


def _start(go: Callable[..., Any]) -> None:
    resolvers.register_resolvers()
    remember_environment()
    if os.environ.get("MLFLOW_RUN_ID"):
        # The environment is the project's own: without cached bytecode every start compiles MLflow.
        sys.dont_write_bytecode = False
    try:
        surroundings.adopt_surroundings(store_directory().parent)
        words = sys.argv[1:] = overrides.command_line(sys.argv[1:])
        overrides.refuse_unfit_files(words)
        root = os.environ.get(surroundings.ROOT_RUN)
        if root and any(VARIABLE in word for word in words):
            _hide_what_mlflow_has(root)
        if {"-h", "--help"} & set(words):
            print(overrides.help_text(words))
            return
        if any(word.startswith("-") and word not in overrides.MULTIRUN for word in words):
            os.environ["HYDRA_FULL_ERROR"] = "1"  # hand errors to us instead of printing them
            _print_redacted(go)
            return
        surroundings.refuse_unwritable(store_directory().parent)
        with initialize_config_dir(str(ROOT), job_name="main", version_base="1.3"):
            _run(inspect.unwrap(go), words)
    except (HydraException, OmegaConfBaseException) as error:
        raise overrides.explain(error, sys.argv[1:]) from error


def _hide_what_mlflow_has(root: str) -> None:
    """Take a secret that was typed out of the parameters of the run that MLflow made."""
    database = databases.path_of(os.environ["MLFLOW_TRACKING_URI"])
    now = "it is no longer in its database"
    if database:
        mlflow_runs.hide_in_parameters(database, root, redacted)
    else:
        now = f"it is still there: change the secret, or delete run {root} and call mlflow gc"
    print(TYPED.format(now), flush=True)


def _print_redacted(show: Callable[[], Any]) -> None:
    """Let Hydra print what it is asked for, `--cfg job --resolve`, without secrets."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), references.together():
            show()
    finally:
        print(redacted(printed.getvalue()), end="")


def _run(job: Callable[[DictConfig], Any], words: list[str]) -> None:
    """Compose the configuration, and run `job` with it once or for each job of a multirun."""
    loader = GlobalHydra.instance().config_loader()
    try:
        config = _compose(loader, words)
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    except yaml.YAMLError as error:
        raise UserError(f"no YAML file: {' '.join(str(error).split())}") from error
    except (UserError, HydraException):
        raise
    except Exception as error:  # whatever it is, a file or an override asks for it
        raise overrides.explain(error, words) from error
    callbacks = Callbacks(config)
    hydra_context = HydraContext(config_loader=loader, callbacks=callbacks)
    about: dict[str, Any] = {"config": config, "config_name": CONFIG}
    if config.hydra.mode == RunMode.RUN:
        callbacks.on_run_start(**about)
        done = run_hydra_job(job, config, "hydra.run.dir", None, hydra_context)
        callbacks.on_run_end(**about, job_return=done)
        _ = done.return_value  # raises what the job raised
        return

    wandb_trial.refuse_multirun()

    def launch() -> Any:
        callbacks.on_multirun_start(**about)
        sweeper = Plugins.instance().instantiate_sweeper(
            config=config, hydra_context=hydra_context, task_function=job
        )
        returned = sweeper.sweep(overrides.of_job(config.hydra))
        callbacks.on_multirun_end(**about)
        return returned

    from pipeline.sweeps import sweep

    sweep.run(config, loader, launch)


def _compose(loader: ConfigLoader, words: list[str]) -> DictConfig:
    """Compose the configuration of a run, or of a multirun where `-m` or `hydra.mode` says so."""
    given = [word for word in words if word not in overrides.MULTIRUN]
    multirun = given != words
    if not multirun:
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(given)
        # Several values can be composed for a multirun only, which conf/sweep may ask for.
        swept = any(override.is_sweep_override() for override in parsed)
        mode = RunMode.MULTIRUN if swept else RunMode.RUN
        config = loader.load_configuration(CONFIG, given, mode, validate_sweep_overrides=False)
        multirun = config.hydra.mode == RunMode.MULTIRUN
        if not multirun and not swept:
            with read_write(config):
                config.hydra.mode = RunMode.RUN
            return config
    mode = RunMode.MULTIRUN if multirun else RunMode.RUN
    return loader.load_configuration(CONFIG, [*given, f"hydra.mode={mode.name}"], mode)
