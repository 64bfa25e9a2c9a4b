"""User engagement against a plain recomputation, listener by listener, and against identities that must hold."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.analytical import check_declaration, collect, portable, values
from tests.support.lake_files import instant

from collectors.catalog.business.user_engagement import UserEngagementCollector
from collectors.contract.collector import CollectorContext
from collectors.model.status import TenantInfo

BERLIN = "Europe/Berlin"
HALF_HOUR = timedelta(minutes=30)


def play(user: str | None, when: datetime, ms: int = 60_000, **more: object) -> dict[str, object]:
    who = {"tenant_id": "a", "user_id": user and user.encode()}
    return {**who, "event_time": when, "track_id": "t", "ms_played": ms, **more}


def oracle(plays: list[dict], end: datetime, zone: str, hours: int = 24) -> dict[tuple[str, ...], float | None]:
    """Recompute every metric with loops, dictionaries and sets."""
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
        ("active_users", "month"): len(active(0, 29)),
        ("stickiness",): len(active(1, 1)) / len(active(1, 30)) if active(1, 30) else None,
    }
    for n, name in ((7, "l7"), (28, "l28")):
        per_user = [len([age for age in ages if 1 <= age <= n]) for ages in days.values()]
        result |= {(name, str(k)): per_user.count(k) for k in range(1, n + 1)}
        if n == 28:
            some = [k for k in per_user if k]
            result["stickiness_l28",] = sum(some) / len(some) / 28 if some else None
    for period, n in (("week", 7), ("month", 30)):
        now, then = active(1, n), active(n + 1, 2 * n)
        before = active(2 * n + 1, 10_000)
        result["growth_users", period, "new"] = len(now - then - before)
        result["growth_users", period, "retained"] = len(now & then)
        result["growth_users", period, "resurrected"] = len((now & before) - then)
        result["growth_users", period, "dormant"] = len(then - now)
    firsts = {user: max(ages) for user, ages in days.items()}
    for n in (1, 7, 30):
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

    recent_plays = [p for p in seen if p["event_time"] >= end - timedelta(hours=hours)]
    known = [p["skipped"] for p in recent_plays if p.get("skipped") is not None]
    result["skip_rate",] = sum(known) / len(known) if known else None
    streams = [p for p in recent_plays if p["ms_played"] >= 30_000]
    result["stream_rate",] = len(streams) / len(recent_plays) if recent_plays else None
    parts = [min(p["ms_played"] / p["track_ms"], 1) for p in recent_plays if p.get("track_ms")]
    for q in (0.1, 0.25, 0.5, 0.75, 0.9):
        result["completion", f"{q:g}"] = float(np.quantile(parts, q)) if parts else None
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


@pytest.mark.parametrize(
    ("zone", "end"),
    [
        ("UTC", instant(2026, 3, 31, 14, 5)),
        (BERLIN, instant(2026, 3, 29, 22)),  # midnight after the 23-hour day
        (BERLIN, instant(2026, 10, 25, 12)),  # within the 25-hour day
        ("America/New_York", instant(2026, 11, 2, 4, 59)),
        ("Asia/Kolkata", instant(2026, 6, 1, 18, 30)),
    ],
)
def test_every_metric_equals_the_plain_recomputation(tmp_path, zone: str, end: datetime) -> None:
    plays = history(7, end)
    stranger = [{**p, "tenant_id": "b", "user_id": b"x"} for p in history(8, end)]
    collection = collect(UserEngagementCollector, tmp_path, [{"playback": plays + stranger}], end, zone=zone)
    check_declaration(UserEngagementCollector, collection)
    assert_equal(values(collection), oracle(plays, end, zone))


SMALL = st.lists(
    st.tuples(
        st.sampled_from(["u", "v", "w", None]),
        st.integers(-60 * 24, 60 * 24 * 70),  # minutes before the end
        st.sampled_from([0, 1, 29_999, 30_000, 1_800_000, 5_400_000]),
        st.sampled_from([None, True, False]),
        st.sampled_from([None, 0, 60_000, 5_400_000]),
    ),
    max_size=12,
)


@settings(max_examples=40)
@given(SMALL, st.sampled_from([instant(2026, 3, 30, 1), instant(2026, 10, 25, 22)]))
def test_small_histories_equal_the_plain_recomputation(tmp_path_factory, plays, end: datetime) -> None:
    records = [
        play(user, end - timedelta(minutes=minutes), ms, skipped=skipped, track_ms=track_ms)
        for user, minutes, ms, skipped, track_ms in plays
    ]
    found = collect(UserEngagementCollector, tmp_path_factory.mktemp("l"), [{"playback": records}], end, zone=BERLIN)
    assert_equal(values(found), oracle(records, end, BERLIN))


def test_order_and_batching_of_events_do_not_matter(tmp_path) -> None:
    end = instant(2026, 3, 31, 14)
    plays = history(3, end, plays=600)
    shuffled = random.Random(1).sample(plays, len(plays))
    parts = [{"playback": shuffled[:50]}, {"playback": shuffled[50:400]}, {"playback": shuffled[400:]}]
    at_once = collect(UserEngagementCollector, tmp_path / "one", [{"playback": plays}], end)
    in_parts = collect(UserEngagementCollector, tmp_path / "three", parts, end)
    assert_equal(values(in_parts), values(at_once))


def test_a_late_event_restates_the_day_it_belongs_to(tmp_path) -> None:
    end = instant(2026, 3, 31, 14)
    on_time = [{"playback": [play("u", end - timedelta(days=1))]}]
    late = [*on_time, {"playback": [play("v", end - timedelta(days=1))]}]
    before = values(collect(UserEngagementCollector, tmp_path / "before", on_time, end))
    after = values(collect(UserEngagementCollector, tmp_path / "after", late, end))
    assert (before["active_users", "week"], after["active_users", "week"]) == (1, 2)


def test_both_forms_of_stickiness_agree_with_their_definition(tmp_path) -> None:
    """mean(L28) / 28 is the mean of the daily over the 28-day active users, both from complete days."""
    end = instant(2026, 3, 31)
    plays = history(11, end)
    found = values(collect(UserEngagementCollector, tmp_path, [{"playback": plays}], end))
    l28 = {days: found["l28", str(days)] for days in range(1, 29)}
    yesterday = date(2026, 3, 29)  # the window ends with the 30th: that is today, the day before is complete
    per_day = [
        len({p["user_id"] for p in plays if p["user_id"] and p["ms_played"] and p["event_time"].date() == day})
        for day in (yesterday - timedelta(days=n) for n in range(28))
    ]
    assert found["stickiness_l28",] == pytest.approx(sum(per_day) / 28 / sum(l28.values()), rel=1e-12)


def test_a_session_goes_on_over_midnight_and_long_plays(tmp_path) -> None:
    """The gap counts from the latest end: a long play bridges what follows its short successor."""
    midnight = datetime(2026, 3, 31, tzinfo=UTC)
    plays = [
        play("u", midnight - timedelta(minutes=20), 7_200_000),  # until 1:40
        play("u", midnight - timedelta(minutes=10), 60_000),
        play("u", midnight + timedelta(minutes=130), 60_000),  # 30 minutes after the end: still the same session
        play("u", midnight + timedelta(minutes=161, milliseconds=1), 60_000),  # 30 minutes and 1 ms after 2:11
    ]
    found = values(collect(UserEngagementCollector, tmp_path, [{"playback": plays}], midnight + timedelta(hours=6)))
    assert found["sessions",] == 2
    assert found["session_duration",] == pytest.approx((151 * 60 + 60) / 2)


def test_a_session_that_began_before_the_recent_hours_is_not_counted(tmp_path) -> None:
    end = datetime(2026, 3, 31, 12, tzinfo=UTC)
    edge = end - timedelta(hours=1)
    plays = [
        play("u", edge - timedelta(hours=23, minutes=40), 23 * 3_600_000),  # ends 40 minutes before the edge
        play("v", edge - timedelta(hours=23, minutes=20), 23 * 3_600_000),  # ends 20 minutes before the edge
        play("u", edge, 1000),
        play("v", edge, 1000),
    ]
    found = values(collect(UserEngagementCollector, tmp_path, [{"playback": plays}], end, recent_hours=1))
    assert found["sessions",] == 1


def test_without_any_events_counts_are_zero_and_ratios_are_undefined_with_a_reason(tmp_path) -> None:
    collection = collect(UserEngagementCollector, tmp_path, [], instant(2026, 3, 31))
    check_declaration(UserEngagementCollector, collection)
    ratios = {"stickiness", "stickiness_l28", "retention", "weekly_retention", "sessions_per_user", "session_duration",
              "skip_rate", "stream_rate", "completion"}  # fmt: skip
    for key, value in values(collection).items():
        assert value == (None if key[0] in ratios else 0), key


def test_its_queries_are_portable() -> None:
    collector = UserEngagementCollector(context=CollectorContext(tenant=TenantInfo("a", BERLIN)))
    assert portable(collector, instant(2026, 3, 29, 12))
