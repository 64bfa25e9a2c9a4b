"""User engagement recomputed with loops, dictionaries and sets, and what it is recomputed from."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from tests.support.analytical import collect, values
from tests.support.lake_files import instant

from collectors.catalog.business.user_engagement import UserEngagementCollector

BERLIN = "Europe/Berlin"
HALF_HOUR = timedelta(minutes=30)
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
FUNNELS = {
    "found": {
        "steps": [
            {"event": "app_event", "where": {"name": "Search"}},
            {"event": "playback"},
            {"event": "playback", "at_least": {"ms_played": 30_000}},
        ],
        "window_hours": 36,
        "days": 40,
    },
    "paid": {
        "steps": [{"event": "playback"}, {"event": "subscription", "where": {"action": "start"}}],
        "window_hours": 200,
        "days": 60,
    },
}


def play(user: str | None, when: datetime, ms: int = 60_000, **more: object) -> dict[str, object]:
    who = {"tenant_id": "a", "user_id": user and user.encode()}
    return {**who, "event_time": when, "track_id": "t", "ms_played": ms, **more}


def use(user: str | None, when: datetime, name: str = "Search") -> dict[str, object]:
    return {"tenant_id": "a", "user_id": user and user.encode(), "event_time": when, "name": name}


def contract(customer: str, when: datetime, action: str, user: str | None = None) -> dict[str, object]:
    who = {"tenant_id": "a", "customer_id": customer.encode(), "user_id": user and user.encode()}
    return {**who, "event_time": when, "subscription_id": "s", "action": action}


def share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def oracle(
    plays: list[dict], end: datetime, zone: str, hours: int = 24, uses: list[dict] = (), contracts: list[dict] = ()
) -> dict[tuple[str, ...], float | None]:
    """Recompute every metric with loops, dictionaries and sets; funnels only where there are contracts."""
    tz = ZoneInfo(zone)
    today = (end - timedelta(microseconds=1)).astimezone(tz).date()
    seen = [p for p in plays if p["event_time"] < end]
    days: dict[bytes, set[int]] = defaultdict(set)  # ages of the active days, today being 0
    for p in seen:
        if p["user_id"] is not None and p["ms_played"] > 0:
            days[p["user_id"]].add((today - p["event_time"].astimezone(tz).date()).days)

    def active(first: int, last: int) -> set[bytes]:
        return {user for user, ages in days.items() if any(first <= age <= last for age in ages)}

    result: dict[tuple[str, ...], float | None] = {
        ("active_users", "day"): len(active(0, 0)),
        ("active_users", "week"): len(active(0, 6)),
        ("active_users", "28_days"): len(active(0, 27)),
        ("active_users", "month"): len(active(0, 29)),
        ("stickiness",): len(active(1, 1)) / len(active(1, 30)) if active(1, 30) else None,
    }
    for n, name in ((7, "l7"), (28, "l28")):
        per_user = [len([age for age in ages if 1 <= age <= n]) for ages in days.values()]
        result |= {(name, str(k)): per_user.count(k) for k in range(1, n + 1)}
        if n == 28:
            some = [k for k in per_user if k]
            result["stickiness_l28",] = sum(some) / len(some) / 28 if some else None
    per_user = [len([age for age in ages if 1 <= age <= 30]) for ages in days.values()]
    result |= {("power_user_curve", str(k)): share(per_user.count(k), len(active(1, 30))) for k in range(1, 31)}
    for period, n in (("day", 1), ("week", 7), ("28_days", 28), ("month", 30)):
        heard = [p for p in seen if (today - p["event_time"].astimezone(tz).date()).days < n]
        known = sum(p["ms_played"] for p in heard if p["user_id"] is not None)
        result["listening_hours", period] = sum(p["ms_played"] for p in heard) / 3_600_000
        result["listening_hours_per_user", period] = share(known / 3_600_000, len(active(0, n - 1)))
    for period, n in (("week", 7), ("month", 30)):
        now, then = active(1, n), active(n + 1, 2 * n)
        before = active(2 * n + 1, 10_000)
        result["growth_users", period, "new"] = len(now - then - before)
        result["growth_users", period, "retained"] = len(now & then)
        result["growth_users", period, "resurrected"] = len((now & before) - then)
        result["growth_users", period, "dormant"] = len(then - now)
        result["growth_quick_ratio", period] = share(len(now - then), len(then - now))
    firsts = {user: max(ages) for user, ages in days.items()}
    for n in (1, 3, 7, 14, 30):
        cohort = [user for user, first in firsts.items() if 1 + n <= first <= n + 28]
        on_day = [user for user in cohort if firsts[user] - n in days[user]]
        later = [user for user in cohort if any(1 <= age <= firsts[user] - n for age in days[user])]
        result["retention", "n_day", str(n)] = len(on_day) / len(cohort) if cohort else None
        result["retention", "unbounded", str(n)] = len(later) / len(cohort) if cohort else None
    for ago in range(1, 8):
        cohort = [user for user, first in firsts.items() if 1 + 7 * ago <= first <= 7 + 7 * ago]
        for week in range(1, 8):
            block = ago - week
            there = [user for user in cohort if any(1 + 7 * block <= age <= 7 + 7 * block for age in days[user])]
            defined = cohort and week <= ago
            result["weekly_retention", str(ago), str(week)] = len(there) / len(cohort) if defined else None
            later = [user for user in cohort if any(1 <= age <= 7 + 7 * block for age in days[user])]
            result["weekly_retention_unbounded", str(ago), str(week)] = len(later) / len(cohort) if defined else None

    lengths, listeners = [], set()
    by_user: dict[bytes, list[tuple[datetime, datetime]]] = defaultdict(list)
    for p in seen:
        if p["user_id"] is not None:
            by_user[p["user_id"]].append((p["event_time"], p["event_time"] + timedelta(milliseconds=p["ms_played"])))
    for user, spans in by_user.items():
        spans.sort()
        sessions = [list(spans[0])]
        for start, stop in spans[1:]:
            if start - sessions[-1][1] > HALF_HOUR:
                sessions.append([start, stop])
            else:
                sessions[-1][1] = max(sessions[-1][1], stop)
        recent = [s for s in sessions if s[0] >= end - timedelta(hours=hours)]
        lengths += [(stop - start).total_seconds() for start, stop in recent]
        listeners |= {user} if recent else set()
    result["sessions",] = len(lengths)
    result["sessions_per_user",] = len(lengths) / len(listeners) if lengths else None
    result["session_duration",] = sum(lengths) / len(lengths) if lengths else None
    for q in QUANTILES:
        result["session_length", f"{q:g}"] = float(np.quantile(lengths, q)) if lengths else None

    recent_plays = [p for p in seen if p["event_time"] >= end - timedelta(hours=hours)]
    known = [p for p in recent_plays if p.get("skipped") is not None]
    result["skip_rate",] = share(sum(p["skipped"] for p in known), len(known))
    for s in (5, 10, 30, 60, 120):
        soon = [p for p in known if p["skipped"] and p["ms_played"] < 1000 * s]
        result["skip_curve", str(s)] = share(len(soon), len(known))
    streams = [p for p in recent_plays if p["ms_played"] >= 30_000]
    result["stream_rate",] = len(streams) / len(recent_plays) if recent_plays else None
    parts = [min(p["ms_played"] / p["track_ms"], 1) for p in recent_plays if p.get("track_ms")]
    for q in QUANTILES:
        result["completion", f"{q:g}"] = float(np.quantile(parts, q)) if parts else None
    for percent in range(10, 101, 10):
        tracks = [p for p in recent_plays if p.get("track_ms")]
        reached = [p for p in tracks if 100 * p["ms_played"] >= percent * p["track_ms"]]
        result["completion_curve", str(percent)] = share(len(reached), len(tracks))

    adopters: dict[str, set[bytes]] = defaultdict(set)
    for u in uses:
        age = (today - u["event_time"].astimezone(tz).date()).days
        if 1 <= age <= 28 and u["user_id"] in active(1, 28):
            adopters[u["name"]].add(u["user_id"])
    for name, users in adopters.items():
        result["feature_users", name] = len(users)
        result["feature_adoption", name] = len(users) / len(active(1, 28))
    if contracts:
        result |= funnels(seen, uses, contracts, end)
    return result


def funnels(plays: list[dict], uses: list[dict], contracts: list[dict], end: datetime) -> dict:
    """Try every beginning of every person, and go on as early as possible."""
    result: dict[tuple[str, ...], float | None] = {}
    searches = [u for u in uses if u["name"] == "Search"]
    starts = [{**c, "user_id": c["user_id"] or c["customer_id"]} for c in contracts if c["action"] == "start"]
    streams = [p for p in plays if p["ms_played"] >= 30_000]
    for name, steps in (("found", [searches, plays, streams]), ("paid", [plays, starts])):
        window = timedelta(hours=FUNNELS[name]["window_hours"])
        entered = end - window - timedelta(days=FUNNELS[name]["days"])
        times: list[dict[bytes, list[datetime]]] = []
        for step in steps:
            times.append(defaultdict(list))
            for event in step:
                if event["user_id"] is not None and event["event_time"] < end:
                    times[-1][event["user_id"]].append(event["event_time"])
        furthest: dict[bytes, int] = {}
        for person, begins in times[0].items():
            for begin in begins:
                if not entered <= begin < end - window:
                    continue
                at, reached = begin, 1
                for step in times[1:]:
                    at = min((t for t in step[person] if at < t <= begin + window), default=None)
                    if at is None:
                        break
                    reached += 1
                furthest[person] = max(reached, furthest.get(person, 0))
        for number in range(1, len(steps) + 1):
            users = sum(reached >= number for reached in furthest.values())
            result["funnel_users", name, str(number)] = users
            result["funnel_conversion", name, str(number)] = share(users, len(furthest))
    return result


def assert_equal(found: dict, expected: dict) -> None:
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert found[key] == (None if value is None else pytest.approx(value, rel=1e-9)), key


def history(seed: int, end: datetime, users: int = 60, plays: int = 1500) -> list[dict]:
    """Make up plays of listeners who came at different times, of different habits; some after ``end`` or nameless."""
    rng = random.Random(seed)
    habits = [rng.random() ** 2 for _user in range(users)]
    came = [100 * rng.random() ** 1.5 for _user in range(users)]  # days before the end
    made = []
    for _play in range(plays):
        user = rng.choices(range(users), weights=habits)[0]
        age = timedelta(days=came[user] * rng.random() ** 1.3) - timedelta(minutes=3)
        made.append(
            play(
                None if rng.random() < 0.03 else f"u{user}",
                end - timedelta(milliseconds=age // timedelta(milliseconds=1)),
                rng.choice([0, rng.randrange(40_000), rng.randrange(600_000), 30_000]),
                track_ms=rng.choice([None, 0, 180_000, 240_000]),
                skipped=rng.choice([None, True, False]),
            )
        )
    return made


def around(seed: int, end: datetime, users: int = 60) -> tuple[list[dict], list[dict]]:
    """Make up what else the listeners of ``history`` do: use features, and sign contracts."""
    rng = random.Random(seed)

    def when() -> datetime:
        return end - timedelta(milliseconds=int(90 * 86_400_000 * rng.random() ** 2) - 60_000)

    names = ["Search", "Like", "Share", "Lyrics"]
    uses = [
        use(None if rng.random() < 0.03 else f"u{rng.randrange(users + 9)}", when(), rng.choice(names))
        for _use in range(500)
    ]
    people = [f"u{rng.randrange(users)}" for _contract in range(120)]
    return uses, [
        contract(who, when(), rng.choice(["start", "cancel"]), rng.choice([None, f"u{rng.randrange(users)}"]))
        for who in people
    ]


NOON = instant(2026, 3, 31, 12)


def one(tmp_path, events: dict[str, list[dict]], end: datetime = NOON, zone: str = "UTC", **config: object) -> dict:
    return values(collect(UserEngagementCollector, tmp_path, [events], end, zone=zone, **config))
