"""The service's OpenAPI document; its rows are typed as the champion's declaration says."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from serving.service import answers
from util_lib.pages.page import render

if TYPE_CHECKING:
    from serving.service.app import Service

SCALAR = {"type": ["string", "number", "boolean", "null"]}
REFUSALS = {
    "400": "the body is not of the form",
    "401": "a token is needed",
    "408": "the body came too slowly",
    "413": "too many rows or bytes",
    "415": "the type of the body is not known",
    "421": "the request is for another host",
    "422": "a value breaks a rule of the declaration",
    "503": "too much is waiting",
    "504": "the prediction took too long",
}


def describe(app: FastAPI, service: "Service") -> dict[str, Any]:
    """Return the document for the version that answers now."""
    document = get_openapi(
        title=app.title,
        version=service.routing.champion.loaded.version,
        routes=app.routes,
        description="Checks each row with the declaration of the model's columns, and predicts.",
    )
    schemas = document["components"]["schemas"]
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    loaded = service.routing.champion.loaded
    schemas["Row"] = loaded.schema.json_schema()
    schemas["Refusal"] = answers.Refusal.model_json_schema()
    schemas["Rows"] = _rows(service.limits.rows)
    schemas["OneRow"] = {
        "type": "object",
        "required": ["dataframe_records"],
        "properties": {
            "dataframe_records": {
                "type": "array",
                "minItems": 1,
                "maxItems": 1,
                "items": _ref("Row"),
            }
        },
    }
    refusal = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method == "post":
                one = path == "/explain"
                operation["requestBody"] = _body("OneRow" if one else "Rows", loaded.examples)
            for status, text in REFUSALS.items():
                if method == "post" or status in ("401", "421"):
                    operation["responses"][status] = {"description": text, "content": refusal}
        if path in ("/ping", "/health"):
            item["get"]["responses"].pop("401")
    _plain(document["paths"])
    return document


def as_page(document: dict[str, Any], address: str) -> str:
    """Return the document for people; the usual pages fetch scripts from elsewhere."""
    operations = [
        {
            "title": f"{method.upper()} {path}",
            "text": said.get("description", ""),
            "parameters": [
                (one["name"], one["schema"].get("type", ""), str(one["schema"].get("default", "")))
                for one in said.get("parameters", ())
            ],
            "bodies": [
                (kind, _curl(f"{address}{path}", kind, body.get("example")))
                for kind, body in said.get("requestBody", {}).get("content", {}).items()
            ],
            "answers": [(code, each["description"]) for code, each in said["responses"].items()],
        }
        for path, item in document["paths"].items()
        for method, said in item.items()
    ]
    row = document["components"]["schemas"]["Row"]["properties"]
    return render(
        Path(__file__).parent,
        "docs.html",
        title=f"The API of {document['info']['version']}",
        about=document["info"]["description"],
        operations=operations,
        row=[(name, json.dumps(rule)) for name, rule in row.items()],
    )


def _curl(url: str, kind: str, example: Any) -> str:
    if example is None:
        return ""
    body = json.dumps(example).replace("'", "'\\''")
    return f"curl {url} -H 'Content-Type: {kind}' \\\n  -d '{body}'"


def _rows(most: int) -> dict[str, Any]:
    """Describe a JSON body: exactly one of MLflow's four forms."""
    rows = {"type": "array", "minItems": 1, "maxItems": most, "items": _ref("Row")}
    cells = {"type": "array", "items": {"type": "array", "items": SCALAR}}
    split = {
        "type": "object",
        "required": ["columns", "data"],
        "properties": {
            "columns": {"type": "array", "items": {"type": "string"}},
            "data": cells,
            "index": {"type": "array"},
        },
    }
    lists = {"type": "object", "additionalProperties": {"type": "array", "items": SCALAR}}
    forms = {
        "dataframe_records": rows,
        "dataframe_split": split,
        "inputs": {"anyOf": [rows, lists]},
        "instances": {"anyOf": [rows, lists]},
    }
    return {
        "oneOf": [
            {"type": "object", "required": [name], "properties": {name: form}, "title": name}
            for name, form in forms.items()
        ]
    }


def _body(schema: str, examples: list[dict[str, Any]]) -> dict[str, Any]:
    rows = examples[:1] if schema == "OneRow" else examples
    content: dict[str, Any] = {
        "application/json": {"schema": _ref(schema), "example": {"dataframe_records": rows}}
    }
    if schema == "Rows":
        csv = {"type": "string", "description": "a header, then rows"}
        content["text/csv"] = {"schema": csv}
    return {"required": True, "content": content}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _plain(paths: dict[str, Any]) -> None:
    """Name the types of answers that are no JSON, which FastAPI cannot know."""
    for path, kinds in {
        "/ping": ["application/json"],
        "/health": ["application/json"],
        "/version": ["text/plain"],
        "/metrics": ["text/plain"],
        "/ab": ["application/json", "text/html"],
    }.items():
        paths[path]["get"]["responses"]["200"]["content"] = {kind: {} for kind in kinds}
