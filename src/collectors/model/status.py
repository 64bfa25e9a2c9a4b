"""How a collector, and the tenant it works for, are described to others."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a collector is in its life."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    FAILING = "failing"


class BreakerState(StrEnum):
    """What a circuit breaker does with calls: lets all through, none, or one at a time to find out."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Stability(StrEnum):
    """What users may rely on: an experimental collector's names may still change."""

    EXPERIMENTAL = "experimental"
    BETA = "beta"
    STABLE = "stable"


@dataclass(frozen=True, slots=True)
class CollectorStatus:
    """A snapshot of one collector's health.

    Times are UTC microseconds, 0 if it never happened; ``lateness_s`` is how long after its due time the last
    run started; ``last_error`` carries no secret or personal value. ``skipped`` counts due times without a run, because
    the run before still went on or the breaker was open. The costs are totals since it was made: ``cpu_seconds`` on
    the event loop, ``queries`` of the lake with the ``query_seconds`` they took and the ``bytes_read`` they returned.
    """

    name: str
    tenant: str
    state: State
    runs: int = 0
    failures: int = 0
    consecutive_failures: int = 0
    samples: int = 0
    issues: int = 0
    last_success_us: int = 0
    last_duration_s: float = 0.0
    lateness_s: float = 0.0
    last_error: str = ""
    breaker: BreakerState = BreakerState.CLOSED
    breaker_opened: int = 0
    retries: int = 0
    skipped: int = 0
    stuck: bool = False
    cpu_seconds: float = 0.0
    queries: int = 0
    query_seconds: float = 0.0
    bytes_read: int = 0


@dataclass(frozen=True, slots=True)
class TenantInfo:
    """What a collector may know of the tenant it works for.

    ``time_zone`` is an IANA name that defines the tenant's days; ``currency`` is the ISO 4217 reporting currency.
    """

    id: str
    time_zone: str = "UTC"
    currency: str = "EUR"
