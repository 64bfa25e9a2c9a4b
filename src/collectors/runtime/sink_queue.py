"""What waits for one sink: in memory for a moment, then on disk, both bounded in bytes, with one account for both.

    offer ──▶ memory ──keep──▶ spool on disk ──head──▶ to be written ──settle──▶ accounted for
                 └── while the disk refuses, straight ──▲

What came within ``linger_seconds`` is joined to a batch and saved; from then on the batch survives this process. Only
the batch at hand is in memory beside what was just offered, however long the backlog.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from collectors.clock import Clock
from collectors.config.sinks import SinkConfig
from collectors.contract.sink import Offload
from collectors.errors import StorageUnavailable
from collectors.resilience.backoff import Backoff
from collectors.resilience.bounded_queue import BoundedQueue

log = structlog.get_logger()

BATCH_BYTES = 2**20
"""A batch is not added to once it has this size."""
DISK_BACKOFF = Backoff(first=0.5, longest=10.0)
LEAST_WAIT_SECONDS = 0.05


class QueuedBatch(Protocol):
    """A batch that waits."""

    @property
    def number(self) -> int:
        """Its place in the order on disk, from 1; 0 if it is in memory only."""

    @property
    def id(self) -> str:
        """Its name for all time; no other batch has it."""

    @property
    def items(self) -> int:
        """How many samples or spans it holds."""

    @property
    def content(self) -> bytes:
        """Chunks of ``sink_codec``."""


class Spool(Protocol):
    """A queue on disk; its methods block, are called in threads, and raise StorageUnavailable if the disk refuses."""

    @property
    def account(self) -> Any:
        """After the last change: offered, delivered, queued, queued_bytes, oldest_us, and dropped by reason."""

    def open(self) -> None:
        """Find what waits from before."""

    def append(self, id_: str, content: bytes, items: int, now_us: int, *, keep: int = 0) -> bool:
        """Store a batch, False if it was dropped for lack of room; the one numbered ``keep`` never gives way."""

    def head(self) -> QueuedBatch | None:
        """Return the oldest batch."""

    def settle(self, number: int, dropped: Mapping[str, int]) -> None:
        """Remove a batch that was written, of which some items were refused; nothing happens the second time."""

    def note(self, delivered: int, dropped: Mapping[str, int]) -> None:
        """Count items that were never stored."""

    def close(self) -> None:
        """Release the file."""


@dataclass(frozen=True, slots=True)
class _Joined:
    id: str
    items: int
    content: bytes
    created_us: int
    number: int = 0


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """``offered = delivered + queued + sum(dropped)``, in items, wherever they are."""

    offered: int
    delivered: int
    queued: int
    dropped: Mapping[str, int]
    queued_bytes: int
    oldest_us: int


class SinkQueue:
    """One sink's queue, used on the event loop; ``keep`` runs beside whoever takes from it."""

    def __init__(
        self, name: str, config: SinkConfig, spool: Spool, clock: Clock, jitter: random.Random, offload: Offload
    ) -> None:
        self._name = name
        self._config = config
        self._spool = spool
        self._clock = clock
        self._jitter = jitter
        self._offload = offload
        self._inbox: BoundedQueue[tuple[int, bytes]] = BoundedQueue(config.memory_bytes)
        self._waiting = 0  # items in the inbox
        self._joined: _Joined | None = None
        self._direct = 0  # items delivered, and dropped by reason, that the spool's account does not know of
        self._dropped: Counter[str] = Counter()
        self._writing = 0  # number of the batch that is being written
        self._settled: tuple[int, Mapping[str, int]] | None = None  # its number and what was refused, once it is
        self._closing = False
        self._filled, self._full = asyncio.Event(), asyncio.Event()
        self._calls: set[asyncio.Future[Any]] = set()
        self.hold = asyncio.Lock()
        """Who has it may save, or write, the batch that is in memory only."""
        self.stored = asyncio.Event()
        """Set when there may be something to take."""
        self.saving = True
        """Whether the disk takes what is to be saved."""

    def offer(self, chunk: bytes, items: int) -> None:
        """Take ``items`` encoded as a chunk; never waits. What there is no room for is dropped and counted."""
        if self._closing or not self._inbox.put((items, chunk), len(chunk)):
            self._dropped["stopped" if self._closing else "memory_full"] += items
            return
        self._waiting += items
        self._filled.set()
        if self._waiting >= self._config.batch_items or self._inbox.bytes >= BATCH_BYTES:
            self._full.set()

    def counts(self) -> QueueCounts:
        """The account."""
        saved, joined = self._spool.account, self._joined
        in_memory = self._waiting + (joined.items if joined else 0)
        return QueueCounts(
            offered=saved.offered + self._direct + self._dropped.total() + in_memory,
            delivered=saved.delivered + self._direct,
            queued=saved.queued + in_memory,
            dropped=dict(sorted((Counter(saved.dropped) + self._dropped).items())),
            queued_bytes=saved.queued_bytes + self._inbox.bytes + (len(joined.content) if joined else 0),
            oldest_us=saved.oldest_us or (joined.created_us if joined else 0),
        )

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not (self._waiting or self._joined or self._spool.account.queued)

    async def open(self) -> None:
        """Find what waits from before; a disk that refuses now is tried again at each change."""
        try:
            await self._disk(self._spool.open)
        except StorageUnavailable as error:
            self._refused(error)

    def drain(self) -> None:
        """Take nothing more, and let nothing wait for company."""
        self._closing = True
        self._full.set()
        self._filled.set()

    async def close(self) -> None:
        """Put on disk what is in memory, and release it; after this only ``counts`` may be asked for."""
        self.drain()
        if self._calls:
            await asyncio.wait(self._calls)
        try:
            await self._note_settled()
            while self._unsaved:
                await self._save()
        except StorageUnavailable as error:
            in_memory = self._waiting + (self._joined.items if self._joined else 0)
            log.warning("sink.lost_at_stop", sink=self._name, items=in_memory, error=str(error))
        await self._disk(self._spool.close)

    # --- from memory to disk ------------------------------------------------------------------------------------------

    async def keep(self) -> None:
        """Save what is offered, until cancelled."""
        while True:
            await self._filled.wait()
            if not self._full.is_set():
                await first(self._clock, asyncio.ensure_future(self._full.wait()), self._config.linger_seconds)
            self._filled.clear()
            if not self._closing:
                self._full.clear()
            failures = 0
            while self._unsaved:
                try:
                    await self._save()
                    failures = 0
                except StorageUnavailable as error:
                    failures += 1
                    self._refused(error)
                    delay = DISK_BACKOFF.delay(failures, self._jitter.random)
                    await self._clock.sleep(max(LEAST_WAIT_SECONDS, delay))

    @property
    def _unsaved(self) -> bool:
        return bool(self._waiting or self._joined or self._dropped or self._direct)

    async def _save(self) -> None:
        """Put one batch on disk, and what was counted beside it."""
        if self._joined is None and self._waiting:
            self._joined = self._join()
        async with self.hold:
            if self._joined is not None:  # else it was delivered from memory meanwhile
                await self._disk(self._append, self._joined)
        if self._dropped or self._direct:
            direct, dropped = self._direct, self._dropped
            self._direct, self._dropped = 0, Counter()
            try:
                await self._disk(self._spool.note, direct, dropped)
            except StorageUnavailable:
                self._direct += direct
                self._dropped += dropped
                raise
        self.saving = True
        self.stored.set()

    def _append(self, batch: _Joined) -> None:
        """Save in a thread; a batch counts as saved from the moment that it is."""
        self._spool.append(batch.id, batch.content, batch.items, batch.created_us, keep=self._writing)
        self._joined = None

    def _join(self) -> _Joined:
        chunks: list[bytes] = []
        items = size = 0
        while self._inbox and (not chunks or (items < self._config.batch_items and size < BATCH_BYTES)):
            ((count, chunk),) = self._inbox.take(0)
            chunks.append(chunk)
            items += count
            size += len(chunk)
        self._waiting -= items
        id_ = f"{self._jitter.getrandbits(128):032x}"
        return _Joined(id_, items, b"\n".join(chunks), self._clock.now_us())

    def _refused(self, error: StorageUnavailable) -> None:
        log.warning("sink.not_saved", sink=self._name, error=str(error))
        self.saving = False
        self.stored.set()  # what is in memory may be delivered from there

    # --- to be written ------------------------------------------------------------------------------------------------

    async def next(self) -> QueuedBatch | None:
        """Return the oldest batch, the one in memory if the disk refuses, None if nothing is ready."""
        try:
            await self._note_settled()
            if self._spool.account.queued:
                found: QueuedBatch | None = await self._disk(self._spool.head)
                self._writing = found.number if found else 0
                return found
        except StorageUnavailable as error:
            self._refused(error)
            if self._joined is None:
                raise
        return None if self.saving else self._joined

    def is_waiting(self, batch: QueuedBatch) -> bool:
        """Whether a batch in memory has not been saved meanwhile; to be asked by who has ``hold``."""
        return self._joined is batch

    def settle(self, batch: QueuedBatch, dropped: Mapping[str, int]) -> None:
        """Account for a batch: ``dropped`` of its items, by reason, and the rest delivered."""
        if batch.number:
            self._settled = batch.number, dropped
        else:
            self._direct += batch.items - sum(dropped.values())
            self._dropped.update(dropped)
            self._joined = None

    async def _note_settled(self) -> None:
        if self._settled is not None:
            await self._disk(self._spool.settle, *self._settled)
            self._settled, self._writing = None, 0

    async def _disk(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run ``work`` off the loop; it ends also if who waits for it is cancelled."""
        call = asyncio.ensure_future(self._offload(work, *arguments))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        call.add_done_callback(look)
        return await asyncio.shield(call)


def look(done: asyncio.Future[Any]) -> None:
    """Look at the outcome of a task that may have nobody left to ask for it."""
    _ = done.cancelled() or done.exception()


async def first(clock: Clock, one: asyncio.Future[Any], seconds: float) -> None:
    """Wait until ``one`` is done or ``seconds`` are over; ``one`` goes on."""
    timer = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({one, timer}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
