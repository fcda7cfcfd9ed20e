"""Log a run of the embedded store to W&B as if it had been logged there: what is missing of it."""

import glob
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import wandb
from wandb.proto.wandb_internal_pb2 import HistoryRecord  # type: ignore[attr-defined] # made at run time

from util_lib.errors import UserError
from util_lib.tracking.online.service import WandbService
from util_lib.tracking.store.database import Store
from util_lib.tracking.store.records import RunRecord, VersionRecord
from util_lib.tracking.sync.plan import Event

# What W&B calls the end of a run that the store calls so. One that crashed never said its end.
ENDS = {"finished": {"finished"}, "failed": {"failed", "killed", "crashed"}}
ENDS["killed"] = ENDS["failed"]
REPAIR = "log the same content again (that repairs it) or restore it from a backup, and sync again"


class Missing(NamedTuple):
    """What the service does not have of a run: the run itself, and what is to be sent of it."""

    is_new: bool
    rows: list[dict[str, Any]]
    files: list[tuple[str, str, int]]
    events: list[Event]
    end: bool
    runtime: bool


def missing(service: WandbService, record: RunRecord, seen: Any, events: list[Event]) -> Missing:
    """Compare a run and its events with what the service has of it: `seen`, None if nothing.

    The end of a run is sent last. What somebody changed of a run after that is left as it is.
    """
    history, files = record.history(), record.files()
    if seen is None:
        return Missing(True, history, files, events, True, True)
    pulled = bool(record.environment.get("pulled_from"))  # it was W&B's to begin with
    if pulled:
        ended = True
    elif record.state in ENDS:
        ended = seen.state in ENDS[record.state]
    else:
        ended = {*record.config} <= {*seen.config} and {*record.summary} <= {*seen.summary.keys()}
    if history and seen.lastHistoryStep < history[-1]["_step"]:
        there = {row["_step"] for row in seen.scan_history()}
        history = [row for row in history if row["_step"] not in there]
    else:
        history = []
    if files:
        sizes = {file.name: file.size for file in seen.files()}
        files = [file for file in files if sizes.get(file[0]) != file[2]]
    directions = {event.direction for event in events}
    done = {("out", *_key(a)) for a in (seen.logged_artifacts() if "out" in directions else ())}
    done |= {("in", *_key(a)) for a in (seen.used_artifacts() if "in" in directions else ())}
    if ended:  # then all that it logged has been logged, be it also by another run
        done |= {("out", *_of(e.version)) for e in events if service.has(e.version)}
    events = [event for event in events if (event.direction, *_of(event.version)) not in done]
    runtime = not pulled and (seen.summary.get("_runtime") or 0) < _runtime(record)["_runtime"]
    return Missing(False, history, files, events, not ended, runtime)


def complete_summary(record: RunRecord, seen: Any) -> None:
    """Set what the client does not send: how long the run took, and values that are NaN."""
    summary = _summary(record)
    absent = {key: summary[key] for key in summary if key not in seen.summary.keys()}
    seen.summary._json_dict.update(absent | _runtime(record))  # as an item a NaN becomes null
    seen.summary.update()


class OpenRun:
    """A run that is being logged; it is finished at W&B when all that is missing has been sent."""

    def __init__(self, service: WandbService, record: RunRecord, lacks: Missing, folder: Path):
        """Start or resume it, and send its files. `folder` is for what lies here meanwhile."""
        self.record, self.lacks = record, lacks
        self._service, self._rows = service, list(lacks.rows)
        self._run = wandb.init(
            entity=service.entity,
            project=record.project,
            id=record.id,
            name=record.name,
            group=record.group,
            job_type=record.job_type,
            notes=record.notes,
            tags=record.tags,
            config=record.config,
            resume="allow",
            reinit="create_new",  # beside the runs that were active at the same time
            settings=_settings(record, folder),
        )
        self._send_files(folder / f"files-{os.urandom(4).hex()}")

    def send_history(self, until: float) -> None:
        """Send the steps that were logged up to a moment, with their own step, time, runtime."""
        while self._rows and self._rows[0].get("_timestamp", 0.0) <= until:
            row = self._rows.pop(0)
            record = HistoryRecord()
            record.step.num = row["_step"]
            for key, value in row.items():
                item = record.item.add()
                item.key, item.value_json = key, json.dumps(_as_the_client_has_it(value))
            # `run.log` would put the runtime of this process in the place of the run's own.
            interface = self._run._interface
            assert interface is not None  # the run has not ended
            interface._publish_history(record)

    def replay(self, event: Event) -> None:
        """Log or use a version."""
        self.send_history(event.at)
        version = event.version
        if event.direction == "in":
            known = self._service.versions(version.project, version.name)[version.digest]
            self._run.use_artifact(known.artifact)
            return
        artifact = _artifact(self.record.store, version)
        logged = self._run.log_artifact(artifact).wait()
        self._service.add(version, logged)

    def finish(self) -> None:
        """Send the rest and the end."""
        self.send_history(float("inf"))
        self._run.summary.update(_summary(self.record))
        self._run.finish(exit_code=self.record.exit_code or 0)

    def _send_files(self, folder: Path) -> None:
        for path, sha256, _ in self.lacks.files:
            if wrong := self.record.store.files.damage(sha256):
                kept = self.record.store.files.path(sha256)
                raise UserError(
                    f"file {path!r} of run {self.record.name} {wrong} ({kept}): {REPAIR}"
                )
            link = folder / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(self.record.store.files.path(sha256))
            self._run.save(glob.escape(str(link)), base_path=str(folder), policy="now")


def _summary(record: RunRecord) -> dict[str, Any]:
    summary = {key: _as_the_client_has_it(value) for key, value in record.summary.items()}
    if history := record.history():
        summary |= {key: history[-1][key] for key in ("_step", "_timestamp")}
    return summary


def _runtime(record: RunRecord) -> dict[str, Any]:
    """Return the two times that the client writes: of the last step, and of the whole run."""
    history = record.history()
    whole = (record.finished_at or record.started_at) - record.started_at
    return {
        "_runtime": history[-1]["_runtime"] if history else int(whole),
        "_wandb": {"runtime": int(whole)},
    }


def _settings(record: RunRecord, folder: Path) -> wandb.Settings:
    """Say of the run what it was, not what this process is."""
    ran = record.environment
    git = ran.get("git") or {}
    return wandb.Settings(
        root_dir=str(folder),
        host=ran.get("host"),
        program=ran.get("program"),
        git_commit=git.get("commit"),
        git_remote_url=git.get("remote") or None,
        disable_git=True,
        disable_code=True,
        console="off",
        silent=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
        # Nobody heard of the end of a run that crashed; the service notices the silence.
        x_update_finish_state=record.state in ENDS,
    )


def _artifact(store: Store, version: VersionRecord) -> wandb.Artifact:
    if wrong := store.damage(version):
        raise UserError(f"{version.reference} is not sent, its file {wrong[0]}: {REPAIR}")
    artifact = wandb.Artifact(
        version.name, version.type, description=version.description, metadata=version.metadata
    )
    for file in store.version_files(version.id):
        # Not copied and not cached: the store's own file does not change.
        artifact.add_file(
            str(store.files.path(file.sha256)), file.path, skip_cache=True, policy="immutable"
        )
    return artifact


def _as_the_client_has_it(value: Any) -> Any:
    """Write a list of images as the client does; every other value is the same on both sides."""
    if not isinstance(value, list) or not value:
        return value
    if not all(isinstance(item, dict) and item.get("_type") == "image-file" for item in value):
        return value
    images = {
        "_type": "images/separated",
        **{key: value[0][key] for key in ("width", "height", "format")},
        "count": len(value),
        "filenames": [item["path"] for item in value],
    }
    if "caption" in value[0]:  # the client's own rule
        images["captions"] = [item.get("caption") for item in value]
    return images


def _key(artifact: wandb.Artifact) -> tuple[str, str, str]:
    return artifact.project, artifact.source_name.partition(":")[0], artifact.digest


def _of(version: VersionRecord) -> tuple[str, str, str]:
    return version.project, version.name, version.digest
