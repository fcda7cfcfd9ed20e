"""The read side, with the names of `wandb.Api`."""

import operator
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from util_lib.errors import UserError
from util_lib.tracking import names
from util_lib.tracking.local.artifact import Artifact, utc
from util_lib.tracking.local.run import find_artifact
from util_lib.tracking.store import values
from util_lib.tracking.store.database import RunRecord, Store, open_store

COMPARISONS = {
    "$eq": operator.eq,
    "$ne": operator.ne,
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
    "$in": lambda found, wanted: found in wanted,
    "$nin": lambda found, wanted: found not in wanted,
    "$regex": lambda found, pattern: re.search(pattern, str(found)) is not None,
    "$exists": lambda found, wanted: (found is not None) == bool(wanted),
}


class Run:
    """A run as others see it, as it was when it was read."""

    def __init__(self, record: RunRecord):
        """Show what the store has recorded."""
        self._record = record
        self.id = record.id
        self.name = record.name
        self.entity = names.ENTITY
        self.project = record.project
        self.group = record.group
        self.job_type = record.job_type
        self.notes = record.notes
        self.tags = list(record.tags)
        self.state = record.state
        self.config = record.config
        self.summary = record.summary
        self.created_at = utc(record.started_at)
        self.commit = record.environment.get("git", {}).get("commit")
        self.metadata = record.environment
        self.exit_code = record.exit_code
        self.path = [names.ENTITY, record.project, record.id]
        self.url = None

    def __repr__(self) -> str:
        """Return path and state."""
        return f"<Run {'/'.join(self.path)} ({self.state})>"

    def history(
        self,
        samples: int = 500,
        keys: list[str] | None = None,
        x_axis: str = "_step",
        pandas: bool = False,
    ) -> Any:
        """Return at most `samples` steps, evenly spread, as a list of dicts.

        With `keys`, only these and the x-axis, of the steps that have them all.
        `pandas=True` gives a DataFrame instead.
        """
        rows = [*self.scan_history([x_axis, *keys] if keys else None)]
        if len(rows) > samples:
            last, n = len(rows) - 1, max(samples - 1, 1)
            rows = [rows[round(i * last / n)] for i in range(samples)]
        if not pandas:
            return rows
        import pandas as pd

        return pd.DataFrame.from_records(rows)

    def scan_history(
        self,
        keys: list[str] | None = None,
        page_size: int = 1_000,
        min_step: int = 0,
        max_step: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Give every step from `min_step` to before `max_step`, in order."""
        for row in self._record.history():
            if row["_step"] < min_step or (max_step is not None and row["_step"] >= max_step):
                continue
            if keys is None:
                yield row
            elif all(key in row for key in keys):
                yield {key: row[key] for key in keys}

    def logged_artifacts(self) -> list[Artifact]:
        """Return the artifacts that the run logged."""
        return [Artifact._stored(self._record.store, v) for v in self._record.logged_artifacts()]

    def used_artifacts(self) -> list[Artifact]:
        """Return the artifacts that the run used."""
        return [Artifact._stored(self._record.store, v) for v in self._record.used_artifacts()]


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

    def run(self, path: str) -> Run:
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
        return Run(record)

    def runs(
        self,
        path: str | None = None,
        filters: dict[str, Any] | None = None,
        order: str = "+created_at",
    ) -> list[Run]:
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
        return [Run(record) for record in known + unknown]

    @property
    def _store(self) -> Store:
        return open_store()

    @property
    def _default_project(self) -> str:
        return self._project or os.environ.get("WANDB_PROJECT") or names.DEFAULT_PROJECT


def _matches(record: RunRecord, filters: Mapping[str, Any]) -> bool:
    for key, wanted in filters.items():
        if key in ("$and", "$or", "$nor"):
            answers = [_matches(record, part) for part in wanted]
            matched = {"$and": all, "$or": any}.get(key, lambda a: not any(a))(answers)
        elif isinstance(wanted, Mapping) and any(name.startswith("$") for name in wanted):
            matched = all(_compare(_value(record, key), *item) for item in wanted.items())
        else:
            matched = _compare(_value(record, key), "$eq", wanted)
        if not matched:
            return False
    return True


def _compare(found: Any, name: str, wanted: Any) -> bool:
    if name == "$not":
        return not all(_compare(found, *item) for item in wanted.items())
    if name not in COMPARISONS:
        raise UserError(f"unknown operator {name!r} in filters; choose from {[*COMPARISONS]}")
    if isinstance(found, list) and not isinstance(wanted, list) and name in ("$eq", "$regex"):
        return any(COMPARISONS[name](item, wanted) for item in found)
    if isinstance(found, list) and name == "$in":
        return any(item in wanted for item in found)
    try:
        return COMPARISONS[name](found, wanted)
    except TypeError:  # such as None > 1: no answer is no match
        return False


def _value(record: RunRecord, key: str) -> Any:
    key = re.sub(r"(?<=[a-z])([A-Z])", r"_\1", key).lower() if "." not in key else key
    for prefix, items in (("config.", record.config), ("summary_metrics.", record.summary)):
        if key.startswith(prefix):
            name = key.removeprefix(prefix)
            return items.get(name, values.flatten(items).get(name))
    known = {
        "name": record.id,
        "display_name": record.name,
        "created_at": utc(record.started_at),
        "duration": (record.finished_at or record.started_at) - record.started_at,
        "host": record.environment.get("host"),
    }
    for column in ("state", "group", "job_type", "tags", "notes"):
        known[column] = getattr(record, column)
    if key not in known:
        raise UserError(
            f"unknown key {key!r} in filters or order; choose from {sorted(known)}, "
            "config.<key> or summary_metrics.<key>"
        )
    return known[key]


def _comparable(value: Any) -> bool:
    return value is not None and value == value  # NaN differs from itself
