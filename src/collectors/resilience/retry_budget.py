"""A bound on retries as a share of requests, so that retries never turn a source's trouble into an outage.

Each first attempt earns a fraction of a retry, each retry spends a whole one, and savings are capped: over any time the
retries are at most ``reserve + ratio * requests``. The scheme is Finagle's RetryBudget and gRPC's retry throttling
(https://github.com/grpc/proposal/blob/master/A6-client-retries.md); why a ratio rather than a count per call:
Beyer et al., Site Reliability Engineering, 2016, chapter 21.
"""

from __future__ import annotations

_SCALE = 1000  # thousandths of a retry: whole numbers, so that the bound holds exactly


class RetryBudget:
    """At most ``ratio`` retries per request in the long run, and ``reserve`` at once."""

    __slots__ = ("_capacity", "_earned", "_level")

    def __init__(self, ratio: float = 0.1, reserve: int = 10) -> None:
        if not 0 <= ratio <= 1 or reserve < 1:
            raise ValueError("a retry budget needs a ratio of 0 to 1 and a reserve of 1 or more")
        self._earned = int(ratio * _SCALE + 1e-9)
        self._capacity = reserve * _SCALE
        self._level = self._capacity

    @property
    def left(self) -> float:
        """Retries that may be spent now."""
        return self._level / _SCALE

    def requested(self) -> None:
        """Count a first attempt."""
        self._level = min(self._capacity, self._level + self._earned)

    def try_spend(self) -> bool:
        """Take one retry; False if the budget is spent."""
        if self._level < _SCALE:
            return False
        self._level -= _SCALE
        return True
