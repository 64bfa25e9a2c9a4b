"""A rule tried on history says what the running server would have said."""

from __future__ import annotations

from alert_cases import T0, S, rule
from hypothesis import given
from hypothesis import strategies as st

from collectors.alerting.backtest import History, backtest, firing_at
from collectors.alerting.book import AlertBook
from collectors.model.alert import Alert

HOST = (("host", "web1"),)


def history(*steps: tuple[int, float | None], labels: tuple[tuple[str, str], ...] = HOST) -> History:
    points, now = [], T0
    for seconds, percent in steps:
        now += seconds * S
        points.append((now, None if percent is None else percent / 100))
    return History(labels, tuple(points))


@given(
    st.lists(st.tuples(st.integers(1, 200), st.sampled_from([None, 10.0, 75.0, 99.0])), max_size=60),
    st.sampled_from(["keep", "ok", "alert"]),
    st.sampled_from([0, 60]),
)
def test_it_equals_the_running_book_second_by_second(
    steps: list[tuple[int, float | None]], missing: str, seconds: int
) -> None:
    judged = rule(for_seconds=seconds, clear=70.0, missing=missing, missing_after_seconds=60)
    past = history(*steps)
    samples = dict(past.points)
    first, end = min(samples, default=T0), max(samples, default=T0) + 300 * S
    book = AlertBook()
    expected: dict[str, Alert] = {}
    book.adopt("acme", judged, first)
    for now in range(first, end + 1, S):
        changed = book.observe("acme", judged, samples[now], HOST, now) if now in samples else []
        for change in (*book.expire(now), *changed) if samples else ():
            expected[change.id] = change
    found = backtest(judged, "acme", [past], end)
    if missing == "keep":
        assert found == sorted(expected.values(), key=lambda a: a.started_us)
    else:  # absence is noticed at most one look later or sooner
        assert len(found) == len(expected)
        for mine, theirs in zip(found, sorted(expected.values(), key=lambda a: a.started_us), strict=True):
            assert abs(mine.started_us - theirs.started_us) <= 5 * S


def test_series_are_judged_side_by_side_and_by_labels() -> None:
    other = (("host", "web2"),)
    found = backtest(
        rule(match=("host=~web.*",)),
        "acme",
        [
            history((10, 99.0), (10, 10.0)),
            history((15, 99.0), labels=other),
            history((1, 99.0), labels=(("host", "db"),)),
        ],
        T0 + 60 * S,
    )
    assert [(dict(a.labels)["host"], (a.started_us - T0) // S) for a in found] == [("web1", 10), ("web2", 15)]
    assert [dict(a.labels)["host"] for a in firing_at(found, T0 + 17 * S)] == ["web1", "web2"]
    assert [dict(a.labels)["host"] for a in firing_at(found, T0 + 20 * S)] == ["web2"]
    assert firing_at(found, T0 + 5 * S) == []


def test_one_series_that_falls_silent_is_noticed_while_others_go_on() -> None:
    busy = history(*[(1, 10.0)] * 200, labels=(("host", "web2"),))
    judged = rule(missing="alert", missing_after_seconds=60)
    (found,) = backtest(judged, "acme", [history((1, 10.0)), busy], T0 + 190 * S)
    assert dict(found.labels)["host"] == "web1"


def test_samples_after_the_end_do_not_count_and_no_history_says_nothing() -> None:
    assert backtest(rule(), "acme", [history((100, 99.0))], T0 + 50 * S) == []
    assert backtest(rule(), "acme", [], T0) == []
