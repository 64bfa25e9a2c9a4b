"""A circuit breaker: stop calling what keeps failing, and find out by itself when it works again.

Closed, open and half-open as in Nygard, Release It!, 2nd ed. 2018, chapter 5. Own code rather than pybreaker or
purgatory: those read the wall clock themselves and can't be driven by the injected one.

    closed ── failures in a row ──▶ open ── its wait is over ──▶ half-open ── successes in a row ──▶ closed
                                     ▲                               │
                                     └───── failure, twice the wait ─┘
"""

from __future__ import annotations

from dataclasses import dataclass

from collectors.model.status import BreakerState


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens and how it recovers.

    It opens after ``failures`` in a row, for ``wait_seconds``, doubled by each failed probe up to ``longest_seconds``,
    and closes after ``successes`` probes in a row.
    """

    failures: int = 5
    wait_seconds: float = 30.0
    longest_seconds: float = 300.0
    successes: int = 1

    def __post_init__(self) -> None:
        if min(self.failures, self.successes) < 1 or not 0 < self.wait_seconds <= self.longest_seconds:
            raise ValueError("a breaker needs counts of 1 or more and 0 < wait_seconds <= longest_seconds")


class Breaker:
    """Say of each call whether it may be made, from how the earlier ones went.

    ``allow`` hands out a permit, and its outcome is reported with that permit exactly once; outcomes of calls that
    began before the last change of state say nothing about now and are ignored. Half-open lets one call through at
    a time.
    """

    __slots__ = ("_count", "_epoch", "_policy", "_probing", "_wait", "opened", "retry_at", "state")

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._epoch = 0
        self._count = 0
        self._probing = False
        self._wait = policy.wait_seconds
        self.state = BreakerState.CLOSED
        self.opened = 0
        """How many times it opened."""
        self.retry_at = 0.0
        """While open, the monotonic second from which a probe is let through."""

    def allow(self, now: float) -> int | None:
        """Return a permit for one call, None if it must not be made; ``now`` is a monotonic second."""
        if self.state is BreakerState.OPEN and now >= self.retry_at:
            self._become(BreakerState.HALF_OPEN)
        if self.state is BreakerState.CLOSED:
            return self._epoch
        if self.state is BreakerState.OPEN or self._probing:
            return None
        self._probing = True
        return self._epoch

    def succeeded(self, permit: int) -> None:
        """Report that the call of ``permit`` went well."""
        if permit != self._epoch:
            return
        if self.state is BreakerState.CLOSED:
            self._count = 0
            return
        self._probing = False
        self._count += 1
        if self._count >= self._policy.successes:
            self._wait = self._policy.wait_seconds
            self._become(BreakerState.CLOSED)

    def failed(self, permit: int, now: float) -> None:
        """Report that the call of ``permit`` failed at the monotonic second ``now``."""
        if permit != self._epoch:
            return
        if self.state is BreakerState.CLOSED:
            self._count += 1
            if self._count < self._policy.failures:
                return
        else:
            self._wait = min(self._policy.longest_seconds, self._wait * 2)
        self.retry_at = now + self._wait
        self.opened += 1
        self._become(BreakerState.OPEN)

    def abandoned(self, permit: int) -> None:
        """Report that the call of ``permit`` was given up by us and says nothing about the source."""
        if permit == self._epoch:
            self._probing = False

    def _become(self, state: BreakerState) -> None:
        self.state = state
        self._epoch += 1
        self._count = 0
        self._probing = False
