"""The tenant's business figures recomputed with loops and exact integers, and what they are recomputed from."""

from __future__ import annotations

import random
import statistics
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from tests.support.analytical import collect, values
from tests.support.lake_files import instant

from collectors.catalog.business.tenant_business_metrics import DEVICES, TenantBusinessMetricsCollector

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
    currencies = {p["currency"] for p in paid if p["kind"] in SIGN and age(p) <= 60}
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

    for period, days in (("week", 7), ("month", 30)):
        pairs: dict[str, list[float]] = defaultdict(list)
        for first, last in ((1, days), (days + 1, 2 * days)):
            then = [p for p in plays if first <= age(p) <= last]
            active = {user for user, ages in heard.items() if any(first <= a <= last for a in ages)}
            pairs["active_users"].append(len(active))
            pairs["new_users"].append(sum(first <= max(heard[user]) <= last for user in active))
            pairs["plays"].append(len(then))
            pairs["streams"].append(sum(p["ms_played"] >= 30_000 for p in then))
            pairs["listening_hours"].append(sum(p["ms_played"] for p in then))
            for c in currencies:
                money = [p for p in paid if first <= age(p) <= last and p["currency"] == c]
                pairs[c].append(sum(SIGN.get(p["kind"], 0) * p["amount_minor"] for p in money))
        for figure, (now, before) in pairs.items():
            key = ("revenue_growth", period, figure) if figure in currencies else ("growth", figure, period)
            result[key] = float(Fraction(now - before, before)) if before > 0 else None

    result |= seasons(plays, paid, end, tz)

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
    for item in ("track", "artist"):
        known = [p[f"{item}_id"] for p in recent if p.get(f"{item}_id") is not None]
        of_item = sorted(Counter(known).values(), reverse=True)
        m, k = len(known), len(of_item)
        result[f"top_{item}_share", "1%"] = sum(of_item[: -(-k // 100)]) / m if m else None
        result[f"top_{item}_share", "10"] = sum(of_item[:10]) / m if m else None
        result[f"{item}_concentration",] = float(sum(Fraction(c, m) ** 2 for c in of_item)) if m else None
        apart = sum(abs(a - b) for a in of_item for b in of_item)
        result[f"{item}_gini",] = apart / (2 * k * m) if m else None
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


def seasons(plays: list[dict], paid: list[dict], end: datetime, tz: ZoneInfo) -> dict:
    """Look at the whole hour before ``end``, and at what the clock showed the same in the eight weeks before."""
    start = end - timedelta(hours=1)
    start -= timedelta(minutes=start.minute, seconds=start.second)  # the zones of these tests are whole hours off

    def counts(hour: datetime) -> dict[str, int]:
        def within(events: list[dict]) -> list[dict]:
            return [e for e in events if hour <= e["event_time"] < hour + timedelta(hours=1)]

        heard = within(plays)
        return {
            "plays": len(heard),
            "streams": sum(p["ms_played"] >= 30_000 for p in heard),
            "active_users": len({p["user_id"] for p in heard if p["ms_played"] and p["user_id"] is not None}),
            "charges": sum(p["kind"] == "charge" for p in within(paid)),
        }

    local = start.astimezone(tz)
    earlier = [counts((local - timedelta(weeks=k)).astimezone(UTC)) for k in range(8, 0, -1)]
    result: dict[tuple[str, ...], float | None] = {}
    for figure, count in counts(start).items():
        known = [week[figure] for week in earlier]
        while known and not known[0]:
            del known[0]
        result["last_hour", figure] = count
        result["usual_hour", figure] = result["anomaly_score", figure] = None
        if len(known) >= 4:
            usual = statistics.median(known)
            mad = statistics.median(abs(week - usual) for week in known)
            result["usual_hour", figure] = float(usual)
            result["anomaly_score", figure] = (count - usual) / max(mad / 0.6745, max(usual, 1) ** 0.5)
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
            artist_id=rng.choice([None, f"artist-{int(40 * rng.random() ** 2)}"]),
            country=rng.choice([None, "se", "Ä", *pairs]),
            device=rng.choice([None, "phone", "tv", "toaster"]),
        )
        for _play in range(1500)
    ]
    payments = [
        payment(
            when(65, 1),
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
    weekly = [timedelta(weeks=rng.randrange(7), minutes=rng.randrange(60)) for _ in range(300)]
    plays += [play(f"u{n % 20}", end - timedelta(minutes=45) - ago, 45_000) for n, ago in enumerate(weekly)]
    payments += [payment(end - timedelta(minutes=10) - ago, "charge", 5) for ago in weekly[:60]]
    return {"playback": plays, "payment": payments, "subscription": actions}


def one(tmp_path, events: dict[str, list[dict]], end: datetime = NOON, **more: object) -> dict:
    return values(collect(TenantBusinessMetricsCollector, tmp_path, [events], end, **more))
