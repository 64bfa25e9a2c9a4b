"""The only place that reads time or sleeps."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What the rest of the package knows of time."""

    def now_us(self) -> int:
        """Wall-clock time as microseconds since the Unix epoch, UTC."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Wait for ``seconds``; zero or less only yields to the event loop."""


class SystemClock:
    """The real clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))

    def block(self, seconds: float) -> None:
        """Sleep in a thread that has no event loop."""
        time.sleep(max(0.0, seconds))


SYSTEM_CLOCK = SystemClock()
