from __future__ import annotations

import json

import jsonschema_rs
import pyarrow as pa
import pytest
from server_world import NOW_US, Gateway

from collectors.intake.ndjson import decode_json
from collectors.intake.validate import validate
from collectors.model.event_type import EventType
from collectors.model.event_types import EVENT_TYPES
from collectors.server.event_schema import json_schema

types = pytest.mark.parametrize("event_type", EVENT_TYPES.values(), ids=EVENT_TYPES)


def accepted(event_type: EventType, event: dict[str, object]) -> bool:
    """Whether intake takes the event."""
    decoded = decode_json(json.dumps(event).encode(), event_type)
    return not decoded.bad and not validate(decoded.table, event_type, NOW_US)


@types
def test_the_schema_is_one_and_allows_the_example(event_type: EventType) -> None:
    schema = json_schema(event_type)
    jsonschema_rs.meta.validate(schema)
    example = dict(event_type.example)
    assert jsonschema_rs.is_valid(schema, example)
    assert accepted(event_type, example)


@types
def test_schema_and_intake_agree_on_what_is_wrong(event_type: EventType) -> None:
    schema = json_schema(event_type)
    good = dict(event_type.example)
    values = (None, {"an": "object"}, "x" * 70_000, -(2**70), 1.5, True, [None], [[]])
    changed = [
        {**good, field.name: value}
        for field in event_type.columns
        if not (field.name in ("event_id", "properties", "attributes") or pa.types.is_timestamp(field.type))
        for value in values
    ]
    without = [{k: v for k, v in good.items() if k != f.name} for f in event_type.columns if f.required]
    differ = [
        {k: v for k, v in event.items() if v != good.get(k)}
        for event in (*changed, *without)
        if jsonschema_rs.is_valid(schema, event) != accepted(event_type, event)
    ]
    assert differ == []


async def test_the_vocabulary_is_listed_and_described_for_any_key(gateway: Gateway) -> None:
    async with gateway.client("acorn-write") as client:
        listed = (await client.get("/v1/event-types")).json()
        one = (await client.get("/v1/event-types/playback")).json()
    assert [t["name"] for t in listed] == list(EVENT_TYPES)
    assert one["json_schema"] == json_schema(EVENT_TYPES["playback"])
    assert (one["name"], one["retention_days"], one["example"]["track_id"]) == ("playback", 400, "t-1001")
