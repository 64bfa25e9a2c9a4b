"""What is reported of a tenant's business."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, PositiveFloat

from collectors.analytics.seasonality import LEAST_WEEKS, OUTLIER
from collectors.config.collector import CollectorConfig

Quota = Literal["active_users", "plays", "streams", "listening_hours"]


class TenantBusinessMetricsConfig(CollectorConfig):
    """What is reported of a tenant's business."""

    interval_seconds: float = Field(default=60.0, gt=0, le=86_400)
    """Seconds between the starts of two runs."""

    recent_hours: int = Field(default=24, ge=1, le=168)
    """Length of the trailing window for concentration and the mix of countries and devices."""

    conversion_days: int = Field(default=30, ge=1, le=366)
    """Days a trial has to become paid."""

    top_countries: int = Field(default=20, ge=1, le=50)
    """Countries reported by name; the others are added up."""

    season_weeks: int = Field(default=8, ge=LEAST_WEEKS, le=26)
    """Earlier weeks with which the last whole hour is compared."""

    anomaly_score: float = Field(default=OUTLIER, gt=0)
    """Scores beyond this, either way, are found to be anomalies."""

    quotas: Mapping[Quota, PositiveFloat] = Field(default_factory=dict)
    """What the tenant may use in a calendar month of its time zone."""
