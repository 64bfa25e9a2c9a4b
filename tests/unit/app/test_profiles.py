"""What a tenant's settings come to: the table is complete, and the page says what the product does."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from collectors.app.profiles import COMPLIANCE, INTERVAL_FACTORS, LIMITS, OFFERS, page, plan
from collectors.config.tenant import PLATFORM_TENANT, TenantConfig
from collectors.contract.collector import Streaming
from collectors.contract.registry import collector_class
from collectors.model.event_type import Mark, Policy
from collectors.model.event_types import EVENT_TYPES
from collectors.privacy.policy import preset


def choices(field: str) -> set[str]:
    return set(TenantConfig.model_json_schema()["properties"][field]["enum"])


def names(tenant: str = "acme", **settings: Any) -> set[str]:
    return set(plan(tenant, TenantConfig.model_validate(settings)).collectors)


def test_every_value_a_tenant_may_set_has_a_meaning() -> None:
    assert choices("profile") == set(LIMITS)
    assert choices("monitoring_level") == set(INTERVAL_FACTORS)
    assert choices("compliance_mode") == set(COMPLIANCE)


def test_everything_on_offer_exists_and_is_offered_once() -> None:
    offered = [o.name for o in OFFERS]
    assert len(offered) == len(set(offered))
    for offer in OFFERS:
        assert issubclass(collector_class(offer.name), Streaming) == offer.real_time, offer.name


def test_enterprise_has_what_standard_has_and_more() -> None:
    assert names() < names(profile="enterprise")
    assert names(profile="enterprise") - names() == {
        "churn_analytics",
        "customer_lifetime_value",
        "experiment_tracking",
    }


def test_without_real_time_nothing_streams() -> None:
    assert names(profile="enterprise") - names(profile="enterprise", real_time_enabled=False) == {"security_events"}


@pytest.mark.parametrize(("level", "factor"), [("basic", 2.0), ("standard", 1.0), ("comprehensive", 0.5)])
def test_the_level_sets_the_intervals(level: str, factor: float) -> None:
    found = plan("acme", TenantConfig.model_validate({"monitoring_level": level, "profile": "enterprise"}))
    for offer in OFFERS:
        if not offer.platform:
            given = found.collectors[offer.name]
            assert given.interval_seconds == offer.interval_seconds * factor
            assert given.priority == offer.priority


def test_the_machine_is_the_operators_alone() -> None:
    for profile, level in product(LIMITS, INTERVAL_FACTORS):
        assert names(PLATFORM_TENANT, profile=profile, monitoring_level=level) == {"system_performance"}
        assert "system_performance" not in names(profile=profile, monitoring_level=level)


def test_enterprise_may_use_more_of_everything() -> None:
    (small, few), (large, many) = LIMITS["standard"], LIMITS["enterprise"]
    assert plan("acme", TenantConfig()).limits == small
    assert plan("acme", TenantConfig(profile="enterprise")).max_series == many > few
    assert large.concurrent_runs > small.concurrent_runs
    assert small.query_seconds is not None
    assert large.query_seconds is not None
    assert large.query_seconds.per_second > small.query_seconds.per_second


def fate(mode: str, mark: Mark) -> set[Policy | None]:
    policies = preset(mode)
    return {policies.policy(t, f.name) for t in EVENT_TYPES.values() for f in t.fields if f.mark is mark}


def test_compliance_modes_do_to_personal_fields_what_the_page_says() -> None:
    assert fate("standard", Mark.FREE) == {Policy.KEEP}
    assert fate("standard", Mark.IP) == {Policy.TRUNCATE}
    assert fate("standard", Mark.LOCATION) == {Policy.TRUNCATE}
    assert fate("strict", Mark.FREE) == {Policy.ENCRYPT}
    assert fate("strict", Mark.LOCATION) == {Policy.DROP}
    assert fate("strict", Mark.IP) == {Policy.TRUNCATE}
    security = preset("security")
    for name in ("auth", "audit"):
        assert security.policy(EVENT_TYPES[name], "ip") is Policy.ENCRYPT
    for mode in COMPLIANCE:
        users = {preset(mode).policy(t, "user_id") for t in EVENT_TYPES.values() if "user_id" in t.by_name}
        assert users == {Policy.PSEUDONYMISE}


def test_the_page_tells_every_collector_with_its_intervals_and_its_example_runs() -> None:
    text = page()
    assert "| [user_engagement](collectors.md#user_engagement) | standard | 5 | 120 s | 60 s | 30 s |" in text
    assert all(f"[{offer.name}]" in text for offer in OFFERS)
    example = text.split("```python\n")[1].split("```")[0]
    found: dict[str, Any] = {}
    exec(example, found)
    assert found["config"].profile == "enterprise"
