"""Clocks that a test moves."""

from __future__ import annotations

import asyncio

from collectors.clock import SYSTEM_CLOCK

_TURNS = 20


async def settle(turns: int = _TURNS) -> None:
    """Let everything that can run now run."""
    for _ in range(turns):
        await SYSTEM_CLOCK.sleep(0)


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
            await SYSTEM_CLOCK.sleep(0)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sleeper = (self._monotonic + seconds, waiter)
        self._sleepers.append(sleeper)
        try:
            await waiter
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)

    async def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass, waking sleepers at their times."""
        end = self._monotonic + seconds
        while True:
            await settle()
            due = min((s for s in self._sleepers if s[0] <= end), key=lambda s: s[0], default=None)
            if due is None:
                break
            self.jump(due[0] - self._monotonic)
            self._sleepers.remove(due)
            if not due[1].done():
                due[1].set_result(None)
        self.jump(end - self._monotonic)
        await settle()

    def jump(self, seconds: float) -> None:
        """Let ``seconds`` pass at once, waking nobody."""
        self._now_us += round(seconds * 1e6)
        self._monotonic += seconds


class JumpingClock(ManualClock):
    """A sleep is over at once, and the time has passed."""

    async def sleep(self, seconds: float) -> None:
        self.jump(max(0.0, seconds))
        await SYSTEM_CLOCK.sleep(0)
