"""Hours that are unusual, growth, and concentration."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from tenant_support import (
    BERLIN,
    NOON,
    one,
    payment,
    play,
)
from tests.support.analytical import collect, values
from tests.support.lake_files import instant

from collectors.catalog.business.tenant_business_metrics import TenantBusinessMetricsCollector


def test_an_hour_far_from_the_usual_is_a_finding(tmp_path) -> None:
    """Ten plays in this hour of the last six weeks, a hundred now: 90 is far more than 3.5 times the root of ten."""
    hour = NOON - timedelta(minutes=30)
    weeks = [play(f"u{n}", hour - timedelta(weeks=week)) for week in range(1, 7) for n in range(10)]
    now = [play(f"u{n}", hour) for n in range(100)]
    other = [play("u", hour - timedelta(weeks=week, hours=2)) for week in range(1, 7) for _ in range(500)]
    collection = collect(TenantBusinessMetricsCollector, tmp_path, [{"playback": weeks + now + other}], NOON)
    found = values(collection)
    assert (found["last_hour", "plays"], found["usual_hour", "plays"]) == (100, 10)
    assert found["anomaly_score", "plays"] == pytest.approx(90 / 10**0.5)
    assert {(f.rule, f.key) for f in collection.findings} == {
        ("seasonal_anomaly", figure) for figure in ("plays", "streams", "active_users")
    }
    assert "100 plays in the last whole hour, where 10 are usual" in collection.findings[0].summary
    patient = collect(
        TenantBusinessMetricsCollector, tmp_path / "p", [{"playback": weeks + now}], NOON, anomaly_score=40
    )
    assert patient.findings == ()


def test_silence_at_a_busy_hour_is_a_finding_too(tmp_path) -> None:
    hour = NOON - timedelta(minutes=30)
    weeks = [play(f"u{n}", hour - timedelta(weeks=week)) for week in range(1, 7) for n in range(30)]
    collection = collect(TenantBusinessMetricsCollector, tmp_path, [{"playback": weeks}], NOON)
    assert values(collection)["anomaly_score", "plays"] == pytest.approx(-(30**0.5))
    assert "-5.5 robust standard deviations" in collection.findings[0].summary


def test_hours_are_compared_by_the_tenants_clock_across_the_change_to_summer_time(tmp_path) -> None:
    """At 18:30 UTC on 1 April it is 20:30 in Berlin, as it was at 19:30 UTC in the weeks before 29 March."""
    end = instant(2026, 4, 1, 19)
    plays = [play("u", instant(2026, 4, 1, 18, 30))]
    plays += [play("u", instant(2026, 3, 25, 19, 30) - timedelta(weeks=week)) for week in range(6)]
    found = one(tmp_path, {"playback": plays}, end, zone=BERLIN)
    assert found["anomaly_score", "plays"] == 0
    assert one(tmp_path / "utc", {"playback": plays}, end)["usual_hour", "plays"] is None


def test_the_hour_that_summer_time_skipped_is_left_out_of_the_comparison(tmp_path) -> None:
    """2:30 did not come on 29 March: the other weeks have two plays each."""
    end = instant(2026, 4, 5, 1)  # 3:00 in Berlin
    wall = [datetime(2026, 4, 5, 2, 30, tzinfo=ZoneInfo(BERLIN)) - timedelta(weeks=week) for week in range(7)]
    plays = [play(who, when.astimezone(UTC)) for week, when in enumerate(wall) if week != 1 for who in ("u", "v")]
    plays += [play("w", instant(2026, 3, 29, 1, 30))]  # 3:30, the hour after
    found = one(tmp_path, {"playback": plays}, end, zone=BERLIN)
    assert (found["last_hour", "plays"], found["usual_hour", "plays"]) == (2, 2)


def test_growth_is_between_complete_periods(tmp_path) -> None:
    def ago(days: float) -> datetime:
        return NOON - timedelta(days=days)

    plays = [play("today", ago(0.1)) for _ in range(9)]  # today is not over, so it tells nothing yet
    plays += [play(who, ago(3)) for who in "abc"] + [play("a", ago(9)), play("z", ago(9))]
    payments = [
        payment(ago(0.1), "charge", 10**6), payment(ago(2), "charge", 300), payment(ago(10), "charge", 200),
        payment(ago(3), "charge", 5, "USD"), payment(ago(9), "refund", 5, "USD"),
    ]  # fmt: skip
    found = one(tmp_path, {"playback": plays, "payment": payments})
    assert found["growth", "active_users", "week"] == 0.5
    assert found["growth", "new_users", "week"] == 0
    assert found["growth", "plays", "week"] == 0.5
    assert found["growth", "active_users", "month"] is None
    assert found["revenue_growth", "week", "EUR"] == 0.5
    assert found["revenue_growth", "week", "USD"] is None, "there was a loss in the week before"


def test_artists_that_are_not_known_take_no_part_in_the_concentration(tmp_path) -> None:
    recent = NOON - timedelta(hours=1)
    plays = [play("u", recent, artist_id=artist) for artist in ("x", "x", "x", "y", None, None)]
    found = one(tmp_path, {"playback": plays})
    assert found["artist_concentration",] == (9 + 1) / 16
    assert found["artist_gini",] == 0.25
    assert found["track_gini",] == 0
