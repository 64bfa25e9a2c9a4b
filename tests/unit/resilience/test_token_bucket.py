"""The token bucket gives out no token twice and loses none; quotas are made of it."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.resilience.quota import Limit, Rate, TenantLimits, TenantQuota
from collectors.resilience.token_bucket import TokenBucket

steps = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 20)), max_size=80)


@given(st.floats(0, 50), st.floats(0.5, 20), steps)
def test_tokens_are_conserved(rate: float, burst: float, steps: list[tuple[float, float]]) -> None:
    """Against exact arithmetic: the same decisions, except where the two are closer than rounding."""
    bucket = TokenBucket(rate, burst)
    level, now, updated = Fraction(burst), 0.0, 0.0
    taken = 0.0
    for wait, amount in steps:
        now += wait
        level = min(Fraction(burst), level + Fraction(rate) * (Fraction(now) - Fraction(updated)))
        updated = now
        exact = level >= Fraction(amount)
        got = bucket.try_take(amount, now)
        if got != exact:
            assert abs(float(level) - amount) < 1e-9 * max(1.0, burst)
        if got:
            level -= Fraction(amount)
            taken += amount
        assert taken <= burst + rate * now + 1e-6
        assert bucket.level(now) == pytest.approx(float(level), abs=1e-6)


@given(st.floats(0.1, 50), st.floats(0.5, 20), st.floats(0, 20), st.floats(0, 20))
def test_who_waits_as_long_as_told_gets_its_tokens_and_not_much_sooner(
    rate: float, burst: float, first: float, then: float
) -> None:
    bucket = TokenBucket(rate, burst)
    bucket.charge(first, 0.0)
    wait = bucket.wait(then, 0.0)
    if then > burst and first + then > burst:
        assert wait == math.inf
        return
    if wait > 0.01:
        assert not TokenBucketCopy(bucket).try_take(then, wait - 0.005)
    assert bucket.level(wait + 1e-9 * max(1.0, wait)) >= then - 1e-9 * max(1.0, then)


class TokenBucketCopy(TokenBucket):
    """A bucket in the state of another."""

    def __init__(self, other: TokenBucket) -> None:
        for name in TokenBucket.__slots__:
            setattr(self, name, getattr(other, name))


def test_debt_is_paid_back_before_anything_is_given_out() -> None:
    bucket = TokenBucket(2.0, 10.0)
    bucket.charge(30.0, 0.0)
    assert bucket.level(0.0) == -20.0
    assert not bucket.try_take(1.0, 10.0)
    assert bucket.wait(1.0, 10.0) == pytest.approx(0.5)
    assert bucket.try_take(1.0, 10.5)


def test_a_clock_that_goes_back_adds_nothing() -> None:
    bucket = TokenBucket(1.0, 5.0, now=100.0)
    assert bucket.try_take(5.0, 100.0)
    assert bucket.level(50.0) == 0.0
    assert bucket.level(101.0) == 1.0


def test_a_rate_of_nothing_never_gives_again() -> None:
    bucket = TokenBucket(0.0, 1.0)
    assert bucket.try_take(1.0, 0.0)
    assert bucket.wait(1.0, 1e9) == math.inf


def test_a_new_rate_counts_from_now_and_gives_nothing_for_free() -> None:
    bucket = TokenBucket(1.0, 10.0)
    bucket.charge(10.0, 0.0)
    bucket.reconfigure(100.0, 50.0, 2.0)
    assert bucket.level(2.0) == 2.0
    assert bucket.level(2.1) == pytest.approx(12.0)
    bucket.reconfigure(1.0, 3.0, 3.0)
    assert bucket.level(3.0) == 3.0


@pytest.mark.parametrize(("rate", "burst"), [(-1, 1), (1, 0), (math.inf, 1), (1, math.nan)])
def test_a_bucket_without_sense_is_refused(rate: float, burst: float) -> None:
    with pytest.raises(ValueError, match="bucket"):
        TokenBucket(rate, burst)


# Quotas.


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 400), st.integers(1, 4000)), max_size=60))
def test_a_tenant_sends_no_more_than_its_rates_allow(requests: list[tuple[float, int, int]]) -> None:
    limits = TenantLimits(events=Rate(100, 200), bytes=Rate(1000, 2000))
    quota = TenantQuota(limits, 0.0)
    now, events, size = 0.0, 0, 0
    largest = [0, 0]
    for wait, count, weight in requests:
        now += wait
        told = quota.admit(count, weight, now)
        if told == 0:
            events, size = events + count, size + weight
            largest = [max(largest[0], count), max(largest[1], weight)]
        else:
            assert 0 < told < 60
        # A request above the burst passes when the bucket is full, and its excess is made up for afterwards.
        assert events <= max(200, largest[0]) + 200 + 100 * now + 1e-6
        assert size <= max(2000, largest[1]) + 2000 + 1000 * now + 1e-6


def test_a_refused_request_uses_nothing_up() -> None:
    quota = TenantQuota(TenantLimits(events=Rate(10, 100), bytes=Rate(10, 100)), 0.0)
    assert quota.admit(1, 100, 0.0) == 0
    assert quota.admit(99, 10, 0.0) == pytest.approx(1.0)
    assert quota.admit(99, 10, 1.0) == 0


def test_without_limits_everything_passes_and_limits_can_come_and_go() -> None:
    quota = TenantQuota(TenantLimits(), 0.0)
    assert quota.admit(10**9, 10**12, 0.0) == 0
    assert quota.runs.wait(1, 0.0) == quota.query_seconds.solvency(0.0) == 0
    quota.reconfigure(TenantLimits(events=Rate(0, 1)), 0.0)
    assert quota.admit(1, 1, 0.0) == 0
    assert quota.admit(1, 1, 5.0) == 3600.0
    quota.reconfigure(TenantLimits(events=Rate(1, 2)), 5.0)
    assert quota.admit(1, 1, 5.0) == pytest.approx(1.0)
    quota.reconfigure(TenantLimits(), 5.0)
    assert quota.admit(1000, 1, 5.0) == 0


def test_query_time_is_paid_afterwards_and_made_up_for() -> None:
    limit = Limit(Rate(0.1, 2.0), 0.0)
    assert limit.solvency(0.0) == 0
    limit.charge(5.0, 0.0)
    assert limit.solvency(0.0) == pytest.approx(30.0)
    assert limit.solvency(30.1) == 0


def test_a_tenant_that_may_run_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="concurrent_runs"):
        TenantLimits(concurrent_runs=0)
