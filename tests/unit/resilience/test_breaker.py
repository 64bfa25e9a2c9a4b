"""The breaker moves only along its arrows, lets through what it should, and recovers without help."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from collectors.model.status import BreakerState
from collectors.resilience.breaker import Breaker, BreakerPolicy

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
LEGAL = {(CLOSED, OPEN), (OPEN, HALF_OPEN), (HALF_OPEN, OPEN), (HALF_OPEN, CLOSED)}


class AnyUse(RuleBasedStateMachine):
    """Calls begin and end in any order, many at a time, with any outcome."""

    policy = BreakerPolicy(failures=3, wait_seconds=10, longest_seconds=60, successes=2)

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(self.policy)
        self.now = 0.0
        self.state = CLOSED
        self.under_way: list[int] = []
        self.probes: set[int] = set()
        self.number = 0
        self.in_a_row = 0

    def moved(self) -> None:
        before, self.state = self.state, self.breaker.state
        assert before is self.state or (before, self.state) in LEGAL
        if before is not self.state:
            self.in_a_row = 0
            self.probes.clear()

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def begin(self) -> None:
        before, retry_at = self.breaker.state, self.breaker.retry_at
        permit = self.breaker.allow(self.now)
        if before is CLOSED:
            assert permit is not None
        if before is OPEN:
            assert (permit is not None) == (self.now >= retry_at)
        self.moved()
        if permit is not None:
            self.under_way.append(permit)
            if self.state is HALF_OPEN:
                assert not self.probes, "half-open lets one call through at a time"
                self.probes.add(permit)

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 10**6), outcome=st.sampled_from(["ok", "failed", "abandoned"]))
    def end(self, which: int, outcome: str) -> None:
        permit = self.under_way.pop(which % len(self.under_way))
        mine = permit in self.probes
        before = self.breaker.state
        if outcome == "ok":
            self.breaker.succeeded(permit)
        elif outcome == "failed":
            self.breaker.failed(permit, self.now)
        else:
            self.breaker.abandoned(permit)
        if before is HALF_OPEN and not mine:
            assert self.breaker.state is HALF_OPEN, "an old call says nothing about now"
        if mine:
            self.probes.discard(permit)
            if outcome == "failed":
                assert self.breaker.state is OPEN
        if before is OPEN:
            assert self.breaker.state is OPEN
        self.moved()

    @invariant()
    def an_open_one_has_an_end(self) -> None:
        if self.breaker.state is OPEN:
            assert self.breaker.retry_at <= self.now + self.policy.longest_seconds


TestAnyUse = AnyUse.TestCase
TestAnyUse.settings = settings(max_examples=60, stateful_step_count=60)


def fail(breaker: Breaker, now: float, times: int = 1) -> None:
    for _ in range(times):
        permit = breaker.allow(now)
        assert permit is not None
        breaker.failed(permit, now)


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5))
def test_it_opens_at_the_nth_failure_in_a_row_and_not_before(outcomes: list[bool], limit: int) -> None:
    breaker = Breaker(BreakerPolicy(failures=limit))
    in_a_row = 0
    for ok in outcomes:
        permit = breaker.allow(0.0)
        assert (permit is None) == (in_a_row >= limit)
        if permit is None:
            return
        if ok:
            breaker.succeeded(permit)
        else:
            breaker.failed(permit, 0.0)
        in_a_row = 0 if ok else in_a_row + 1


def test_it_waits_twice_as_long_after_each_failed_probe_and_recovers_by_itself() -> None:
    breaker = Breaker(BreakerPolicy(failures=2, wait_seconds=10, longest_seconds=35))
    fail(breaker, 0.0, 2)
    waits = []
    for _ in range(4):
        waits.append(breaker.retry_at)
        assert breaker.allow(breaker.retry_at - 0.001) is None
        now = breaker.retry_at
        fail(breaker, now)
        waits[-1] = breaker.retry_at - now
    assert waits == [20, 35, 35, 35]
    assert breaker.opened == 5
    permit = breaker.allow(breaker.retry_at)
    assert permit is not None
    breaker.succeeded(permit)
    assert breaker.state is CLOSED
    fail(breaker, 1000.0, 2)
    assert breaker.retry_at == 1010.0


def test_a_probe_that_is_given_up_lets_the_next_through() -> None:
    breaker = Breaker(BreakerPolicy(failures=1, wait_seconds=10))
    fail(breaker, 0.0)
    probe = breaker.allow(10.0)
    assert probe is not None
    assert breaker.allow(10.0) is None
    breaker.abandoned(probe)
    assert breaker.allow(10.0) is not None


@pytest.mark.parametrize(
    "policy",
    [
        {"failures": 0},
        {"successes": 0},
        {"wait_seconds": 0.0},
        {"wait_seconds": 10.0, "longest_seconds": 5.0},
    ],
)
def test_a_policy_without_sense_is_refused(policy: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="breaker"):
        BreakerPolicy(**policy)  # type: ignore[arg-type]
