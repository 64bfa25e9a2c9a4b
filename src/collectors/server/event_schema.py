"""Event types as JSON Schema (2020-12), for producers and their tools."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from collectors.model.event_type import EventType, Field

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_OBJECTS = frozenset({"properties", "attributes"})
"""Text fields that hold a JSON object, and may be sent as one or as its text."""


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
    schema: dict[str, Any] = {"type": "number"}
    if field.name in _OBJECTS:
        schema = {"anyOf": [{"type": "object"}, {"type": "string", "maxLength": field.max_bytes}]}
    elif pa.types.is_timestamp(kind):
        # RFC 3339, or time since 1970 in a unit that follows from the magnitude.
        schema = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}]}
    elif pa.types.is_fixed_size_binary(kind):
        schema = {"type": "string"}
    elif pa.types.is_string(kind):
        schema = {"type": "string", "maxLength": field.max_bytes}
    elif pa.types.is_boolean(kind):
        schema = {"type": "boolean"}
    elif pa.types.is_integer(kind):
        largest = 2 ** (kind.bit_width - 1) - 1
        schema = {"type": "integer", "minimum": -largest - 1, "maximum": largest}
    elif pa.types.is_list(kind):
        item = "string" if pa.types.is_string(kind.value_type) else "number"
        schema = {"type": "array", "items": {"type": [item, "null"]}, "maxItems": field.max_bytes}
    elif pa.types.is_map(kind):
        schema = {
            "type": "object",
            "additionalProperties": {"type": ["number", "null"]},
            "maxProperties": field.max_bytes,
        }
    return schema
