"""The double over HTTP: GraphQL, file_stream, uploads, downloads; and what the tests ask of it."""

import base64
import binascii
import json
import re
import time
import traceback
from pathlib import Path
from typing import Any

import graphql
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from tests.wandb_service.database import Database, now
from tests.wandb_service.graph import Mutation, Query, Refused, Service, hex_md5

SCHEMA = graphql.build_schema(Path(__file__).with_name("schema.graphql").read_text())
STREAMED = ("wandb-history.jsonl", "wandb-events.jsonl", "wandb-summary.json", "output.log")
STREAM_FIELDS = {"files", "uploaded", "complete", "exitcode", "dropped"}
STATES = {True: "finished", False: "failed"}


class Unauthorized(Exception):
    """Nobody's key."""


class Double:
    """The state of one double: its database, and the faults that a test has ordered."""

    def __init__(self, folder: Path):
        self.db = Database(folder)
        self.faults: list[dict[str, Any]] = []
        self.seen: list[str] = []

    def service(self, request: Request) -> Service:
        return Service(self.db, self._entity(request), str(request.base_url).rstrip("/"))

    def _entity(self, request: Request) -> str:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        try:
            user, _, key = base64.b64decode(given, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise Unauthorized from None
        entity = self.db.value("SELECT entity FROM accounts WHERE api_key = ?", key)
        if scheme.lower() != "basic" or user != "api" or entity is None:
            raise Unauthorized
        return entity

    async def fault(self, name: str) -> Response | None:
        """Return the answer that a test has ordered for what is called `name`, if any."""
        self.seen.append(name)
        for fault in self.faults:
            if not re.fullmatch(fault["match"], name) or fault["times"] == 0:
                continue
            fault["times"] -= 1
            if fault["seconds"]:
                await run_in_threadpool(time.sleep, fault["seconds"])
            if not fault["status"]:
                return None
            answer = errors(fault["message"], fault["status"])
            if fault["retry_after"] is not None:
                answer.headers["Retry-After"] = str(fault["retry_after"])
            return answer
        return None

    # The service's own addresses

    async def graphql(self, request: Request) -> Response:
        body = await request.json()
        name = operation_name(body.get("query", ""))
        if fault := await self.fault(name):
            return fault
        if strange := set(body) - {"query", "operationName", "variables"}:
            return errors(f"unknown fields in a request: {sorted(strange)}", 400)
        return self.in_transaction(request, lambda service: answer(service, body))

    async def file_stream(self, request: Request) -> Response:
        if fault := await self.fault("file_stream"):
            return fault
        body = await request.json()
        place = request.path_params
        return self.in_transaction(
            request,
            lambda service: take_stream(
                service, service.need_run(place["entity"], place["project"], place["run"]), body
            ),
        )

    async def upload(self, request: Request) -> Response:
        if fault := await self.fault("upload"):
            return fault
        place = request.path_params
        upload = self.db.new_content()
        try:
            async for chunk in request.stream():
                upload.write(chunk)
        except BaseException:
            upload.drop()
            raise
        size, md5 = upload.size, upload.keep()
        if place["kind"] == "content":
            if md5 != place["rest"]:
                self.db.content(md5).unlink()
                return errors(f"the content has the MD5 {md5}, not {place['rest']}", 400)
        elif place["kind"] == "manifest":
            key = int(place["rest"])
            row = self.db.one("SELECT * FROM manifests WHERE id = ?", key)
            if row is None or hex_md5(row["digest"]) != md5:
                return errors("the manifest does not have the digest announced for it", 400)
            self.db.update("manifests", key, md5=md5)
        elif place["kind"] == "run":
            run, _, name = place["rest"].partition("/")
            values = {"run": int(run), "name": name, "md5": md5, "size": size}
            self.db.replace("run_files", **values, updated_at=now())
        else:
            return errors(f"unknown kind of upload {place['kind']!r}", 404)
        return Response(status_code=200)

    async def download(self, request: Request) -> Response:
        if fault := await self.fault("download"):
            return fault
        return self.content(request.path_params["md5"])

    async def artifact_file(self, request: Request) -> Response:
        """Serve one file of an artifact by the MD5 in the address; this one wants a key."""
        if fault := await self.fault("download"):
            return fault
        try:
            self._entity(request)
        except Unauthorized:
            return errors("no such API key", 401)
        return self.content(request.path_params["md5"])

    def content(self, md5: str) -> Response:
        if not re.fullmatch(r"[0-9a-f]{32}", md5) or not self.db.has(md5):
            return errors(f"no content {md5}", 404)
        return FileResponse(self.db.content(md5))

    def in_transaction(self, request: Request, act: Any) -> Response:
        self.db.begin()
        keep = False
        try:
            status, body = act(self.service(request))
            keep = status == 200
            return JSONResponse(body, status)
        except Unauthorized:
            return errors("user is not logged in", 401)  # assumed text
        except Refused as refusal:
            return errors(str(refusal), 400)
        except Exception as error:  # a 500 would be asked for again and again
            traceback.print_exc()
            return errors(f"defect of the double: {error!r}", 400)
        finally:
            self.db.end(keep)

    # What only tests ask for

    async def account(self, request: Request) -> Response:
        """Make an account: `{"entity": ..., "api_key": ...}`."""
        self.db.insert("accounts", **await request.json())
        return JSONResponse({})

    async def order_faults(self, request: Request) -> Response:
        """Replace the ordered faults by a list of `match`, `status`, `message`, ..."""
        default = {"status": 0, "message": "", "times": -1, "seconds": 0, "retry_after": None}
        self.faults = [{**default, **fault} for fault in await request.json()]
        self.seen = []
        return JSONResponse({})

    async def credit(self, request: Request) -> Response:
        """Say whether who logs a known content is credited with it, too."""
        self.db.credits_again = await request.json()
        return JSONResponse({})

    async def stop_run(self, request: Request) -> Response:
        """Ask the agent of a sweep to stop a run, as a button of the service's page does."""
        name = await request.json()
        self.db.update("runs", self.db.value("SELECT id FROM runs WHERE name = ?", name), to_stop=1)
        return JSONResponse({})

    async def requests_seen(self, request: Request) -> Response:
        """List the operations asked for since the faults were ordered last."""
        return JSONResponse(self.seen)

    async def nothing_there(self, request: Request) -> Response:
        self.seen.append(f"{request.method} {request.url.path}")
        return errors(f"the double does not know {request.method} {request.url.path}", 404)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/graphql", self.graphql, methods=["POST"]),
                Route(
                    "/files/{entity}/{project}/{run}/file_stream",
                    self.file_stream,
                    methods=["POST"],
                ),
                Route("/upload/{kind}/{rest:path}", self.upload, methods=["PUT"]),
                Route("/contents/{md5}", self.download),
                Route(
                    "/artifactsV2/default/{entity}/{project}/{collection}/{birth}/{md5}/{name}",
                    self.artifact_file,
                ),
                Route("/double/accounts", self.account, methods=["POST"]),
                Route("/double/faults", self.order_faults, methods=["POST"]),
                Route("/double/stop", self.stop_run, methods=["POST"]),
                Route("/double/requests", self.requests_seen),
                Route("/double/credits", self.credit, methods=["POST"]),
                Route(
                    "/{anything:path}",
                    self.nothing_there,
                    methods=["GET", "POST", "PUT", "DELETE", "PATCH"],
                ),
            ]
        )


def answer(service: Service, body: dict[str, Any]) -> tuple[int, dict]:
    """Execute one GraphQL request; what the schema does not have is refused with its name."""
    try:
        document = parsed(body["query"])
    except graphql.GraphQLError as error:
        return 400, {"errors": [{"message": error.message}]}
    root = Mutation(service) if is_mutation(document) else Query(service)
    result = graphql.execute(
        SCHEMA,
        document,
        root,
        variable_values=body.get("variables"),
        operation_name=body.get("operationName") or None,
        field_resolver=resolve,
        type_resolver=lambda value, *_: value.typename,
    )
    if result.errors:
        for error in result.errors:
            if not isinstance(error.original_error, Refused | graphql.GraphQLError | None):
                raise error.original_error
        return 400, {"errors": [{"message": error.message} for error in result.errors]}
    return 200, {"data": result.data}


_documents: dict[str, graphql.DocumentNode] = {}


def parsed(query: str) -> graphql.DocumentNode:
    """Return the query as a document that agrees with the schema."""
    if query not in _documents:
        document = graphql.parse(query)
        for error in graphql.validate(SCHEMA, document):
            raise error
        _documents[query] = document
    return _documents[query]


def is_mutation(document: graphql.DocumentNode) -> bool:
    return any(
        getattr(definition, "operation", None) == graphql.OperationType.MUTATION
        for definition in document.definitions
    )


def operation_name(query: str) -> str:
    found = re.search(r"^\s*(?:query|mutation)\s+(\w+)", query, re.MULTILINE)
    return found.group(1) if found else ""


def resolve(source: Any, info: graphql.GraphQLResolveInfo, **given: Any) -> Any:
    """Find a field: `displayName` is the key, the attribute or the method `display_name`."""
    name = snake(info.field_name)
    value = source[name] if isinstance(source, dict) else getattr(source, name)
    return value(**in_snake(given)) if callable(value) else value


def in_snake(value: Any) -> Any:
    if isinstance(value, dict):
        return {snake(key): in_snake(item) for key, item in value.items()}
    return [in_snake(item) for item in value] if isinstance(value, list) else value


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def take_stream(service: Service, run: Any, body: dict[str, Any]) -> tuple[int, dict]:
    """Keep what a run streams: lines by their offset, the summary, and how it ended."""
    if strange := set(body) - STREAM_FIELDS:
        raise Refused(f"unknown fields in a file_stream: {sorted(strange)}")
    key, db = run.row["id"], service.db
    for file, piece in (body.get("files") or {}).items():
        if file not in STREAMED:
            raise Refused(f"unknown file {file!r} in a file_stream")
        if strange := set(piece) - {"offset", "content"}:
            raise Refused(f"unknown fields of a streamed file: {sorted(strange)}")
        for number, line in enumerate(piece["content"], start=piece["offset"]):
            db.replace("stream", run=key, file=file, line_number=number, line=line)
        if file == "wandb-summary.json" and piece["content"]:
            json.loads(piece["content"][-1])
            db.update("runs", key, summary=piece["content"][-1])
    db.update("runs", key, heartbeat_at=now())
    if body.get("complete"):
        # assumed: an exit code of 0 is a run that finished, any other one that failed
        db.update("runs", key, state=STATES[body.get("exitcode", 0) == 0])
    return 200, {}


def errors(message: str, status: int) -> Response:
    return JSONResponse({"errors": [{"message": message}]}, status)
