"""The vocabulary: every event type, declared once. Add columns at the end of a type; never rename one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType

import pyarrow as pa

from collectors.errors import UnknownName
from collectors.model.event_type import EventType, Field, Mark

TEXT = pa.string()
COUNT = pa.int32()
LONG = pa.int64()
NUMBER = pa.float64()
FLAG = pa.bool_()
TIME = pa.timestamp("us", tz="UTC")
TEXTS = pa.list_(pa.string())
NUMBERS = pa.list_(pa.float64())
FEATURES = pa.map_(pa.string(), pa.float64())

YEAR = timedelta(days=366)


def _country() -> Field:
    return Field("country", TEXT, "ISO 3166-1 alpha-2 country code.", max_bytes=2)


def _ip() -> Field:
    return Field("ip", TEXT, "IPv4 or IPv6 address.", mark=Mark.IP, max_bytes=64)


def _person(name: str, description: str, *, required: bool = False) -> Field:
    return Field(name, TEXT, description, required=required, mark=Mark.IDENTIFIER, max_bytes=256)


def _word(name: str, description: str, *, required: bool = False, choices: tuple[str, ...] = ()) -> Field:
    return Field(name, TEXT, description, required=required, choices=choices, max_bytes=256)


def _count(name: str, description: str, *, required: bool = False, maximum: float | None = None) -> Field:
    return Field(name, COUNT, description, required=required, minimum=0, maximum=maximum)


def _amount(name: str, description: str, *, required: bool = False) -> Field:
    return Field(name, LONG, description, required=required)


def _currency(*, required: bool = False) -> Field:
    return Field("currency", TEXT, "ISO 4217 code of the amounts.", required=required, max_bytes=3)


DAY_MS = 86_400_000
LAWFUL_BASES = (
    "consent",
    "contract",
    "legal_obligation",
    "vital_interests",
    "public_task",
    "legitimate_interests",
)

PLAYBACK = EventType(
    "playback",
    "A listener played a track, or part of one; event_time is when playing began.",
    (
        _word("track_id", "The track.", required=True),
        _word("artist_id", "Its main artist."),
        _word("context", "Where it was played from: playlist, album, search, radio, library."),
        _count("ms_played", "Milliseconds of audio that were heard.", required=True, maximum=DAY_MS),
        _count("track_ms", "Length of the track in milliseconds.", maximum=DAY_MS),
        _word("reason_end", "Why playing ended: trackdone, fwdbtn, endplay, logout, error."),
        Field("skipped", FLAG, "Whether the listener skipped it."),
        _country(),
        _word("device", "Device class: phone, tablet, desktop, tv, speaker, car, console."),
        _word("platform", "Operating system or client: ios, android, web, windows, macos, linux."),
        _count("bitrate_kbps", "Audio bit rate in kbit/s."),
        _count("buffering_ms", "Milliseconds spent waiting for data.", maximum=DAY_MS),
    ),
    example={"user_id": "u-42", "track_id": "t-1001", "ms_played": 183000, "track_ms": 201000, "country": "SE"},
)

APP_EVENT = EventType(
    "app_event",
    "A listener did something in the application.",
    (
        _word("name", "What happened, such as 'Playlist Created'.", required=True),
        _word("screen", "The screen or page it happened on."),
        _word("target", "What it was done to."),
        _country(),
        _word("device", "Device class."),
    ),
    example={"user_id": "u-42", "name": "Playlist Created", "screen": "library"},
)

SUBSCRIPTION = EventType(
    "subscription",
    "A subscription began, changed, renewed or ended.",
    (
        _word("subscription_id", "The subscription.", required=True),
        _person("customer_id", "Who pays.", required=True),
        _word(
            "action",
            "What happened to it.",
            required=True,
            choices=("trial", "start", "renew", "change", "pause", "resume", "cancel", "expire", "reactivate"),
        ),
        _word("plan", "The plan it is on after the action."),
        _amount("amount_minor", "Price of one period in minor units of the currency, before discount."),
        _currency(),
        _word("interval", "Billing period.", choices=("day", "week", "month", "quarter", "half_year", "year")),
        _amount("discount_minor", "Discount on one period in minor units."),
        Field("effective_time", TIME, "When the action takes effect; event_time if absent."),
    ),
    horizon=10 * YEAR,
    retention=10 * YEAR,
    example={
        "subscription_id": "s-7",
        "customer_id": "u-42",
        "action": "start",
        "plan": "premium",
        "amount_minor": 999,
        "currency": "EUR",
        "interval": "month",
    },
)

PAYMENT = EventType(
    "payment",
    "Money moved, or failed to.",
    (
        _word("payment_id", "The payment, refund or dispute at the processor.", required=True),
        _person("customer_id", "Who pays.", required=True),
        _word(
            "kind",
            "What kind of movement it is.",
            required=True,
            choices=("charge", "refund", "chargeback", "chargeback_reversal", "tax", "fee"),
        ),
        Field("amount_minor", LONG, "Amount in minor units of the currency, never negative.", required=True, minimum=0),
        _currency(required=True),
        _word("invoice_id", "The invoice it belongs to."),
        _word("status", "Outcome.", choices=("succeeded", "failed", "pending")),
        Field("period_start", TIME, "Start of the service period it pays for."),
        Field("period_end", TIME, "End of the service period it pays for."),
    ),
    horizon=50 * YEAR,
    retention=50 * YEAR,
    example={
        "payment_id": "p-9",
        "customer_id": "u-42",
        "kind": "charge",
        "amount_minor": 999,
        "currency": "EUR",
        "status": "succeeded",
    },
)

API_REQUEST = EventType(
    "api_request",
    "A service answered a request.",
    (
        _word("service", "The service that answered.", required=True),
        _word("route", "Route template, such as /v1/tracks/{id}."),
        _word("method", "HTTP method."),
        _word("protocol", "http, graphql, grpc."),
        _word("operation", "GraphQL operation or RPC method."),
        _count("status", "HTTP or RPC status code."),
        Field("duration_us", LONG, "Time to answer, microseconds.", required=True, minimum=0),
        Field("request_bytes", LONG, "Size of the request body.", minimum=0),
        Field("response_bytes", LONG, "Size of the response body.", minimum=0),
        _word("error", "Error class, if it failed."),
    ),
    example={"service": "catalog", "route": "/v1/tracks/{id}", "method": "GET", "status": 200, "duration_us": 8400},
)

AUTH = EventType(
    "auth",
    "Someone tried to prove who they are.",
    (
        _person("principal", "Who they say they are.", required=True),
        _word("outcome", "How it ended.", required=True, choices=("success", "failure", "challenge", "locked")),
        _word("method", "password, token, sso, mfa, passkey."),
        _ip(),
        Field("asn", LONG, "Autonomous system number of the address.", minimum=0, maximum=2**32 - 1),
        Field("latitude", NUMBER, "Degrees north.", mark=Mark.LOCATION, minimum=-90, maximum=90),
        Field("longitude", NUMBER, "Degrees east.", mark=Mark.LOCATION, minimum=-180, maximum=180),
        _country(),
        _person("device_id", "The device."),
        Field("user_agent", TEXT, "User agent string.", mark=Mark.FREE),
        _word("reason", "Why it failed: bad_password, unknown_user, expired, mfa."),
    ),
    example={"principal": "ada@example.org", "outcome": "failure", "method": "password", "ip": "203.0.113.7"},
)

AUDIT = EventType(
    "audit",
    "Somebody with rights did something that must be provable later.",
    (
        _person("actor", "Who did it.", required=True),
        _word("action", "What was done.", required=True),
        _word("resource", "What it was done to.", required=True),
        _word("outcome", "How it ended.", choices=("success", "failure", "denied")),
        _word("before_hash", "Hash of the resource before."),
        _word("after_hash", "Hash of the resource after."),
        Field("reason", TEXT, "Why it was done.", mark=Mark.FREE),
        _ip(),
    ),
    horizon=10 * YEAR,
    retention=10 * YEAR,
    example={"actor": "ops-1", "action": "role.grant", "resource": "role/admin", "outcome": "success"},
)

CONSENT = EventType(
    "consent",
    "A person granted or withdrew consent for a purpose.",
    (
        _person("subject", "The person.", required=True),
        _word("purpose", "What the data is used for.", required=True),
        Field("granted", FLAG, "True if granted, false if withdrawn.", required=True),
        _word("lawful_basis", "GDPR article 6 basis.", choices=LAWFUL_BASES),
    ),
    horizon=10 * YEAR,
    retention=10 * YEAR,
    example={"subject": "u-42", "purpose": "marketing", "granted": True, "lawful_basis": "consent"},
)

DATA_REQUEST = EventType(
    "data_request",
    "A data-subject request was opened, answered or closed (GDPR articles 15 to 22).",
    (
        _word("request_id", "The request.", required=True),
        _person("subject", "The person.", required=True),
        _word(
            "kind",
            "What is asked.",
            required=True,
            choices=("access", "rectification", "erasure", "restriction", "portability", "objection"),
        ),
        _word("status", "Where it stands.", choices=("opened", "extended", "completed", "refused")),
        Field("opened", TIME, "When it was received."),
        Field("closed", TIME, "When it was answered."),
    ),
    horizon=10 * YEAR,
    retention=10 * YEAR,
    example={"request_id": "dr-1", "subject": "u-42", "kind": "erasure", "status": "opened"},
)

PROCESSING = EventType(
    "processing",
    "An entry in the records of processing changed (GDPR article 30).",
    (
        _word("activity", "The processing activity.", required=True),
        _word("purpose", "What the data is used for.", required=True),
        _word("lawful_basis", "GDPR article 6 basis.", choices=LAWFUL_BASES),
        Field("systems", TEXTS, "Systems that take part.", max_bytes=1000),
        _word("status", "Whether it runs.", choices=("started", "changed", "stopped")),
    ),
    horizon=10 * YEAR,
    retention=10 * YEAR,
    example={"activity": "royalties", "purpose": "accounting", "lawful_basis": "legal_obligation", "systems": ["erp"]},
)

BREACH = EventType(
    "breach",
    "A personal-data breach was noticed, reported or closed (GDPR articles 33 and 34).",
    (
        _word("breach_id", "The breach.", required=True),
        _word("kind", "What was lost.", choices=("confidentiality", "integrity", "availability")),
        _word("status", "Where it stands.", choices=("noticed", "authority_notified", "subjects_notified", "closed")),
        Field("opened", TIME, "When it happened."),
        Field("noticed", TIME, "When the controller became aware; the 72-hour clock starts here."),
        Field("closed", TIME, "When it was closed."),
        Field("systems", TEXTS, "Systems concerned.", max_bytes=1000),
        Field("subjects_affected", LONG, "People concerned, as far as known.", minimum=0),
    ),
    horizon=10 * YEAR,
    retention=10 * YEAR,
    example={"breach_id": "b-1", "kind": "confidentiality", "status": "noticed", "systems": ["crm"]},
)

ACCESS_GRANT = EventType(
    "access_grant",
    "A right was granted or revoked.",
    (
        _person("subject", "Who holds the right.", required=True),
        _word("system", "The system.", required=True),
        _word("role", "The role or right.", required=True),
        _word("action", "What happened.", required=True, choices=("grant", "revoke")),
        _person("granted_by", "Who decided."),
        Field("expires", TIME, "When it ends by itself."),
    ),
    horizon=10 * YEAR,
    retention=10 * YEAR,
    example={"subject": "ops-1", "system": "billing", "role": "refunds", "action": "grant", "granted_by": "cfo"},
)

ACCESS_REVIEW = EventType(
    "access_review",
    "A periodic review decided whether a right may stay.",
    (
        _word("review_id", "The review.", required=True),
        _person("reviewer", "Who reviewed.", required=True),
        _person("subject", "Whose right.", required=True),
        _word("system", "The system.", required=True),
        _word("role", "The role or right."),
        _word("decision", "The decision.", required=True, choices=("keep", "revoke", "escalate")),
        Field("due", TIME, "When the review was due."),
    ),
    horizon=10 * YEAR,
    retention=10 * YEAR,
    example={"review_id": "r-1", "reviewer": "cfo", "subject": "ops-1", "system": "billing", "decision": "keep"},
)

CHANGE = EventType(
    "change",
    "A change to a controlled system was requested, approved, tested or deployed.",
    (
        _word("change_id", "The change.", required=True),
        _word("system", "The system.", required=True),
        _word("stage", "How far it got.", required=True, choices=("requested", "approved", "tested", "rejected")),
        _person("author", "Who wrote it."),
        _person("approver", "Who approved it."),
        Field("emergency", FLAG, "Whether it went the emergency way."),
    ),
    horizon=10 * YEAR,
    retention=10 * YEAR,
    example={"change_id": "c-1", "system": "billing", "stage": "approved", "author": "dev-1", "approver": "lead-1"},
)

DEPLOYMENT = EventType(
    "deployment",
    "Something was deployed.",
    (
        _word("deployment_id", "The deployment.", required=True),
        _word("system", "The system.", required=True),
        _word("version", "What was deployed."),
        _word("change_id", "The change it carries out."),
        _person("actor", "Who deployed."),
        _word("outcome", "How it ended.", choices=("success", "failure", "rolled_back")),
    ),
    horizon=10 * YEAR,
    retention=10 * YEAR,
    example={"deployment_id": "d-1", "system": "billing", "version": "1.4.2", "change_id": "c-1", "outcome": "success"},
)

JOB_RUN = EventType(
    "job_run",
    "A scheduled job ran.",
    (
        _word("job", "The job.", required=True),
        _word("run_id", "The run.", required=True),
        _word("outcome", "How it ended.", required=True, choices=("success", "failure", "skipped", "started")),
        Field("scheduled", TIME, "When it was due."),
        Field("duration_us", LONG, "How long it ran, microseconds.", minimum=0),
        Field("rows", LONG, "Rows it handled.", minimum=0),
    ),
    horizon=10 * YEAR,
    retention=10 * YEAR,
    example={"job": "royalties", "run_id": "2026-11-01", "outcome": "success", "rows": 120000},
)

CONTROL_TOTAL = EventType(
    "control_total",
    "A total that two systems must agree on.",
    (
        _word("control", "The control.", required=True),
        _word("system", "The system that states it.", required=True),
        _word("period", "The accounting period, such as 2026-10.", required=True),
        _amount("amount_minor", "The amount in minor units."),
        _currency(),
        Field("rows", LONG, "Rows behind it.", minimum=0),
    ),
    horizon=10 * YEAR,
    retention=10 * YEAR,
    example={"control": "revenue", "system": "erp", "period": "2026-10", "amount_minor": 123456, "currency": "EUR"},
)

PREDICTION = EventType(
    "prediction",
    "A model scored something.",
    (
        _word("model", "The model.", required=True),
        _word("version", "Its version."),
        _word("prediction_id", "The prediction, to be joined with its label.", required=True),
        Field("score", NUMBER, "The score."),
        _word("prediction", "The predicted class or value, as text."),
        Field("features", FEATURES, "Numeric features by name.", max_bytes=1000),
        Field("latency_us", LONG, "Time to score, microseconds.", minimum=0),
    ),
    example={"model": "churn", "version": "3", "prediction_id": "pr-1", "score": 0.27, "features": {"tenure": 14.0}},
)

LABEL = EventType(
    "label",
    "The truth about an earlier prediction became known.",
    (
        _word("prediction_id", "The prediction.", required=True),
        Field("value", NUMBER, "The true value; 1 or 0 for classes.", required=True),
    ),
    example={"prediction_id": "pr-1", "value": 1.0},
)

RECOMMENDATION = EventType(
    "recommendation",
    "A slate of items was shown.",
    (
        _word("slate_id", "The slate.", required=True),
        _word("model", "The model that made it."),
        Field("items", TEXTS, "Items in the order shown.", required=True, max_bytes=1000),
        Field("propensities", NUMBERS, "Probability with which each item was shown.", max_bytes=1000),
    ),
    example={"slate_id": "sl-1", "user_id": "u-42", "items": ["t-1", "t-2"], "propensities": [0.4, 0.2]},
)

FEEDBACK = EventType(
    "feedback",
    "Someone reacted to an item of a slate.",
    (
        _word("slate_id", "The slate.", required=True),
        _word("item", "The item.", required=True),
        _count("position", "Its position in the slate, from 0."),
        _word("action", "What was done: impression, click, play, save, hide.", required=True),
    ),
    example={"slate_id": "sl-1", "user_id": "u-42", "item": "t-1", "position": 0, "action": "play"},
)

EXPOSURE = EventType(
    "exposure",
    "A unit was exposed to a variant of an experiment.",
    (
        _word("experiment", "The experiment.", required=True),
        _word("variant", "The variant.", required=True),
        _person("unit_id", "The randomised unit, usually a user.", required=True),
    ),
    example={"experiment": "autoplay", "variant": "treatment", "unit_id": "u-42"},
)

OUTCOME = EventType(
    "outcome",
    "A metric of a unit in an experiment was observed.",
    (
        _person("unit_id", "The randomised unit.", required=True),
        _word("metric", "The metric.", required=True),
        Field("value", NUMBER, "Its value.", required=True),
    ),
    example={"unit_id": "u-42", "metric": "minutes", "value": 31.5},
)

LOG = EventType(
    "log",
    "A log record.",
    (
        _word("severity", "OpenTelemetry severity text: TRACE, DEBUG, INFO, WARN, ERROR, FATAL."),
        _word("logger", "The logger."),
        Field("message", TEXT, "The message.", mark=Mark.FREE, max_bytes=16384),
        Field("attributes", TEXT, "JSON object of attributes.", mark=Mark.FREE, max_bytes=65536),
    ),
    horizon=timedelta(days=30),
    retention=timedelta(days=30),
    example={"severity": "ERROR", "logger": "billing", "message": "card declined"},
)

EVENT_TYPES: Mapping[str, EventType] = MappingProxyType(
    {
        t.name: t
        for t in (
            PLAYBACK,
            APP_EVENT,
            SUBSCRIPTION,
            PAYMENT,
            API_REQUEST,
            AUTH,
            AUDIT,
            CONSENT,
            DATA_REQUEST,
            PROCESSING,
            BREACH,
            ACCESS_GRANT,
            ACCESS_REVIEW,
            CHANGE,
            DEPLOYMENT,
            JOB_RUN,
            CONTROL_TOTAL,
            PREDICTION,
            LABEL,
            RECOMMENDATION,
            FEEDBACK,
            EXPOSURE,
            OUTCOME,
            LOG,
        )
    }
)

UNKNOWN = EventType("unknown", "Rows that name no event type we know; they are only ever dead letters.", ())


def event_type(name: str) -> EventType:
    """Return the event type called ``name``; UnknownName lists what there is."""
    try:
        return EVENT_TYPES[name]
    except KeyError:
        raise UnknownName(f"there is no event type {name[:64]!r}; there are: {', '.join(EVENT_TYPES)}") from None
