"""Funnels and the adoption of features, step by step."""

from __future__ import annotations

from datetime import timedelta

import pytest
from engagement_support import (
    FUNNELS,
    NOON,
    contract,
    funnels,
    history,
    one,
    play,
    use,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.support.analytical import collect

from collectors.catalog.business.engagement.config import UserEngagementConfig
from collectors.catalog.business.user_engagement import UserEngagementCollector

SEARCHED = {"event": "app_event", "where": {"name": "Search"}}
HEARD = {"event": "playback"}
STREAMED = {"event": "playback", "at_least": {"ms_played": 30_000}}


def funnel(tmp_path, uses: list[dict], plays: list[dict], steps: tuple[dict, ...], **more: int) -> list[float]:
    of = {"steps": steps, "window_hours": 1, **more}
    found = one(tmp_path, {"app_event": uses, "playback": plays}, funnels={"f": of})
    return [found["funnel_users", "f", str(n)] for n in range(1, len(steps) + 1)]


def test_steps_count_only_in_their_order_and_strictly_later(tmp_path) -> None:
    at = NOON - timedelta(hours=5)
    soon = at + timedelta(minutes=5)
    uses = [use("in order", at), use("other way", soon), use("at once", at)]
    plays = [play("in order", soon), play("other way", at), play("at once", at), play("never searched", soon)]
    assert funnel(tmp_path, uses, plays, (SEARCHED, HEARD)) == [3, 1]


def test_one_event_is_never_two_steps(tmp_path) -> None:
    at = NOON - timedelta(hours=5)
    plays = [play("once", at), play("twice", at), play("twice", at + timedelta(milliseconds=1))]
    assert funnel(tmp_path, [], plays, (HEARD, STREAMED)) == [2, 1]


def test_the_window_is_that_of_all_steps_and_its_end_belongs_to_it(tmp_path) -> None:
    at = NOON - timedelta(hours=5)
    ms = timedelta(milliseconds=1)
    hour = timedelta(hours=1)
    plays = [
        *(play("just", when) for when in (at, at + hour / 2, at + hour)),
        *(play("late", when) for when in (at, at + hour / 2, at + hour + ms)),
    ]
    uses = [use("just", at - ms), use("late", at - ms)]
    assert funnel(tmp_path, [], plays, (HEARD, HEARD, HEARD)) == [2, 2, 1]
    assert funnel(tmp_path / "x", uses, plays, (SEARCHED, HEARD, HEARD)) == [2, 2, 2]


def test_a_later_beginning_counts_if_an_earlier_one_ran_out_of_time(tmp_path) -> None:
    at = NOON - timedelta(hours=9)
    uses = [use("u", at), use("u", at + timedelta(hours=2))]
    plays = [play("u", at + timedelta(hours=2, minutes=30))]
    assert funnel(tmp_path, uses, plays, (SEARCHED, HEARD)) == [1, 1]


def test_only_those_enter_who_have_had_the_whole_window(tmp_path) -> None:
    uses = [
        use("too recent", NOON - timedelta(hours=1)),
        use("in time", NOON - timedelta(hours=1, milliseconds=1)),
        use("first", NOON - timedelta(days=2, hours=1)),
        use("too old", NOON - timedelta(days=2, hours=1, milliseconds=1)),
    ]
    plays = [play(str(u["user_id"], "utf-8"), u["event_time"] + timedelta(minutes=9)) for u in uses]
    assert funnel(tmp_path, uses, plays, (SEARCHED, HEARD), days=2) == [2, 2]


STEPS = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 40), st.sampled_from(["search", "play", "stream", "start"])),
    max_size=60,
)


@settings(max_examples=15)
@given(STEPS)
def test_funnels_equal_the_trial_of_every_beginning(tmp_path_factory, events) -> None:
    """Times are hours, so that many fall together; the funnels allow 36 of them for two steps, and 200 for one."""
    made: dict[str, list[dict]] = {"app_event": [], "playback": [], "subscription": []}
    for who, hour, what in events:
        when = NOON - timedelta(days=12) + timedelta(hours=6 * hour)
        if what == "search":
            made["app_event"].append(use(who, when))
        elif what == "start":
            made["subscription"].append(contract(who, when, "start"))
        else:
            made["playback"].append(play(who, when, 30_000 if what == "stream" else 100))
    found = one(tmp_path_factory.mktemp("f"), made, funnels=FUNNELS)
    expected = funnels(made["playback"], made["app_event"], made["subscription"], NOON)
    assert {key: value for key, value in found.items() if key[0].startswith("funnel")} == expected


def test_named_features_are_reported_even_if_nobody_uses_them_and_others_are_not(tmp_path) -> None:
    yesterday = NOON - timedelta(days=1)
    events = {
        "playback": [play("u", yesterday), play("v", yesterday)],
        "app_event": [use("u", yesterday, "Lyrics"), use("u", yesterday, "Lyrics"), use("not a listener", yesterday)],
    }
    found = one(tmp_path / "named", events, features=("Lyrics", "Cast"))
    assert {key[1:]: value for key, value in found.items() if key[0] == "feature_adoption"} == {
        ("Lyrics",): 0.5, ("Cast",): 0.0,
    }  # fmt: skip
    assert found["feature_users", "Lyrics"] == 1
    assert ("feature_users", "Search") not in one(tmp_path / "all", events), "no listener searched"


def test_features_without_any_listener_have_no_adoption(tmp_path) -> None:
    collection = collect(UserEngagementCollector, tmp_path, [], NOON, features=("Cast",))
    (sample,) = (s for s in collection.samples if s.metric.endswith("feature_adoption"))
    assert (sample.value, sample.reason) == (None, "nobody was active in the last 28 complete days")


def test_made_up_features_stay_bounded(tmp_path) -> None:
    yesterday = NOON - timedelta(days=1)
    uses = [use("u", yesterday, f"feature {number}") for number in range(300)]
    found = one(tmp_path, {"playback": [play("u", yesterday)], "app_event": uses})
    assert sum(key[0] == "feature_users" for key in found) == 20


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ([HEARD], "at least 2"),
        ([HEARD, {"event": "dance"}], "no event type"),
        ([HEARD, {"event": "playback", "where": {"title": "x"}}], "no field 'title' that is stored as a text"),
        ([HEARD, {"event": "playback", "where": {"user_id": "x"}}], "no field 'user_id' that is stored as a text"),
        ([HEARD, {"event": "playback", "at_least": {"track_id": 1}}], "no field 'track_id' that is stored as a whole"),
    ],
)
def test_an_impossible_funnel_is_a_configuration_error(steps: list[dict], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        UserEngagementConfig.model_validate({"funnels": {"f": {"steps": steps}}})


def test_cells_that_are_not_complete_have_no_value_but_a_reason(tmp_path) -> None:
    collection = collect(UserEngagementCollector, tmp_path, [{"playback": history(5, NOON)}], NOON)
    cells = [s for s in collection.samples if "weekly_retention" in s.metric]
    to_come = [s for s in cells if int(s.labels[1]) > int(s.labels[0])]
    assert len(to_come) == 2 * 21
    assert {(s.value, s.reason) for s in to_come} == {(None, "this week has not ended yet")}


def test_unbounded_retention_never_rises_with_time_and_never_is_below_the_exact_one(tmp_path) -> None:
    found = one(tmp_path, {"playback": history(6, NOON, users=200, plays=4000)})
    for ago in range(1, 8):
        row = [found["weekly_retention_unbounded", str(ago), str(week)] for week in range(1, ago + 1)]
        assert row == sorted(row, reverse=True)
        for week, unbounded in enumerate(row, start=1):
            assert found["weekly_retention", str(ago), str(week)] <= unbounded


def test_curves_are_monotonic_and_end_where_the_rates_are(tmp_path) -> None:
    found = one(tmp_path, {"playback": history(9, NOON, plays=3000)})
    skips = [found["skip_curve", str(s)] for s in (5, 10, 30, 60, 120)]
    assert skips == sorted(skips)
    assert skips[-1] <= found["skip_rate",]
    reached = [found["completion_curve", str(p)] for p in range(10, 101, 10)]
    assert reached == sorted(reached, reverse=True)
    assert sum(found["power_user_curve", str(d)] for d in range(1, 31)) == pytest.approx(1)
