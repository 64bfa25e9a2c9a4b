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


class Stability(StrEnum):
    """What users may rely on: an experimental collector's names may still change."""

    EXPERIMENTAL = "experimental"
    BETA = "beta"
    STABLE = "stable"


@dataclass(frozen=True, slots=True)
class CollectorStatus:
    """A snapshot of one collector's health.

    Times are UTC microseconds, 0 if it never happened; ``lateness_s`` is how long after its due time the last
    run started; ``last_error`` carries no secret or personal value.
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


@dataclass(frozen=True, slots=True)
class TenantInfo:
    """What a collector may know of the tenant it works for.

    ``time_zone`` is an IANA name that defines the tenant's days; ``currency`` is the ISO 4217 reporting currency.
    """

    id: str
    time_zone: str = "UTC"
    currency: str = "EUR"
