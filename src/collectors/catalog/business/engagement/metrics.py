"""The metrics of engagement, declared."""

from __future__ import annotations

from collectors.model.metric import Kind, MetricSpec, Unit

PERIODS = {"day": 1, "week": 7, "28_days": 28, "month": 30}
"""Trailing periods by their length in days; a month as in Spotify's F-1, 28 days hold each weekday equally often."""

COMPARED = ("week", "month")
RETENTION_DAYS = (1, 3, 7, 14, 30)
COHORTS = 28
WEEKS = 8
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
PARTS = tuple(range(10, 101, 10))
"""Parts of a track, in percent, at which it is counted who is still listening."""

SKIP_SECONDS = (5, 10, 30, 60, 120)


def _gauge(name: str, unit: Unit, description: str, *labels: str, nullable: bool = False) -> MetricSpec:
    return MetricSpec(f"collectors.engagement.{name}", Kind.GAUGE, unit, description, labels, nullable=nullable)


def _ratio(name: str, description: str, *labels: str) -> MetricSpec:
    return _gauge(name, Unit.RATIO, description, *labels, nullable=True)


ACTIVE = _gauge(
    "active_users",
    Unit.USERS,
    "Listeners active in the trailing day, week, 28 days or month, today included.",
    "period",
)
STICKINESS = _ratio("stickiness", "Daily over monthly active users on the last complete day.")
STICKINESS_L28 = _ratio(
    "stickiness_l28", "Mean share of the last 28 complete days on which a listener of these days was active."
)
L7 = _gauge("l7", Unit.USERS, "Listeners by number of active days among the last 7 complete days.", "days")
L28 = _gauge("l28", Unit.USERS, "Listeners by number of active days among the last 28 complete days.", "days")
POWER = _ratio(
    "power_user_curve",
    "Share of the listeners of the last 30 complete days by the number of days on which they were active.",
    "days",
)
GROWTH = _gauge(
    "growth_users",
    Unit.USERS,
    "Listeners who are new, retained, resurrected or dormant: the last complete week or month against the one before.",
    "period",
    "state",
)
GROWTH_RATIO = _ratio(
    "growth_quick_ratio", "Listeners gained, new and resurrected, to listeners who went dormant.", "period"
)
RETENTION = _ratio(
    "retention",
    "Share of new listeners active a number of days after their first (n_day), or then or later (unbounded).",
    "kind",
    "days",
)
TRIANGLE = _ratio(
    "weekly_retention",
    "Share of the listeners new a number of weeks ago who were active in a later week.",
    "weeks_ago",
    "week",
)
TRIANGLE_UNBOUNDED = _ratio(
    "weekly_retention_unbounded",
    "Share of the listeners new a number of weeks ago who were active in a later week or after it.",
    "weeks_ago",
    "week",
)
HOURS = _gauge("listening_hours", Unit.HOURS, "Hours of audio heard in the trailing period, today included.", "period")
HOURS_PER_USER = _gauge(
    "listening_hours_per_user",
    Unit.HOURS,
    "Hours that a listener active in the trailing period heard on average.",
    "period",
    nullable=True,
)
SESSIONS = _gauge("sessions", Unit.COUNT, "Sessions that began in the recent hours.")
SESSIONS_PER_USER = _ratio("sessions_per_user", "Sessions of the recent hours per listener who had one.")
SESSION_DURATION = _gauge(
    "session_duration",
    Unit.SECONDS,
    "Mean length of the sessions of the recent hours, as far as it goes.",
    nullable=True,
)
SESSION_LENGTH = _gauge(
    "session_length",
    Unit.SECONDS,
    "Quantiles of the length of the sessions of the recent hours, as far as it goes.",
    "quantile",
    nullable=True,
)
SKIP_RATE = _ratio("skip_rate", "Share of recent plays that were skipped, of those that say so.")
SKIP_CURVE = _ratio(
    "skip_curve", "Share of recent plays that were skipped within some seconds, of those that say so.", "seconds"
)
STREAM_RATE = _ratio("stream_rate", "Share of recent plays that count as a stream.")
COMPLETION = _ratio("completion", "Quantiles of the part of its track that a recent play reached.", "quantile")
COMPLETION_CURVE = _ratio("completion_curve", "Share of recent plays that reached a part of their track.", "percent")
FEATURE_USERS = _gauge(
    "feature_users", Unit.USERS, "Listeners of the last 28 complete days who used a feature in them.", "feature"
)
ADOPTION = _ratio(
    "feature_adoption", "Share of the listeners of the last 28 complete days who used a feature in them.", "feature"
)
FUNNEL_USERS = _gauge("funnel_users", Unit.USERS, "People who reached a step of a funnel.", "funnel", "step")
FUNNEL_CONVERSION = _ratio("funnel_conversion", "Share of the people in a funnel who reached a step.", "funnel", "step")

EMITS = (
    ACTIVE, STICKINESS, STICKINESS_L28, L7, L28, POWER, GROWTH, GROWTH_RATIO, RETENTION, TRIANGLE, TRIANGLE_UNBOUNDED,
    HOURS, HOURS_PER_USER, SESSIONS, SESSIONS_PER_USER, SESSION_DURATION, SESSION_LENGTH, SKIP_RATE, SKIP_CURVE,
    STREAM_RATE, COMPLETION, COMPLETION_CURVE, FEATURE_USERS, ADOPTION, FUNNEL_USERS, FUNNEL_CONVERSION,
)  # fmt: skip
