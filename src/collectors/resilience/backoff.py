"""How long to wait before the next attempt: exponential backoff with full jitter.

Full jitter draws the wait uniformly from zero to the exponential ceiling, which spreads the attempts of many clients
best (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/). Own code rather than tenacity or
stamina: those wait inside the call that failed and so hold its slot, while here the scheduler waits for thousands of
calls at once, on the injected clock; what is left of them is this one formula.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits in seconds: ``first`` bounds the wait after the first failure, and each bound doubles up to ``longest``."""

    first: float = 0.1
    longest: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.first <= self.longest:
            raise ValueError("a backoff needs 0 < first <= longest")

    def ceiling(self, failures: int) -> float:
        """Return the longest wait in seconds after ``failures`` failures in a row, from 1."""
        # 2.0**1023 is the largest power a float holds; any sane ``longest`` is reached long before.
        return min(self.longest, self.first * 2.0 ** min(max(failures, 1) - 1, 1000))

    def delay(self, failures: int, draw: Callable[[], float]) -> float:
        """Return the wait in seconds; ``draw`` gives the next number of [0, 1), seeded for a repeatable order."""
        return draw() * self.ceiling(failures)
