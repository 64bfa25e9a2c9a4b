"""What the API takes and answers, as OpenAPI describes it. Times are UTC microseconds since 1970."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, WithJsonSchema
from pydantic_core import PydanticCustomError

from collectors.config.alert_rule import AlertRule
from collectors.config.collector import Model
from collectors.config.tenant import TENANT_ID, TenantConfig, TimeZone
from collectors.drivers.control_store import Scope
from collectors.model.alert import AlertState
from collectors.model.event_type import ALLOWED_POLICIES, Policy
from collectors.model.event_types import EVENT_TYPES
from collectors.model.metric import Kind, Severity, Unit
from collectors.model.status import BreakerState, State

LATEST_US = 253_402_300_799_999_999
"""The last microsecond of the year 9999."""

Micros = Annotated[int, Field(ge=0, le=LATEST_US, examples=[1_790_000_000_000_000])]
Count = Annotated[int, Field(examples=[1200])]
Labels = Annotated[Mapping[str, str], Field(examples=[{"cpu.mode": "user"}])]


class _Shape(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


# Errors


class ErrorDetail(_Shape):
    """What went wrong, for programs and for people."""

    code: str = Field(examples=["unknown_name"])
    """Stable; safe to branch on."""

    message: str = Field(examples=["there is no such tenant, or this key may not see it"])
    """What went wrong and what to do, never with a value that was sent."""

    position: str = Field(default="", examples=["character 12"])
    """Where a body breaks, if that is known."""


class ErrorAnswer(_Shape):
    """The one shape of all errors."""

    error: ErrorDetail


# Tenants and keys


def _known_type(name: str) -> str:
    if name not in EVENT_TYPES:
        raise ValueError("there is no such event type")
    return name


def _no_text(value: object) -> object:
    """Refuse what Python would make a number of, and JSON does not."""
    if isinstance(value, str | bool):
        raise PydanticCustomError("int_type", "Input should be a valid integer")
    return value


def _policies_schema() -> dict[str, Any]:
    """Return the JSON schema of exactly those policies that personal fields may have."""

    def choices(name: str) -> dict[str, Any]:
        fields = {}
        for f in EVENT_TYPES[name].columns:
            if f.mark is not None:
                allowed = ALLOWED_POLICIES[f.mark] - ({Policy.DROP} if f.required else set())
                fields[f.name] = {"enum": sorted(allowed)}
        return {"type": "object", "properties": fields, "additionalProperties": False}

    types = {name: choices(name) for name in EVENT_TYPES}
    return {"type": "object", "properties": types, "additionalProperties": False}


_TYPE_NAMES: dict[str, Any] = {"type": "string", "enum": list(EVENT_TYPES)}
_ZONE: dict[str, Any] = {"type": "string", "enum": sorted(available_timezones())}
TypeName = Annotated[str, AfterValidator(_known_type), WithJsonSchema(_TYPE_NAMES)]
Days = Annotated[int, BeforeValidator(_no_text), Field(ge=1, le=36_600)]
Policies = Annotated[
    Mapping[
        TypeName,
        Mapping[Annotated[str, Field(max_length=64)], Literal["drop", "pseudonymise", "encrypt", "truncate", "keep"]],
    ],
    WithJsonSchema(_policies_schema()),
]
RetentionDays = Annotated[
    Mapping[TypeName, Days],
    WithJsonSchema(
        {
            "type": "object",
            "properties": {name: {"type": "integer", "minimum": 1, "maximum": 36_600} for name in EVENT_TYPES},
            "additionalProperties": False,
        }
    ),
]
DroppedTypes = Annotated[tuple[TypeName, ...], Field(max_length=len(EVENT_TYPES))]
Zone = Annotated[TimeZone, WithJsonSchema(_ZONE)]


class TenantChange(Model):
    """The fields of a tenant's configuration to change; those that are left out stay, null restores the default."""

    profile: Literal["standard", "enterprise"] | None = None
    monitoring_level: Literal["basic", "standard", "comprehensive"] | None = None
    real_time_enabled: StrictBool | None = None
    compliance_mode: Literal["standard", "security", "strict"] | None = None
    time_zone: Zone | None = Field(default=None, examples=["Europe/Stockholm"])
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] | None = Field(default=None, examples=["SEK"])
    policies: Policies | None = None
    dropped_types: DroppedTypes | None = None
    retention_days: RetentionDays | None = None
    alert_rules: Annotated[tuple[AlertRule, ...], Field(max_length=200)] | None = None


class TenantSettings(TenantConfig):
    """A tenant's whole configuration; fields that are left out have their defaults."""

    real_time_enabled: StrictBool = True
    """Whether streaming collectors run, and with them detections within 100 ms."""

    time_zone: Zone = "UTC"
    """IANA time zone that defines the tenant's days."""

    policies: Policies = Field(default_factory=dict)
    """Event type, then field, to policy: what happens to a personal field before anything is written."""

    dropped_types: DroppedTypes = ()
    """Event types the tenant does not want stored; they are counted as dropped."""

    retention_days: RetentionDays = Field(default_factory=dict)
    """Event type to days its events are kept, where shorter than the type's own retention."""


class NewTenant(TenantSettings):
    """A tenant to create: its id, and as much of its configuration as is not default."""

    id: str = Field(pattern=TENANT_ID, examples=["acme"])
    """Lower-case letters, digits, - and _."""


class TenantSummary(_Shape):
    """A tenant in the list."""

    id: str = Field(examples=["acme"])
    time_zone: str = Field(examples=["Europe/Stockholm"])
    currency: str = Field(examples=["SEK"])
    created: Micros


class TenantAnswer(TenantConfig):
    """A tenant and its whole configuration."""

    id: str = Field(examples=["acme"])
    """Name of the tenant."""

    created: Micros
    """When it was created."""


class NewKey(Model):
    """A key to create."""

    scopes: tuple[Scope, ...] = Field(min_length=1, max_length=3, examples=[["write"]])
    """What it is good for; admin includes the others."""

    label: str = Field(default="", max_length=200, examples=["ingest of the web player"])
    """What you will know it by."""


class KeyAnswer(_Shape):
    """An API key without its secret."""

    id: str = Field(examples=["5f1c2a9b03de"])
    scopes: list[Scope]
    label: str = Field(examples=["ingest of the web player"])
    created: Micros
    revoked: Micros | None = None
    """When it was revoked; null while it is in force."""


class CreatedKey(KeyAnswer):
    """A new API key. This is the only time its text is shown."""

    key: str = Field(examples=["ck_5f1c2a9b03de_J2yq…"])
    """The key itself."""


# The ledger


class Counts(_Shape):
    """Integers that add up: offered = stored + duplicate + rejected + dropped + in_flight."""

    offered: Count
    stored: Count
    duplicate: Count
    rejected: Count
    dropped: Count
    in_flight: Count
    balance: Count = Field(examples=[0])
    """Events that nobody can account for; always zero."""


class Ledger(_Shape):
    """What became of every event a tenant offered."""

    total: Counts
    types: Mapping[str, Counts]


class DeadLetterAnswer(_Shape):
    """Rejected events that wait for a fix."""

    position: Count
    type: str = Field(examples=["playback"])
    time: Micros
    rows: Count
    reasons: Mapping[str, int] | None = Field(examples=[{"missing": 3}])
    """Reason to number of events; null if they can't be opened any more."""


class Reason(_Shape):
    """Why one event was rejected."""

    row: Count
    reason: str = Field(examples=["missing"])
    detail: str = Field(examples=["track_id is required"])


class ReceiptAnswer(_Shape):
    """What became of the events of a request; on disk by the time it is sent."""

    accepted: Count
    duplicate: Count
    rejected: Count
    dropped: Count
    position: Count
    dead_letter: Count | None
    """Where the rejected events stand, if there are any."""

    reasons: list[Reason]
    """Of the first rejected events."""


# Collectors, metrics, alerts


class CollectorAnswer(_Shape):
    """How one collector does."""

    name: str = Field(examples=["system_performance"])
    state: State
    runs: Count
    failures: Count
    issues: Count
    samples: Count
    last_success: Annotated[int, Field(ge=0)]
    """When a run last succeeded, 0 if none ever did."""

    last_duration_s: float
    lateness_s: float
    last_error: str
    breaker: BreakerState
    """Circuit breaker of its source: open while the source is left alone because it failed."""

    retries: Count
    skipped: Count
    stuck: bool
    """Whether a run goes on long after it was told to end."""

    cpu_seconds: float
    queries: Count
    bytes_read: Count


class MetricAnswer(_Shape):
    """A metric that a collector of the tenant declares."""

    name: str = Field(examples=["system.cpu.utilization"])
    kind: Kind
    unit: Unit
    description: str
    labels: list[str]
    collector: str = Field(examples=["system_performance"])
    series: Count


class SeriesAnswer(_Shape):
    """One labelled series: pairs of time and value, the value null where it is undefined."""

    labels: Labels
    points: list[tuple[int, float | None]]


class SamplesAnswer(_Shape):
    """The history of a metric."""

    metric: str = Field(examples=["system.cpu.utilization"])
    unit: Unit
    series: list[SeriesAnswer]


class LatestAnswer(_Shape):
    """The last value of one series."""

    metric: str = Field(examples=["system.cpu.utilization"])
    labels: Labels
    time: int
    value: float | None
    reason: str
    """Why there is no value."""


class AlertAnswer(_Shape):
    """Something that wants a person's attention."""

    id: str
    rule: str = Field(examples=["cpu_usage"])
    key: str
    severity: Severity
    state: AlertState
    summary: str
    labels: Labels
    started: int
    ended: int | None
    value: float | None


# Overview


class CollectorCounts(_Shape):
    """Collectors of a tenant by state."""

    running: Count
    failing: Count


class AlertCounts(_Shape):
    """Alerts of a tenant by state."""

    firing: Count


class TenantOverview(_Shape):
    """One tenant at a glance; what only a running worker can tell is null or zero without one."""

    id: str = Field(examples=["acme"])
    events_per_second: float | None
    ledger: Counts
    freshness_seconds: float | None
    """Age of the oldest accepted event that can't be queried yet."""

    collectors: CollectorCounts
    alerts: AlertCounts


class GatewayView(_Shape):
    """The process that takes events and answers."""

    up: Literal[True]
    uptime_seconds: float


class WorkerView(_Shape):
    """The process that loads the lake and runs the collectors."""

    up: bool
    behind_records: int | None
    """Log records that are not loaded yet; null if no worker is there to tell."""


class ServerView(_Shape):
    """The processes of this server."""

    gateway: GatewayView
    worker: WorkerView


class Overview(_Shape):
    """Everything the key may see, at a glance."""

    time: Micros
    tenants: list[TenantOverview]
    server: ServerView


# Event types and health


class EventTypeSummary(_Shape):
    """An event type in the list."""

    name: str = Field(examples=["playback"])
    description: str


class EventTypeAnswer(EventTypeSummary):
    """An event type and what its events look like."""

    horizon_days: Count
    """How old an event may be when it arrives."""

    retention_days: Count
    """How long events are kept at most."""

    json_schema: Mapping[str, Any]
    """JSON Schema (2020-12) of one event."""

    example: Mapping[str, Any]


class Health(_Shape):
    """Whether all is well, and if not, why: intake_stalled, log_not_writable, disk_full, worker_silent."""

    ok: bool
    reasons: list[str]
