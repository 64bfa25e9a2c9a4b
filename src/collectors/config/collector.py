"""Configuration every collector shares; a collector's own ``Config`` adds fields to it."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    """Base of all configuration: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class CollectorConfig(Model):
    """How one collector runs."""

    name: str = Field(default="", pattern=r"^[a-z0-9_]*$")
    """Name of this instance; the collector's own name if empty."""

    enabled: bool = True
    """Whether it runs at all."""

    interval_seconds: float = Field(default=10.0, gt=0, le=86_400)
    """Seconds between the starts of two runs."""

    timeout_seconds: float | None = Field(default=None, gt=0)
    """Longest a run may take; the interval if not set."""

    priority: int = Field(default=5, ge=1, le=10)
    """1 runs first when there is not enough time for all, 10 last."""

    tags: Mapping[str, str] = Field(default_factory=dict)
    """Labels added to every sample."""

    alert_thresholds: Mapping[str, float] = Field(default_factory=dict)
    """Alert when a metric, or its alias such as ``cpu_usage``, is above the value."""
