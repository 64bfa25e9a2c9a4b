"""Event types as JSON Schema (2020-12), for producers and their tools."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from collectors.model.event_type import EventType, Field

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_TIME = {
    "anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}],
    "description": "RFC 3339, or time since 1970 in seconds, milliseconds, microseconds or nanoseconds.",
}


def json_schema(event_type: EventType) -> dict[str, Any]:
    """Return the schema of one event as JSON. What it allows may still be too old or too long in bytes."""
    return {
        "$schema": DIALECT,
        "title": event_type.name,
        "description": event_type.description,
        "type": "object",
        "properties": {f.name: _property(f) for f in event_type.columns},
        "required": [f.name for f in event_type.columns if f.required],
        # What the schema does not name is kept in `properties`.
        "additionalProperties": True,
    }


def _property(field: Field) -> dict[str, Any]:
    schema = _of_type(field)
    if field.choices:
        schema["enum"] = [*field.choices] if field.required else [*field.choices, None]
    for keyword, bound in (("minimum", field.minimum), ("maximum", field.maximum)):
        if bound is not None:
            schema[keyword] = bound
    if not field.required:
        schema = _or_null(schema)
    schema["description"] = field.description
    if field.mark is not None:
        schema["x-personal"] = field.mark.value
    return schema


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if "type" in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [*schema["anyOf"], {"type": "null"}]}


def _of_type(field: Field) -> dict[str, Any]:
    kind = field.type
    if field.name == "properties":
        return {"type": "object"}
    if pa.types.is_timestamp(kind):
        return {"anyOf": list(_TIME["anyOf"])}
    if pa.types.is_fixed_size_binary(kind):
        return {"type": "string"}
    if pa.types.is_string(kind):
        return {"type": "string", "maxLength": field.max_bytes}
    if pa.types.is_boolean(kind):
        return {"type": "boolean"}
    if pa.types.is_integer(kind):
        return {"type": "integer", "minimum": -(2 ** (kind.bit_width - 1)), "maximum": 2 ** (kind.bit_width - 1) - 1}
    if pa.types.is_list(kind):
        items = {"type": "string"} if pa.types.is_string(kind.value_type) else {"type": "number"}
        return {"type": "array", "items": items, "maxItems": field.max_bytes}
    if pa.types.is_map(kind):
        return {"type": "object", "additionalProperties": {"type": "number"}, "maxProperties": field.max_bytes}
    return {"type": "number"}
