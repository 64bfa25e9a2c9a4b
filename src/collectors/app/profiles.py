"""What a tenant's ``profile``, ``monitoring_level``, ``real_time_enabled`` and ``compliance_mode`` come to.

This table is all there is: what runs, the limits and the page ``docs/tenants.md`` follow from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from collectors.config.collector import CollectorConfig
from collectors.config.tenant import PLATFORM_TENANT, TenantConfig
from collectors.resilience.quota import Rate, TenantLimits
from collectors.runtime.manager import TenantPlan

Profile = Literal["standard", "enterprise"]


@dataclass(frozen=True, slots=True)
class Offer:
    """A collector that runs by itself: for whom, how often at the standard level, and how urgent it is.

    ``profile`` is the least that brings it. ``real_time`` ones see events as they are acknowledged.
    """

    name: str
    interval_seconds: float
    priority: int
    profile: Profile = "standard"
    real_time: bool = False
    platform: bool = False


OFFERS = (
    Offer("security_events", 5.0, 1, real_time=True),
    Offer("tenant_business_metrics", 30.0, 4),
    Offer("user_engagement", 60.0, 5),
    Offer("revenue_metrics", 60.0, 5),
    Offer("experiment_tracking", 300.0, 7, "enterprise"),
    Offer("churn_analytics", 900.0, 8, "enterprise"),
    Offer("customer_lifetime_value", 900.0, 8, "enterprise"),
    Offer("system_performance", 5.0, 2, platform=True),
)
"""Collectors of customers, and of the operator's own tenant (``platform``)."""

INTERVAL_FACTORS = {"basic": 2.0, "standard": 1.0, "comprehensive": 0.5}
"""Monitoring level to what intervals are multiplied by."""

LIMITS = {
    "standard": (TenantLimits(query_seconds=Rate(0.25, 120.0), concurrent_runs=4), 10_000),
    "enterprise": (TenantLimits(query_seconds=Rate(1.0, 600.0), concurrent_runs=16), 100_000),
}
"""Profile to limits and the most series; what is beyond is folded into one with the label value ``overflow``."""

COMPLIANCE = {
    "standard": "Identifiers are pseudonymised, addresses and locations truncated; free text is kept.",
    "security": "As standard, but the addresses of `auth` and `audit` events are kept whole, encrypted.",
    "strict": "As standard, but free text is encrypted and locations are dropped.",
}
"""Compliance mode to what happens to personal fields at intake; ``policies`` changes single fields."""


def plan(tenant: str, config: TenantConfig) -> TenantPlan:
    """Return what a tenant runs and may use."""
    factor = INTERVAL_FACTORS[config.monitoring_level]
    limits, series = LIMITS[config.profile]
    return TenantPlan(
        {
            offer.name: CollectorConfig(interval_seconds=offer.interval_seconds * factor, priority=offer.priority)
            for offer in OFFERS
            if _holds(offer, tenant, config)
        },
        limits,
        series,
    )


def _holds(offer: Offer, tenant: str, config: TenantConfig) -> bool:
    if offer.platform or tenant == PLATFORM_TENANT:
        return offer.platform and tenant == PLATFORM_TENANT
    return (offer.profile == "standard" or config.profile == "enterprise") and (
        config.real_time_enabled or not offer.real_time
    )


def page() -> str:
    """The documentation of these settings."""
    lines = [
        "# What a tenant's settings mean",
        "",
        "Generated from `src/collectors/app/profiles.py`, the table by which the product itself goes.",
        "",
        "```python",
        "from collectors import TenantConfig",
        "",
        'config = TenantConfig(profile="enterprise", monitoring_level="comprehensive",',
        '                      real_time_enabled=True, compliance_mode="strict")',
        "```",
        "",
        "## profile and monitoring_level: which collectors, how often",
        "",
        f"| collector | profile | priority | {' | '.join(INTERVAL_FACTORS)} |",
        f"|---|---|---|{'---|' * len(INTERVAL_FACTORS)}",
    ]
    for offer in OFFERS:
        whom = f"the tenant `{PLATFORM_TENANT}`" if offer.platform else offer.profile
        every = " | ".join(f"{offer.interval_seconds * factor:g} s" for factor in INTERVAL_FACTORS.values())
        lines.append(f"| [{offer.name}](collectors.md#{offer.name}) | {whom} | {offer.priority} | {every} |")
    lines += [
        "",
        "`enterprise` has what `standard` has, and more. Under pressure the lower number goes first; a high one waits",
        "longer, but never for ever. Every collector can be added to any tenant by `create_collector_for_tenant`.",
        "",
        "## profile: how much the collectors of a tenant may use",
        "",
        "| profile | runs at once | seconds of queries per second | saved up to | series |",
        "|---|---|---|---|---|",
    ]
    for name, (limits, series) in LIMITS.items():
        assert limits.query_seconds is not None, "every profile bounds the queries"
        rate = limits.query_seconds
        lines.append(f"| {name} | {limits.concurrent_runs} | {rate.per_second:g} | {rate.burst:g} s | {series:,} |")
    real_time = ", ".join(f"`{o.name}`" for o in OFFERS if o.real_time)
    lines += [
        "",
        "A tenant that is over its limit waits; others don't notice.",
        "",
        "## real_time_enabled",
        "",
        f"With it, collectors that see every event within 100 ms of its acknowledgement run: {real_time}.",
        "Without it they do not, and what they detect is not detected.",
        "",
        "## compliance_mode: what happens to personal fields before anything is written",
        "",
        "| mode | meaning |",
        "|---|---|",
        *(f"| {name} | {meaning} |" for name, meaning in COMPLIANCE.items()),
        "",
        "## When a setting is changed",
        "",
        "Only what the change concerns is stopped and started. Another time zone or currency concerns every collector",
        "of the tenant, because days and money mean something else then; other alert rules concern none.",
    ]
    return "\n".join(lines) + "\n"
