"""The tenant's business figures against a plain recomputation with loops and exact integers."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tenant_support import (
    BERLIN,
    NOON,
    PERIODS,
    QUOTAS,
    SIGN,
    action,
    assert_equal,
    business,
    one,
    oracle,
    payment,
    play,
)
from tests.support.analytical import check_declaration, collect, portable, values
from tests.support.lake_files import instant

from collectors.catalog.business.tenant.config import TenantBusinessMetricsConfig
from collectors.catalog.business.tenant_business_metrics import TenantBusinessMetricsCollector
from collectors.contract.collector import CollectorContext
from collectors.model.metric import Collection
from collectors.model.status import TenantInfo


@pytest.mark.parametrize(
    ("zone", "end"),
    [
        ("UTC", instant(2026, 3, 31, 14, 5)),
        (BERLIN, instant(2026, 3, 29, 22)),  # midnight after the 23-hour day
        (BERLIN, instant(2026, 10, 25, 12)),  # within the 25-hour day
        ("America/New_York", instant(2026, 12, 1, 5)),
    ],
)
def test_every_metric_equals_the_plain_recomputation(tmp_path, zone: str, end: datetime) -> None:
    events = business(5, end)
    strange = {name: [{**r, "tenant_id": "b"} for r in records] for name, records in business(6, end).items()}
    both = {name: [*events[name], *strange[name]] for name in events}
    collection = collect(TenantBusinessMetricsCollector, tmp_path, [both], end, zone=zone, quotas=QUOTAS)
    check_declaration(TenantBusinessMetricsCollector, collection)
    assert_equal(values(collection), oracle(events, end, zone))
    assert collection.issues == ()
    judged = [s.value for s in collection.samples if s.metric.endswith("anomaly_score")]
    assert sum(score is not None for score in judged) >= 3


MINUTES = st.integers(-60 * 24, 60 * 24 * 65)
SMALL = st.fixed_dictionaries(
    {
        "playback": st.lists(
            st.tuples(st.sampled_from(["u", "v", None]), MINUTES, st.sampled_from([0, 29_999, 30_000])), max_size=8
        ),
        "payment": st.lists(
            st.tuples(MINUTES, st.sampled_from([*SIGN, "tax"]), st.integers(0, 3), st.sampled_from(["EUR", "JPY"])),
            max_size=8,
        ),
        "subscription": st.lists(
            st.tuples(
                st.sampled_from(["c", "d"]), MINUTES, st.sampled_from(["trial", "start", "renew"]),
                st.sampled_from([None, 0, 5]),
            ),
            max_size=8,
        ),
    }
)  # fmt: skip


@settings(max_examples=20)
@given(SMALL)
def test_small_histories_equal_the_plain_recomputation(tmp_path_factory, small) -> None:
    end = instant(2026, 3, 30, 1)

    def ago(minutes: int) -> datetime:
        return end - timedelta(minutes=minutes)

    events = {
        "playback": [play(user, ago(minutes), ms) for user, minutes, ms in small["playback"]],
        "payment": [payment(ago(minutes), *rest) for minutes, *rest in small["payment"]],
        "subscription": [
            action(who, ago(minutes), what, amount_minor=amount) for who, minutes, what, amount in small["subscription"]
        ],
    }
    folder = tmp_path_factory.mktemp("lake")
    found = collect(TenantBusinessMetricsCollector, folder, [events], end, zone=BERLIN, quotas=QUOTAS)
    assert_equal(values(found), oracle(events, end, BERLIN))


def test_order_and_batching_of_events_do_not_matter(tmp_path) -> None:
    events = business(9, NOON)
    rng = random.Random(2)
    parts: list[dict[str, list[dict]]] = [defaultdict(list) for _part in range(3)]
    for name, records in events.items():
        for record in rng.sample(records, len(records)):
            rng.choice(parts)[name].append(record)
    at_once = collect(TenantBusinessMetricsCollector, tmp_path / "one", [events], NOON)
    in_parts = collect(TenantBusinessMetricsCollector, tmp_path / "three", parts, NOON)
    assert_equal(values(in_parts), values(at_once))


def test_money_is_exact_beyond_what_floats_hold_and_never_added_across_currencies(tmp_path) -> None:
    big = 2**53
    events = {
        "payment": [
            payment(NOON, "charge", 1, event_time=NOON - timedelta(hours=1)),
            payment(NOON - timedelta(hours=2), "charge", big),
            payment(NOON - timedelta(hours=3), "charge", 5, "JPY"),
        ]
    }
    found = one(tmp_path, events)
    assert found["revenue", "day", "EUR"] == big + 1
    assert found["revenue", "day", "JPY"] == 5


def test_refunds_and_disputes_count_on_their_own_date(tmp_path) -> None:
    events = {
        "payment": [
            payment(NOON - timedelta(days=20), "charge", 1000),
            payment(NOON - timedelta(days=5), "chargeback", 1000),
            payment(NOON - timedelta(hours=1), "chargeback_reversal", 1000),
            payment(NOON - timedelta(days=60), "charge", 7, "JPY"),  # the charge is too old, its refund is not
            payment(NOON - timedelta(hours=1), "refund", 7, "JPY"),
        ]
    }
    found = one(tmp_path, events)
    assert [found["revenue", period, "EUR"] for period in PERIODS] == [1000, 0, 1000]
    assert [found["revenue", period, "JPY"] for period in PERIODS] == [-7, -7, -7]
    assert [found["paying_customers", period] for period in PERIODS] == [0, 0, 1]


def test_a_trial_is_judged_once_it_had_its_full_time(tmp_path) -> None:
    def ago(days: float) -> datetime:
        return NOON - timedelta(days=days)

    events = {
        "subscription": [
            action("in time", ago(40), "trial"),
            action("in time", ago(10.5), "start", amount_minor=999),
            action("too late", ago(45), "trial"),
            action("too late", ago(10), "start", amount_minor=999),
            action("for nothing", ago(50), "trial"),
            action("for nothing", ago(45), "start", amount_minor=999, discount_minor=999),
            action("paid before", ago(35), "trial"),
            action("paid before", ago(36), "renew", amount_minor=999),
            action("still trying", ago(29), "trial"),
            action("still trying", ago(28), "start", amount_minor=999),
        ]
    }
    found = one(tmp_path, events)
    assert found["trials",] == 4
    assert found["trial_conversion",] == 0.25


def test_a_short_trial_can_be_configured(tmp_path) -> None:
    events = {
        "subscription": [
            action("c", NOON - timedelta(days=9), "trial"),
            action("c", NOON - timedelta(days=3), "start", amount_minor=1),
        ]
    }
    assert one(tmp_path, events, conversion_days=7)["trial_conversion",] == 1
    assert one(tmp_path, events, conversion_days=5)["trial_conversion",] == 0


def test_hostile_labels_stay_bounded(tmp_path) -> None:
    """Thousands of made-up currencies, countries and devices become a few labels and an issue."""
    recent = NOON - timedelta(hours=1)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    events = {
        "playback": [
            play("u", recent, country=a + b, device=f"device-{a}{b}") for a in letters for b in letters + "0123456789é"
        ],
        "payment": [payment(recent, "charge", 1, f"{a}{b}X") for a in letters for b in letters],
    }
    collection = collect(TenantBusinessMetricsCollector, tmp_path, [events], NOON)
    assert [issue.code for issue in collection.issues] == ["too_many_currencies"]
    assert len(collection.samples) < 300
    found = values(collection)
    assert sum(value for key, value in found.items() if key[0] == "country_share") == pytest.approx(1)
    assert found["device_share", "other"] == 1


def test_without_any_events_counts_are_zero_and_ratios_are_undefined_with_a_reason(tmp_path) -> None:
    collection: Collection = collect(TenantBusinessMetricsCollector, tmp_path, [], NOON, quotas=QUOTAS)
    undefined = {"trial_conversion", "top_track_share", "track_concentration", "country_share", "device_share",
                 "track_gini", "top_artist_share", "artist_concentration", "artist_gini", "growth", "usual_hour",
                 "anomaly_score"}  # fmt: skip
    for key, value in values(collection).items():
        assert value == (None if key[0] in undefined else 0), key


def test_quotas_are_reported_only_where_configured(tmp_path) -> None:
    events = {"playback": [play("u", NOON - timedelta(hours=1)), play("v", NOON - timedelta(days=30, hours=13))]}
    assert not any(key[0] == "quota_use" for key in one(tmp_path, events))
    found = one(tmp_path, events, quotas={"active_users": 4})
    assert found["quota_use", "active_users"] == 0.25, "the other listener was there in February"


@pytest.mark.parametrize("quotas", [{"plays": 0}, {"plays": -1}, {"songs": 1}])
def test_an_impossible_quota_is_a_configuration_error(quotas: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        TenantBusinessMetricsConfig(quotas=quotas)


def test_its_queries_are_portable() -> None:
    collector = TenantBusinessMetricsCollector(context=CollectorContext(tenant=TenantInfo("a", BERLIN)))
    assert portable(collector, instant(2026, 3, 29, 12))
