"""What a tenant may set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field

from collectors.config.alert_rule import AlertRule
from collectors.config.collector import Model

TENANT_ID = r"^[a-z0-9][a-z0-9_-]{0,62}$"
"""Tenant ids are lower-case words: they become file names, labels and parts of URLs."""

PLATFORM_TENANT = "platform"
"""The operator's own tenant: what concerns the machine and this server, and no customer."""


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name[:64]!r} is not an IANA time zone; write one such as 'Europe/Stockholm' or 'UTC'")
    return name


TimeZone = Annotated[str, AfterValidator(_known_zone)]


class TenantConfig(Model):
    """How one tenant is monitored and protected."""

    profile: Literal["standard", "enterprise"] = "standard"
    """Which set of collectors runs: enterprise adds those that cost more."""

    monitoring_level: Literal["basic", "standard", "comprehensive"] = "standard"
    """How much is looked at: comprehensive halves the intervals, basic doubles them."""

    real_time_enabled: bool = True
    """Whether streaming collectors run, and with them detections within 100 ms."""

    compliance_mode: Literal["standard", "security", "strict"] = "standard"
    """How personal fields are protected unless ``policies`` says otherwise."""

    time_zone: TimeZone = "UTC"
    """IANA time zone that defines the tenant's days."""

    currency: str = Field(default="EUR", pattern=r"^[A-Z]{3}$")
    """ISO 4217 reporting currency."""

    policies: Mapping[str, Mapping[str, Literal["drop", "pseudonymise", "encrypt", "truncate", "keep"]]] = Field(
        default_factory=dict
    )
    """Event type, then field, to policy: what happens to a personal field before anything is written."""

    dropped_types: tuple[str, ...] = ()
    """Event types the tenant does not want stored; they are counted as dropped."""

    alert_rules: tuple[AlertRule, ...] = Field(default=(), max_length=200)
    """Thresholds of the tenant's own, beside the operator's."""

    retention_days: Mapping[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Event type to days its events are kept, where shorter than the type's own retention."""
