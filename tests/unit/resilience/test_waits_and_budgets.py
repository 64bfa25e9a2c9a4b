"""Backoff and the retry budget: waits within their bounds, retries within theirs."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.resilience.backoff import Backoff
from collectors.resilience.retry_budget import RetryBudget


@given(st.floats(0.001, 10), st.floats(1, 100), st.integers(1, 5000), st.integers(0, 2**32))
def test_a_wait_lies_between_zero_and_the_doubled_bound(first: float, factor: float, failures: int, seed: int) -> None:
    backoff = Backoff(first, first * factor)
    draw = random.Random(seed).random
    exact = first
    for _ in range(failures - 1):
        exact = min(first * factor, exact * 2)
        if exact == first * factor:
            break
    assert backoff.ceiling(failures) == pytest.approx(exact)
    assert 0 <= backoff.delay(failures, draw) <= backoff.ceiling(failures)


def test_waits_are_spread_over_the_whole_range_and_repeat_with_the_seed() -> None:
    backoff = Backoff(1.0, 60.0)

    def waits(seed: int) -> list[float]:
        draw = random.Random(seed).random
        return [backoff.delay(4, draw) for _ in range(4000)]

    drawn = waits(7)
    assert drawn == waits(7)
    assert drawn != waits(8)
    # A uniform draw from [0, 8] has mean 4 and standard deviation 8 / sqrt(12).
    assert statistics.mean(drawn) == pytest.approx(4.0, abs=0.15)
    assert statistics.stdev(drawn) == pytest.approx(8 / 12**0.5, abs=0.1)


@pytest.mark.parametrize(("first", "longest"), [(0.0, 1.0), (2.0, 1.0), (-1.0, 1.0)])
def test_a_backoff_without_sense_is_refused(first: float, longest: float) -> None:
    with pytest.raises(ValueError, match="first"):
        Backoff(first, longest)


@given(
    st.floats(0, 1, allow_subnormal=False),
    st.integers(1, 20),
    st.lists(st.booleans(), max_size=400),
)
def test_the_budget_is_never_exceeded_in_any_stretch(ratio: float, reserve: int, steps: list[bool]) -> None:
    budget = RetryBudget(ratio, reserve)
    history: list[tuple[int, int]] = []
    for request in steps:
        if request:
            budget.requested()
            history.append((1, 0))
        else:
            history.append((0, int(budget.try_spend())))
        assert 0 <= budget.left <= reserve
    # Not only from the beginning: over every stretch of its life.
    for start in range(0, len(history), 7):
        requests = retries = 0
        for request, retry in history[start:]:
            requests += request
            retries += retry
            assert retries <= reserve + ratio * requests + 1e-9


def test_a_source_that_only_fails_gets_few_more_requests_than_without_retries() -> None:
    budget = RetryBudget(0.1, 10)
    retries = 0
    for _ in range(1000):
        budget.requested()
        while budget.try_spend():
            retries += 1
    assert retries in range(100, 111)


def test_the_budget_recovers_while_things_go_well() -> None:
    budget = RetryBudget(0.1, 2)
    assert [budget.try_spend() for _ in range(3)] == [True, True, False]
    for _ in range(10):
        budget.requested()
    assert [budget.try_spend() for _ in range(2)] == [True, False]


@pytest.mark.parametrize(("ratio", "reserve"), [(-0.1, 1), (1.1, 1), (0.1, 0)])
def test_a_budget_without_sense_is_refused(ratio: float, reserve: int) -> None:
    with pytest.raises(ValueError, match="budget"):
        RetryBudget(ratio, reserve)
