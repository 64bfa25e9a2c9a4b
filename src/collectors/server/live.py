"""Live frames: from the worker's bus to everybody who looks at a tenant.

One task listens to the bus and hands each frame to the subscriptions of its tenant, and to no others. A subscription
holds a bounded queue: whoever is too slow loses the oldest samples first, then outdated states, but never an alert;
if that is not enough it is cut off, and reads the present state from the API when it comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import orjson
import structlog

from collectors.clock import Clock
from collectors.drivers.bus import listen
from collectors.errors import Overloaded

log = structlog.get_logger()

HEARTBEAT_SECONDS = 15.0
WORKER_SILENCE_SECONDS = 10.0
"""A worker reports every second; after this long without a frame it is taken for dead."""

_PASSED_ON = frozenset({"samples", "alert", "ledger", "status"})
_FIRST_RETRY_SECONDS = 0.05
_LAST_RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class Frame:
    """Something that happened to a tenant, as clients get it. Ids grow, also over restarts of the gateway."""

    id: int
    event: str
    tenant: str
    data: bytes

    @cached_property
    def sse(self) -> bytes:
        """The frame in the event stream format of the HTML standard."""
        return b"event: %b\nid: %d\ndata: %b\n\n" % (self.event.encode(), self.id, self.data)

    @cached_property
    def text(self) -> str:
        """The frame as a WebSocket message."""
        return f'{{"event":"{self.event}","data":{self.data.decode()}}}'


@dataclass(frozen=True, slots=True)
class LiveLimits:
    """How much live streams may hold in memory and how many there may be."""

    frames: int = 512
    """Most frames that wait for one subscriber."""

    frame_bytes: int = 4 * 2**20
    """Most bytes that wait for one subscriber; a larger single frame is not delivered."""

    dropped_in_a_row: int = 1000
    """Frames a subscriber may lose without taking one; then it is cut off."""

    recent_bytes: int = 8 * 2**20
    """Frames of the recent past, kept for those who come back."""

    per_tenant: int = 200
    """Most subscribers of one tenant."""

    total: int = 2000
    """Most subscribers."""


class Subscription:
    """One subscriber's queue: iterate over it for frames, and None whenever a sign of life is due.

    The iteration ends when the hub closes, and at once when the subscriber is cut off.
    """

    def __init__(self, hub: LiveHub, tenant: str, limits: LiveLimits) -> None:
        self.tenant = tenant
        self.dropped = 0
        self.cut_off = asyncio.Event()
        """Set if the subscriber was too slow."""
        self._hub = hub
        self._limits = limits
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._dropped_in_a_row = 0
        self._beat = False
        self._ended = False
        self._ready = asyncio.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._hub.unsubscribe(self)

    def put(self, frame: Frame) -> None:
        """Queue ``frame``, at the cost of older ones if there is no room."""
        if self._ended:
            return
        self._frames.append(frame)
        self._bytes += len(frame.data)
        while len(self._frames) > self._limits.frames or self._bytes > self._limits.frame_bytes:
            if not self._drop() or self._dropped_in_a_row > self._limits.dropped_in_a_row:
                self._frames.clear()
                self._bytes = 0
                self.cut_off.set()
                self.end()
                return
        self._ready.set()

    def beat(self) -> None:
        """Have the subscriber told that the connection is alive, unless it has more to read than that."""
        self._beat = True
        self._ready.set()

    def end(self) -> None:
        """Let the iteration end after what waits."""
        self._ended = True
        self._ready.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Frame | None:
        while True:
            if self._frames:
                frame = self._frames.popleft()
                self._bytes -= len(frame.data)
                self._dropped_in_a_row = 0
                self._beat = False
                return frame
            if self._ended:
                raise StopAsyncIteration
            if self._beat:
                self._beat = False
                return None
            self._ready.clear()
            await self._ready.wait()

    def _drop(self) -> bool:
        """Drop the oldest samples, or else the oldest state; False if only alerts are left."""
        for droppable in (("samples",), ("status", "ledger")):
            for place, frame in enumerate(self._frames):
                if frame.event in droppable:
                    del self._frames[place]
                    self._bytes -= len(frame.data)
                    self.dropped += 1
                    self._dropped_in_a_row += 1
                    self._hub.dropped_frames += 1
                    return True
        return False


class LiveHub:
    """The gateway's end of the bus. Used on one event loop; what it knows of worker and status may be read anywhere."""

    def __init__(self, bus: Path, clock: Clock, limits: LiveLimits | None = None) -> None:
        self._bus = bus
        self._clock = clock
        self._limits = limits or LiveLimits()
        self._subscribers: dict[str, set[Subscription]] = {}
        self._count = 0
        self._closed = False
        self._running: asyncio.Task[None] | None = None
        self._recent: deque[Frame] = deque()
        self._recent_bytes = 0
        self._last_id = 0
        self._heard_at: float | None = None
        self._worker: Mapping[str, Any] = {}
        self._status: dict[str, Frame] = {}
        self.dropped_frames = 0
        """Frames that slow subscribers have lost."""
        self.bad_frames = 0
        """Frames from the bus that were not what they should be."""

    @property
    def subscribers(self) -> int:
        """How many listen now."""
        return self._count

    @property
    def worker_up(self) -> bool:
        """Whether the worker has been heard of lately."""
        heard = self._heard_at
        return heard is not None and self._clock.monotonic() - heard < WORKER_SILENCE_SECONDS

    @property
    def behind_records(self) -> int | None:
        """Log records the worker has yet to load; None if it is not there to tell."""
        behind = self._worker.get("behind_records") if self.worker_up else None
        return behind if isinstance(behind, int) else None

    def status(self, tenant: str) -> Mapping[str, Any] | None:
        """Return the data of the tenant's last status frame, None if there was none since the gateway started."""
        known = self._status.get(tenant)
        if known is None:
            return None
        data: Mapping[str, Any] = orjson.loads(known.data)
        return data

    async def run(self) -> None:
        """Listen until cancelled, through any absence of the worker."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._beat())

    def start(self) -> None:
        """Run in a task of its own."""
        self._running = asyncio.create_task(self.run(), name="live-hub")

    async def close(self) -> None:
        """Stop listening and let every stream end; a second call does nothing."""
        self._closed = True
        for subscribers in self._subscribers.values():
            for subscriber in subscribers:
                subscriber.end()
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    def subscribe(self, tenant: str, last_id: int | None = None) -> Subscription:
        """Return a new subscription, to be used as a context manager.

        Whoever comes back with the id of the last frame it saw gets what it missed, as far as it is still here; others
        start with the tenant's last status. Raises Overloaded if there are too many.
        """
        mine = self._subscribers.get(tenant, set())
        if self._closed or self._count >= self._limits.total or len(mine) >= self._limits.per_tenant:
            raise Overloaded("too many live streams are open; close some, or come back later", retry_after=5.0)
        subscription = Subscription(self, tenant, self._limits)
        if last_id is not None:
            for frame in self._recent:
                if frame.id > last_id and frame.tenant == tenant:
                    subscription.put(frame)
        elif tenant in self._status and self.worker_up:
            subscription.put(self._status[tenant])
        self._subscribers.setdefault(tenant, mine).add(subscription)
        self._count += 1
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a subscription; a second call does nothing."""
        mine = self._subscribers.get(subscription.tenant, set())
        if subscription in mine:
            mine.discard(subscription)
            self._count -= 1
            if not mine:
                del self._subscribers[subscription.tenant]

    def take(self, frame: object) -> None:
        """Take one frame from the bus and pass it on to its tenant's subscribers."""
        if not isinstance(frame, dict):
            self.bad_frames += 1
            return
        self._heard_at = self._clock.monotonic()
        event, tenant, data = frame.get("event"), frame.get("tenant"), frame.get("data")
        if event == "worker" and isinstance(data, dict):
            self._worker = data
        elif event in _PASSED_ON and isinstance(tenant, str) and isinstance(data, dict):
            # The wall clock makes ids grow over restarts, the last id keeps them growing when it is set back.
            self._last_id = max(self._last_id + 1, self._clock.now_us())
            passed = Frame(self._last_id, event, tenant, orjson.dumps(data))
            if event == "status":
                self._status[tenant] = passed
            self._keep(passed)
            for subscription in self._subscribers.get(tenant, ()):
                subscription.put(passed)
        else:
            self.bad_frames += 1

    def _keep(self, frame: Frame) -> None:
        self._recent.append(frame)
        self._recent_bytes += len(frame.data)
        while self._recent_bytes > self._limits.recent_bytes:
            self._recent_bytes -= len(self._recent.popleft().data)

    async def _listen(self) -> None:
        delay = _FIRST_RETRY_SECONDS
        while True:
            try:
                async for frame in listen(self._bus):
                    delay = _FIRST_RETRY_SECONDS
                    self.take(frame)
                log.info("live.worker_gone")
            except OSError:
                pass  # it is away; what it does meanwhile stands in the stores
            except ValueError as error:
                log.warning("live.bus_broken", error=str(error))
            await self._clock.sleep(delay)
            delay = min(2 * delay, _LAST_RETRY_SECONDS)

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(HEARTBEAT_SECONDS)
            for subscribers in self._subscribers.values():
                for subscription in subscribers:
                    subscription.beat()
