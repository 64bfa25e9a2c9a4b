"""The metrics of a tenant's business, declared."""

from __future__ import annotations

from collectors.model.metric import Kind, MetricSpec, Unit

PERIODS = {"day": 1, "week": 7, "month": 30}
COMPARED = ("week", "month")
DEVICES = ("phone", "tablet", "desktop", "tv", "speaker", "car", "console")
SEASONAL = ("plays", "streams", "active_users", "charges")
"""What of an hour is compared with the same hour of earlier weeks: counts only, see ``analytics.seasonality``."""


def _gauge(name: str, unit: Unit, description: str, *labels: str, nullable: bool = False) -> MetricSpec:
    return MetricSpec(f"collectors.business.{name}", Kind.GAUGE, unit, description, labels, nullable=nullable)


def _ratio(name: str, description: str, *labels: str) -> MetricSpec:
    return _gauge(name, Unit.RATIO, description, *labels, nullable=True)


ACTIVE = _gauge("active_users", Unit.USERS, "Listeners active in the period.", "period")
NEW = _gauge("new_users", Unit.USERS, "Listeners whose first active day is in the period.", "period")
RETURNING = _gauge("returning_users", Unit.USERS, "Active listeners who were active before the period.", "period")
PLAYS = _gauge("plays", Unit.EVENTS, "Plays in the period.", "period")
STREAMS = _gauge("streams", Unit.EVENTS, "Plays of at least 30 seconds in the period.", "period")
HOURS = _gauge("listening_hours", Unit.HOURS, "Hours of audio heard in the period.", "period")
PAYERS = _gauge("paying_customers", Unit.USERS, "Customers with a successful charge in the period.", "period")
REVENUE = _gauge(
    "revenue",
    Unit.MINOR_UNITS,
    "Charges less refunds and chargebacks plus reversed chargebacks in the period.",
    "period",
    "currency",
)
GROWTH = _ratio(
    "growth", "Change of a figure from the complete period before to the last one, as a share.", "figure", "period"
)
REVENUE_GROWTH = _ratio(
    "revenue_growth",
    "Change of revenue from the complete period before to the last one, as a share.",
    "period",
    "currency",
)
TRIALS = _gauge("trials", Unit.USERS, "Customers whose trial has had its full time to convert.")
CONVERSION = _ratio("trial_conversion", "Share of these trials that became paid in time.")
TOP_TRACKS = _ratio("top_track_share", "Share of recent streams of the top 1 % or 10 tracks.", "top")
HHI = _ratio("track_concentration", "Herfindahl-Hirschman index of recent streams over tracks.")
GINI = _ratio("track_gini", "Gini coefficient of recent streams over the tracks that were streamed.")
TOP_ARTISTS = _ratio(
    "top_artist_share", "Share of recent streams with a known artist of the top 1 % or 10 artists.", "top"
)
ARTIST_HHI = _ratio(
    "artist_concentration", "Herfindahl-Hirschman index of recent streams with a known artist over artists."
)
ARTIST_GINI = _ratio("artist_gini", "Gini coefficient of recent streams over the artists that were streamed.")
COUNTRIES = _ratio("country_share", "Share of recent streams by country.", "country")
DEVICE_MIX = _ratio("device_share", "Share of recent streams by device class.", "device")
LAST_HOUR = _gauge("last_hour", Unit.COUNT, "Count of the last whole hour of the tenant's clock.", "figure")
USUAL = _gauge(
    "usual_hour", Unit.COUNT, "Median count of this hour of the week in earlier weeks.", "figure", nullable=True
)
ANOMALY = _ratio(
    "anomaly_score", "Distance of the last whole hour from the usual one, in robust standard deviations.", "figure"
)
QUOTA_USE = _gauge("quota_use", Unit.RATIO, "Use of a quota since the first of the calendar month.", "quota")

EMITS = (
    ACTIVE, NEW, RETURNING, PLAYS, STREAMS, HOURS, PAYERS, REVENUE, GROWTH, REVENUE_GROWTH, TRIALS, CONVERSION,
    TOP_TRACKS, HHI, GINI, TOP_ARTISTS, ARTIST_HHI, ARTIST_GINI, COUNTRIES, DEVICE_MIX, LAST_HOUR, USUAL, ANOMALY,
    QUOTA_USE,
)  # fmt: skip
