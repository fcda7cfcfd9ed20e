"""What the double answers: the objects of schema.graphql, and the rules of runs and artifacts.

A rule that the real service is only assumed to have is marked `assumed` where it stands.
"""

import base64
import datetime
import itertools
import json
import math
import re
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import yaml

from tests.wandb_service.database import Database, now

MAX_NAME = 128
NEWEST_CLIENT = "0.31.0"  # what older clients are told; some of what they send depends on it
DEFAULT_PROJECT = "uncategorized"
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": lambda found, wanted: found == wanted,
    "$ne": lambda found, wanted: found != wanted,
    "$in": lambda found, wanted: found in wanted,
    "$gt": lambda found, wanted: found is not None and found > wanted,
    "$gte": lambda found, wanted: found is not None and found >= wanted,
    "$lt": lambda found, wanted: found is not None and found < wanted,
    "$lte": lambda found, wanted: found is not None and found <= wanted,
}


class Refused(Exception):
    """The service says no; the text is what the client is told."""


class Service:
    """What one request sees: the database, who asks, and under which address."""

    def __init__(self, database: Database, entity: str, base_url: str):
        self.db, self.own_entity, self.base_url = database, entity, base_url

    def url(self, *parts: object) -> str:
        return "/".join([self.base_url, *map(str, parts)])

    def project_row(self, entity: str | None, name: str | None) -> Any:
        return self.db.one(
            "SELECT * FROM projects WHERE entity = ? AND name = ?",
            entity or self.own_entity,
            name or DEFAULT_PROJECT,
        )

    def need_project(self, entity: str | None, name: str | None) -> "Project":
        row = self.project_row(entity, name)
        if row is None:
            raise Refused(f"project {name!r} not found under entity {entity!r}")
        return Project(self, row)

    def need_run(self, entity: str, project: str, name: str) -> "Run":
        run = self.need_project(entity, project).run(name)
        if run is None:
            raise Refused(f"run {name!r} not found in '{entity}/{project}'")
        return run

    def need_artifact(self, text: str) -> "Artifact":
        row = self.db.one("SELECT * FROM artifacts WHERE id = ?", read_id("Artifact", text))
        if row is None:
            raise Refused(f"artifact {text!r} not found")
        return Artifact(self, row)


class Node:
    """An object of the answer, made from a row of the database."""

    def __init__(self, service: Service, row: Any):
        self.service, self.db, self.row = service, service.db, row

    @property
    def typename(self) -> str:
        return type(self).__name__

    def id(self) -> str:
        return make_id(self.typename, self.row["id"])

    def created_at(self) -> str:
        return utc(self.row["created_at"])

    def updated_at(self) -> str:
        return utc(self.row["updated_at"])


class Query:
    """The roots of all questions."""

    def __init__(self, service: Service):
        self.service, self.db = service, service.db

    def viewer(self) -> "User":
        return User(self.service)

    def server_info(self) -> dict:
        versions = {"max_cli_version": NEWEST_CLIENT}
        return {
            "features": [],
            "cli_version_info": versions,
            "latest_local_version_info": None,
        }

    def entity(self, name: str | None = None) -> "Entity":
        return Entity(name or self.service.own_entity)

    def project(self, name: str | None = None, entity_name: str | None = None) -> "Project | None":
        row = self.service.project_row(entity_name, name)
        return Project(self.service, row) if row else None

    model = project

    def artifact(self, id: str) -> "Artifact":
        return self.service.need_artifact(id)

    def artifact_collection(self, id: str) -> "Collection | None":
        key = read_id("ArtifactSequence", id)
        row = self.db.one("SELECT * FROM collections WHERE id = ?", key)
        return Collection(self.service, row) if row else None

    def client_id_mapping(self, client_id: str) -> dict | None:
        key = self.db.value("SELECT id FROM artifacts WHERE client_id = ?", client_id)
        return {"server_id": make_id("Artifact", key)} if key else None


class User:
    """Whoever holds the key; an account of the double has one user and one entity."""

    typename = "User"
    admin, deleted_at, email, flags = False, None, None, "{}"

    def __init__(self, service: Service):
        self.entity = self.name = self.username = service.own_entity

    def id(self) -> str:
        return make_id("User", self.name)

    def api_keys(self) -> dict:
        return {"edges": []}

    def teams(self) -> dict:
        return {"edges": [{"node": Entity(self.entity)}]}


class Entity:
    typename = "Entity"
    organization, xxhash_digests_enabled = None, False

    def __init__(self, name: str):
        self.name = name

    def id(self) -> str:
        return make_id("Entity", self.name)


class Project(Node):
    """Runs and artifact collections; made by its first run (assumed)."""

    description, access, views, is_benchmark, read_only = None, "PRIVATE", None, False, False
    updated_at = created_at = Node.created_at

    def internal_id(self) -> str:
        return str(self.row["id"])

    def name(self) -> str:
        return self.row["name"]

    def entity_name(self) -> str:
        return self.row["entity"]

    def entity(self) -> Entity:
        return Entity(self.row["entity"])

    def user(self) -> User:
        return User(self.service)

    def run(self, name: str) -> "Run | None":
        query = "SELECT * FROM runs WHERE project = ? AND name = ?"
        row = self.db.one(query, self.row["id"], name)
        return Run(self.service, row) if row else None

    def bucket(self, name: str, missing_ok: bool | None = None) -> "Run | None":
        found = self.run(name)
        if found is None and not missing_ok:
            raise Refused(f"run {name!r} not found")
        return found

    def run_count(self, filters: str | None = None) -> int:
        return len(self._found(filters, None))

    def runs(
        self,
        filters: str | None = None,
        after: str | None = None,
        first: int | None = None,
        order: str | None = None,
    ) -> dict:
        return page(self._found(filters, order), after, first)

    def _found(self, filters: str | None, order: str | None) -> list["Run"]:
        rows = self.db.all("SELECT * FROM runs WHERE project = ? ORDER BY id", self.row["id"])
        wanted = json.loads(filters or "{}")
        runs = [run for run in (Run(self.service, row) for row in rows) if matches(run, wanted)]
        for key in reversed((order or "").split(",")):
            if key.strip():
                name = key.strip().lstrip("+-")
                runs.sort(
                    key=lambda run: ((v := run.queried(name)) is not None, v),
                    reverse=key.strip().startswith("-"),
                )
        return runs

    def sweep(self, sweep_name: str) -> "Sweep | None":
        query = "SELECT * FROM sweeps WHERE project = ? AND name = ?"
        row = self.db.one(query, self.row["id"], sweep_name)
        return Sweep(self.service, row) if row else None

    def artifact(self, name: str) -> "Artifact | None":
        membership = self.artifact_collection_membership(name)
        return membership.artifact() if membership else None

    def artifact_type(self, name: str) -> "ArtifactType | None":
        query = "SELECT min(created_at) FROM collections WHERE project = ? AND type = ?"
        first = self.db.value(query, self.row["id"], name)
        return ArtifactType(self, name, first) if first else None

    def artifact_types(self, after: str | None = None, first: int | None = None) -> dict:
        query = "SELECT DISTINCT type FROM collections WHERE project = ? ORDER BY type"
        names = [row["type"] for row in self.db.all(query, self.row["id"])]
        return page([self.artifact_type(name) for name in names], after, first)

    def artifact_collection(self, name: str) -> "Collection | None":
        query = "SELECT * FROM collections WHERE project = ? AND name = ?"
        row = self.db.one(query, self.row["id"], name)
        return Collection(self.service, row) if row else None

    def artifact_collection_membership(self, name: str) -> "Membership | None":
        name, _, alias = name.partition(":")
        collection = self.artifact_collection(name)
        # assumed: a name alone means its latest version
        return collection.artifact_membership(alias or "latest") if collection else None


class Sweep(Node):
    """A sweep, whose values are told to agents one run after the other: a grid of `values`."""

    description = heartbeat_at = best_loss = controller = scheduler = None
    early_stop_job_running = False
    updated_at = Node.created_at

    def name(self) -> str:
        return self.row["name"]

    def config(self) -> str:
        return self.row["config"]

    def method(self) -> str:
        return self.told()["method"]

    def state(self) -> str:
        return self.row["state"]

    def told(self) -> dict:
        return yaml.safe_load(self.row["config"])

    def project(self) -> Project:
        query = "SELECT * FROM projects WHERE id = ?"
        return Project(self.service, self.db.one(query, self.row["project"]))

    def runs(self) -> dict:
        query = "SELECT * FROM runs WHERE project = ? AND sweep = ? ORDER BY id"
        rows = self.db.all(query, self.row["project"], self.name())
        return page([Run(self.service, row) for row in rows], None, None)

    def next_values(self) -> dict | None:
        """Return what the next run is to try; None where all has been tried."""
        parameters = self.told()["parameters"]
        if strange := [name for name, each in parameters.items() if set(each) != {"values"}]:
            raise Refused(f"the double knows sweeps over values only, not {strange}")
        grid = [*itertools.product(*(each["values"] for each in parameters.values()))]
        place = self.runs()["total_count"]
        return dict(zip(parameters, grid[place], strict=True)) if place < len(grid) else None


class ArtifactType:
    typename = "ArtifactType"
    description = None

    def __init__(self, project: Project, name: str, created_at: float):
        self.project, self.name, self.created_at = project, name, utc(created_at)

    def id(self) -> str:
        return make_id("ArtifactType", f"{self.project.row['id']}:{self.name}")

    def artifact_collection(self, name: str) -> "Collection | None":
        found = self.project.artifact_collection(name)
        return found if found and found.row["type"] == self.name else None

    def artifact_collections(
        self,
        after: str | None = None,
        first: int | None = None,
        filters: str | None = None,
        order: str | None = None,
    ) -> dict:
        if order or json.loads(filters or "{}"):
            raise Refused(f"the double does not know order {order!r}, filters {filters!r}")
        query = "SELECT * FROM collections WHERE project = ? AND type = ? ORDER BY name"
        rows = self.project.db.all(query, self.project.row["id"], self.name)
        return page([Collection(self.project.service, row) for row in rows], after, first)


class Run(Node):
    read_only, stopped, system_metrics, exitcode = False, False, "{}", None

    def sweep_name(self) -> str | None:
        return self.row["sweep"]

    def should_stop(self) -> bool:
        return bool(self.row["to_stop"])

    def failed(self) -> bool:
        return self.row["state"] == "failed"

    def running(self) -> bool:
        return self.row["state"] == "running"

    def name(self) -> str:
        return self.row["name"]

    def display_name(self) -> str:
        return self.row["display_name"]

    def project(self) -> Project:
        return Project(
            self.service, self.db.one("SELECT * FROM projects WHERE id = ?", self.row["project"])
        )

    def project_id(self) -> str:
        return str(self.row["project"])

    def user(self) -> User:
        return User(self.service)

    def description(self) -> str | None:
        return self.row["description"]

    def notes(self) -> str | None:
        return self.row["notes"]

    def tags(self) -> list[str]:
        return json.loads(self.row["tags"])

    def state(self) -> str:
        return self.row["state"]

    def config(self) -> str:
        return self.row["config"]

    def wandb_config(self, keys: list[str] | None = None) -> str:
        ours = json.loads(self.row["config"]).get("_wandb", {}).get("value", {})
        return json.dumps({key: ours[key] for key in keys or ours if key in ours})

    def group(self) -> str | None:
        return self.row["group_name"]

    def job_type(self) -> str | None:
        return self.row["job_type"]

    def commit(self) -> str | None:
        return self.row["commit_hash"]

    def heartbeat_at(self) -> str:
        return utc(self.row["heartbeat_at"])

    def summary_metrics(self) -> str:
        return self.row["summary"]

    def _lines(self, file: str) -> list[str]:
        query = "SELECT line FROM stream WHERE run = ? AND file = ? ORDER BY line_number"
        return [row["line"] for row in self.db.all(query, self.row["id"], file)]

    def history_line_count(self) -> int:
        return len(self._lines("wandb-history.jsonl"))

    def events_line_count(self) -> int:
        return len(self._lines("wandb-events.jsonl"))

    def log_line_count(self) -> int:
        return len(self._lines("output.log"))

    def history_tail(self) -> str:
        return json.dumps(self._lines("wandb-history.jsonl")[-1:])

    def events_tail(self) -> str:
        return json.dumps(self._lines("wandb-events.jsonl")[-1:])

    def history_keys(self) -> dict:
        keys: dict[str, dict] = {}
        last = -1
        for number, row in enumerate(self._history()):
            last = row.get("_step", number)
            for key, value in row.items():
                kind = "number" if isinstance(value, int | float) else type(value).__name__
                seen = keys.setdefault(key, {"typeCounts": [{"type": kind, "count": 0}]})
                seen["typeCounts"][0]["count"] += 1
        return {"sets": [], "keys": keys, "lastStep": last}

    def _history(self) -> list[dict]:
        return [json.loads(line) for line in self._lines("wandb-history.jsonl")]

    def history(
        self,
        min_step: int | None = None,
        max_step: int | None = None,
        samples: int | None = None,
    ) -> list[str]:
        low, high = min_step or 0, math.inf if max_step is None else max_step
        lines = self._lines("wandb-history.jsonl")
        found = [line for line in lines if low <= json.loads(line).get("_step", 0) < high]
        return found[:samples] if samples else found

    def sampled_history(self, specs: list[str]) -> list[list[dict]]:
        answers = []
        for spec in map(json.loads, specs):
            keys, samples = spec.get("keys") or [], spec.get("samples", 500)
            rows = [row for row in self._history() if all(key in row for key in keys)]
            rows = [{key: row[key] for key in keys or row} for row in rows]
            answers.append(rows[:: max(1, math.ceil(len(rows) / samples))])
        return answers

    def parquet_history(self, live_keys: list[str]) -> dict:
        return {"parquet_urls": None, "live_data": None}

    def _files(self) -> list["File"]:
        rows = self.db.all("SELECT * FROM run_files WHERE run = ? ORDER BY name", self.row["id"])
        return [
            File(
                self.service,
                row["name"],
                row["md5"],
                row["size"],
                f"{self.row['id']}:{row['name']}",
                utc(row["updated_at"]),
            )
            for row in rows
        ]

    def file_count(self) -> int:
        return len(self._files())

    def files(
        self,
        names: list[str] | None = None,
        after: str | None = None,
        first: int | None = None,
        pattern: str | None = None,
    ) -> dict:
        if pattern:
            raise Refused("the double does not know files by pattern")
        found = [file for file in self._files() if not names or file.name in names]
        return page(found, after, first)

    def input_artifacts(self, after: str | None = None, first: int | None = None) -> dict:
        return page(self._artifacts("in"), after, first)

    def output_artifacts(self, after: str | None = None, first: int | None = None) -> dict:
        return page(self._artifacts("out"), after, first)

    def _artifacts(self, direction: str) -> list["Artifact"]:
        rows = self.db.all(
            "SELECT artifacts.* FROM lineage JOIN artifacts ON artifacts.id = artifact "
            "WHERE run = ? AND direction = ? AND state = 'COMMITTED' ORDER BY lineage.rowid",
            self.row["id"],
            direction,
        )
        return [Artifact(self.service, row) for row in rows]

    def queried(self, key: str) -> Any:
        """Return what `filters` and `order` call `key`."""
        if key.startswith("config."):
            value: Any = json.loads(self.row["config"])
            parts = key.removeprefix("config.").split(".")
        elif key.startswith("summary_metrics."):
            value = json.loads(self.row["summary"])
            parts = key.removeprefix("summary_metrics.").split(".")
        else:
            known = {
                "name": "name",
                "displayName": "display_name",
                "display_name": "display_name",
                "state": "state",
                "group": "group_name",
                "jobType": "job_type",
                "job_type": "job_type",
                "createdAt": "created_at",
                "created_at": "created_at",
            }
            if key not in known:
                raise Refused(f"the double cannot look for runs by {key!r}")
            return self.row[known[key]]
        for part in parts:
            value = value.get(part) if isinstance(value, dict) else None
        return value


class Collection(Node):
    """All versions of one name: `ArtifactSequence` to the client."""

    typename = "ArtifactSequence"
    description, digest_algorithm = None, "MANIFEST_MD5"
    updated_at = Node.created_at

    def name(self) -> str:
        return self.row["name"]

    def project(self) -> Project:
        return Project(
            self.service, self.db.one("SELECT * FROM projects WHERE id = ?", self.row["project"])
        )

    def default_artifact_type(self) -> ArtifactType:
        return self.project().artifact_type(self.row["type"])

    def tags(self) -> dict:
        return {"edges": []}

    def aliases(self, after: str | None = None, first: int | None = None) -> dict:
        query = "SELECT * FROM aliases WHERE collection = ? ORDER BY id"
        rows = self.db.all(query, self.row["id"])
        return page([Alias(self.service, row) for row in rows], after, first)

    def artifacts(
        self,
        after: str | None = None,
        first: int | None = None,
        order: str | None = None,
        filters: str | None = None,
    ) -> dict:
        if order or json.loads(filters or "{}") not in ({}, {"state": "COMMITTED"}):
            raise Refused(f"the double does not know order {order!r}, filters {filters!r}")
        rows = self.db.all(
            "SELECT * FROM artifacts WHERE collection = ? AND state = 'COMMITTED' "
            "ORDER BY version DESC",
            self.row["id"],
        )
        return page([Artifact(self.service, row) for row in rows], after, first)

    def latest_artifact(self) -> "Artifact | None":
        found = self.artifact_membership("latest")
        return found.artifact() if found else None

    def artifact_membership(self, alias_name: str) -> "Membership | None":
        if re.fullmatch(r"v\d+", alias_name):
            row = self.db.one(  # assumed: a deleted version is as one that never was
                "SELECT * FROM artifacts WHERE collection = ? AND version = ?"
                " AND state = 'COMMITTED'",
                self.row["id"],
                int(alias_name[1:]),
            )
        else:
            row = self.db.one(
                "SELECT artifacts.* FROM aliases JOIN artifacts ON artifacts.id = artifact "
                "WHERE aliases.collection = ? AND alias = ?",
                self.row["id"],
                alias_name,
            )
        return Membership(self, Artifact(self.service, row)) if row else None


class Alias(Node):
    typename = "ArtifactAlias"

    def alias(self) -> str:
        return self.row["alias"]

    def artifact_collection(self) -> Collection:
        return Collection(
            self.service,
            self.db.one("SELECT * FROM collections WHERE id = ?", self.row["collection"]),
        )


class Membership:
    typename = "ArtifactCollectionMembership"

    def __init__(self, collection: Collection, artifact: "Artifact"):
        self._collection, self._artifact = collection, artifact

    def id(self) -> str:
        return make_id(self.typename, self._artifact.row["id"])

    def version_index(self) -> int | None:
        return self._artifact.row["version"]

    def created_at(self) -> str:
        return self._artifact.created_at()

    def aliases(self) -> list[Alias]:
        return self._artifact.aliases()

    def artifact_collection(self) -> Collection:
        return self._collection

    def artifact(self) -> "Artifact":
        return self._artifact

    def files(self, **which: Any) -> dict:
        return self._artifact.files(**which)


class Artifact(Node):
    ttl_duration_seconds, ttl_is_inherited, tags, commit_hash = -2, True, (), None
    digest_algorithm = "MANIFEST_MD5"

    def artifact_sequence(self) -> Collection:
        return Collection(
            self.service,
            self.db.one("SELECT * FROM collections WHERE id = ?", self.row["collection"]),
        )

    def version(self) -> str:
        return f"v{self.row['version']}"

    def version_index(self) -> int | None:
        return self.row["version"]

    def artifact_type(self) -> ArtifactType:
        return self.artifact_sequence().default_artifact_type()

    def description(self) -> str | None:
        return self.row["description"]

    def metadata(self) -> str | None:
        return self.row["metadata"]

    def history_step(self) -> int | None:
        return self.row["history_step"]

    def state(self) -> str:
        return self.row["state"]

    def size(self) -> int:
        return self.row["size"]

    def digest(self) -> str:
        return self.row["digest"]

    def file_count(self) -> int:
        query = "SELECT count(*) FROM entries WHERE artifact = ?"
        return self.db.value(query, self.row["id"])

    def aliases(self) -> list[Alias]:
        query = "SELECT * FROM aliases WHERE artifact = ? ORDER BY id"
        return [Alias(self.service, row) for row in self.db.all(query, self.row["id"])]

    def files(
        self, names: list[str] | None = None, after: str | None = None, first: int | None = None
    ) -> dict:
        rows = self.db.all("SELECT * FROM entries WHERE artifact = ?", self.row["id"])
        files = [
            File(
                self.service,
                row["path"],
                row["md5"],
                row["size"],
                f"{self.row['id']}:{row['path']}",
                self.updated_at(),
            )
            for row in rows
        ]
        return page([file for file in files if not names or file.name in names], after, first)

    def current_manifest(self) -> "Manifest | None":
        row = self.db.one(
            "SELECT * FROM manifests WHERE artifact = ? AND md5 IS NOT NULL ORDER BY id DESC",
            self.row["id"],
        )
        return Manifest(self.service, row) if row else None

    def created_by(self) -> Run | None:
        row = self.db.one("SELECT * FROM runs WHERE id = ?", self.row["created_by"])
        return Run(self.service, row) if row else None

    def used_by(self) -> dict:
        rows = self.db.all(
            "SELECT runs.* FROM lineage JOIN runs ON runs.id = run "
            "WHERE artifact = ? AND direction = 'in' ORDER BY lineage.rowid",
            self.row["id"],
        )
        return page([Run(self.service, row) for row in rows], None, None)


class Manifest(Node):
    typename = "ArtifactManifest"

    def file(self) -> "File":
        name, md5 = self.row["name"], self.row["md5"] or ""
        found = File(self.service, name, md5, 0, f"manifest:{self.row['id']}", None)
        found.upload_url = self.service.url("upload/manifest", self.row["id"])
        return found


class File:
    typename = "File"
    mimetype = upload_url = upload_multipart_urls = artifact = None
    upload_headers: tuple[str, ...] = ()

    def __init__(
        self, service: Service, name: str, md5: str, size: int, key: str, updated_at: str | None
    ):
        self.service, self.name, self.display_name, self.key = service, name, name, key
        self.hex, self.size_bytes, self.updated_at = md5, size, updated_at
        self.md5 = self.digest = base64_md5(md5) if md5 else None
        self.storage_path = name

    def id(self) -> str:
        return make_id("File", self.key)

    def url(self, upload: bool | None = None) -> str:
        return self.direct_url()

    def direct_url(self) -> str:
        return self.service.url("contents", self.hex)


class Mutation:
    """Everything that changes something, other than uploads and file_stream."""

    def __init__(self, service: Service):
        self.service, self.db = service, service.db

    def upsert_bucket(self, input: dict) -> dict:
        run = self._run_of(input)
        inserted = run is None
        if inserted:
            run = self._new_run(input)
        columns = {
            "group_name": input.get("group_name"),
            "job_type": input.get("job_type"),
            "notes": input.get("notes"),
            "description": input.get("description"),
            "display_name": input.get("display_name") or None,
            "commit_hash": input.get("commit"),
            "config": input.get("config"),
            "host": input.get("host"),
            "program": input.get("job_program"),
            "repo": input.get("job_repo"),
            "state": input.get("state"),
            "sweep": input.get("sweep"),
            "summary": input.get("summary_metrics"),
            "tags": None if input.get("tags") is None else json.dumps(input["tags"]),
        }
        # A null leaves what is there.
        given = {name: value for name, value in columns.items() if value is not None}
        if run.row["state"] == "pending":  # that of a sweep, until its process starts it
            given.setdefault("state", "running")
        self.db.update("runs", run.row["id"], heartbeat_at=now(), **given)
        return {"bucket": self._again(run), "inserted": inserted}

    def _run_of(self, input: dict) -> Run | None:
        if input.get("id"):
            query = "SELECT * FROM runs WHERE id = ?"
            row = self.db.one(query, read_id("Run", input["id"]))
            if row is None:
                raise Refused(f"run {input['id']!r} not found")
            return Run(self.service, row)
        row = self.service.project_row(input.get("entity_name"), input.get("model_name"))
        return Project(self.service, row).run(input["name"]) if row and input.get("name") else None

    def _new_run(self, input: dict) -> Run:
        entity = input.get("entity_name") or self.service.own_entity
        project = self._project(entity, input.get("model_name") or DEFAULT_PROJECT)
        number = self.db.value("SELECT count(*) FROM runs WHERE project = ?", project) + 1
        name = input.get("name") or f"made-up-{number}"
        key = self.db.insert(
            "runs",
            project=project,
            name=name,
            display_name=f"plain-double-{number}",
            config="{}",
            tags="[]",
            summary="{}",
            state="running",
            created_at=now(),
            heartbeat_at=now(),
        )
        return Run(self.service, self.db.one("SELECT * FROM runs WHERE id = ?", key))

    def _project(self, entity: str, name: str) -> int:
        row = self.service.project_row(entity, name)
        if row:
            return row["id"]
        if len(name) > MAX_NAME or set(name) & set("/\\#?%:"):
            raise Refused(f"invalid project name {name!r}")
        return self.db.insert("projects", entity=entity, name=name, created_at=now())

    def _again(self, run: Run) -> Run:
        return Run(self.service, self.db.one("SELECT * FROM runs WHERE id = ?", run.row["id"]))

    def upsert_sweep(self, input: dict) -> dict:
        given = {key: input[key] for key in ("config", "state") if input.get(key) is not None}
        if input.get("id"):
            key = read_id("Sweep", input["id"])
            self.db.update("sweeps", key, **given)
        else:
            entity = input.get("entity_name") or self.service.own_entity
            project = self._project(entity, input.get("project_name") or DEFAULT_PROJECT)
            number = self.db.value("SELECT count(*) FROM sweeps") + 1
            about = {"name": f"sweep{number:03}", "state": "PENDING", "created_at": now()}
            key = self.db.insert("sweeps", project=project, **{**about, **given})
        row = self.db.one("SELECT * FROM sweeps WHERE id = ?", key)
        return {"sweep": Sweep(self.service, row), "config_validation_warnings": []}

    def create_agent(self, input: dict) -> dict:
        project = self.service.need_project(input.get("entity_name"), input.get("project_name"))
        sweep = project.sweep(input["sweep"])
        if sweep is None:
            raise Refused(f"sweep {input['sweep']!r} not found")
        key = self.db.insert("agents", sweep=sweep.row["id"])
        return {"agent": {"id": make_id("Agent", key)}}

    def agent_heartbeat(self, input: dict) -> dict:
        """Tell an agent what to do: stop a run, begin the next one, or go (assumed)."""
        agent = {"id": input["id"]}
        key = self.db.value("SELECT sweep FROM agents WHERE id = ?", read_id("Agent", input["id"]))
        sweep = Sweep(self.service, self.db.one("SELECT * FROM sweeps WHERE id = ?", key))
        running = json.loads(input.get("run_state") or "{}")
        told = [run["node"] for run in sweep.runs()["edges"] if run["node"].name() in running]
        commands = [{"type": "stop", "run_id": run.name()} for run in told if run.should_stop()]
        if not running:
            values = sweep.next_values()
            commands = [{"type": "exit"} if values is None else self._begin(sweep, values)]
        return {"agent": agent, "commands": json.dumps(commands)}

    def _begin(self, sweep: Sweep, values: dict) -> dict:
        project = sweep.project()
        place = {"entity_name": project.entity_name(), "model_name": project.name()}
        run = self._new_run({"name": uuid.uuid4().hex[:8], **place})
        self.db.update("runs", run.row["id"], sweep=sweep.name(), state="pending")
        arguments = {name: {"value": value} for name, value in values.items()}
        program = sweep.told()["program"]
        return {"type": "run", "run_id": run.name(), "program": program, "args": arguments}

    def create_run_files(self, input: dict) -> dict:
        run = self.service.need_run(input["entity_name"], input["project_name"], input["run_name"])
        files = []
        for name in input["files"]:
            file = File(self.service, name, "", 0, f"{run.row['id']}:{name}", None)
            file.upload_url = self.service.url("upload/run", run.row["id"], name)
            files.append(file)
        return {"run_id": run.id(), "upload_headers": [], "files": files}

    def create_artifact(self, input: dict) -> dict:
        names = [input.get("artifact_collection_name")]
        names += input.get("artifact_collection_names") or []
        names = [*dict.fromkeys(name for name in names if name)]
        if len(names) != 1:
            raise Refused(f"the double knows artifacts of one collection, not of {names}")
        aliases = input.get("aliases") or []
        if strange := {a["artifact_collection_name"] for a in aliases} - {*names}:
            raise Refused(f"aliases name another collection: {sorted(strange)}")
        if input.get("tags"):
            raise Refused("the double does not know tags of artifacts")
        project = self._project(input["entity_name"], input["project_name"])
        collection = self._collection(project, names[0], input["artifact_type_name"])
        wanted = [*dict.fromkeys(alias["alias"] for alias in aliases)]
        run = None
        if input.get("run_name"):
            place = (input["entity_name"], input["project_name"])
            run = self.service.need_run(*place, input["run_name"]).row["id"]
        known = None
        if input.get("enable_digest_deduplication"):
            # assumed: any committed version of this content, not only the latest
            known = self.db.one(
                "SELECT * FROM artifacts WHERE collection = ? AND digest = ? "
                "AND state = 'COMMITTED' ORDER BY version DESC",
                collection,
                input["digest"],
            )
        if known:
            self._move_aliases(collection, known["id"], wanted)
            key = known["id"]
        else:
            key = self.db.insert(
                "artifacts",
                collection=collection,
                digest=input["digest"],
                state="PENDING",
                description=input.get("description"),
                metadata=input.get("metadata"),
                wanted_aliases=json.dumps(wanted),
                client_id=input["client_id"],
                history_step=input.get("history_step"),
                created_by=run,
                created_at=now(),
                updated_at=now(),
            )
        if run and (not known or self.db.credits_again):  # assumed, either way
            self.db.replace("lineage", run=run, artifact=key, direction="out")
        return {"artifact": self.service.need_artifact(make_id("Artifact", key))}

    def _collection(self, project: int, name: str, type: str) -> int:
        query = "SELECT * FROM collections WHERE project = ? AND name = ?"
        row = self.db.one(query, project, name)
        if row is None:
            return self.db.insert(
                "collections", project=project, name=name, type=type, created_at=now()
            )
        if row["type"] != type:
            raise Refused(f"artifact {name!r} has the type {row['type']!r}, not {type!r}")
        return row["id"]

    def _move_aliases(self, collection: int, artifact: int, aliases: Iterable[str]) -> None:
        # assumed: within a collection an alias has one holder
        for alias in aliases:
            self.db.delete(
                "DELETE FROM aliases WHERE collection = ? AND alias = ? AND artifact != ?",
                collection,
                alias,
                artifact,
            )
            query = "SELECT id FROM aliases WHERE collection = ? AND alias = ?"
            if self.db.value(query, collection, alias) is None:
                self.db.insert("aliases", collection=collection, alias=alias, artifact=artifact)

    def create_artifact_manifest(self, input: dict) -> dict:
        if input.get("type") != "FULL":
            raise Refused(f"the double knows full manifests, not {input.get('type')!r}")
        artifact = self.service.need_artifact(input["artifact_id"])
        digest, name = input["digest"], input["name"]
        query = "SELECT id FROM manifests WHERE artifact = ? ORDER BY id DESC"
        # The client asks twice: before it knows the digest, and to upload.
        key = self.db.value(query, artifact.row["id"])
        if key is None:
            values = {"artifact": artifact.row["id"], "digest": digest, "name": name}
            key = self.db.insert("manifests", **values)
        else:
            self.db.update("manifests", key, digest=digest)
        return {"artifact_manifest": self._manifest(key)}

    def update_artifact_manifest(self, input: dict) -> dict:
        key = read_id("ArtifactManifest", input["artifact_manifest_id"])
        if input.get("digest"):
            self.db.update("manifests", key, digest=input["digest"])
        return {"artifact_manifest": self._manifest(key)}

    def _manifest(self, key: int) -> Manifest:
        row = self.db.one("SELECT * FROM manifests WHERE id = ?", key)
        if row is None:
            raise Refused(f"manifest {key} not found")
        return Manifest(self.service, row)

    def create_artifact_files(self, input: dict) -> dict:
        if input.get("storage_layout") not in (None, "V2"):
            raise Refused(f"unknown storage layout {input['storage_layout']!r}")
        files = []
        for spec in input["artifact_files"]:
            artifact = self.service.need_artifact(spec["artifact_id"])
            md5 = hex_md5(spec["md5"])
            key = f"{artifact.row['id']}:{spec['name']}"
            file = File(self.service, spec["name"], md5, 0, key, None)
            file.artifact = artifact
            # assumed: a content that is there, in whichever artifact, is not sent again
            if not self.db.has(md5):
                file.upload_url = self.service.url("upload/content", md5)
            files.append(file)
        return {"files": page(files, None, None)}

    def commit_artifact(self, input: dict) -> dict:
        artifact = self.service.need_artifact(input["artifact_id"])
        key, collection = artifact.row["id"], artifact.row["collection"]
        if artifact.row["state"] == "COMMITTED":
            return {"artifact": artifact}
        manifest = artifact.current_manifest()
        if manifest is None:
            raise Refused("the manifest was not uploaded")
        content = json.loads(self.db.content(manifest.row["md5"]).read_bytes())
        for path, entry in content["contents"].items():
            if "ref" in entry:
                raise Refused("the double does not know references")
            md5 = hex_md5(entry["digest"])
            if not self.db.has(md5):
                raise Refused(f"file {path!r} was not uploaded")  # assumed
            size = self.db.content(md5).stat().st_size
            self.db.insert("entries", artifact=key, path=path, md5=md5, size=size)
        last = self.db.value("SELECT max(version) FROM artifacts WHERE collection = ?", collection)
        size = self.db.value("SELECT sum(size) FROM entries WHERE artifact = ?", key)
        # assumed: v0, v1, ... in the order of the commits
        self.db.update(
            "artifacts",
            key,
            state="COMMITTED",
            version=0 if last is None else last + 1,
            size=size or 0,
        )
        self._move_aliases(collection, key, json.loads(artifact.row["wanted_aliases"]))
        return {"artifact": self.service.need_artifact(input["artifact_id"])}

    def update_artifact(self, input: dict) -> dict:
        artifact = self.service.need_artifact(input["artifact_id"])
        for name in ("labels", "tags_to_add", "tags_to_delete", "aliases"):
            if input.get(name):
                raise Refused(f"the double does not know {name} of updateArtifact")
        given = {name: input[name] for name in ("description", "metadata") if name in input}
        self.db.update("artifacts", artifact.row["id"], updated_at=now(), **given)
        return {"artifact": self.service.need_artifact(input["artifact_id"])}

    def delete_artifact(self, input: dict) -> dict:
        artifact = self.service.need_artifact(input["artifact_id"])
        if artifact.aliases() and not input.get("delete_aliases"):
            raise Refused("an artifact with aliases is not deleted")  # assumed
        self.db.delete("DELETE FROM aliases WHERE artifact = ?", artifact.row["id"])
        self.db.update("artifacts", artifact.row["id"], state="DELETED", updated_at=now())
        return {"artifact": artifact}

    def use_artifact(self, input: dict) -> dict:
        run = self.service.need_run(input["entity_name"], input["project_name"], input["run_name"])
        artifact = self.service.need_artifact(input["artifact_id"])
        values = {"run": run.row["id"], "artifact": artifact.row["id"], "direction": "in"}
        self.db.replace("lineage", **values)
        return {"artifact": artifact}

    def add_aliases(self, input: dict) -> dict:
        artifact = self.service.need_artifact(input["artifact_id"])
        names = self._own_aliases(artifact, input["aliases"])
        self._move_aliases(artifact.row["collection"], artifact.row["id"], names)
        return {"success": True}

    def delete_aliases(self, input: dict) -> dict:
        artifact = self.service.need_artifact(input["artifact_id"])
        for alias in self._own_aliases(artifact, input["aliases"]):
            self.db.delete(
                "DELETE FROM aliases WHERE artifact = ? AND alias = ?", artifact.row["id"], alias
            )
        return {"success": True}

    def _own_aliases(self, artifact: Artifact, aliases: list[dict]) -> list[str]:
        name = artifact.artifact_sequence().name()
        if any(alias["artifact_collection_name"] != name for alias in aliases):
            raise Refused("the double knows aliases of an artifact's own collection only")
        return [alias["alias"] for alias in aliases]


def page(nodes: list, after: str | None, first: int | None) -> dict:
    """Return the nodes after a cursor as a connection; a cursor is a position."""
    start = int(after) if after else 0
    stop = len(nodes) if first is None else min(len(nodes), start + first)
    edges = [
        {"node": node, "cursor": str(position + 1), "version": getattr(node, "version", None)}
        for position, node in enumerate(nodes[start:stop], start=start)
    ]
    info = {"typename": "PageInfo", "end_cursor": str(stop), "has_next_page": stop < len(nodes)}
    return {"total_count": len(nodes), "edges": edges, "page_info": info}


def matches(run: Run, filters: dict) -> bool:
    """Say whether a run is one that a query of the client's, in MongoDB's language, asks for."""
    for key, wanted in filters.items():
        if key in ("$and", "$or"):
            if not {"$and": all, "$or": any}[key](matches(run, part) for part in wanted):
                return False
            continue
        tests = wanted if isinstance(wanted, dict) else {"$eq": wanted}
        for name, value in tests.items():
            if name not in COMPARISONS:
                raise Refused(f"the double does not know the operator {name!r}")
            if not COMPARISONS[name](run.queried(key), value):
                return False
    return True


def make_id(kind: str, key: object) -> str:
    return base64.b64encode(f"{kind}:{key}".encode()).decode()


def read_id(kind: str, text: str) -> int:
    try:
        found, _, key = base64.b64decode(text).decode().partition(":")
        if found == kind:
            return int(key)
    except ValueError:
        pass
    raise Refused(f"{text!r} is not the id of a {kind}")


def hex_md5(text: str) -> str:
    return base64.b64decode(text).hex()


def base64_md5(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text)).decode()


def utc(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
