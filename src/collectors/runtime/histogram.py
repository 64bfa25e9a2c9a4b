"""Count durations in few numbers."""

from __future__ import annotations

import math
from typing import ClassVar


class Histogram:
    """How often which duration was seen, in buckets 9 % wide from a microsecond up; 200 numbers at most."""

    __slots__ = ("counts", "total")

    _PER_DOUBLING: ClassVar[int] = 8
    _LEAST: ClassVar[float] = 1e-6

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.total = 0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        index = 0 if seconds <= self._LEAST else math.ceil(math.log2(seconds / self._LEAST) * self._PER_DOUBLING)
        self.counts[index] = self.counts.get(index, 0) + 1
        self.total += 1

    def quantile(self, share: float) -> float | None:
        """Return the seconds that ``share`` of them did not exceed, rounded up by at most 9 %; None before any."""
        rank = share * self.total
        seen = 0
        for index in sorted(self.counts):
            seen += self.counts[index]
            if seen >= rank:
                return self._LEAST * math.pow(2.0, index / self._PER_DOUBLING)
        return None
