"""When to try again: exponential backoff with full jitter, and a budget that keeps retries a small share of requests.

Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/. The budget is a token bucket:
each retry takes one token, each success puts a fifth of one back. With the bucket empty, as before a server that fails
every other request, each wait is drawn from the longest range at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_SECONDS = 0.1
LONGEST_SECONDS = 30.0
BUDGET = 10.0
REFILL = 0.2


class Backoff:
    """Seconds to wait after each failure; ``jitter`` draws from [0, 1)."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._failures = 0
        self._tokens = BUDGET

    def failed(self, retry_after: float = 0.0) -> float:
        """Return how long to wait, never less than the ``retry_after`` seconds that the server asked for."""
        ceiling = LONGEST_SECONDS
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            ceiling = min(ceiling, FIRST_SECONDS * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return retry_after + self._jitter() * ceiling

    def succeeded(self) -> None:
        """Begin again from the shortest wait."""
        self._failures = 0
        self._tokens = min(BUDGET, self._tokens + REFILL)
