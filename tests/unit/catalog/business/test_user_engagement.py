"""User engagement against a plain recomputation, listener by listener, and against identities that must hold."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from engagement_support import (
    BERLIN,
    FUNNELS,
    NOON,
    around,
    assert_equal,
    history,
    one,
    oracle,
    play,
    use,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.analytical import check_declaration, collect, portable, values
from tests.support.lake_files import instant

from collectors.catalog.business.engagement.config import UserEngagementConfig
from collectors.catalog.business.user_engagement import UserEngagementCollector
from collectors.contract.collector import CollectorContext
from collectors.model.status import TenantInfo


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
    uses, contracts = around(7, end)
    stranger = [{**p, "tenant_id": "b", "user_id": b"x"} for p in history(8, end)]
    strange_uses = [use("x", p["event_time"]) | {"tenant_id": "b"} for p in stranger[:200]]
    events = {"playback": plays + stranger, "app_event": uses + strange_uses, "subscription": contracts}
    collection = collect(UserEngagementCollector, tmp_path, [events], end, zone=zone, funnels=FUNNELS)
    check_declaration(UserEngagementCollector, collection)
    expected = oracle(plays, end, zone, uses=uses, contracts=contracts)
    assert_equal(values(collection), expected)
    assert 0 < expected["funnel_users", "found", "3"] < expected["funnel_users", "found", "1"]
    assert 0 < expected["funnel_users", "paid", "2"] < expected["funnel_users", "paid", "1"]


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


@settings(max_examples=20)
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
    uses, contracts = around(3, end)
    events = {"playback": history(3, end, plays=600), "app_event": uses, "subscription": contracts}
    rng = random.Random(1)
    parts: list[dict[str, list[dict]]] = [defaultdict(list) for _part in range(3)]
    for name, records in events.items():
        for record in rng.sample(records, len(records)):
            rng.choice(parts)[name].append(record)
    at_once = collect(UserEngagementCollector, tmp_path / "one", [events], end, funnels=FUNNELS)
    in_parts = collect(UserEngagementCollector, tmp_path / "three", parts, end, funnels=FUNNELS)
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
    collection = collect(UserEngagementCollector, tmp_path, [], instant(2026, 3, 31), funnels=FUNNELS)
    ratios = {"stickiness", "stickiness_l28", "retention", "weekly_retention", "sessions_per_user", "session_duration",
              "skip_rate", "stream_rate", "completion", "power_user_curve", "growth_quick_ratio", "completion_curve",
              "weekly_retention_unbounded", "listening_hours_per_user", "session_length", "skip_curve",
              "funnel_conversion"}  # fmt: skip
    for key, value in values(collection).items():
        assert value == (None if key[0] in ratios else 0), key


def test_its_queries_are_portable() -> None:
    context = CollectorContext(tenant=TenantInfo("a", BERLIN))
    collector = UserEngagementCollector(UserEngagementConfig(funnels=FUNNELS, features=("Search",)), context)
    assert portable(collector, instant(2026, 3, 29, 12))


@pytest.mark.parametrize(
    ("short", "zone", "hours"),
    [
        (date(2026, 3, 29), BERLIN, 23),
        (date(2026, 10, 25), BERLIN, 25),
        (date(2026, 3, 8), "America/New_York", 23),
        (date(2026, 4, 5), "Australia/Lord_Howe", 24.5),
    ],
)
def test_a_day_is_as_long_as_the_tenants_clock_makes_it(tmp_path, short: date, zone: str, hours: float) -> None:
    """Plays a minute after one midnight and before the next are of that day; those around them are not."""
    midnight = datetime(short.year, short.month, short.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    following = midnight + timedelta(hours=hours)
    minute = timedelta(minutes=1)
    edges = {
        "before": midnight - minute, "first": midnight, "last": following - minute, "after": following,
    }  # fmt: skip
    plays = [play(who, when) for who, when in edges.items()]
    at_its_end = one(tmp_path / "a", {"playback": plays}, following, zone)
    assert at_its_end["active_users", "day"] == 2
    assert at_its_end["active_users", "week"] == 3
    a_minute_later = one(tmp_path / "b", {"playback": plays}, following + minute, zone)
    assert a_minute_later["active_users", "day"] == 1
    assert a_minute_later["stickiness",] == 2 / 3, "the day that is complete now had two of three listeners"


def test_growth_accounting_adds_up_from_week_to_week(tmp_path) -> None:
    """Those of the week before are retained or dormant now; those of this one are retained, new or resurrected."""
    plays = history(21, NOON)
    found = one(tmp_path / "now", {"playback": plays})
    a_week_ago = one(tmp_path / "before", {"playback": plays}, NOON - timedelta(weeks=1))
    week = {state: found["growth_users", "week", state] for state in ("new", "retained", "resurrected", "dormant")}
    assert min(week.values()) > 0
    active, before = (sum(told["l7", str(days)] for days in range(1, 8)) for told in (found, a_week_ago))
    assert before + week["new"] + week["resurrected"] - week["dormant"] == active
    assert week["retained"] + week["dormant"] == before


@pytest.mark.parametrize("gap_minutes", [1, 30, 240])
def test_the_inactivity_that_ends_a_session_can_be_configured(tmp_path, gap_minutes: int) -> None:
    gap = timedelta(minutes=gap_minutes)
    end_of_first = NOON - timedelta(hours=10)
    plays = [
        play("u", end_of_first - timedelta(minutes=1), 60_000),
        play("u", end_of_first + gap, 60_000),  # not more than the gap: goes on
        play("u", end_of_first + 2 * gap + timedelta(minutes=1, milliseconds=1), 60_000),
    ]
    found = one(tmp_path, {"playback": plays}, inactivity_minutes=gap_minutes)
    assert found["sessions",] == 2
    assert found["session_length", "0.5"] == pytest.approx((gap.total_seconds() + 120 + 60) / 2)
