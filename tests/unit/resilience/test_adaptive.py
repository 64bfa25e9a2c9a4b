"""The adaptive limit finds a simulated source's capacity, follows it, and lets no slow kind of call fool it."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.resilience.adaptive import AdaptiveLimit, AdaptivePolicy, unloaded_latency

POLICY = AdaptivePolicy(initial=4, lowest=1, highest=64)


def simulate(
    limit: AdaptiveLimit,
    capacity: Callable[[float], int],
    seconds: float,
    *,
    kinds: tuple[float, ...] = (0.1,),
    demand: int = 10**6,
) -> list[int]:
    """Drive a source that serves ``capacity(t)`` calls at full speed and shares it out beyond; limits once a second."""
    draw = random.Random(1)
    now, under_way, history = 0.0, 0, []
    unloaded = dict.fromkeys(kinds, (float("inf"), 0.0))
    ends: list[tuple[float, float, float]] = []
    while now < seconds:
        while under_way < min(limit.limit, demand):
            kind = draw.choice(kinds)
            under_way += 1
            slow = max(1.0, under_way / capacity(now))
            heapq.heappush(ends, (now + kind * slow * draw.uniform(0.95, 1.05), now, kind))
        end, began, kind = heapq.heappop(ends)
        if int(end) > int(now):
            history.append(limit.limit)
        now = end
        least, seen = unloaded[kind]
        unloaded[kind] = (unloaded_latency(least, end - began, end - seen), end)
        limit.observe(began, end, unloaded[kind][0], under_way)
        under_way -= 1
    return history


@pytest.mark.parametrize("capacity", [2, 8, 20])
def test_the_limit_settles_around_what_the_source_can_take(capacity: int) -> None:
    history = simulate(AdaptiveLimit(POLICY), lambda _: capacity, 120)
    settled = history[40:]
    assert capacity * 0.8 <= sum(settled) / len(settled) <= capacity * 1.6


def test_the_limit_follows_a_source_that_weakens_and_recovers() -> None:
    history = simulate(AdaptiveLimit(POLICY), lambda t: 4 if 60 <= t < 120 else 24, 240)
    strong, weak, again = history[30:60], history[100:120], history[200:]
    assert max(weak) <= 10 < min(strong)
    assert min(again) > 10


def test_costly_calls_are_not_taken_for_congestion() -> None:
    history = simulate(AdaptiveLimit(POLICY), lambda _: 20, 200, kinds=(0.02, 1.0))
    assert min(history[120:]) >= 10


def test_a_limit_that_is_not_reached_does_not_grow() -> None:
    history = simulate(AdaptiveLimit(POLICY), lambda _: 1000, 60, demand=3)
    assert max(history) <= 8


def test_one_congestion_is_answered_once() -> None:
    limit = AdaptiveLimit(AdaptivePolicy(initial=50, decrease=0.5))
    for _ in range(10):
        limit.observe(0.0, 1.0, 0.1, 10, failed=True)
    assert limit.limit == 25
    limit.observe(1.5, 2.0, 0.1, 10)
    assert limit.limit == 12


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 80), st.booleans()), max_size=200))
def test_the_limit_stays_within_its_bounds(calls: list[tuple[float, int, bool]]) -> None:
    limit = AdaptiveLimit(AdaptivePolicy(initial=3, lowest=2, highest=9))
    now = 0.0
    for took, under_way, failed in calls:
        limit.observe(now, now + took, 0.5, under_way, failed=failed)
        now += took
        assert 2 <= limit.limit <= 9


def test_the_unloaded_latency_is_the_least_and_forgets_slowly() -> None:
    seconds = float("inf")
    for took in (0.5, 0.1, 0.4):
        seconds = unloaded_latency(seconds, took, 1.0)
    assert seconds == pytest.approx(0.1, rel=0.01)
    assert unloaded_latency(seconds, 0.4, 600.0) == pytest.approx(0.2, rel=0.01)
    for _ in range(200):
        seconds = unloaded_latency(seconds, 0.4, 10.0)
    assert seconds == pytest.approx(0.4)
    assert unloaded_latency(0.1, 7.0, 1e9) == 7.0


@pytest.mark.parametrize(
    "policy",
    [{"lowest": 0}, {"initial": 100}, {"tolerance": 1.0}, {"decrease": 1.0}],
)
def test_a_policy_without_sense_is_refused(policy: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="needs"):
        AdaptivePolicy(**policy)  # type: ignore[arg-type]
