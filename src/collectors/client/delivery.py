"""The engine of both clients: two tasks on one event loop, one that packs events and one that delivers them.

Packing goes on while a request is under way, so that an unresponsive server finds compact bytes in memory, or files
on disk, instead of Python objects. Requests go one at a time, in the order of the events.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from collectors.client.answers import Receipt, read_answer
from collectors.client.backoff import Backoff
from collectors.client.outbox import Outbox
from collectors.client.packing import Parcel
from collectors.client.report import Delivery, FailedBatch, OnError
from collectors.client.spool import Spool
from collectors.clock import Clock
from collectors.errors import (
    CollectorsError,
    LifecycleError,
    Overloaded,
    PermanentError,
    RetryableError,
    SourceUnavailable,
    StorageUnavailable,
    TooLarge,
)

REASONS = 10
AFTER_BUG_SECONDS = 1.0
CLOSED_EARLY = "the client was closed before the server took these events"

_log = logging.getLogger("collectors.client")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Target:
    """Where batches go, and as whom."""

    url: str
    tenant: str
    key: str = field(repr=False)
    source: str | None
    timeout: float
    transport: Callable[[], httpx.AsyncBaseTransport] | None

    def connect(self) -> httpx.AsyncClient:
        """Return a connection pool of one request at a time."""
        scheme = httpx.URL(self.url).scheme
        return httpx.AsyncClient(
            base_url=f"{self.url.rstrip('/')}/v1/tenants/{quote(self.tenant, safe='')}/events/",
            headers={"Authorization": f"Bearer {self.key}", "Content-Type": "application/vnd.apache.arrow.stream"},
            timeout=self.timeout,
            limits=httpx.Limits(max_connections=1, keepalive_expiry=4.0),  # servers often hang up after five seconds
            transport=self.transport() if self.transport else None,
            verify=scheme != "http",  # reading the certificate store takes a tenth of a second
        )


class Engine:
    """Delivers what is in ``outbox``; ``spool`` holds what must wait for the server, if there is one.

    ``wake`` may be called from any thread; everything else belongs to the event loop that ``start`` ran on.
    """

    def __init__(
        self, outbox: Outbox, spool: Spool | None, target: Target, clock: Clock, on_error: OnError | None
    ) -> None:
        self._outbox = outbox
        self._spool = spool
        self._target = target
        self._clock = clock
        self._on_error = on_error
        self._backoff = Backoff()
        self._away: RetryableError | None = None  # why the server took nothing the last time
        self._warned = ""
        self._reasons: deque[str] = deque(maxlen=REASONS)
        self._working: set[asyncio.Future[Any]] = set()
        self._closing: asyncio.Task[Delivery] | None = None
        self._stopped = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that ``start`` ran on."""
        return self._loop

    def start(self) -> None:
        """Take over what the spool holds and begin to deliver, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._queued = asyncio.Event()
        self._progress = asyncio.Event()
        self._http = self._target.connect()
        if self._spool is not None:
            self._outbox.recover(self._spool.recovered)
        self._tasks = [
            self._loop.create_task(self._forever(self._pack_next), name="collectors-client-pack"),
            self._loop.create_task(self._forever(self._deliver_next), name="collectors-client-deliver"),
        ]

    def wake(self) -> None:
        """Say that there may be something to pack."""
        try:
            self._loop.call_soon_threadsafe(self._woken.set)
        except RuntimeError:
            if not self._stopped:  # else ``close`` took care of it
                raise LifecycleError("the client's event loop has ended; make one client in each loop") from None

    def disown(self) -> None:
        """Leave the spool to the parent of this forked process."""
        if self._spool is not None:
            self._spool.forget()

    async def until(self, condition: Callable[[], bool], patience: float | None = None) -> bool:
        """Wait for ``condition``; False if ``patience`` seconds pass first, or the engine stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while not (condition() or self._stopped):
                    await self._progress.wait()
        return condition()

    async def flush(self, patience: float | None) -> Delivery:
        """Deliver what was sent so far without lingering; wait at most ``patience`` seconds."""
        ticket = self._outbox.seal_all()
        self._woken.set()
        complete = await self.until(lambda: self._outbox.is_settled(ticket), patience)
        return self._report(complete=complete)

    async def close(self, patience: float | None) -> Delivery:
        """Flush, stop, and put what could not be delivered into the spool, or else count it as failed.

        It goes on even if the caller stops waiting; who calls again waits for the same end.
        """
        if self._closing is None:
            self._closing = self._loop.create_task(self._close(patience))
        return await asyncio.shield(self._closing)

    def abandon(self) -> Delivery:
        """Spool or fail what is left; for when the tasks have ended, in any thread."""
        self._outbox.close()
        self._outbox.seal_all()
        while (chunk := self._outbox.next_chunk()) is not None:
            self._outbox.packed(chunk.pack(self._target.source))
        place = 0
        for parcel in self._outbox.parcels():
            kept = self._keep(parcel)
            if kept.path is None:
                self._outbox.fail(place)
                self._tell(parcel, parcel.body or b"", self._away or LifecycleError(CLOSED_EARLY))
            else:
                self._outbox.replace(place, [kept])
                place += 1
        if self._spool is not None:
            self._spool.close()
        return self._report(complete=place == 0)

    async def _close(self, patience: float | None) -> Delivery:
        self._outbox.close()
        self._progressed()
        ticket = self._outbox.seal_all()
        self._woken.set()
        await self.until(lambda: self._outbox.is_settled(ticket) or self._can_wait_on_disk(), patience)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._working, return_exceptions=True)
        await self._http.aclose()
        final = await self._offload(self.abandon)
        self._stopped = True
        self._progressed()
        return final

    def _can_wait_on_disk(self) -> bool:
        return self._away is not None and self._spool is not None

    async def _forever(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except Exception:  # noqa: BLE001  a mistake of ours in one step must not end all deliveries
                _log.exception("an unexpected error; going on in %.0f s", AFTER_BUG_SECONDS)
                self._progressed()
                await self._clock.sleep(AFTER_BUG_SECONDS)

    async def _pack_next(self) -> None:
        self._woken.clear()
        due = self._outbox.seal_due()
        chunk = self._outbox.next_chunk()
        if chunk is None:
            await self._pause(due)
            return
        parcels = await self._offload(partial(chunk.pack, self._target.source))
        if self._away is not None or self._outbox.is_crowded:
            parcels = [await self._offload(partial(self._keep, parcel)) for parcel in parcels]
        self._outbox.packed(parcels)
        self._queued.set()
        self._progressed()

    async def _deliver_next(self) -> None:
        parcel = self._outbox.head()
        if parcel is None:
            self._queued.clear()
            await self._queued.wait()
            return
        try:
            await self._deliver(parcel)
        except RetryableError as error:
            if self._away is None:
                self._warn(f"events have to wait: {error}")
            self._away = error
            await self._spill()
            self._progressed()
            await self._clock.sleep(self._backoff.failed(error.retry_after if isinstance(error, Overloaded) else 0.0))
        else:
            if self._away is not None:
                _log.info("events are delivered again")
            self._away, self._warned = None, ""
            self._backoff.succeeded()
            self._progressed()

    async def _deliver(self, parcel: Parcel) -> None:
        """Settle, split or fail the head of the line; raises RetryableError if it must stay."""
        body = parcel.body
        if body is None:
            try:
                body = await self._offload(partial(_read, parcel))
            except OSError as error:
                await self._give_up(
                    parcel, b"", StorageUnavailable(f"the spooled batch is unreadable: {error.strerror}")
                )
                return
        try:
            receipt = await self._post(parcel, body)
        except PermanentError as error:
            if isinstance(error, TooLarge) and parcel.rows > 1:
                await self._split(parcel, body)
            else:
                await self._give_up(parcel, body, error)
            return
        for reason in receipt.reasons:
            text = f"{parcel.event_type}: {reason}"
            if text not in self._reasons:
                self._reasons.append(text)
        self._outbox.settle(receipt)
        await self._forget(parcel)

    async def _post(self, parcel: Parcel, body: bytes) -> Receipt:
        try:
            response = await self._http.post(parcel.event_type, content=body, headers={"Idempotency-Key": parcel.key})
        except httpx.RequestError as error:
            raise SourceUnavailable(f"the server did not answer ({type(error).__name__})") from error
        return read_answer(response, parcel.rows, self._clock.now_us())

    async def _split(self, parcel: Parcel, body: bytes) -> None:
        halves = list(await self._offload(partial(parcel.halves, body)))
        if self._spool is not None and parcel.path is not None:
            halves = [await self._offload(partial(self._spool.put, half, beside=parcel)) for half in halves]
        self._outbox.replace(0, halves)
        await self._forget(parcel)

    async def _give_up(self, parcel: Parcel, body: bytes, error: CollectorsError) -> None:
        path = await self._offload(partial(self._spool.set_aside, parcel, body)) if self._spool and body else None
        self._outbox.fail()
        self._tell(parcel, body, error, path)
        await self._forget(parcel)

    async def _forget(self, parcel: Parcel) -> None:
        """Delete a settled parcel's file. If that fails it is sent again some day, and the server finds duplicates."""
        if self._spool is not None and parcel.path is not None:
            await self._offload(partial(self._spool.remove, parcel))

    async def _spill(self) -> None:
        """Move the line from memory to disk, as far as there is room."""
        for place, parcel in enumerate(self._outbox.parcels()):  # meanwhile the line only grows at its end
            if parcel.path is None:
                kept = await self._offload(partial(self._keep, parcel))
                if kept.path is None:
                    return
                self._outbox.replace(place, [kept])

    def _keep(self, parcel: Parcel) -> Parcel:
        """Return ``parcel`` as one of disk if the spool takes it, else unchanged."""
        if self._spool is None or parcel.path is not None:
            return parcel
        try:
            return self._spool.put(parcel)
        except RetryableError as error:
            self._warn(str(error))
            return parcel

    def _tell(self, parcel: Parcel, body: bytes, error: CollectorsError, path: Path | None = None) -> None:
        if self._on_error is None:
            _log.error("%d events of type %s failed: %s", parcel.rows, parcel.event_type, error)
            return
        try:
            self._on_error(FailedBatch(parcel.event_type, parcel.rows, parcel.key, error, body, path))
        except Exception:  # noqa: BLE001  it is the application's; deliveries go on
            _log.exception("on_error failed")

    def _warn(self, text: str) -> None:
        """Log ``text``, but not again and again in the same trouble."""
        if text != self._warned:
            _log.warning("%s", text)
            self._warned = text

    def _report(self, *, complete: bool) -> Delivery:
        return Delivery(complete, self._outbox.stats(), tuple(self._reasons))

    def _progressed(self) -> None:
        """Let everyone who waits for a condition look again."""
        self._progress.set()
        self._progress = asyncio.Event()

    async def _pause(self, seconds: float | None) -> None:
        """Wait until ``wake``, but not longer than ``seconds``."""
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._woken.wait())]
        if seconds is not None:
            waits.append(asyncio.ensure_future(self._clock.sleep(seconds)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _offload(self, work: Callable[[], _T]) -> _T:
        """Run ``work``, which blocks, in a thread. It runs to its end even if nobody waits for it any more."""
        try:
            future = self._loop.run_in_executor(None, work)
        except RuntimeError:  # the interpreter shuts down, and no thread may be started
            return work()
        self._working.add(future)
        future.add_done_callback(self._working.discard)
        return await asyncio.shield(future)


def _read(parcel: Parcel) -> bytes:
    assert parcel.path is not None
    return parcel.path.read_bytes()
