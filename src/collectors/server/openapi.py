"""The OpenAPI document: what FastAPI derives from the routes, made true where it does not know better."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from collectors.model.event_types import EVENT_TYPES
from collectors.server.routes.context import errors

DESCRIPTION = """
Events in, metrics and alerts out, per tenant.

**Keys.** Everything below `/v1/` and `/metrics` needs an API key: `Authorization: Bearer KEY`, or Basic with the key as
user name. A key has scopes (write, read, admin, which includes the others) and belongs to one tenant or to all. What a
key may not see answers 404, as if it were not there.

**Errors** have one shape, `{"error": {"code", "message"}}`; `code` is stable. 429 and 503 carry `Retry-After`.

**Live.** Besides the event stream there is a WebSocket at `/v1/tenants/{tenant}/ws` with the same frames as messages
`{"event", "data"}`; the key comes in the header, or as first message `{"key": KEY}`.

**Times** are integer microseconds since 1970, UTC.
"""

_REF = {"$ref": "#/components/schemas/ReceiptAnswer"}
_PARAMETERS = [
    {
        "name": "tenant",
        "in": "path",
        "required": True,
        "description": "Id of the tenant.",
        "schema": {"type": "string"},
        "example": "acme",
    },
    {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": "Sent again with the same key, events without an event_id are recognised as repeats.",
        "schema": {"type": "string", "maxLength": 256},
    },
    {
        "name": "Content-Encoding",
        "in": "header",
        "required": False,
        "description": "How the body is compressed.",
        "schema": {"type": "string", "enum": ["gzip", "zstd", "identity"]},
    },
]
_TYPE = {
    "name": "type",
    "in": "path",
    "required": True,
    "description": "Event type.",
    "schema": {"type": "string", "enum": list(EVENT_TYPES)},
}
_ONE_TYPE = ("application/vnd.apache.arrow.stream", "application/x-ndjson", "application/json")
_MIXED = ("application/x-ndjson", "application/cloudevents+json", "application/cloudevents-batch+json")


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the document of ``app``, made once."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes)
        paths = document["paths"]
        paths["/v1/tenants/{tenant}/events/{type}"] = _intake("Take in events of one type.", _ONE_TYPE, _TYPE)
        paths["/v1/tenants/{tenant}/events"] = _intake("Take in events of several types, each with its type.", _MIXED)
        for path, operations in paths.items():
            for operation in operations.values():
                # Invalid requests answer 400 in the common shape, not 422 in FastAPI's.
                operation["responses"].pop("422", None)
                if path.startswith(("/v1/", "/metrics")):
                    operation["security"] = [{"bearer": []}, {"basic": []}]
        components = document["components"]
        for name in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(name, None)
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer", "description": "The API key."},
            "basic": {"type": "http", "scheme": "basic", "description": "The API key as user name or password."},
        }
        app.openapi_schema = document
    return app.openapi_schema


def _intake(summary: str, media: tuple[str, ...], *more: dict[str, Any]) -> dict[str, Any]:
    body = {"type": "string", "format": "binary"}
    problem = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}
    responses: dict[str, Any] = {
        str(status): {"description": answer["description"], "content": problem}
        for status, answer in errors(404).items()
    }
    responses["202"] = {
        "description": "The events are on disk, and accounted for.",
        "content": {"application/json": {"schema": _REF}},
    }
    return {
        "post": {
            "tags": ["events"],
            "summary": summary,
            "operationId": "_".join(["take_events", *(p["name"] for p in more)]),
            "parameters": [*_PARAMETERS, *more],
            "requestBody": {"required": True, "content": {m: {"schema": body} for m in media}},
            "responses": responses,
        }
    }
