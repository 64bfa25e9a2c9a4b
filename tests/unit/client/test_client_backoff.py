"""When to try again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collectors.client.backoff import BUDGET, FIRST_SECONDS, LONGEST_SECONDS, REFILL, Backoff


def longest() -> float:
    return 1.0


def test_the_range_of_waits_doubles_up_to_the_longest():
    backoff = Backoff(longest)
    waits = [backoff.failed() for _ in range(14)]
    assert waits[:8] == [FIRST_SECONDS * 2**n for n in range(8)]
    assert set(waits[9:]) == {LONGEST_SECONDS}


def test_waits_are_drawn_from_the_whole_range():
    draws = iter([0.0, 0.5, 0.25])
    backoff = Backoff(lambda: next(draws))
    assert [backoff.failed() for _ in range(3)] == [0.0, FIRST_SECONDS, FIRST_SECONDS]


def test_success_begins_again():
    backoff = Backoff(longest)
    for _ in range(5):
        backoff.failed()
    backoff.succeeded()
    assert backoff.failed() == FIRST_SECONDS


def test_the_servers_wish_comes_on_top():
    assert Backoff(longest).failed(7.0) == 7.0 + FIRST_SECONDS


def test_a_flapping_server_exhausts_the_budget_and_success_earns_it_back():
    backoff = Backoff(longest)
    waits = []
    for _ in range(200):
        waits.append(backoff.failed())
        backoff.succeeded()
    quick = sum(wait == FIRST_SECONDS for wait in waits)
    assert quick <= BUDGET + REFILL * len(waits)
    assert waits[:10] == [FIRST_SECONDS] * 10
    assert waits[50:60].count(LONGEST_SECONDS) == 8
    for _ in range(100):
        backoff.succeeded()
    assert backoff.failed() == FIRST_SECONDS


@given(st.lists(st.booleans(), max_size=100), st.floats(0, 1, exclude_max=True), st.floats(0, 1000))
def test_no_wait_is_shorter_than_asked_or_longer_than_the_longest(outcomes, jitter, retry_after):
    backoff = Backoff(lambda: jitter)
    for failed in outcomes:
        if failed:
            assert retry_after <= backoff.failed(retry_after) <= retry_after + LONGEST_SECONDS
        else:
            backoff.succeeded()
