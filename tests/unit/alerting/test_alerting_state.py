"""The state machine of a rule on a series keeps its promises for any samples, clocks and restarts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from alert_cases import T0, S, rule
from hypothesis import given
from hypothesis import strategies as st

from collectors.alerting.book import SWEEP_US, AlertBook
from collectors.alerting.rules import Rule
from collectors.alerting.state import FORGET_US, REHEAR_US, SKEW_US
from collectors.model.alert import Alert, AlertState

HOST = (("host", "web1"),)
Steps = list[tuple[int, float | None]]
"""Seconds since the sample before, and the value in percent."""

VALUES = st.one_of(st.none(), st.sampled_from([10.0, 75.0, 79.0, 80.0, 81.0, 99.0]))
STEPS = st.lists(st.tuples(st.integers(1, 40), VALUES), max_size=60)
RULES = st.builds(
    lambda seconds, clear, missing, flapping: rule(
        for_seconds=seconds, clear=clear, missing=missing, flapping_seconds=flapping, missing_after_seconds=100
    ),
    st.sampled_from([0.0, 15.0, 60.0]),
    st.sampled_from([None, 70.0]),
    st.sampled_from(["keep", "ok", "alert"]),
    st.sampled_from([0.0, 120.0]),
)


def run(book: AlertBook, judged: Rule, steps: Steps, start: int = T0) -> list[Alert]:
    changed, now = [], start
    for seconds, percent in steps:
        now += seconds * S
        changed += book.expire(now)
        changed += book.observe("acme", judged, None if percent is None else percent / 100, HOST, now, now)
    return changed


def naive(steps: Steps, *, for_seconds: float, clear: float) -> list[tuple[str, int]]:
    """What a threshold with duration and hysteresis does, written down a second time without any finesse."""
    told: list[tuple[str, int]] = []
    now, since, firing = 0, None, False
    for seconds, percent in steps:
        now += seconds
        if percent is None:
            continue
        if firing:
            if percent <= clear:
                told.append(("resolved", now))
                firing, since = False, None
        elif percent <= 80:
            since = None
        else:
            since = now if since is None else since
            if now - since >= for_seconds:
                told.append(("firing", now))
                firing = True
    return told


@given(STEPS, st.sampled_from([0.0, 15.0, 60.0]), st.sampled_from([70.0, 80.0]))
def test_it_does_what_the_naive_reading_of_the_rule_says(steps: Steps, seconds: float, clear: float) -> None:
    changed = run(AlertBook(), rule(for_seconds=seconds, clear=clear), steps)
    told = [(str(a.state), ((a.ended_us or a.started_us) - T0) // S) for a in changed]
    assert told == naive(steps, for_seconds=seconds, clear=clear)


@given(RULES, STEPS)
def test_every_alert_is_resolved_at_most_once_and_only_after_it_fired(judged: Rule, steps: Steps) -> None:
    book = AlertBook()
    open_: set[str] = set()
    seen: set[str] = set()
    for change in run(book, judged, steps):
        if change.state is AlertState.FIRING:
            assert not open_, "one series has one alert at a time"
            assert change.id not in seen
            open_.add(change.id)
            seen.add(change.id)
        else:
            assert change.ended_us is not None
            assert change.ended_us >= change.started_us
            open_.remove(change.id)
    assert {a.id for a in book.firing()} == open_


@given(RULES, STEPS)
def test_replaying_the_same_samples_changes_nothing(judged: Rule, steps: Steps) -> None:
    book = AlertBook()
    run(book, judged, steps)
    firing = book.firing()
    now = T0
    end = T0 + sum(s for s, _ in steps) * S
    for seconds, percent in steps:
        now += seconds * S
        assert book.observe("acme", judged, None if percent is None else percent / 100, HOST, now, end) == []
    assert book.firing() == firing


@given(RULES, STEPS, st.data())
def test_a_restart_in_the_middle_equals_the_uninterrupted_run(judged: Rule, steps: Steps, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(steps)))
    whole = AlertBook()
    whole.adopt("acme", judged, T0)
    expected = run(whole, judged, steps)
    book = AlertBook()
    book.adopt("acme", judged, T0)
    before = run(book, judged, steps[:cut])
    now = T0 + sum(s for s, _ in steps[:cut]) * S
    restarted = AlertBook(book.firing(), book.snapshot(now), now)
    restarted.adopt("acme", judged, now)
    assert before + run(restarted, judged, steps[cut:], now) == expected
    assert restarted.firing() == whole.firing()


@given(STEPS, st.sampled_from([60.0, 300.0]), st.integers(2, 4))
def test_a_flapping_alert_fires_a_bounded_number_of_times(steps: Steps, window: float, fires: int) -> None:
    judged = rule(flapping_seconds=window, flapping_fires=fires)
    started = [a.started_us for a in run(AlertBook(), judged, steps) if a.state is AlertState.FIRING]
    for begin in started:
        assert sum(begin <= t < begin + window * S for t in started) <= fires


def test_a_flapping_alert_says_so_and_ends_once_it_was_calm() -> None:
    judged = rule(flapping_seconds=600, flapping_fires=3)
    changed = run(AlertBook(), judged, [(10, 99.0 if i % 2 == 0 else 10.0) for i in range(20)] + [(60, 10.0)] * 20)
    fired = [a for a in changed if a.state is AlertState.FIRING]
    assert len(fired) == 3
    assert fired[-1].summary == "cpu_usage is 99, above 80, flapping: fired 3 times in 10 min"
    assert changed[-1].state is AlertState.RESOLVED
    last_crossing = T0 + 190 * S
    assert changed[-1].ended_us is not None
    assert 600 * S <= changed[-1].ended_us - last_crossing <= 660 * S


@given(st.lists(st.integers(-(10**13), 10**13), min_size=200, max_size=200), st.sampled_from([0, 30, 120]))
def test_no_clock_of_a_source_can_silence_an_alert(skews: list[int], seconds: int) -> None:
    book, judged = AlertBook(), rule(for_seconds=seconds)
    for number, skew in enumerate(skews):
        arrived = T0 + number * 2 * S
        if book.observe("acme", judged, 0.99, HOST, arrived + skew, arrived):
            break
    else:
        pytest.fail("it never fired")
    assert arrived - T0 <= seconds * S + REHEAR_US + 2 * SKEW_US + 2 * S


@given(st.lists(st.integers(-SKEW_US, SKEW_US), min_size=50, max_size=50))
def test_a_small_skew_lets_it_fire_early_by_no_more_than_the_skew(skews: list[int]) -> None:
    book, judged = AlertBook(), rule(for_seconds=300)
    for number, skew in enumerate(skews):
        arrived = T0 + number * 10 * S
        if book.observe("acme", judged, 0.99, HOST, arrived + skew, arrived):
            assert arrived - T0 >= 300 * S - 2 * SKEW_US
            return


def test_a_clock_that_stands_still_or_lies_in_the_future_does_not_hide_what_comes_after() -> None:
    book, judged = AlertBook(), rule()
    year = 365 * 86_400 * S
    assert book.observe("acme", judged, 0.1, HOST, T0 + year, T0) == []
    (fired,) = book.observe("acme", judged, 0.99, HOST, T0 + 10 * S, T0 + 10 * S)
    assert fired.started_us == T0 + 10 * S


def test_our_own_clock_set_back_keeps_what_has_lasted() -> None:
    book, judged = AlertBook(), rule(for_seconds=300)
    now = T0
    for _ in range(25):  # 240 s over the limit
        book.observe("acme", judged, 0.99, HOST, now, now)
        now += 10 * S
    now -= 3600 * S
    begin = now
    while not book.observe("acme", judged, 0.99, HOST, now, now):
        now += 10 * S
    assert now - begin <= REHEAR_US + 60 * S


def test_below_is_the_mirror_of_above() -> None:
    book, judged = AlertBook(), rule(below=20, clear=30)
    told = [book.observe("acme", judged, v / 100, HOST, T0 + i * S) for i, v in enumerate([25, 19, 25, 29, 30, 25])]
    assert [len(t) for t in told] == [0, 1, 0, 0, 1, 0]
    assert told[1][0].summary == "cpu_usage is 19, below 20"


def test_an_undefined_value_is_what_the_rule_says_of_it() -> None:
    for missing, expected in (("keep", 1), ("ok", 0), ("alert", 1)):
        book, judged = AlertBook(), rule(missing=missing)
        book.observe("acme", judged, 0.99, HOST, T0)
        book.observe("acme", judged, None, HOST, T0 + S)
        assert len(book.firing()) == expected, missing
    book, judged = AlertBook(), rule(missing="alert", for_seconds=5)
    assert book.observe("acme", judged, None, HOST, T0) == []
    (fired,) = book.observe("acme", judged, None, HOST, T0 + 5 * S)
    assert (fired.summary, fired.value) == ("cpu_usage has no value", None)


def test_absence_is_what_the_rule_says_of_it() -> None:
    for missing, before, after in (("keep", 1, 1), ("ok", 1, 0), ("alert", 1, 1)):
        book, judged = AlertBook(), rule(missing=missing, missing_after_seconds=60)
        book.observe("acme", judged, 0.99, HOST, T0)
        book.expire(T0 + 59 * S)
        assert len(book.firing()) == before, missing
        book.expire(T0 + 66 * S)
        assert len(book.firing()) == after, missing


def test_absence_is_an_alert_also_of_a_series_that_never_was_and_ends_when_it_comes() -> None:
    book, judged = AlertBook(), rule(missing="alert", missing_after_seconds=60)
    book.adopt("acme", judged, T0)
    book.adopt("other", replace(judged, tenants=("acme",)), T0)
    assert book.expire(T0 + 50 * S) == []
    (fired,) = book.expire(T0 + 60 * S)
    assert (fired.tenant, fired.labels, fired.summary) == ("acme", (), "cpu_usage has no value")
    (over,) = book.observe("acme", judged, 0.1, HOST, T0 + 90 * S)
    assert (over.id, over.state) == (fired.id, AlertState.RESOLVED)
    (gone,) = book.expire(T0 + 160 * S)
    assert gone.labels == HOST
    (back,) = book.observe("acme", judged, 0.75, HOST, T0 + 170 * S)
    assert (back.id, back.state) == (gone.id, AlertState.RESOLVED)


def test_a_stop_of_ours_is_no_absence() -> None:
    book, judged = AlertBook(), rule(missing="alert", missing_after_seconds=60)
    book.observe("acme", judged, 0.1, HOST, T0)
    later = T0 + 7200 * S
    restarted = AlertBook(book.firing(), book.snapshot(T0 + 10 * S), later)
    restarted.adopt("acme", judged, later)
    assert restarted.expire(later + 40 * S) == []
    assert len(restarted.expire(later + 51 * S)) == 1


def test_a_clock_set_back_does_not_postpone_absence() -> None:
    book, judged = AlertBook(), rule(missing="alert", missing_after_seconds=60)
    book.observe("acme", judged, 0.1, HOST, T0)
    past = T0 - 3600 * S
    assert book.expire(past) == []
    assert len(book.expire(past + 60 * S)) == 1


def test_a_series_that_is_gone_for_a_day_ends_its_alert_and_is_forgotten() -> None:
    book, judged = AlertBook(), rule()
    book.observe("acme", judged, 0.99, HOST, T0)
    (over,) = book.expire(T0 + FORGET_US)
    assert over.state is AlertState.RESOLVED
    assert book.expire(T0 + FORGET_US + SWEEP_US) == []
    assert b"web1" not in book.snapshot(T0)


def test_a_record_without_a_snapshot_goes_on_with_its_id() -> None:
    book, judged = AlertBook(), rule()
    (fired,) = book.observe("acme", judged, 0.99, HOST, T0)
    restarted = AlertBook([fired])
    assert restarted.expire(T0 + 3600 * S) == [], "a threshold is not over because it is quiet"
    assert restarted.observe("acme", judged, 0.99, HOST, T0 + 3600 * S) == []
    (over,) = restarted.observe("acme", judged, 0.1, HOST, T0 + 3610 * S)
    assert over.id == fired.id


def test_what_the_record_says_is_over_does_not_fire_by_an_old_snapshot() -> None:
    book, judged = AlertBook(), rule()
    book.observe("acme", judged, 0.99, HOST, T0)
    restarted = AlertBook([], book.snapshot(T0), T0)
    assert restarted.firing() == []
    assert restarted.observe("acme", judged, 0.1, HOST, T0 + S) == []


def test_a_rule_that_is_gone_ends_its_alerts_and_no_others() -> None:
    book = AlertBook()
    for name in ("cpu", "other"):
        book.observe("acme", rule(name=name), 0.99, HOST, T0)
    (waiting,) = AlertBook().observe("acme", rule(name="old"), 0.99, HOST, T0)
    restarted = AlertBook([*book.firing(), waiting], book.snapshot(T0), T0)
    over = restarted.retire("acme", {"threshold:cpu", "threshold:old"}, T0 + S)
    assert {(a.rule, a.ended_us) for a in over} == {("threshold:cpu", T0 + S), ("threshold:old", T0 + S)}
    assert [a.rule for a in restarted.firing()] == ["threshold:other"]
    assert restarted.retire("acme", {"threshold:cpu"}, T0 + S) == []


def test_a_rule_is_only_about_its_series_and_tenants() -> None:
    book, judged = AlertBook(), rule(match=("host=~web.*",), tenants=("acme",), labels={"team": "sre", "host": "x"})
    assert book.observe("acme", judged, 0.99, (("host", "db1"),), T0) == []
    assert book.observe("other", judged, 0.99, HOST, T0) == []
    (fired,) = book.observe("acme", judged, 0.99, HOST, T0)
    assert dict(fired.labels) == {"host": "x", "team": "sre"}


def test_hostile_label_values_do_not_make_two_series_one() -> None:
    book, judged = AlertBook(), rule()
    assert book.observe("acme", judged, 0.99, (("a", "x,b=y"), ("b", "z")), T0)
    assert book.observe("acme", judged, 0.99, (("a", "x"), ("b", "y,b=z")), T0)
