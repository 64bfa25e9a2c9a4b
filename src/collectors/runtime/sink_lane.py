"""One sink's lane: its queue, its breaker, its deadline. Nothing in it waits for, or is waited for by, another lane.

The oldest batch is written until the target took it or refused it for good. There is no limit to attempts or age, only
the budget on disk: an outage of days loses nothing that fits.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import structlog

from collectors.clock import Clock
from collectors.config.sinks import SinkConfig
from collectors.contract.sink import BaseSink, Offload, Receipt, SinkBatch, SinkStatus
from collectors.errors import (
    CollectorsError,
    ConfigError,
    LifecycleError,
    Overloaded,
    PermanentError,
    RetryableError,
)
from collectors.resilience.backoff import Backoff
from collectors.resilience.breaker import Breaker, BreakerPolicy
from collectors.runtime.sink_codec import decode
from collectors.runtime.sink_queue import DISK_BACKOFF, LEAST_WAIT_SECONDS, QueuedBatch, SinkQueue, Spool, first, look

log = structlog.get_logger()

LONGEST_WAIT_SECONDS = 300.0
"""Most that a busy target may ask us to wait."""
CLOSE_SECONDS = 1.0
"""How long a call that was cancelled may take to end when the lane is closed."""
_BACKOFF = Backoff(first=1.0, longest=60.0)


class Lane:
    """Takes chunks for one sink, and brings them there."""

    def __init__(
        self, name: str, sink: BaseSink[Any], spool: Spool, clock: Clock, jitter: random.Random, offload: Offload
    ) -> None:
        config: SinkConfig = sink.config
        self.name = name
        self.sink = sink
        self._queue = SinkQueue(name, config, spool, clock, jitter, offload)
        self._clock = clock
        self._jitter = jitter
        self._offload = offload
        self._timeout = config.timeout_seconds
        longest = config.breaker_seconds * 10
        self._breaker = Breaker(BreakerPolicy(config.breaker_failures, config.breaker_seconds, longest))
        self._is_open = False
        self._left: asyncio.Future[Any] | None = None
        self._status = SinkStatus(name, sink.name)
        self.offer = self._queue.offer
        self.drain = self._queue.drain

    def status(self) -> SinkStatus:
        """Report the account and how the sink does."""
        counts = self._queue.counts()
        return replace(
            self._status,
            offered=counts.offered,
            delivered=counts.delivered,
            queued=counts.queued,
            dropped=counts.dropped,
            queued_bytes=counts.queued_bytes,
            oldest_us=counts.oldest_us,
            breaker=self._breaker.state,
            stuck=self._left is not None and not self._left.done(),
            saving=self._queue.saving,
        )

    async def run(self) -> None:
        """Keep and deliver until cancelled."""
        await self._queue.open()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._surely(self._queue.keep))
            tasks.create_task(self._surely(self._deliver))

    @property
    def idle(self) -> bool:
        """Whether nothing waits, or the target does not take it."""
        return self._queue.empty or self._status.consecutive_failures > 0

    async def close(self) -> None:
        """After ``run`` has ended: keep what waits, and release everything."""
        await self._queue.close()
        if self._left is not None:
            self._left.cancel()
            await first(self._clock, self._left, CLOSE_SECONDS)
        await self._close_sink()

    async def _surely(self, work: Callable[[], Awaitable[None]]) -> None:
        """Begin ``work`` again if it raises: no mistake, ours or the sink's, may silence a lane for good."""
        failures = 0
        while True:
            try:
                await work()
            except CollectorsError as error:
                log.warning("sink.queue_failed", sink=self.name, error=str(error))
            except Exception:
                log.exception("sink.lane_failed", sink=self.name)
            failures += 1
            await self._clock.sleep(max(LEAST_WAIT_SECONDS, DISK_BACKOFF.delay(failures, self._jitter.random)))

    async def _deliver(self) -> None:
        while True:
            self._queue.stored.clear()
            batch = await self._queue.next()
            if batch is None:
                await self._queue.stored.wait()
                continue
            permit = self._breaker.allow(self._clock.monotonic())
            if permit is None:
                wait = self._breaker.retry_at - self._clock.monotonic()
            elif batch.number:
                wait = await self._attempt(batch, permit)
            else:
                wait = await self._attempt_in_memory(batch, permit)
            if wait > 0:
                await self._clock.sleep(max(LEAST_WAIT_SECONDS, wait))

    async def _attempt_in_memory(self, batch: QueuedBatch, permit: int) -> float:
        async with self._queue.hold:
            if self._queue.is_waiting(batch):
                return await self._attempt(batch, permit)
        self._breaker.abandoned(permit)
        return 0.0

    async def _attempt(self, batch: QueuedBatch, permit: int) -> float:
        """Write once; return the seconds to wait before the next attempt, of this batch or another."""
        now = self._clock.monotonic
        self._status = replace(self._status, attempts=self._status.attempts + 1)
        dropped: dict[str, int] = {}
        problem = ""
        try:
            try:
                content = await self._offload(decode, batch.id, batch.content)
            except ValueError:
                dropped, problem = {"unreadable": batch.items}, "a stored batch can't be read"
            else:
                receipt = await self._limited(self._write(content))
                _check(receipt, batch.items)
                if receipt.refused:
                    dropped, problem = {"refused": receipt.refused}, receipt.reason
        except asyncio.CancelledError:
            self._breaker.abandoned(permit)
            raise
        except Exception as error:  # noqa: BLE001 - a sink may raise anything; it is told
            if _is_refusal(error):
                dropped, problem = {"refused": batch.items}, str(error)
            else:
                return await self._failed(error, permit, now())
        self._breaker.succeeded(permit)
        if problem:
            log.warning("sink.refused", sink=self.name, items=sum(dropped.values()), reason=problem)
        self._status = replace(
            self._status, consecutive_failures=0, last_success_us=self._clock.now_us(), last_error=problem
        )
        self._queue.settle(batch, dropped)
        return 0.0

    async def _failed(self, error: Exception, permit: int, now: float) -> float:
        failures = self._status.consecutive_failures + 1
        text = _describe(error)
        log.warning("sink.failed", sink=self.name, failures=failures, error=text)
        self._status = replace(
            self._status, failures=self._status.failures + 1, consecutive_failures=failures, last_error=text
        )
        wait = max(LEAST_WAIT_SECONDS, _BACKOFF.delay(failures, self._jitter.random))
        if isinstance(error, Overloaded):  # it is alive, and says when it wants to be asked again
            self._breaker.abandoned(permit)
            asked = error.retry_after
            return max(wait, asked if 0 <= asked <= LONGEST_WAIT_SECONDS else LONGEST_WAIT_SECONDS)
        self._breaker.failed(permit, now)
        await self._close_sink()
        return wait

    async def _write(self, batch: SinkBatch) -> Receipt:
        if not self._is_open:
            await self.sink.open()
            self._is_open = True
        return await self.sink.write(batch)

    async def _close_sink(self) -> None:
        self._is_open = False
        try:
            await self._limited(self.sink.close())
        except Exception as error:  # noqa: BLE001 - it is given up anyway
            log.warning("sink.close_failed", sink=self.name, error=_describe(error))

    # --- waiting ------------------------------------------------------------------------------------------------------

    async def _limited(self, work: Any) -> Any:
        """Await ``work``, but no longer than the sink's limit, also if it ignores being cancelled."""
        if self._left is not None and not self._left.done():
            work.close()
            raise RetryableError("an earlier call still goes on, though it was cancelled")
        doing = self._left = asyncio.ensure_future(work)
        doing.add_done_callback(look)
        try:
            await first(self._clock, doing, self._timeout)
            if not doing.done():
                raise RetryableError(f"no answer within {self._timeout:g} s")
            if doing.cancelled():
                raise RetryableError("it cancelled itself")
            return doing.result()
        finally:
            doing.cancel()


def _check(receipt: object, items: int) -> None:
    if not isinstance(receipt, Receipt):
        raise RetryableError(f"write returned {type(receipt).__name__}, which is no receipt")
    counts = (receipt.delivered, receipt.refused)
    if min(counts) < 0 or sum(counts) != items:
        raise RetryableError(f"its receipt accounts for {sum(counts)} items of {items}")


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, PermanentError) and not isinstance(error, LifecycleError)


def _describe(error: Exception) -> str:
    """Say what happened; the text of errors that are not ours may hold a secret and is not told."""
    ours = isinstance(error, RetryableError | ConfigError | LifecycleError)
    return str(error) if ours else f"it raised {type(error).__name__}"
