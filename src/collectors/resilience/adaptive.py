"""A concurrency limit that finds the source's capacity from the latency it measures.

Additive increase, multiplicative decrease (Chiu and Jain 1989), the rule by which TCP flows converge to a fair share,
with TCP Vegas' signal (Brakmo and Peterson 1995): latency beyond a multiple of what the same call takes unloaded means
that calls queue at the source. The unloaded latency is given with each call, because the calls on one source differ:
a cheap and a costly query must not be held against each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_DOUBLES_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class AdaptivePolicy:
    """Bounds and gains of the limit.

    ``tolerance`` is the latency, as a multiple of the unloaded one, from which the source counts as congested;
    ``decrease`` what the limit is then multiplied by. Their product is at most 1: then each decrease goes below what
    the source can take, and the unloaded latency is seen anew.
    """

    initial: int = 4
    lowest: int = 1
    highest: int = 64
    tolerance: float = 1.6
    decrease: float = 0.6

    def __post_init__(self) -> None:
        if not 1 <= self.lowest <= self.initial <= self.highest:
            raise ValueError("an adaptive limit needs 1 <= lowest <= initial <= highest")
        if self.tolerance <= 1 or not 0 < self.decrease <= 1 / self.tolerance:
            raise ValueError("an adaptive limit needs tolerance > 1 and 0 < decrease <= 1 / tolerance")


class AdaptiveLimit:
    """How many calls may be under way at once; it grows by about one a round while used and uncongested."""

    __slots__ = ("_decreased_at", "_limit", "_policy")

    def __init__(self, policy: AdaptivePolicy) -> None:
        self._policy = policy
        self._limit = float(policy.initial)
        self._decreased_at = float("-inf")

    @property
    def limit(self) -> int:
        """Calls that may be under way at once."""
        return int(self._limit)

    def observe(self, began: float, ended: float, unloaded: float, under_way: int, *, failed: bool = False) -> None:
        """Learn from one call: its times in monotonic seconds, and the calls under way when it ended, itself included.

        ``failed`` says that it was cut or refused for overload. Calls that began before the last decrease tell of the
        limit before it: each congestion is answered once.
        """
        p = self._policy
        if failed or ended - began > p.tolerance * unloaded:
            if began >= self._decreased_at:
                self._limit = max(float(p.lowest), self._limit * p.decrease)
                self._decreased_at = ended
        elif under_way * 2 >= self._limit:
            # A limit nobody reaches is not tested by good latencies, so they are no reason to raise it.
            self._limit = min(float(p.highest), self._limit + 1.0 / self._limit)


def unloaded_latency(before: float, seconds: float, elapsed: float) -> float:
    """Return the latency of one kind of call on an unloaded source, from one more call ``elapsed`` after the last one.

    It is the least seen, forgotten slowly, as BBR's windowed minimum of round-trip times (Cardwell et al. 2016): what
    was known ``before`` doubles in ten minutes, in case the source became slower for good. Begin with infinity.
    """
    return min(seconds, before * math.pow(2.0, min(elapsed / _DOUBLES_SECONDS, 64.0)))
