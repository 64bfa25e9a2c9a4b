"""What one tenant may use: events and bytes sent, queries' time; each a token bucket, all changeable while running."""

from __future__ import annotations

import math
from dataclasses import dataclass

from collectors.resilience.token_bucket import TokenBucket


@dataclass(frozen=True, slots=True)
class Rate:
    """``per_second`` in the long run, ``burst`` at once."""

    per_second: float
    burst: float


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """A tenant's limits; None is no limit.

    ``events`` and ``bytes`` bound what it sends, ``query_seconds`` the time its queries of the lake take together,
    ``runs`` how many runs of collectors begin, and ``concurrent_runs`` how many go on at once.
    """

    events: Rate | None = None
    bytes: Rate | None = None
    query_seconds: Rate | None = None
    runs: Rate | None = None
    concurrent_runs: int = 8

    def __post_init__(self) -> None:
        if self.concurrent_runs < 1:
            raise ValueError("concurrent_runs must be 1 or more")


class Limit:
    """A token bucket that may be absent. ``now`` is a monotonic second."""

    __slots__ = ("_bucket",)

    def __init__(self, rate: Rate | None, now: float) -> None:
        self._bucket = None if rate is None else TokenBucket(rate.per_second, rate.burst, now)

    def reconfigure(self, rate: Rate | None, now: float) -> None:
        """Change the limit; one that stays keeps its account."""
        if rate is None or self._bucket is None:
            self._bucket = None if rate is None else TokenBucket(rate.per_second, rate.burst, now)
        else:
            self._bucket.reconfigure(rate.per_second, rate.burst, now)

    def wait(self, amount: float, now: float) -> float:
        """Return the seconds until ``amount`` may be used; an amount above the burst waits for a full bucket."""
        return 0.0 if self._bucket is None else self._bucket.wait(min(amount, self._bucket.burst), now)

    def solvency(self, now: float) -> float:
        """Return the seconds until what was used beyond the limit is made up for."""
        return 0.0 if self._bucket is None else self._bucket.wait(0.0, now)

    def charge(self, amount: float, now: float) -> None:
        """Account for ``amount``."""
        if self._bucket is not None:
            self._bucket.charge(amount, now)


class TenantQuota:
    """A tenant's use of what it may send and query."""

    __slots__ = ("_bytes", "_events", "query_seconds", "runs")

    def __init__(self, limits: TenantLimits, now: float) -> None:
        self._events = Limit(limits.events, now)
        self._bytes = Limit(limits.bytes, now)
        self.query_seconds = Limit(limits.query_seconds, now)
        self.runs = Limit(limits.runs, now)

    def reconfigure(self, limits: TenantLimits, now: float) -> None:
        """Change all limits from ``now`` on, without forgetting what was used."""
        self._events.reconfigure(limits.events, now)
        self._bytes.reconfigure(limits.bytes, now)
        self.query_seconds.reconfigure(limits.query_seconds, now)
        self.runs.reconfigure(limits.runs, now)

    def admit(self, events: int, size: int, now: float) -> float:
        """Account for a request of ``events`` and ``size`` bytes and return 0, or return the seconds to wait first.

        A request is admitted as a whole or not at all; one above a burst is admitted when the bucket is full.
        """
        wait = max(self._events.wait(events, now), self._bytes.wait(size, now))
        if wait > 0:
            # A rate of 0 never lets through; clients are told to come back in an hour rather than in infinite seconds.
            return 3600.0 if math.isinf(wait) else wait
        self._events.charge(events, now)
        self._bytes.charge(size, now)
        return 0.0
