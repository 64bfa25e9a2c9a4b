"""The vocabulary: which events there are and what is in them. Any key may ask."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

from collectors.model.event_types import EVENT_TYPES, event_type
from collectors.server.answers import Answer
from collectors.server.event_schema import json_schema
from collectors.server.routes.context import errors, resource
from collectors.server.schemas import EventTypeAnswer, EventTypeSummary

router = resource("event types", prefix="/v1/event-types")

TypeName = Annotated[str, Path(max_length=64, description="Name of the event type.", examples=["playback"])]


@router.get("", response_model=list[EventTypeSummary], responses=errors())
def list_event_types() -> Answer:
    """List the event types."""
    return Answer([{"name": t.name, "description": t.description} for t in EVENT_TYPES.values()])


@router.get("/{type}", response_model=EventTypeAnswer, responses=errors(404))
def get_event_type(type: TypeName) -> Answer:  # noqa: A002 - the parameter's public name
    """Describe an event type, with the JSON Schema of its events."""
    found = event_type(type)
    return Answer(
        {
            "name": found.name,
            "description": found.description,
            "horizon_days": found.horizon.days,
            "retention_days": found.retention.days,
            "json_schema": json_schema(found),
            "example": dict(found.example),
        }
    )
