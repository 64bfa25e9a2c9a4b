"""The tenant's business figures against a plain recomputation with loops and exact integers."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.support.analytical import check_declaration, collect, portable, values
from tests.support.lake_files import instant

from collectors.catalog.business.tenant_business_metrics import (
    DEVICES,
    TenantBusinessMetricsCollector,
    TenantBusinessMetricsConfig,
)
from collectors.contract.collector import CollectorContext
from collectors.model.metric import Collection
from collectors.model.status import TenantInfo

BERLIN = "Europe/Berlin"
PERIODS = {"day": 1, "week": 7, "month": 30}
SIGN = {"charge": 1, "chargeback_reversal": 1, "refund": -1, "chargeback": -1}
QUOTAS = {"active_users": 50.0, "plays": 1000.0, "streams": 3.0, "listening_hours": 12.5}
NOON = instant(2026, 3, 31, 12)


def play(user: str | None, when: datetime, ms: int = 60_000, track: str = "t", **more: object) -> dict[str, object]:
    who = {"tenant_id": "a", "user_id": user and user.encode()}
    return {**who, "event_time": when, "track_id": track, "ms_played": ms, **more}


def payment(when: datetime, kind: str, amount: int, currency: str = "EUR", **more: object) -> dict[str, object]:
    what = {"payment_id": "p", "kind": kind, "amount_minor": amount, "currency": currency}
    return {"tenant_id": "a", "customer_id": b"c", "event_time": when, **what, **more}


def action(who: str, when: datetime, what: str, **more: object) -> dict[str, object]:
    which = {"tenant_id": "a", "subscription_id": "s", "customer_id": who.encode()}
    return {**which, "event_time": when, "action": what, **more}


def oracle(events: dict[str, list[dict]], end: datetime, zone: str) -> dict[tuple[str, ...], float | None]:
    """Recompute every metric with loops, dictionaries, sets and fractions."""
    tz = ZoneInfo(zone)
    today = (end - timedelta(microseconds=1)).astimezone(tz).date()

    def age(event: dict) -> int:
        return (today - event["event_time"].astimezone(tz).date()).days

    plays = [p for p in events.get("playback", []) if p["event_time"] < end]
    paid = [p for p in events.get("payment", []) if p["event_time"] < end and p.get("status") in (None, "succeeded")]
    heard: dict[bytes, set[int]] = defaultdict(set)
    for p in plays:
        if p["user_id"] is not None and p["ms_played"] > 0:
            heard[p["user_id"]].add(age(p))
    result: dict[tuple[str, ...], float | None] = {}
    currencies = {p["currency"] for p in paid if p["kind"] in SIGN and age(p) < 30}
    for period, days in [*PERIODS.items(), ("to_date", today.day)]:
        of_period = [p for p in plays if age(p) < days]
        active = {user for user, ages in heard.items() if min(ages) < days}
        new = {user for user in active if max(heard[user]) < days}
        streams = sum(p["ms_played"] >= 30_000 for p in of_period)
        hours = sum(p["ms_played"] for p in of_period) / 3_600_000
        if period == "to_date":
            for quota, used in zip(QUOTAS, (len(active), len(of_period), streams, hours), strict=True):
                result["quota_use", quota] = used / QUOTAS[quota]
            continue
        result["active_users", period] = len(active)
        result["new_users", period] = len(new)
        result["returning_users", period] = len(active - new)
        result["plays", period] = len(of_period)
        result["streams", period] = streams
        result["listening_hours", period] = hours
        money = [p for p in paid if age(p) < days]
        charges = [p for p in money if p["kind"] == "charge" and p["amount_minor"] > 0]
        result["paying_customers", period] = len({p["customer_id"] for p in charges})
        for currency in currencies:
            result["revenue", period, currency] = sum(
                SIGN.get(p["kind"], 0) * p["amount_minor"] for p in money if p["currency"] == currency
            )

    month = timedelta(days=30)
    actions = [
        (s["customer_id"], s.get("effective_time") or s["event_time"], s)
        for s in events.get("subscription", [])
        if s["event_time"] < end
    ]
    trials: dict[bytes, datetime] = {}
    for who, when, s in actions:
        if s["action"] == "trial" and end - 2 * month <= when < end - month:
            trials[who] = min(when, trials.get(who, when))
    converted = {
        who
        for who, when, s in actions
        if who in trials
        and s["action"] in ("start", "renew", "reactivate")
        and trials[who] <= when <= trials[who] + month
        if s.get("amount_minor") is None or s["amount_minor"] > (s.get("discount_minor") or 0)
    }
    result["trials",] = len(trials)
    result["trial_conversion",] = len(converted) / len(trials) if trials else None

    recent = [p for p in plays if p["event_time"] >= end - timedelta(days=1) and p["ms_played"] >= 30_000]
    n = len(recent)
    per_track = sorted(Counter(p["track_id"] for p in recent).values(), reverse=True)
    result["top_track_share", "1%"] = sum(per_track[: -(-len(per_track) // 100)]) / n if n else None
    result["top_track_share", "10"] = sum(per_track[:10]) / n if n else None
    result["track_concentration",] = float(sum(Fraction(c, n) ** 2 for c in per_track)) if n else None
    by_country = Counter(country(p.get("country")) for p in recent)
    named = sorted((c for c in by_country if c not in ("other", "unknown")), key=lambda c: (-by_country[c], c))
    by_country["other"] += sum(by_country[c] for c in named[20:])
    for name in [*named[:20], "other", "unknown"]:
        result["country_share", name] = by_country[name] / n if n else None
    by_device = Counter(
        "unknown" if p.get("device") is None else p["device"] if p["device"] in DEVICES else "other" for p in recent
    )
    for name in [*DEVICES, "other", "unknown"]:
        result["device_share", name] = by_device[name] / n if n else None
    return result


def country(code: str | None) -> str:
    if code is None:
        return "unknown"
    return code if len(code) == 2 and all("A" <= letter <= "Z" for letter in code) else "other"


def assert_equal(found: dict, expected: dict) -> None:
    assert set(found) == set(expected)
    for key, value in expected.items():
        if isinstance(value, int):
            assert found[key] == value, key
            assert isinstance(found[key], int), key
        else:
            assert found[key] == (None if value is None else pytest.approx(value, rel=1e-9)), key


def business(seed: int, end: datetime) -> dict[str, list[dict]]:
    """Make up three months of plays, payments and subscriptions, some of them after ``end``."""
    rng = random.Random(seed)

    def when(days: float, skew: float = 2.0) -> datetime:
        return end - timedelta(days=days * rng.random() ** skew) + timedelta(minutes=3)

    pairs = [a + b for a in "ABCDEF" for b in "GHIJK"]
    plays = [
        play(
            None if rng.random() < 0.05 else f"u{int(60 * rng.random() ** 2)}",
            when(90, 3),
            rng.choice([0, 29_999, 30_000, rng.randrange(400_000)]),
            f"track-{int(300 * rng.random() ** 3)}",
            country=rng.choice([None, "se", "Ä", *pairs]),
            device=rng.choice([None, "phone", "tv", "toaster"]),
        )
        for _play in range(1500)
    ]
    payments = [
        payment(
            when(40, 1),
            rng.choice([*SIGN, "tax", "fee", "charge", "charge"]),
            rng.choice([0, 999, rng.randrange(10**15)]),
            rng.choice(["EUR", "JPY", "KWD"]),
            customer_id=f"c{rng.randrange(30)}".encode(),
            status=rng.choice([None, "succeeded", "failed", "pending"]),
        )
        for _payment in range(200)
    ]
    actions = [
        action(
            f"c{rng.randrange(80)}",
            made := when(80, 1),
            rng.choice(["trial", "start", "renew", "cancel", "reactivate", "change"]),
            amount_minor=rng.choice([None, 0, 999, 999]),
            discount_minor=rng.choice([None, 0, 999]),
            effective_time=rng.choice([None, made, made + timedelta(days=3)]),
        )
        for _action in range(400)
    ]
    return {"playback": plays, "payment": payments, "subscription": actions}


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
    assert values(in_parts) == pytest.approx(values(at_once), rel=1e-12)


def one(tmp_path, events: dict[str, list[dict]], end: datetime = NOON, **more: object) -> dict:
    return values(collect(TenantBusinessMetricsCollector, tmp_path, [events], end, **more))


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
    assert len(collection.samples) < 200
    found = values(collection)
    assert sum(value for key, value in found.items() if key[0] == "country_share") == pytest.approx(1)
    assert found["device_share", "other"] == 1


def test_without_any_events_counts_are_zero_and_ratios_are_undefined_with_a_reason(tmp_path) -> None:
    collection: Collection = collect(TenantBusinessMetricsCollector, tmp_path, [], NOON, quotas=QUOTAS)
    undefined = {"trial_conversion", "top_track_share", "track_concentration", "country_share", "device_share"}
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
