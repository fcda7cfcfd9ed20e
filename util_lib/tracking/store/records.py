"""What the store has recorded of files, versions and runs, as it was when it was read."""

import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from util_lib.tracking.store.database import Store

PROMOTIONS = "promotions"  # metadata of a version that had an alias: `serving/aliases/history`


class FileRecord(NamedTuple):
    """One file of an artifact version; `md5` in base64 as W&B writes it."""

    path: str
    md5: str
    sha256: str
    size: int


class VersionRecord(NamedTuple):
    """One version of one artifact, as it was when it was read.

    `removed_at` is when house-keeping took its content away, None while it is there.
    """

    id: int
    project: str
    name: str
    type: str
    number: int
    digest: str
    size: int
    description: str | None
    metadata: dict[str, Any]
    aliases: list[str]
    logged_by: str
    created_at: float
    updated_at: float
    removed_at: float | None = None

    @property
    def reference(self) -> str:
        """The version's full name, which never changes: `project/name:vN`."""
        return f"{self.project}/{self.name}:v{self.number}"

    @property
    def removal(self) -> str:
        """When and by what it was removed, in words; for removed versions only."""
        assert self.removed_at is not None
        day = datetime.datetime.fromtimestamp(self.removed_at, datetime.UTC)
        return f"was removed by gc on {day:%Y-%m-%d}"


class RunRecord(NamedTuple):
    """One run, as it was when it was read.

    `state` is running, finished, failed, killed or crashed; crashed means that its process ended
    without finishing it. Times are seconds since the epoch.
    """

    id: str
    number: int
    project: str
    name: str
    group: str | None
    job_type: str | None
    notes: str | None
    tags: list[str]
    config: dict[str, Any]
    summary: dict[str, Any]
    state: str
    exit_code: int | None
    started_at: float
    finished_at: float | None
    environment: dict[str, Any]
    mlflow_run_id: str | None
    store: "Store"

    def history(self) -> list[dict[str, Any]]:
        """Return what was logged, one dict per step, in order."""
        return self.store.history(self.id)

    def files(self) -> list[tuple[str, str, int]]:
        """Return path, sha256 and size of the run's own files, such as images."""
        return self.store.run_files(self.id)

    def logged_artifacts(self) -> list[VersionRecord]:
        """Return the versions that the run logged, in order."""
        return self.store.versions_of_run(self.id, "out")

    def used_artifacts(self) -> list[VersionRecord]:
        """Return the versions that the run used, in order."""
        return self.store.versions_of_run(self.id, "in")
