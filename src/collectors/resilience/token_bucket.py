"""A rate limit with a burst: the token bucket (Turner 1986; RFC 2697 in networks).

Tokens drip in at ``rate`` a second up to ``burst``; in any time t at most ``burst + rate * t`` are taken. Own code
rather than aiolimiter or limits: the first waits inside, on the event loop's own time, the second reads the wall clock
and keeps its counts in a store; here the time is an argument and the answer immediate.
"""

from __future__ import annotations

import math


class TokenBucket:
    """Tokens as seconds pass; ``now`` is always a monotonic second, and one that goes back adds nothing."""

    __slots__ = ("_burst", "_level", "_rate", "_updated")

    def __init__(self, rate: float, burst: float, now: float = 0.0) -> None:
        self._rate, self._burst = _checked(rate, burst)
        self._level = self._burst
        self._updated = now

    @property
    def burst(self) -> float:
        """Most tokens it holds."""
        return self._burst

    def level(self, now: float) -> float:
        """Return the tokens there are, negative while in debt."""
        if now > self._updated:
            self._level = min(self._burst, self._level + (now - self._updated) * self._rate)
            self._updated = now
        return self._level

    def try_take(self, amount: float, now: float) -> bool:
        """Take ``amount`` tokens, or none and return False if there are fewer."""
        if self.level(now) < amount:
            return False
        self._level -= amount
        return True

    def wait(self, amount: float, now: float) -> float:
        """Return the seconds until ``amount`` tokens are there, if nobody takes any; infinite if there never are."""
        missing = amount - self.level(now)
        if missing <= 0:
            return 0.0
        if amount > self._burst or self._rate == 0:
            return math.inf
        # The next float up: a level that is short by a rounding error would make a caller come back in vain.
        return math.nextafter(missing / self._rate, math.inf)

    def charge(self, amount: float, now: float) -> None:
        """Take ``amount`` tokens whether there or not: for what is known only afterwards, such as query seconds."""
        self.level(now)
        self._level -= amount

    def reconfigure(self, rate: float, burst: float, now: float) -> None:
        """Change the rate from ``now`` on; what was taken stays taken, and a larger burst fills at the new rate."""
        self.level(now)
        self._rate, self._burst = _checked(rate, burst)
        self._level = min(self._level, self._burst)


def _checked(rate: float, burst: float) -> tuple[float, float]:
    if not (math.isfinite(rate) and math.isfinite(burst)) or rate < 0 or burst <= 0:
        raise ValueError("a token bucket needs a finite rate of 0 or more and a finite burst above 0")
    return float(rate), float(burst)
