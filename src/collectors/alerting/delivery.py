"""Brings notifications to their handlers: at least once, in order within a group, each handler by itself.

What is to be delivered stands in a store, so that a restart goes on where it stopped. Every handler has its own task;
one that fails, hangs or floods has no part in the others' time. Attempts are spaced by exponential backoff with full
jitter (a uniformly random part of the doubled wait), and each is recorded.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from collectors.alerting.notification import AlertHandler, Notification
from collectors.clock import Clock
from collectors.errors import CollectorsError, ConfigError, Overloaded, PermanentError, RetryableError

log = structlog.get_logger()

BASE_SECONDS = 1.0
CAP_SECONDS = 300.0
CONCURRENCY = 8
"""Most groups of one handler that are delivered at a time."""
LOOK_SECONDS = 30.0
"""How often the store is looked at if nobody says that there is something new."""
_HEADS = 256


class StoredDelivery(Protocol):
    """A notification as the store keeps it."""

    @property
    def number(self) -> int:
        """Its place in the order."""

    @property
    def content(self) -> str:
        """The notification, dumped."""

    @property
    def created_us(self) -> int:
        """When it was decided."""

    @property
    def attempts(self) -> int:
        """How often it was tried."""

    @property
    def next_us(self) -> int:
        """When it is due."""


class DeliveryStore(Protocol):
    """Where notifications wait; its methods block and are called in threads."""

    def heads(self, handler: str, limit: int) -> Sequence[StoredDelivery]:
        """Return the oldest waiting notification of each of a handler's groups, the first due first."""

    def record(self, delivery: int, at_us: int, outcome: str, error: str = "", next_us: int = 0) -> None:
        """Record an attempt."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """A handler and its limits in seconds."""

    handler: AlertHandler
    timeout: float = 10.0
    give_up: float = 86_400.0


class Dispatcher:
    """Delivers what the store holds, until it is cancelled."""

    def __init__(
        self, store: DeliveryStore, receivers: Mapping[str, Receiver], clock: Clock, jitter: random.Random
    ) -> None:
        self._store = store
        self._receivers = dict(receivers)
        self._clock = clock
        self._jitter = jitter
        self._wake: dict[str, asyncio.Event] = {}

    def wake(self) -> None:
        """Say that there are new notifications."""
        for event in self._wake.values():
            event.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name, receiver in self._receivers.items():
                self._wake[name] = asyncio.Event()
                tasks.create_task(self._serve(name, receiver))

    async def _serve(self, name: str, receiver: Receiver) -> None:
        while True:
            self._wake[name].clear()
            try:
                wait = await self._round(name, receiver)
            except CollectorsError as error:  # the disk is full; what was delivered meanwhile is delivered again
                log.warning("alerting.store_unavailable", handler=name, error=str(error))
                wait = BASE_SECONDS
            except Exception:
                # One handler's trouble, whatever it is, must not end the others.
                log.exception("alerting.round_failed", handler=name)
                wait = BASE_SECONDS
            if wait > 0:
                await self._first(self._wake[name].wait(), self._clock.sleep(wait))

    async def _round(self, name: str, receiver: Receiver) -> float:
        """Try what is due; return the seconds until there is something to do again."""
        heads = await asyncio.to_thread(self._store.heads, name, _HEADS)
        now = self._clock.now_us()
        due = [head for head in heads if head.next_us - now <= 0 or head.next_us - now > _LATEST_US]
        if due:
            attempts = (self._attempt(name, receiver, head) for head in due[:CONCURRENCY])
            for result in await asyncio.gather(*attempts, return_exceptions=True):
                if isinstance(result, BaseException):
                    raise result
            return 0.0
        return min([LOOK_SECONDS, *((head.next_us - now) / 1e6 for head in heads)])

    async def _attempt(self, name: str, receiver: Receiver, delivery: StoredDelivery) -> None:
        outcome, error, wait = "delivered", "", 0.0
        try:
            await self._send(receiver, Notification.load(delivery.content))
        except PermanentError as refusal:
            outcome, error = "given_up", str(refusal)
        except Exception as failure:  # noqa: BLE001 - a user's function may raise anything; it is recorded
            outcome, error = "failed", _describe(failure)
            wait = self._backoff(delivery.attempts)
            if isinstance(failure, Overloaded):
                wait = max(wait, min(failure.retry_after, CAP_SECONDS))
        now = self._clock.now_us()
        if outcome == "failed" and now - delivery.created_us >= receiver.give_up * 1e6:
            outcome = "given_up"
        if outcome != "delivered":
            log.warning("alerting.not_delivered", handler=name, outcome=outcome, error=error)
        next_us = now + round(wait * 1e6)
        await asyncio.to_thread(self._store.record, delivery.number, now, outcome, error, next_us)

    async def _send(self, receiver: Receiver, notification: Notification) -> None:
        """Send, but wait no longer than the handler's limit, also if it ignores being cancelled."""
        sending = asyncio.ensure_future(receiver.handler.send(notification))
        sending.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody may be left to ask
        try:
            await self._first(sending, self._clock.sleep(receiver.timeout), leave=sending)
            if not sending.done():
                raise RetryableError(f"no answer within {receiver.timeout:g} s")
            sending.result()
        finally:
            sending.cancel()

    async def _first(self, one: Any, other: Any, *, leave: asyncio.Future[Any] | None = None) -> None:
        """Wait until one of two is done, and cancel what is not, except ``leave``."""
        both = {asyncio.ensure_future(one), asyncio.ensure_future(other)}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both - {leave}:
                task.cancel()

    def _backoff(self, attempts: int) -> float:
        return self._jitter.uniform(0.0, min(CAP_SECONDS, BASE_SECONDS * 2.0 ** min(attempts, 20)))


_LATEST_US = round(CAP_SECONDS * 1e6)
"""Nothing is due later than this, unless the clock was set back."""


def _describe(error: Exception) -> str:
    """Say what happened; the text of errors that are not ours may hold a secret and is not told."""
    return str(error) if isinstance(error, RetryableError | ConfigError) else f"it raised {type(error).__name__}"
