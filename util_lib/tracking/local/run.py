"""The write side: runs, their config, summary, metrics, images and artifacts."""

import argparse
import atexit
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from util_lib import git_state, safe_files
from util_lib.errors import UserError, UserValueError
from util_lib.processes import signals
from util_lib.redaction import redacted_values
from util_lib.tracking import names
from util_lib.tracking.local.active import _active, active_run
from util_lib.tracking.local.artifact import Artifact, find_artifact
from util_lib.tracking.local.image import as_image
from util_lib.tracking.local.named_values import Config, Summary, config_items
from util_lib.tracking.store import values
from util_lib.tracking.store.database import Store, open_store
from util_lib.tracking.store.records import RunRecord

KILLED_EXIT_CODES = {130: "SIGINT", 143: "SIGTERM"}


class UsageError(UserError):
    """A finished run was used."""


def init(
    project: str | None = None,
    job_type: str | None = None,
    config: Mapping | argparse.Namespace | None = None,
    group: str | None = None,
    name: str | None = None,
    notes: str | None = None,
    tags: Iterable[str] | str | None = None,
    id: str | None = None,
    entity: str | None = None,
    save_code: bool | None = None,
    resume: str | bool | None = None,
) -> "Run":
    """Start a run; use it in a `with` statement.

    What is not given is taken from `WANDB_PROJECT`, `WANDB_JOB_TYPE`, `WANDB_RUN_GROUP`,
    `WANDB_NAME`, `WANDB_NOTES` and `WANDB_TAGS` (comma-separated); a run without a name gets
    one such as `sunny-spring-21`. Secrets in `config` are hidden. `entity` is for W&B only. While
    a run is active it is returned instead of a new one, as the client does.
    """
    names.refuse_resume(resume)
    if (run := active_run()) is not None:
        print(
            f"tracking: init was called while run {run.name} is active, so that run is returned",
            file=sys.stderr,
        )
        return run
    environ = os.environ
    if tags is None and environ.get("WANDB_TAGS"):
        tags = [tag.strip() for tag in environ["WANDB_TAGS"].split(",")]
    store = open_store(make=True)
    described = git_state.describe()
    with signals.held():  # once it is recorded there is somebody who ends it
        record, lock = store.start_run(
            names.check_run_id(id) if id else names.new_run_id(),
            names.check_project(project if project is not None else names.default_project()),
            config=values.dumps(redacted_values(config_items(config or {}))),
            environment=values.dumps(described),
            tags=values.dumps(names.check_tags(tags)),
            name=name or environ.get("WANDB_NAME"),
            group_name=group or environ.get("WANDB_RUN_GROUP"),
            job_type=job_type or environ.get("WANDB_JOB_TYPE"),
            notes=notes or environ.get("WANDB_NOTES"),
            mlflow_run_id=environ.get("MLFLOW_RUN_ID"),
        )
        _active.append(run := Run(store, record, lock))
    if save_code and (program := record.environment["program"]):
        run.save(program)
    return run


def close(error: BaseException) -> None:
    """Finish the runs that `error` kept from their `with` statements: it came before or between."""
    for run in [*_active]:
        if run._pid == os.getpid():
            run.__exit__(type(error), error, error.__traceback__)


class Run:
    """A unit of work that was started with `init`: what went in and what came out.

    Leaving its `with` block finishes it: as finished, as failed after an exception, as killed
    after Ctrl-C or SIGTERM. A run whose process ended otherwise is later shown as crashed.
    """

    def __init__(self, store: Store, record: RunRecord, lock: int):
        """Use `init` instead: it records the run first."""
        self._store = store
        self._record = record
        self._lock = lock
        self._pid = os.getpid()
        self._finished = False
        self._name, self._notes, self._tags = record.name, record.notes, tuple(record.tags)
        self._step = 0
        self._logging = threading.Lock()  # threads may log to one run
        self._row: dict[str, Any] = {}
        self.config = Config(self, record.config)
        self.summary = Summary(self, record.summary)
        atexit.register(self._finish_at_exit)

    def __repr__(self) -> str:
        """Return its path."""
        return f"<Run {self.path}>"

    # What it is

    @property
    def id(self) -> str:
        """Eight letters and digits, or the id given."""
        return self._record.id

    @property
    def project(self) -> str:
        """The project it belongs to."""
        return self._record.project

    @property
    def entity(self) -> str:
        """Always `local`."""
        return names.ENTITY

    @property
    def group(self) -> str:
        """The experiment it belongs to, or the empty string."""
        return self._record.group or ""

    @property
    def job_type(self) -> str:
        """The step it is a run of, or the empty string."""
        return self._record.job_type or ""

    @property
    def path(self) -> str:
        """`entity/project/id`."""
        return f"{names.ENTITY}/{self.project}/{self.id}"

    @property
    def url(self) -> None:
        """None: the embedded store has no pages."""
        return None

    @property
    def start_time(self) -> float:
        """When it began, in seconds since the epoch."""
        return self._record.started_at

    @property
    def step(self) -> int:
        """The step that the next `log` without a step writes to."""
        return self._step

    @property
    def name(self) -> str:
        """Its name for people; can be set."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._refuse_if_finished("name")
        self._store.update_run(self.id, name=name)
        self._name = name

    @property
    def notes(self) -> str | None:
        """Free text; can be set."""
        return self._notes

    @notes.setter
    def notes(self, notes: str) -> None:
        self._refuse_if_finished("notes")
        self._store.update_run(self.id, notes=notes)
        self._notes = notes

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find it by; can be set, also by `run.tags += ("word",)`."""
        return self._tags

    @tags.setter
    def tags(self, tags: Iterable[str]) -> None:
        self._refuse_if_finished("tags")
        checked = names.check_tags(tags)
        self._store.update_run(self.id, tags=values.dumps(checked))
        self._tags = tuple(checked)

    # What it does

    def log(
        self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None
    ) -> None:
        """Write metrics and images to the history; the summary takes their last values.

        Each call is a step of its own, unless `step` says which, or `commit=False` leaves it
        open for the next call. Steps only go up: a value for an earlier one is refused with a
        warning, as at W&B. Any metric, such as `epoch`, can serve as the x-axis.
        """
        self._refuse_if_finished("log")
        if not isinstance(data, Mapping):
            raise TypeError("log must be passed a dictionary")
        if any(not isinstance(key, str) for key in data):
            raise TypeError("Key values passed to `log` must be strings.")
        with self._logging:
            if step is not None and step < self._step:
                print(
                    f"tracking: step {step} is less than the current step {self._step}; steps must "
                    f"increase, so {', '.join(data)} is ignored",
                    file=sys.stderr,
                )
                return
            if step is not None and step > self._step:
                self._step, self._row = int(step), {}
            stored = self._storable(data)
            now = time.time()
            self._row |= stored
            self._row |= {
                "_step": self._step,
                "_timestamp": now,
                "_runtime": now - self._record.started_at,
            }
            self.summary._items.update(stored)
            self._store.log_step(
                self.id, self._step, values.dumps(self._row), values.dumps(self.summary._items)
            )
            if (step is None and commit is None) or commit:
                self._step, self._row = self._step + 1, {}

    def log_artifact(
        self,
        artifact_or_path: Artifact | str | os.PathLike,
        name: str | None = None,
        type: str | None = None,
        aliases: list[str] | None = None,
    ) -> Artifact:
        """Store an artifact as an output of this run and return it as `name:vN`.

        A content that the artifact had before makes no new version. `latest` moves to the
        version in either case, and so do `aliases`.
        """
        self._refuse_if_finished("log_artifact")
        return self._log_artifact(artifact_or_path, name, type, aliases)

    def use_artifact(
        self,
        artifact_or_name: Artifact | str,
        type: str | None = None,
        aliases: list[str] | None = None,
    ) -> Artifact:
        """Return an artifact and record that this run used it.

        By name it is `name:alias`, `name:vN`, `project/name:alias` or
        `entity/project/name:alias`. A draft is logged first.
        """
        self._refuse_if_finished("use_artifact")
        if isinstance(artifact_or_name, str):
            artifact = find_artifact(self._store, artifact_or_name, self.project, type)
        elif isinstance(artifact_or_name, Artifact):
            artifact = artifact_or_name
        else:
            raise UserValueError(
                'You must pass an artifact name (e.g. "pedestrian-dataset:v1") or an Artifact to '
                f"`use_artifact`, not {artifact_or_name!r}"
            )
        if artifact.is_draft():
            return self._log_artifact(artifact, None, None, aliases, used=True)
        try:
            self._store.use_version(self.id, artifact._logged("id").id)
        except UserError:
            if not isinstance(artifact_or_name, str):
                raise
            # It was removed since it was found; if the alias has moved, it names another one.
            artifact = find_artifact(self._store, artifact_or_name, self.project, type)
            self._store.use_version(self.id, artifact._logged("id").id)
        return artifact

    def log_code(
        self,
        root: str | os.PathLike | None = ".",
        name: str | None = None,
        include_fn: Any = lambda path: path.endswith(".py"),
    ) -> Artifact | None:
        """Log the source files under `root` as an artifact of type `code`; None if none fits."""
        self._refuse_if_finished("log_code")
        root = Path(root or ".").resolve()
        artifact = Artifact(name or f"code-{self.project}".replace(" ", "_"), "code")
        for folder, subfolders, filenames in os.walk(root):
            subfolders[:] = [name for name in subfolders if not name.startswith((".", "__"))]
            for filename in filenames:
                path = os.path.join(folder, filename)
                if include_fn(path):
                    artifact.add_file(path, name=os.path.relpath(path, root))
        return self.log_artifact(artifact) if artifact.manifest.entries else None

    def save(self, glob_str: str | os.PathLike) -> list[str]:
        """Keep copies of the files that match as files of this run."""
        import glob

        self._refuse_if_finished("save")
        paths = [path for path in glob.glob(os.fspath(glob_str)) if os.path.isfile(path)]
        for path in paths:
            self._store.add_run_file(self.id, os.path.basename(path), path)
        return paths

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        """End the run; what `exit_code` is not 0 has failed. A second call does nothing.

        The run is then shown in MLflow, unless `TRACKING_PUBLISH=parent` says that whoever
        started this process will see to it.
        """
        if self._finished:
            return
        exit_code = exit_code or 0
        state = "finished" if exit_code == 0 else "failed"
        if exit_code in KILLED_EXIT_CODES:
            state = "killed"
        with signals.held():
            self._store.update_run(
                self.id, durable=True, state=state, exit_code=exit_code, finished_at=time.time()
            )
            self._finished = True
            self._store.end_run(self.id, self._lock)
            atexit.unregister(self._finish_at_exit)
            if self in _active:
                _active.remove(self)
        if os.environ.get("TRACKING_PUBLISH") != "parent":
            from util_lib.tracking.mlflow_mirror import publish_own

            publish_own(self._store.runs(id=self.id)[0])

    def __enter__(self) -> "Run":
        """Return the run itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the run as what `error` makes of it, and let the error pass."""
        if error is None:
            self.finish()
            return
        try:
            self.finish(_exit_code(error))
        except Exception as second:  # it must not hide what went wrong first
            print(f"tracking: {second}", file=sys.stderr)

    # Behind the scenes

    def _refuse_if_finished(self, member: str) -> None:
        if self._finished:
            raise UsageError(
                f"Run ({self.id}) is finished. The call to `{member}` will be ignored. "
                "Please make sure that you are using an active run."
            )

    def _log_artifact(
        self,
        artifact_or_path: Artifact | str | os.PathLike,
        name: str | None,
        type: str | None,
        aliases: list[str] | None,
        used: bool = False,
    ) -> Artifact:
        aliases = names.aliases_to_log(aliases)
        artifact = artifact_or_path
        if isinstance(artifact, str | os.PathLike):
            path = os.fspath(artifact)
            artifact = Artifact(
                name or f"run-{self.id}-{os.path.basename(path)}", type or "unspecified"
            )
            if os.path.isdir(path):
                artifact.add_dir(path)
            elif os.path.isfile(path):
                artifact.add_file(path)
            else:
                raise UserValueError(f"path must be a file or a directory, and {path!r} is neither")
        if not isinstance(artifact, Artifact):
            raise TypeError("You must pass an Artifact or a valid file path to log_artifact")
        artifact._log(self._store, self.id, self.project, aliases, used)
        return artifact

    def _storable(self, data: Mapping[str, Any]) -> dict[str, Any]:
        stored = {}
        for key, value in data.items():
            many = isinstance(value, list | tuple) and bool(value)
            images = [as_image(item) for item in (value if many else [value])]
            if all(image is not None for image in images):
                kept = [self._keep_image(key, image) for image in images]
                stored[key] = kept if many else kept[0]
            else:
                stored[key] = values.plain(value)
        return stored

    def _keep_image(self, key: str, image: Any) -> dict[str, Any]:
        with safe_files.writing(self._store.files.tmp):
            folder, lock = self._store.files.workspace()
        try:
            known = image.write(folder / "image.png")
            content = safe_files.read_content(folder / "image.png")
            path = f"media/images/{names.check_path(key)}_{self._step}_{content.sha256[:20]}.png"
            self._store.add_run_file(self.id, path, folder / "image.png")
        finally:
            (folder / "image.png").unlink(missing_ok=True)
            folder.rmdir()
            safe_files.release(lock)
        return {"_type": "image-file", "path": path, "sha256": content.sha256, **known}

    def _finish_at_exit(self) -> None:
        if os.getpid() != self._pid:  # a forked child is not the run
            return
        try:
            self.finish(1 if getattr(sys, "last_value", None) is not None else 0)
        except Exception as error:  # there is nobody left to catch it
            print(f"tracking: {error}", file=sys.stderr)


def _exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 1
