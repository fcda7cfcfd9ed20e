"""Artifacts: named, typed, versioned sets of files, as in the W&B client."""

import os
import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from util_lib import safe_files
from util_lib.errors import UserError, UserValueError
from util_lib.tracking import names
from util_lib.tracking.local.manifest import ArtifactNotLoggedError, Entry, Manifest, not_logged
from util_lib.tracking.store import values
from util_lib.tracking.store.database import Store, check_type, open_store
from util_lib.tracking.store.records import FileRecord, RunRecord, VersionRecord


class ArtifactFinalizedError(AttributeError):
    """A logged artifact was to be changed."""


class Artifact:
    """A draft, to be filled and logged; or a version that was logged or fetched.

    Files are copied when they are added: what happens to the originals afterwards does not
    matter.
    """

    def __init__(
        self,
        name: str,
        type: str,
        description: str | None = None,
        metadata: dict[str, Any] | None = None,
    ):
        """Make a draft; names, types and metadata must be what W&B takes."""
        self._name = names.check_artifact_name(name)
        self._type = names.check_artifact_type(type, name)
        self._description = description
        self._metadata = values.check_metadata(metadata)
        self._entries: dict[str, Entry] | None = {}
        self._aliases: list[str] = []
        self._final = False
        self._fetched_as: str | None = None
        self._workspace: Path | None = None
        self._store: Store | None = None
        self._record: VersionRecord | None = None

    @classmethod
    def _stored(cls, store: Store, record: VersionRecord, alias: str | None = None) -> "Artifact":
        artifact = cls.__new__(cls)
        artifact._fetched_as = alias
        artifact._entries = None
        artifact._final = True
        artifact._workspace = None
        artifact._bind(store, record)
        return artifact

    def __repr__(self) -> str:
        """Return its full name."""
        return f"<Artifact {self.qualified_name if self._record else self._name}>"

    # What it is

    @property
    def name(self) -> str:
        """The name given at first; `name:vN` once logged; as it was asked for once fetched."""
        if self._record is None:
            return self._name
        return f"{self._name}:{self._fetched_as or self.version}"

    @property
    def source_name(self) -> str:
        """The name given at first; `name:vN` once logged, also where it was fetched by an alias."""
        return f"{self._name}:{self.version}" if self._record else self._name

    @property
    def type(self) -> str:
        """What artifacts of this kind are called, for example `raw_data`."""
        return self._type

    @property
    def description(self) -> str | None:
        """A sentence for people; changed by setting it and `save()`."""
        return self._description

    @description.setter
    def description(self, description: str | None) -> None:
        self._description = description

    @property
    def metadata(self) -> dict[str, Any]:
        """Facts for programs; changed by setting or editing it and `save()`."""
        return self._metadata

    @metadata.setter
    def metadata(self, metadata: dict[str, Any]) -> None:
        self._metadata = values.check_metadata(metadata)

    @property
    def manifest(self) -> Manifest:
        """The files, by path."""
        if self._entries is None:
            store, record = self._in_store("manifest")
            self._entries = {
                file.path: Entry(file.path, file.md5, file.size, file.sha256, artifact=self)
                for file in store.version_files(record.id)
            }
        return Manifest(self._entries)

    @property
    def digest(self) -> str:
        """The digest of the content; the same files give the same digest, here and at W&B."""
        return self._record.digest if self._record else self.manifest.digest()

    @property
    def size(self) -> int:
        """The bytes of all files together."""
        return self._record.size if self._record else self.manifest.size()

    @property
    def state(self) -> str:
        """PENDING for a draft, COMMITTED once logged, DELETED once removed."""
        if self._record is None:
            return "PENDING"
        return "COMMITTED" if self._record.removed_at is None else "DELETED"

    def is_draft(self) -> bool:
        """Say whether it has yet to be logged."""
        return self._record is None

    @property
    def id(self) -> str | None:
        """An identifier of the version, None for a draft."""
        return str(self._record.id) if self._record else None

    @property
    def version(self) -> str:
        """`v0`, `v1`, ..."""
        return f"v{self._logged('version').number}"

    @property
    def entity(self) -> str:
        """Always `local`."""
        self._logged("entity")
        return names.ENTITY

    @property
    def project(self) -> str:
        """The project whose run logged it first."""
        return self._logged("project").project

    @property
    def qualified_name(self) -> str:
        """`entity/project/name`."""
        return f"{names.ENTITY}/{self._logged('qualified_name').project}/{self.name}"

    @property
    def file_count(self) -> int:
        """How many files it holds."""
        self._logged("file_count")
        return len(self.manifest.entries)

    @property
    def created_at(self) -> str:
        """When this version was logged first, in UTC."""
        return values.utc(self._logged("created_at").created_at)

    @property
    def updated_at(self) -> str:
        """When its aliases, description or metadata changed last, in UTC."""
        return values.utc(self._logged("updated_at").updated_at)

    @property
    def aliases(self) -> list[str]:
        """The aliases it held when it was read; changed by editing the list and `save()`."""
        self._logged("aliases")
        return self._aliases

    @aliases.setter
    def aliases(self, aliases: list[str]) -> None:
        self._logged("aliases")
        self._aliases = names.check_aliases(aliases)

    # Filling it

    @contextmanager
    def new_file(
        self, name: str, mode: str = "x", encoding: str | None = None, policy: str = "mutable"
    ) -> Iterator[IO]:
        """Open a file that is added to the artifact when it is closed."""
        self._changeable("new_file")
        path = names.check_new_path(name)
        local = self._make_workspace() / "new" / path
        local.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(local, mode, encoding=encoding) as file:
                yield file
        except FileExistsError as error:
            raise UserValueError(f"File with name {name!r} already exists at {local!r}") from error
        self.add_file(local, name=path, policy=policy, overwrite="x" not in mode)

    def add_file(
        self,
        local_path: str | os.PathLike,
        name: str | None = None,
        is_tmp: bool = False,
        skip_cache: bool = False,
        policy: str = "mutable",
        overwrite: bool = False,
    ) -> Entry:
        """Add one file, called `name` inside the artifact (default: as on disk)."""
        self._changeable("add_file")
        if is_tmp:
            raise UserValueError("is_tmp is not supported; give the file a name with name=")
        if not os.path.isfile(local_path):
            raise UserValueError(f"Path is not a file: {os.fspath(local_path)!r}")
        return self._add(name or os.path.basename(local_path), local_path, policy, overwrite)

    def add_dir(
        self,
        local_path: str | os.PathLike,
        name: str | None = None,
        skip_cache: bool = False,
        policy: str = "mutable",
        merge: bool = False,
    ) -> None:
        """Add all files under a directory, below `name` inside the artifact."""
        self._changeable("add_dir")
        if not os.path.isdir(local_path):
            raise UserValueError(f"Path is not a directory: {os.fspath(local_path)!r}")
        for folder, _, filenames in os.walk(os.fspath(local_path), followlinks=True):
            for filename in filenames:
                path = os.path.join(folder, filename)
                inside = os.path.join(name or "", os.path.relpath(path, local_path))
                self._add(inside, path, policy, merge)

    def remove(self, item: str | os.PathLike | Entry) -> None:
        """Remove one file, or all files of a directory, from the draft."""
        self._changeable("remove")
        path = names.check_path(item.path if isinstance(item, Entry) else item)
        entries = self.manifest.entries
        gone = [key for key in entries if key == path or key.startswith(f"{path}/")]
        if not gone:
            raise FileNotFoundError(f"No such file or directory: {path}")
        for key in gone:
            del entries[key]

    def finalize(self) -> None:
        """Allow no more changes; logging does this."""
        self._final = True

    # Using it

    def wait(self, timeout: int | None = None) -> "Artifact":
        """Return the artifact; logging to the embedded store is complete when it returns."""
        self._logged("wait")
        return self

    def get_entry(self, name: str | os.PathLike) -> Entry:
        """Return one file of the artifact. Raises `KeyError` if there is no such file."""
        self._logged("get_entry")
        path = names.check_path(name)
        if path not in self.manifest.entries:
            raise KeyError(f"Path not contained in artifact: {path}")
        return self.manifest.entries[path]

    def file(self, root: str | os.PathLike | None = None) -> str:
        """Write the artifact's only file under `root` and return its path.

        The default root is `artifacts/<name>`, as it was asked for, in the current directory.
        Raises `ValueError` if there are several files.
        """
        record = self._logged("file")
        entries = [*self.manifest.entries.values()]
        if len(entries) > 1:
            raise UserValueError(
                "This artifact contains more than one file, call `.download()` to get all files "
                'or call .get_entry("filename").download()'
            )
        if not entries:
            raise UserValueError(f"artifact {record.reference!r} contains no file")
        return entries[0].download(root or self._default_root(relative=True))

    def download(
        self,
        root: str | os.PathLike | None = None,
        allow_missing_references: bool = False,
        skip_cache: bool | None = None,
        path_prefix: str | os.PathLike | None = None,
        multipart: bool | None = None,
    ) -> str:
        """Write all files under `root` and return it; files there of other names stay.

        Every content is checked against its digest on the way. If one is damaged or missing,
        `UserError` names it and no file of this artifact is written at all.
        """
        self._logged("download")
        root = str(root or self._default_root())
        prefix = "" if path_prefix is None else str(path_prefix)
        self._fetch([e for e in self.manifest.entries.values() if e.path.startswith(prefix)], root)
        return root

    def logged_by(self) -> "RecordedRun | None":
        """Return the run that logged this version first."""
        store, record = self._in_store("logged_by")
        return RecordedRun(store.runs(id=record.logged_by)[0])

    def used_by(self) -> "list[RecordedRun]":
        """Return the runs that used this version."""
        store, record = self._in_store("used_by")
        return [RecordedRun(user) for user in store.runs_of_version(record.id, "in")]

    def save(self) -> None:
        """Store what was changed of the aliases, the description and the metadata.

        An alias given to this version is taken from the one that held it. A draft is logged
        to the active run.
        """
        if self._record is None:
            from util_lib.tracking.local.active import active_run

            if (run := active_run()) is None:
                raise UserError(
                    f"artifact {self._name!r} cannot be saved outside a run; "
                    "call tracking.init() and run.log_artifact(artifact)"
                )
            run.log_artifact(self)
            return
        store, record = self._in_store("save")
        wanted, before = set(names.check_aliases(self._aliases)), set(record.aliases)
        names.check_new_aliases(wanted - before)
        record = store.update_version(
            record,
            add=wanted - before,
            remove=before - wanted,
            description=self._description,
            metadata=values.check_metadata(self._metadata),
        )
        self._bind(store, record)
        if wanted != before:
            from util_lib.tracking.mlflow_mirror import mirror_aliases

            mirror_aliases(store, record)

    # Behind the scenes

    def _logged(self, member: str) -> VersionRecord:
        return self._in_store(member)[1]

    def _in_store(self, member: str) -> tuple[Store, VersionRecord]:
        if self._store is None or self._record is None:
            raise ArtifactNotLoggedError(not_logged(f"Artifact.{member}"))
        return self._store, self._record

    def _changeable(self, member: str) -> None:
        if self._final:
            raise ArtifactFinalizedError(
                f"'Artifact.{member}' used on logged artifact. Can't modify finalized artifact."
            )

    def _make_workspace(self) -> Path:
        if self._workspace is None:
            store = open_store(make=True)
            with safe_files.writing(store.files.tmp):
                self._workspace, lock = store.files.workspace()
            self._clear = weakref.finalize(self, _remove, self._workspace, lock, os.getpid())
        return self._workspace

    def _add(self, name: str, path: str | os.PathLike, policy: str, overwrite: bool) -> Entry:
        if policy not in ("mutable", "immutable"):
            raise UserValueError(
                f"Invalid policy {policy!r}. Policy may only be `mutable` or `immutable`."
            )
        inside = names.check_new_path(name)
        staged = self._make_workspace() / os.urandom(8).hex()
        with safe_files.writing(staged):
            try:
                content = safe_files.read_content(path, staged)
            except BaseException:
                staged.unlink(missing_ok=True)
                raise
        before = self.manifest.entries.get(inside)
        if before and before.digest != content.md5 and not overwrite:
            raise UserValueError(f"Cannot add the same path twice: {inside!r}")
        entry = Entry(inside, content.md5, content.size, content.sha256, str(staged), self)
        self.manifest.entries[inside] = entry
        return entry

    def _log(
        self, store: Store, run_id: str, project: str, aliases: list[str], used: bool = False
    ) -> None:
        if self._record and self._record.project != project:
            raise UserValueError(
                f"Artifact {self._name} exists in project '{self._record.project}'; "
                f"it can't be moved to '{project}'"
            )
        check_type(self._name, store.type_of(project, self._name), self._type)
        self.finalize()
        entries = [*self.manifest.entries.values()]
        staged = {entry.sha256: Path(entry.local_path) for entry in entries if entry.local_path}
        with store.files.adding():
            with safe_files.writing(store.files.final):
                if self._workspace is None or self._workspace.parent == store.files.tmp:
                    store.files.adopt(staged)
                else:  # TRACKING_STORE changed since the files were added
                    for path in staged.values():
                        store.files.put(path)
            # Should the rest fail, logging can be tried again: the contents are in place.
            self._entries = {entry.path: entry._replace(local_path=None) for entry in entries}
            for entry in entries:
                if not entry.local_path and not store.files.has(entry.sha256):
                    raise UserError(
                        f"file {entry.path!r} of artifact {self._name!r} is not in the store any "
                        f"more ({store.files.path(entry.sha256)}): make the artifact again from "
                        "its files, then log that"
                    )
            record = store.add_version(
                run_id,
                project,
                self._name,
                self._type,
                self.manifest.digest(),
                [FileRecord(e.path, e.digest, e.sha256, e.size) for e in entries],
                aliases,
                self._description,
                self._metadata,
                used,
            )
        if self._workspace:
            self._clear()
            self._workspace = None
        self._bind(store, record)

    def _bind(self, store: Store, record: VersionRecord) -> None:
        self._store, self._record = store, record
        self._name, self._type = record.name, record.type
        self._description, self._metadata = record.description, record.metadata
        self._aliases = list(record.aliases)

    def _default_root(self, relative: bool = False) -> str:
        folder = os.environ.get("WANDB_ARTIFACT_DIR") or os.path.join(".", "artifacts")
        name = self.name if relative else self.source_name
        return os.path.join(folder if relative else os.path.abspath(folder), name)

    def _fetch(self, entries: list[Entry], root: str) -> None:
        # First all under temporary names, then all renames: a damaged file stops it before
        # anything is in place, and a killed process leaves no half a file under its real name.
        store, record = self._in_store("download")
        ready: dict[Path, Path] = {}
        try:
            for entry in entries:
                target = Path(root, entry.path)
                if target.is_file() and safe_files.read_content(target).sha256 == entry.sha256:
                    continue
                with safe_files.writing(target, "free space there or name another directory"):
                    target.parent.mkdir(parents=True, exist_ok=True)
                partial = target.with_name(f".{os.urandom(4).hex()}.partial")
                what = f"file {entry.path!r} of artifact {record.reference!r}"
                try:
                    store.files.fetch(entry.sha256, partial, what)
                except UserError:
                    store.refuse_removed(record.id)
                    raise
                ready[target] = partial
            with safe_files.writing(root, "free space there or name another directory"):
                for target, partial in ready.items():
                    os.replace(partial, target)
        finally:
            for partial in ready.values():
                partial.unlink(missing_ok=True)


def _remove(workspace: Path, lock: int, pid: int) -> None:
    if os.getpid() == pid:  # not in a forked child: its parent may still need the files
        shutil.rmtree(workspace, ignore_errors=True)
        safe_files.release(lock)


def find_artifact(store: Store, text: str, project: str, type: str | None = None) -> Artifact:
    """Return the artifact that a reference names; `project` is for those that name none."""
    reference = names.parse_reference(text, project)
    record = store.version(reference)
    if record is None:
        raise store.missing(reference)
    if type is not None and type != record.type:
        raise UserValueError(
            f"type {type!r} specified but this artifact is of type {record.type!r}: "
            f"{record.reference}"
        )
    return Artifact._stored(store, record, reference.alias)


class RecordedRun:
    """A run as others see it, as it was when it was read."""

    def __init__(self, record: RunRecord):
        """Show what the store has recorded."""
        self._record = record
        self.id, self.name = record.id, record.name
        self.entity = names.ENTITY
        self.project = record.project
        self.group = record.group
        self.job_type = record.job_type
        self.notes = record.notes
        self.tags = list(record.tags)
        self.state = record.state
        self.config = record.config
        self.summary = record.summary
        self.created_at = values.utc(record.started_at)
        self.heartbeat_at = record.finished_at and values.utc(record.finished_at)
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
