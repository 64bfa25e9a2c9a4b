"""Hands of the scaling decision: what starts and stops workers. This one does it on this machine, as processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from collectors.clock import Clock
from collectors.errors import StorageUnavailable
from collectors.runtime.scaling import Decision, Load, Scaler

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Staff:
    """How many workers are ready, and how many are on their way."""

    ready: int
    starting: int = 0


class Hand(Protocol):
    """Gives a service the size that was decided on."""

    async def staff(self) -> Staff:
        """Return what is there."""

    async def resize(self, size: int) -> None:
        """Have ``size`` workers; returns when they are asked for, not when they are ready."""


async def keep_size(
    scaler: Scaler, hand: Hand, measure: Callable[[Staff], Awaitable[Load]], clock: Clock, every_seconds: float = 15.0
) -> None:
    """Measure, decide and resize until cancelled; a measurement or a resize that fails is tried again next time."""
    before: Decision | None = None
    while True:
        try:
            staff = await hand.staff()
            decision = scaler.observe(await measure(staff))
            await hand.resize(decision.size)
            if before is None or decision.size != before.size:
                log.info("scaling.decided", size=decision.size, reason=decision.reason, ready=staff.ready)
            before = decision
        except Exception:
            log.exception("scaling.failed")
        await clock.sleep(every_seconds)


class LocalHand:
    """Worker processes on this machine. The newest goes first, by SIGTERM, and by SIGKILL after ``grace_seconds``.

    ``command`` makes the command line of the worker with a number; numbers of workers that ended are given again, so
    that a worker can find what the one before it had. One that ends by itself is started again with the next
    ``resize``. A process counts as ready once it has run for ``start_seconds``.
    """

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        clock: Clock,
        *,
        environment: Mapping[str, str] | None = None,
        start_seconds: float = 1.0,
        grace_seconds: float = 20.0,
    ) -> None:
        self._command = command
        self._clock = clock
        self._environment = None if environment is None else dict(environment)
        self._start_seconds = start_seconds
        self._grace_seconds = grace_seconds
        self._processes: dict[int, tuple[asyncio.subprocess.Process, float]] = {}
        self._turn = asyncio.Lock()

    async def staff(self) -> Staff:
        """Return how many processes run, by whether they had time to get ready."""
        now = self._clock.monotonic()
        ages = [now - began for process, began in self._processes.values() if process.returncode is None]
        ready = sum(age >= self._start_seconds for age in ages)
        return Staff(ready, len(ages) - ready)

    async def resize(self, size: int) -> None:
        """Start what is missing and stop what is too much; raises StorageUnavailable if none can be started."""
        async with self._turn:
            for number, (process, _) in list(self._processes.items()):
                if process.returncode is not None:
                    log.warning("scaling.worker_died", worker=number, code=process.returncode)
                    del self._processes[number]
            while len(self._processes) < size:
                await self._start()
            leaving = [self._processes.pop(n)[0] for n in sorted(self._processes, reverse=True)[: self._surplus(size)]]
            await asyncio.gather(*map(self._stop, leaving))

    async def close(self) -> None:
        """Stop all of them."""
        await self.resize(0)

    @property
    def processes(self) -> dict[int, int]:
        """Number to process id of those that were started and not stopped."""
        return {number: process.pid for number, (process, _) in sorted(self._processes.items())}

    def _surplus(self, size: int) -> int:
        return max(0, len(self._processes) - size)

    async def _start(self) -> None:
        number = next(n for n in range(len(self._processes) + 1) if n not in self._processes)
        try:
            process = await asyncio.create_subprocess_exec(*self._command(number), env=self._environment)
        except OSError as error:
            raise StorageUnavailable(f"no worker can be started: {error.strerror}; it is tried again") from error
        self._processes[number] = process, self._clock.monotonic()

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        ended = asyncio.ensure_future(process.wait())
        grace = asyncio.ensure_future(self._clock.sleep(self._grace_seconds))
        await asyncio.wait((ended, grace), return_when=asyncio.FIRST_COMPLETED)
        grace.cancel()
        if not ended.done():
            log.warning("scaling.worker_killed", process=process.pid)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await ended
