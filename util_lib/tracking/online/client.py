"""The wandb backend: the genuine client and its own objects, with limits on how long it may wait.

Importing this module imports the client. What a step says when W&B says no is `explain`; what it
leaves for main.py is in the folder that `TRACKING_RUNS` names: lines in a file that is called like
the step's MLflow run (see `report`).
"""

import contextlib
import json
import os
import re
import signal
import sys
import tempfile
import threading
import time
import traceback
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from util_lib import git_state
from util_lib.errors import UserError
from util_lib.redaction import redacted_values
from util_lib.tracking import choice, names
from util_lib.tracking.store.places import store_directory

# The client by itself waits 90 s for a run to start and without end for one to finish, and nobody
# is told why a step hangs. Whoever has a slow line sets these variables to more.
LIMITS = {
    "WANDB_INIT_TIMEOUT": "15",
    "WANDB_HTTP_TIMEOUT": "4",
    "WANDB_FINISH_TIMEOUT": "8",
    "WANDB_FINISH_TIMEOUT_RAISES": "true",
    "WANDB__GRAPHQL_RETRY_MAX": "3",
    "WANDB__GRAPHQL_RETRY_WAIT_MAX_SECONDS": "1",
    "WANDB__GRAPHQL_TIMEOUT_SECONDS": "4",
    "WANDB__FILE_STREAM_RETRY_MAX": "2",
    "WANDB__FILE_STREAM_RETRY_WAIT_MAX_SECONDS": "3",
    "WANDB__FILE_TRANSFER_RETRY_MAX": "2",
    "WANDB__FILE_TRANSFER_RETRY_WAIT_MAX_SECONDS": "3",
}
# A service may say with 429 how long to stay away, and the client would, for hours.
LEAST_WAIT_S, LEAST_BYTES_PER_S = 15, 10_000  # for an artifact to arrive
STUCK_S = 9  # after that, for the end of a run, before the client's service process is killed
TEARDOWN_S = 5  # for the client's service process to end, before it is killed
CORE = "wandb-core"  # that process
# What the client says of a service that it cannot reach. One that died it takes for a service that
# cannot verify the credentials: "the service process is busy".
UNREACHABLE = (
    "connection refused|connection reset|no such host|network is unreachable|no route to host|"
    "timed out|timeout exceeded|deadline exceeded|service process is busy|unexpected EOF|abandoned|"
    "connection broken"
)
BAD_KEY = "api key|api_key|credential|401|unauthori[sz]ed|not logged in|AuthenticationError"
# What the client keeps in its own folder it never sends: `wandb sync` leaves out artifacts.
INSTEAD = (
    "use main.tracking=local, whose results `mlflow run . -e sync --env-manager uv` sends later"
)
# What is said of a file that was fetched; its address may let anybody in who knows it.
FETCHED = re.compile(r"\b(\d{3}) (?:Client|Server) Error: (.*?) for url: \S+")
NOT_THERE = r"artifact membership '(.+?)' not found in '(.+?)'|project '(.+?)' not found under"

try:
    import wandb
    from wandb import Artifact
    from wandb.sdk.artifacts import artifact as artifact_module
    from wandb.sdk.artifacts.storage_policies import wandb_storage_policy
    from wandb.sdk.wandb_run import Run
except ImportError as error:
    raise UserError(
        f"W&B was asked for and its client cannot be imported ({error}): pip install "
        "wandb==0.31.0, or use main.tracking=local"
    ) from error

__all__ = ["Api", "Artifact", "Image", "Run", "active_run", "init"]

_started: list[Run] = []
_logged: list[tuple[Run, Artifact]] = []


def prepare() -> None:
    """Say to the client, which reads it when it is first used, what the user left open."""
    for name, value in LIMITS.items():
        os.environ.setdefault(name, value)
    # `wandb/`, the client's own copy of every run, lies where the embedded store would lie.
    if "WANDB_DIR" not in os.environ:
        folder = store_directory().parent
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["WANDB_DIR"] = str(folder)


def Image(data_or_path: Any, **given: Any) -> wandb.Image:  # noqa: N802 - the client's name
    """Return the client's image of a figure, an array or the path of a picture."""
    if hasattr(data_or_path, "savefig"):
        import matplotlib.pyplot  # noqa: F401 - the client takes it for granted
    return wandb.Image(data_or_path, **given)


def Api(*given: Any, **named: Any) -> wandb.Api:  # noqa: N802 - the client's name
    """Return the client's read side."""
    prepare()
    return wandb.Api(*given, **named)


def refuse_no_credentials() -> None:
    """Raise `UserError` where the client would find no credentials."""
    if not choice.has_credentials():
        raise UserError(
            f"there are no credentials for W&B at {choice.base_url()}: run `wandb login`, set "
            "WANDB_API_KEY, or use main.tracking=local"
        )


def init(project: str | None = None, **given: Any) -> Run:
    """Start a run with `wandb.init`, which documents the arguments, and return it.

    Without `project` it is `WANDB_PROJECT`, else the demo's. Secrets in `config` are hidden. What
    hinders the start is a `UserError`.
    """
    names.refuse_resume(given.get("resume"))
    refuse_no_credentials()
    prepare()
    config = given.get("config")
    given["config"] = redacted_values(vars(config) if isinstance(config, Namespace) else config)
    try:
        with _no_secrets_in_metadata():
            run = wandb.init(project=project or names.default_project(), **given)
    except (wandb.Error, TimeoutError, OSError) as error:
        raise UserError(explain(error)) from error
    if run not in _started:
        _started.append(run)
        _note_what_is_logged(run)
        _write_report({"path": run.path, "url": run.url})
        if run.url and os.environ.get("TRACKING_PUBLISH") != "parent":
            from util_lib.tracking.mlflow_mirror import publish_address

            publish_address(run.url)
    return run


@contextlib.contextmanager
def _no_secrets_in_metadata() -> Iterator[None]:
    """Keep from the client the command line, and credentials in the address of git's remote.

    It sends both with every run; of an address it takes out the password, not a token before it.
    """
    words, ours = sys.argv, {}
    if not choice.git_is_disabled() and (found := git_state.git(Path.cwd())):
        ours = {"WANDB_GIT_REMOTE_URL": found["remote"], "WANDB_GIT_COMMIT": found["commit"]}
        ours = {name: value for name, value in ours.items() if name not in os.environ}
    sys.argv = words[:1]
    os.environ.update(ours)
    try:
        yield
    finally:
        sys.argv = words
        for name in ours:
            del os.environ[name]


def _note_what_is_logged(run: Run) -> None:
    """Keep what the run logs: the service credits a content to the run that logged it first."""
    log_artifact = run.log_artifact

    def noted(*given: Any, **named: Any) -> Artifact:
        names.aliases_to_log(given[3] if len(given) > 3 else named.get("aliases"))
        artifact = log_artifact(*given, **named)
        setattr(artifact, "wait", _limited(artifact))  # noqa: B010
        _logged.append((run, artifact))
        return artifact

    setattr(run, "log_artifact", noted)  # noqa: B010 - mypy refuses the assignment


def _refuse_versions_as_aliases(save: Callable[..., None]) -> Callable[..., None]:
    """Return the client's `save` of an artifact, which takes any alias, with the store's rule."""

    def checked(artifact: Artifact, *given: Any, **named: Any) -> None:
        if not artifact.is_draft():
            names.check_new_aliases({*artifact.aliases} - {*artifact._saved_aliases})
        save(artifact, *given, **named)

    return checked


# Artifacts come from the client in too many ways to give each one a `save` of its own.
setattr(Artifact, "save", _refuse_versions_as_aliases(Artifact.save))  # noqa: B010


def _limited_fetching(make: Callable[[], Any]) -> Callable[[], Any]:
    """Return the client's maker of sessions, by which it fetches files, with limits."""

    def made() -> Any:
        from util_lib.tracking.online import fetching  # imports requests, which few processes need

        return fetching.limited(make())

    return made


for _module in (artifact_module, wandb_storage_policy):
    if hasattr(_module, "make_http_session"):  # older clients have none
        setattr(_module, "make_http_session", _limited_fetching(_module.make_http_session))  # noqa: B010


def _limited(artifact: Artifact) -> Callable[..., Artifact]:
    """Return an artifact's `wait` with a limit by its size."""
    wait, limit = artifact.wait, int(LEAST_WAIT_S + artifact.size / LEAST_BYTES_PER_S)

    def wait_a_while(timeout: int | None = limit) -> Artifact:
        try:
            return wait(timeout)
        except wandb.Error:
            # With uploads under way the end of the run may have no limit, whatever was set.
            stuck = [*_service_processes()]
            timer = threading.Timer(STUCK_S, _kill, [iter(stuck)])
            timer.daemon = True
            timer.start()
            raise

    return wait_a_while


def active_run() -> Run | None:
    """Return the run that was started last in this process and has not finished."""
    return next((run for run in reversed(_started) if not run._is_finished), None)


def is_from_client(error: BaseException) -> bool:
    """Say whether the client raised `error`: it uses `ValueError` and the like for all sorts.

    What it fetches a file with counts as the client.
    """
    if isinstance(error, wandb.Error):
        return True
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = [frame.f_globals.get("__name__", "") for frame in frames]
    while modules and re.match(rf"(requests|urllib3)\b|{__package__}.fetching$", modules[-1]):
        modules.pop()
    return bool(modules) and modules[-1].split(".")[0] == "wandb"


def explain(error: BaseException, instead: str = INSTEAD) -> str:
    """Return one sentence on what W&B or its client had against it, with the way out.

    `instead` is the other way out, for who can't correct what W&B complains of.
    """
    words, url = FETCHED.sub(r"HTTP \1", str(error)), choice.base_url()
    text, said = f"{type(error).__name__} {words}", _what_was_said(FETCHED.sub(r"\2", str(error)))
    if cause := re.search(UNREACHABLE, text, re.IGNORECASE):
        return (
            f"W&B at {url} cannot be reached or does not answer ({cause[0].lower()}): check the "
            f"network and WANDB_BASE_URL and run again, or {instead}"
        )
    if missing := re.search(NOT_THERE, text):
        what = f"artifact {missing[1]} in {missing[2]}" if missing[1] else f"project {missing[3]}"
        return (
            f"W&B at {url} has no {what}: run the step that makes it with this project, or correct "
            "the name"
        )
    # At login too, where the client says nothing else than that it could not verify the key.
    if status := re.search(r"\b(?:HTTP|status)(?: status)?:? (429|5\d\d)\b", text):
        if status[1] == "429":
            return f"W&B at {url} takes no more for now ({said}): wait and run again, or {instead}"
        return (
            f"W&B at {url} has a fault of its own (HTTP {status[1]}: {said}): run again later, or "
            f"{instead}"
        )
    if re.search(BAD_KEY, text, re.IGNORECASE):
        return (
            f"W&B at {url} does not accept the credentials ({said}): run `wandb login --relogin`, "
            f"correct WANDB_API_KEY, or {instead}"
        )
    return f"W&B at {url} refused: {said}; correct that and run again, or {instead}"


def close(failed: bool) -> None:
    """End the client, whatever state it is in, and report the runs of this process.

    Raises `UserError` if the data of a run did not arrive, though the client said nothing; not
    where the step has `failed` already and says why. None of the client's service processes is
    left afterwards.
    """
    try:
        if _started and not failed:
            for run in _started:
                run.finish()
            report()
    except Exception as error:
        if isinstance(error, TimeoutError | OSError | ValueError) or is_from_client(error):
            raise UserError(explain(error)) from error
        raise
    finally:
        end_service()
        forget_runs()


def forget_runs() -> None:
    """Ask no more what became of the runs of this process: it goes on without them."""
    _started.clear()
    _logged.clear()


def report() -> None:
    """Tell main.py, if it asks, what the ended runs of this process left at W&B.

    Raises `UserError` for one whose end did not arrive there.
    """
    api = Api()
    for run in _started:
        seen = _read(api, run.path)
        if seen.state == "running":
            raise UserError(
                f"the end of run {run.name} did not arrive at W&B ({choice.base_url()}): run the "
                f"step again, or {INSTEAD}"
            )
        logged = [artifact.wait() for by, artifact in _logged if by is run]
        used = [*seen.used_artifacts()]
        _write_report(
            {
                "path": run.path,
                "url": run.url,
                "config": seen.config,
                "summary": {key: _number(value) for key, value in seen.summary.items()},
                "logged": [*dict.fromkeys(artifact.source_name for artifact in logged)],
                "used": [artifact.source_name for artifact in used],
                "digests": {found.source_name: found.digest for found in [*logged, *used]},
            }
        )


def _read(api: wandb.Api, path: str) -> Any:
    """Return a run as the service has it."""
    with no_folder():
        return api.run(path)


@contextlib.contextmanager
def no_folder() -> Iterator[None]:
    """Let the client make elsewhere, for nothing, the folder of each run that it looks at."""
    prepare()
    with tempfile.TemporaryDirectory() as folder:
        before = os.environ["WANDB_DIR"]
        os.environ["WANDB_DIR"] = folder
        try:
            yield
        finally:
            os.environ["WANDB_DIR"] = before


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else None


def _write_report(line: dict[str, Any]) -> None:
    folder, mlflow_run_id = os.environ.get("TRACKING_RUNS"), os.environ.get("MLFLOW_RUN_ID")
    if folder and mlflow_run_id:  # main.py, which has the folder made, reports to nobody
        with open(Path(folder, mlflow_run_id), "a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=str) + "\n")


def _what_was_said(text: str) -> str:
    """Return the service's own words where there are any, else the client's, on one line."""
    if message := re.search(r'"message":\s*"((?:[^"\\]|\\.)*)"', text):
        text = json.loads(f'"{message.group(1)}"')
    return " ".join(text.split()).rstrip(".")[:500]


def end_service() -> None:
    """Let the client's service process end, which finishes open runs; kill it if it does not."""
    thread = threading.Thread(target=wandb.teardown, daemon=True)
    thread.start()
    thread.join(TEARDOWN_S)
    _kill(_service_processes())


def abandon() -> None:
    """End the client at once; open runs get no end, as if their process had been killed."""
    _kill(_service_processes())
    with contextlib.suppress(Exception):  # it misses the process that was just killed
        wandb.teardown()


def end_left_over(mark: str, value: str) -> None:
    """End service processes that have this in their environment and whose own process has died.

    One may go on for a moment, and send, after its process was killed. Only Linux tells.
    """
    for pid, _ in _processes():
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            given = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if f"{mark}={value}".encode() in given:
                os.kill(pid, signal.SIGKILL)
                while (Path("/proc") / str(pid) / "exe").exists():
                    time.sleep(0.01)


def _kill(pids: Iterator[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):  # it has just ended
            continue


def _service_processes() -> Iterator[int]:
    """Give the ids of this process's own service processes."""
    return (pid for pid, parent in _processes() if parent == os.getpid())


def _processes() -> Iterator[tuple[int, int]]:
    """Give the ids and parents of all service processes of the client on this machine."""
    if not sys.platform.startswith("linux"):
        return
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:  # it has ended
            continue
        state, parent = rest.split()[:2]
        if name == CORE and state != "Z":
            yield int(folder.name), int(parent)
