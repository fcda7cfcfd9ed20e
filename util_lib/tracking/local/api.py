"""The read side, with the names of `wandb.Api`."""

import os
from collections.abc import Mapping
from typing import Any

from util_lib.errors import UserError
from util_lib.tracking import names
from util_lib.tracking.local.artifact import Artifact, RecordedRun, find_artifact
from util_lib.tracking.local.filters import _comparable, _matches, _value
from util_lib.tracking.store.database import Store, open_store


class Api:
    """Read runs and artifacts, also of other projects and of finished processes."""

    def __init__(self, overrides: Mapping[str, Any] | None = None):
        """`overrides={"project": ...}` says where names without a project are looked up."""
        self._project = (overrides or {}).get("project")

    def artifact(self, name: str, type: str | None = None) -> Artifact:
        """Return one artifact by `project/name:alias`; without project, the default one."""
        return find_artifact(self._store, name, self._default_project, type)

    def artifact_exists(self, name: str, type: str | None = None) -> bool:
        """Say whether there is such an artifact."""
        record = self._store.version(names.parse_reference(name, self._default_project))
        return record is not None and type in (None, record.type)

    def artifacts(self, type_name: str, name: str) -> list[Artifact]:
        """Return all versions of `project/name`, newest first."""
        parts = name.split("/")
        project = parts[-2] if len(parts) > 1 else self._default_project
        versions = self._store.versions(project, parts[-1], type_name)
        return [Artifact._stored(self._store, version) for version in versions]

    def run(self, path: str) -> RecordedRun:
        """Return one run by `project/id`; without project, of the default one."""
        parts = [part for part in path.split("/") if part and part != "runs"]
        if not parts:
            raise UserError(f"Invalid path: {path!r}; write 'project/id'")
        project = parts[-2] if len(parts) > 1 else self._default_project
        record = self._store.run(parts[-1], project)
        if record is None:
            raise UserError(
                f"Could not find run {project}/{parts[-1]} in {self._store.directory}; "
                "`Api().runs(project)` lists those there are"
            )
        return RecordedRun(record)

    def runs(
        self,
        path: str | None = None,
        filters: dict[str, Any] | None = None,
        order: str = "+created_at",
    ) -> list[RecordedRun]:
        """Return the runs of a project (`project` or `entity/project`).

        `filters` is a MongoDB query over `name` (the id), `display_name`, `state`, `group`,
        `job_type`, `tags`, `created_at`, `config.<key>` and `summary_metrics.<key>`. `order` is
        one of these with + (ascending) or - before it; runs without a value come last.
        """
        project = path.rsplit("/", 1)[-1] if path else self._default_project
        records = self._store.runs(project=project)
        found = [record for record in records if _matches(record, filters or {})]
        key = order.lstrip("+-")
        known = [record for record in found if _comparable(_value(record, key))]
        unknown = [record for record in found if not _comparable(_value(record, key))]
        try:
            # Then by time: `created_at` is shown in whole seconds.
            known.sort(
                key=lambda record: (_value(record, key), record.started_at, record.number),
                reverse=order.startswith("-"),
            )
        except TypeError as error:
            raise UserError(f"runs cannot be ordered by {key!r}: {error}") from error
        return [RecordedRun(record) for record in known + unknown]

    @property
    def _store(self) -> Store:
        return open_store()

    @property
    def _default_project(self) -> str:
        return self._project or os.environ.get("WANDB_PROJECT") or names.DEFAULT_PROJECT
