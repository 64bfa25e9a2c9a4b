"""Sends at a given rate, on schedule."""

from __future__ import annotations

from typing import Protocol

from collectors.clock import SYSTEM_CLOCK, Clock


class BlockingClock(Clock, Protocol):
    """A clock that can also sleep in a thread without an event loop."""

    def block(self, seconds: float) -> None:
        """Wait for ``seconds``."""


class Pacer:
    """Says when the next events may go so that they go at ``rate`` a second; None is as fast as possible.

    The schedule is fixed when the first events go: event number i is due i / rate seconds later, on the monotonic
    clock. So sleeping too long is made up for and does not add up, and a slow receiver does not slow the schedule:
    what waits for it is behind, and its latency is to be measured from when it was due.
    """

    def __init__(self, rate: float | None, clock: BlockingClock = SYSTEM_CLOCK) -> None:
        if rate is not None and not rate > 0:
            raise ValueError("a rate is above 0; None means without limit")
        self._rate = rate
        self._clock = clock
        self._start = 0.0
        self._sent = 0

    def reserve(self, n: int) -> float:
        """Take the next ``n`` places of the schedule; return the seconds until the first is due, below 0 if overdue."""
        now = self._clock.monotonic()
        if self._sent == 0:
            self._start = now
        due = now if self._rate is None else self._start + self._sent / self._rate
        self._sent += n
        return due - now

    async def wait(self, n: int) -> float:
        """Wait until the next ``n`` events may go; return the seconds they are behind the schedule, at least 0."""
        left = self.reserve(n)
        if left > 0:
            await self._clock.sleep(left)
        return max(0.0, -left)

    def block(self, n: int) -> float:
        """Do as ``wait`` in a thread that has no event loop."""
        left = self.reserve(n)
        if left > 0:
            self._clock.block(left)
        return max(0.0, -left)
