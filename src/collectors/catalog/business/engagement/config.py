"""How user engagement is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import pyarrow as pa
from pydantic import Field, StringConstraints, model_validator

from collectors.config.collector import CollectorConfig, Model
from collectors.model.event_types import EVENT_TYPES

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class FunnelStep(Model):
    """Events that make up one step of a funnel."""

    event: str
    """Event type, such as playback, app_event or subscription."""

    where: Mapping[str, str] = Field(default_factory=dict)
    """Values that fields of the event must have, such as name = 'Playlist Created'."""

    at_least: Mapping[str, int] = Field(default_factory=dict)
    """Numbers that fields of the event must reach, such as ms_played = 30000."""

    @model_validator(mode="after")
    def _fields_exist(self) -> FunnelStep:
        if self.event not in EVENT_TYPES:
            raise ValueError(f"{self.event[:64]!r} is no event type; choose one of {', '.join(EVENT_TYPES)}")
        fields = EVENT_TYPES[self.event].by_name
        for names, fits, kind in (
            (self.where, pa.types.is_string, "text"),
            (self.at_least, pa.types.is_integer, "whole number"),
        ):
            for name in names:
                if name not in fields or not fits(fields[name].stored_type):
                    raise ValueError(f"{self.event} has no field {name[:64]!r} that is stored as a {kind}")
        return self


class Funnel(Model):
    """Steps that people take one after the other, and how long they have for all of them."""

    steps: tuple[FunnelStep, ...] = Field(min_length=2, max_length=8)
    """The steps, in order; each must come strictly later than the one before."""

    window_hours: int = Field(default=24, ge=1, le=31 * 24)
    """Hours from the first step within which the others count."""

    days: int = Field(default=7, ge=1, le=92)
    """Times 24 hours in which people entered; they end ``window_hours`` ago, so that everyone had the full time."""


class UserEngagementConfig(CollectorConfig):
    """How user engagement is measured."""

    interval_seconds: float = Field(default=300.0, gt=0, le=86_400)
    """Seconds between the starts of two runs."""

    recent_hours: int = Field(default=24, ge=1, le=168)
    """Length of the trailing window for sessions, skips, streams and completion."""

    inactivity_minutes: int = Field(default=30, ge=1, le=720)
    """Minutes without listening after which a session is over."""

    features: tuple[str, ...] = Field(default=(), max_length=50)
    """Names of application events whose adoption is reported; the most used ones if empty."""

    max_features: int = Field(default=20, ge=1, le=50)
    """How many features are reported if none are named."""

    funnels: Mapping[Name, Funnel] = Field(default_factory=dict, max_length=10)
    """Funnels by name."""
