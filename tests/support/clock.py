"""A clock that a test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until ``condition`` holds; the test's own time limit bounds it."""
    while not condition():
        await asyncio.sleep(0.001)


class ManualClock:
    """Time stands still until ``advance``; sleepers whose time has come are woken in order."""

    def __init__(self, now_us: int = 1_700_000_000_000_000) -> None:
        self._now_us = now_us
        self._monotonic = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now_us(self) -> int:
        return self._now_us

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._monotonic + seconds, waiter))
        await waiter

    async def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass, waking sleepers at their times."""
        end = self._monotonic + seconds
        while True:
            await self.settle()
            due = sorted((s for s in self._sleepers if s[0] <= end and not s[1].done()), key=lambda s: s[0])
            if not due:
                break
            when, waiter = due[0]
            self._jump(when)
            self._sleepers.remove((when, waiter))
            waiter.set_result(None)
        self._jump(end)
        await self.settle()

    async def settle(self) -> None:
        """Let everything that can run now run."""
        for _ in range(20):
            await asyncio.sleep(0)

    def _jump(self, to: float) -> None:
        self._now_us += round((to - self._monotonic) * 1e6)
        self._monotonic = to
