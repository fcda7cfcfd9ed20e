"""The steps' environments: chosen once, made one at a time before the first step runs.

MLflow makes an environment when a step first needs it, without a lock: two pipelines at once
destroy each other's, and one that was interrupted leaves a half environment that every later run
uses. Here each is made under a lock, and a marker written last says that it is whole.
"""

import fcntl
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.environments import locks
from util_lib import safe_files
from util_lib.errors import UserError

if TYPE_CHECKING:
    from mlflow.utils.environment import _PythonEnv

MARKER = ".complete.json"
LOCK = "pipeline.lock"
WAY_OUT = "no environment was made; free space there, or set MLFLOW_ENV_ROOT to another directory"
MAKING = "PIPELINE_MAKES_ENVIRONMENT"  # what makes one says so to all that it starts
LOOK_S = 0.02  # between two looks at what has ended
MOST_WORDS = 600  # of a tool's, in a sentence
ROOT_MANAGER_TAG = "mlflow.project.env"
INSTALL = {
    "conda": "install conda (conda-forge.org/download)",
    "uv": "pip install uv",
    "virtualenv": "install pyenv and virtualenv (pip install virtualenv)",
}

_used: dict[Path, int] = {}  # environments that this process needs: their markers, locked


@dataclass(frozen=True)
class Environment:
    """One environment of one or more steps, where MLflow will look for it.

    `path` is None for conda until it exists: conda alone knows where it puts an environment.
    """

    manager: str
    project: Path
    config: Path
    name: str
    path: Path | None


def choose(setting: str, root_manager: str | None) -> str:
    """Return the manager for the steps: conda, uv, virtualenv or local.

    `setting` is `main.env_manager`; `root_manager` is the parent run's `mlflow.project.env` tag,
    None where the root was started with `--env-manager local` or without MLflow.
    """
    if setting == "auto":
        setting = root_manager or next((m for m in ("conda", "uv") if executable(m)), "")
    if not setting:
        raise UserError(
            "main.env_manager=auto found neither conda nor uv to make the steps' environments: "
            f"{INSTALL['uv']}, {INSTALL['conda']}, or use main.env_manager=local, which runs every "
            "step with the packages installed here"
        )
    needed = {"virtualenv": "pyenv"}.get(setting, setting)
    if setting != "local" and not executable(needed):
        raise UserError(
            f"main.env_manager={setting} needs {needed} on the PATH, and it is not there: "
            f"{INSTALL[setting]}, or choose another of auto, conda, uv, virtualenv, local"
        )
    return setting


def executable(name: str) -> str | None:
    """Find `name` as MLflow will: conda also by its own variables, others on the PATH."""
    if name == "conda":
        from mlflow.utils.conda import get_conda_bin_executable

        return shutil.which(get_conda_bin_executable("conda"))
    return shutil.which(name)


def use_own_tools() -> None:
    """Put this interpreter's scripts on the PATH: `.venv/bin/python main.py` finds .venv's uv."""
    scripts = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", "")
    if scripts not in path.split(os.pathsep):
        os.environ["PATH"] = f"{path}{os.pathsep}{scripts}"


def needed(manager: str, projects: list[Path]) -> list[Environment]:
    """List the environments that `projects` (step folders) need, each once."""
    found: dict[str, Environment] = {}
    for project in projects if manager != "local" else []:
        environment = _environment(manager, project)
        if environment:
            found.setdefault(environment.name, environment)
    return list(found.values())


def _environment(manager: str, project: Path) -> Environment | None:
    from mlflow.environment_variables import MLFLOW_ENV_ROOT
    from mlflow.projects._project_spec import load_project
    from mlflow.utils.conda import _get_conda_env_name
    from mlflow.utils.virtualenv import _get_virtualenv_name

    spec = load_project(str(project))
    if not spec.env_config_path:
        return None  # docker, or nothing declared: MLflow's own business
    config = Path(spec.env_config_path)
    if manager == "conda":
        return Environment(manager, project, config, _get_conda_env_name(str(config)), None)
    name = _get_virtualenv_name(_python_env(spec.env_type, config), project)
    return Environment(manager, project, config, name, Path(MLFLOW_ENV_ROOT.get()) / name)


def _python_env(env_type: str, config: Path) -> "_PythonEnv":
    from mlflow.projects import env_type as types
    from mlflow.utils.environment import _PythonEnv

    if env_type == types.CONDA:
        return _PythonEnv.from_conda_yaml(str(config))
    return _PythonEnv.from_yaml(str(config))


def prepare(environments: list[Environment], say: Callable[[str], None]) -> None:
    """Make what is missing or half-made of `environments`, one at a time over all pipelines.

    `say` is told what is being made or waited for. Raises `UserError` where a tool fails, with
    the tool's own last words; nothing half-made stays behind.
    """
    if not environments:
        return
    from mlflow.environment_variables import MLFLOW_ENV_ROOT

    lock = Path(MLFLOW_ENV_ROOT.get()) / LOCK
    with ExitStack() as stack:
        if not stack.enter_context(safe_files.locked(lock, 0, WAY_OUT)):
            say("waiting for another pipeline that is making environments")
            stack.enter_context(safe_files.locked(lock, None, WAY_OUT))
        paths = conda_paths() if environments[0].manager == "conda" else {}
        for environment in environments:
            path = paths.get(environment.name, environment.path)
            if path and _is_whole(environment, path):
                _use(path)
                continue
            _make(environment, path, say)
            made = environment.path or conda_paths().get(environment.name)
            if made and (made / MARKER).is_file():
                _use(made)


def _is_whole(environment: Environment, path: Path) -> bool:
    """Say whether an environment was made to its end, by the lock that is there now."""
    try:
        content = json.loads((path / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    wanted = locks.digest(environment.manager, environment.config)
    return not wanted or content.get("lock") == wanted  # a lock's packages fit the pins alone, too


def _use(path: Path) -> None:
    """Keep house-keeping from an environment until this process ends, and note its use."""
    if path in _used:
        return
    descriptor = os.open(path / MARKER, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    _used[path] = descriptor
    with suppress(PermissionError):  # another user's
        os.utime(path / MARKER)


def _make(environment: Environment, path: Path | None, say: Callable[[str], None]) -> None:
    name = environment.project.name
    if path and path.exists() and path.resolve() == Path(sys.prefix).resolve():
        return  # main.py runs in it, so MLflow has just made it whole
    _end_makers(environment)  # uv outlives a killed pipeline, and would go on writing
    if path and path.exists():
        why = "another lock" if (path / MARKER).is_file() else "no completion marker"
        say(f"environment of {name} has {why}: making it again")
        remove(environment.manager, path)
    say(
        f"making the environment of {name} with {environment.manager}, once: packages are installed"
    )
    try:
        lock = locks.digest(environment.manager, environment.config)
        try:
            with locks.used(locks.beside(environment.config)) if lock else nullcontext():
                _create(environment)
        except Exception as error:
            if not lock or locks.is_refused(error) or "'venv'" in str(error):
                raise  # no lock has a part in finding a Python
            said = _last_words(str(error).splitlines())
            say(f"the lock of {name} does not fit here ({said}): made by its pins alone")
            if environment.path and environment.path.exists():
                remove(environment.manager, environment.path)
            _create(environment)
        path = environment.path or conda_paths()[environment.name]
        content = {"step": name, "manager": environment.manager, "lock": lock}
        (path / MARKER).write_text(json.dumps(content) + "\n")
    except BaseException as error:
        _end_makers(environment)
        path = environment.path or conda_paths().get(environment.name)
        if path and path.exists():
            remove(environment.manager, path)
        if isinstance(error, Exception):
            words = [line for line in str(error).splitlines() if line.strip()]
            raise UserError(
                f"the environment of {name} ({environment.config}) could not be made with "
                f"{environment.manager}: {_last_words(words)}; nothing of it was kept"
            ) from error
        raise


def _last_words(lines: list[str]) -> str:
    """Return the lines in which a tool says what went wrong: its last error, shortened."""
    errors = [i for i, line in enumerate(lines) if line.lower().startswith("error: ")]
    words = " ".join(line.strip() for line in lines[min([*errors[-1:], max(0, len(lines) - 4)]) :])
    shown = words if len(words) <= MOST_WORDS else f"{words[:300]} ... {words[-295:]}"
    return shown or "it said nothing"


def _create(environment: Environment) -> None:
    from mlflow.projects._project_spec import load_project
    from mlflow.utils.conda import get_or_create_conda_env
    from mlflow.utils.virtualenv import _create_virtualenv

    # what went wrong is said once, by the error
    logging.getLogger("mlflow.utils.virtualenv").setLevel(logging.ERROR)
    spec = load_project(str(environment.project))
    os.environ[MAKING] = _mark(environment)
    try:
        if environment.manager == "conda":
            get_or_create_conda_env(str(environment.config), capture_output=True)
            return
        assert environment.path is not None  # conda alone chooses it later
        _create_virtualenv(
            local_model_path=environment.project,
            python_env=_python_env(spec.env_type, environment.config),
            env_dir=environment.path,
            env_manager="uv" if environment.manager == "uv" else "virtualenv",
            capture_output=True,
        )
    finally:
        del os.environ[MAKING]


def _mark(environment: Environment) -> str:
    from mlflow.environment_variables import MLFLOW_ENV_ROOT

    return str(Path(MLFLOW_ENV_ROOT.get()).resolve() / environment.name)  # however it is written


def _end_makers(environment: Environment) -> None:
    """Kill what still makes an environment: who holds the lock has started none yet, or failed."""
    import psutil

    def found() -> list[psutil.Process]:
        return [
            process
            for process in psutil.process_iter(["environ"])
            if (process.info["environ"] or {}).get(MAKING) == _mark(environment)
        ]

    while processes := found():
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(LOOK_S)


def conda_paths() -> dict[str, Path]:
    """Return where conda's environments lie, by name."""
    from mlflow.utils.conda import get_conda_bin_executable
    from mlflow.utils.process import _exec_cmd

    listed = _exec_cmd([get_conda_bin_executable("conda"), "env", "list", "--json"])
    return {Path(path).name: Path(path) for path in json.loads(listed.stdout).get("envs", [])}


def remove(manager: str, path: Path) -> None:
    """Delete an environment."""
    if manager == "conda":
        from mlflow.utils.conda import get_conda_bin_executable
        from mlflow.utils.process import _exec_cmd

        conda = get_conda_bin_executable("conda")
        _exec_cmd([conda, "env", "remove", "--yes", "--name", path.name])
    shutil.rmtree(path, ignore_errors=manager == "conda")
