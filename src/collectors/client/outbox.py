"""Everything a client holds: events on their way from ``send`` to a settled batch, as a state machine without I/O.

    building (a list a type) → sealed chunks → line of parcels → accepted, duplicate, rejected, dropped or failed

Application threads put events in; the engine, on one event loop, takes the rest of the steps. It looks at the head of a
line, works on it, and only then tells the outcome: an interruption at any point loses nothing.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from collectors.client.answers import Receipt
from collectors.client.fields import Row, RowSchema
from collectors.client.packing import SLICE_BYTES, Chunk, Parcel, conform
from collectors.client.report import Stats
from collectors.clock import Clock
from collectors.errors import BadInput, TooLarge
from collectors.model.event_types import event_type


@dataclass(slots=True)
class Stream:
    """The events of one type that are being collected into a chunk, ``size`` bytes of memory; ``due`` when it ends."""

    schema: RowSchema
    rows: list[Row] = field(default_factory=list)
    size: int = 0
    due: float = 0.0


@dataclass(frozen=True, slots=True)
class Events:
    """Checked events that are taken together or not at all: lists of rows, or batches, with their sizes."""

    schema: RowSchema
    parts: Sequence[tuple[list[Row] | pa.RecordBatch, int]]
    size: int


class Outbox:
    """At most ``max_bytes`` of events in memory; chunks end after ``batch_rows`` events or ``linger_seconds``.

    ``streams`` are those of the event types seen so far; ``stream`` makes the others.
    ``wake`` is called, from any thread, when there is something new for the engine to do.
    """

    def __init__(
        self, *, batch_rows: int, linger_seconds: float, max_bytes: int, clock: Clock, wake: Callable[[], None]
    ) -> None:
        self.max_bytes = max_bytes
        self._batch_rows = batch_rows
        self._linger = linger_seconds
        self._clock = clock
        self._wake = wake
        self._lock = threading.Lock()
        self._closed = False
        self.streams: dict[str, Stream] = {}
        self._chunks: deque[Chunk] = deque()
        self._parcels: deque[Parcel] = deque()
        self._ticket = 0
        self._bytes = 0
        self._counts: Counter[str] = Counter()

    # What applications do, from any thread.

    def stream(self, name: str) -> Stream:
        """Return the stream of the event type ``name``; UnknownName if there is none."""
        fresh = Stream(RowSchema(event_type(name), self._clock))
        with self._lock:
            return self.streams.setdefault(name, fresh)

    def add(self, stream: Stream, row: Row, size: int) -> bool:
        """Take one checked row; False if there is no room for it."""
        lock = self._lock
        lock.acquire()  # half the cost of a with statement, which counts at millions of events
        try:
            if self._bytes + size > self.max_bytes or self._closed:
                return False
            self._bytes += size
            stream.size += size
            rows = stream.rows
            rows.append(row)
            count = len(rows)
            if count >= self._batch_rows or stream.size >= SLICE_BYTES:
                self._seal(stream)
            elif count > 1:
                return True
            else:
                stream.due = self._clock.monotonic() + self._linger
        finally:
            lock.release()
        self._wake()
        return True

    def check_rows(self, name: str, rows: Iterable[Mapping[str, Any]]) -> Events:
        """Check rows without taking them; raises BadInput that says which row is wrong."""
        schema = (self.streams.get(name) or self.stream(name)).schema
        parts: list[tuple[list[Row] | pa.RecordBatch, int]] = []
        part: list[Row] = []
        size = total = 0
        for number, given in enumerate(rows):
            row = dict(given)
            try:
                added = schema.check(row)
            except BadInput as error:
                raise BadInput(f"row {number}: {error}; none of the rows was taken") from None
            total += added
            if total > self.max_bytes:
                raise self._too_large()
            part.append(row)
            size += added
            if len(part) >= self._batch_rows or size >= SLICE_BYTES:
                parts.append((part, size))
                part, size = [], 0
        if part:
            parts.append((part, size))
        return Events(schema, parts, total)

    def check_table(self, name: str, table: pa.Table | pa.RecordBatch) -> Events:
        """Check a table's columns without taking it; raises BadInput that says which one is wrong."""
        schema = (self.streams.get(name) or self.stream(name)).schema
        table = conform(schema.event_type, table)
        if table.nbytes > self.max_bytes:
            raise self._too_large()
        slices = max(1, -(-table.nbytes // SLICE_BYTES))
        rows = max(1, min(self._batch_rows, table.num_rows // slices))
        batches = table.to_batches(max_chunksize=rows)
        if len(batches) > 2 * (table.num_rows // rows + 1):  # many small chunks would make many small requests
            batches = table.combine_chunks().to_batches(max_chunksize=rows)
        parts = [(batch, batch.nbytes) for batch in batches if batch.num_rows]
        return Events(schema, parts, sum(size for _, size in parts))

    def add_all(self, events: Events) -> bool:
        """Take checked events; False if there is no room for all of them."""
        with self._lock:
            if self._bytes + events.size > self.max_bytes or self._closed:
                return False
            self._bytes += events.size
            now_us = self._clock.now_us()
            for content, size in events.parts:
                self._append(events.schema, content, size, now_us)
        self._wake()
        return True

    def has_room(self, size: int) -> bool:
        """Return whether ``size`` bytes would be taken now."""
        return self._bytes + size <= self.max_bytes

    def stats(self) -> Stats:
        """Return where every event is at this moment."""
        with self._lock:
            building = sum(len(stream.rows) for stream in self.streams.values())
            counts = self._counts + Counter(offered=building, buffered=building)
            return Stats(**counts)

    @property
    def closed(self) -> bool:
        """Whether nothing is taken any more."""
        return self._closed

    def close(self) -> None:
        """Take nothing any more."""
        with self._lock:
            self._closed = True

    # What the engine does, on its event loop.

    @property
    def bytes(self) -> int:
        """Bytes of memory that the events take, about."""
        return self._bytes

    @property
    def is_crowded(self) -> bool:
        """Whether memory is more than half full."""
        return self._bytes > self.max_bytes // 2

    def recover(self, parcels: list[Parcel]) -> None:
        """Put what an earlier client left on disk first in line."""
        rows = sum(parcel.rows for parcel in parcels)
        with self._lock:
            self._ticket = max((parcel.ticket for parcel in parcels), default=self._ticket)
            self._parcels.extendleft(reversed(parcels))
            self._counts.update(offered=rows, recovered=rows, spooled=rows)

    def seal_due(self) -> float | None:
        """Seal what has lingered long enough; return the seconds until the next is due, None if nothing waits."""
        now = self._clock.monotonic()
        with self._lock:
            for stream in self.streams.values():
                if stream.rows and stream.due <= now:
                    self._seal(stream)
            return min((s.due - now for s in self.streams.values() if s.rows), default=None)

    def seal_all(self) -> int:
        """Seal everything; return the last ticket given out."""
        with self._lock:
            for stream in self.streams.values():
                if stream.rows:
                    self._seal(stream)
            return self._ticket

    def is_settled(self, ticket: int) -> bool:
        """Return whether nothing waits any more of what was sealed up to ``ticket``."""
        with self._lock:
            waiting = self._parcels or self._chunks
            return not waiting or waiting[0].ticket > ticket

    def next_chunk(self) -> Chunk | None:
        """Return the chunk to be packed next."""
        return self._chunks[0] if self._chunks else None

    def packed(self, parcels: list[Parcel]) -> None:
        """Replace the chunk that was next by ``parcels``, last in line."""
        with self._lock:
            chunk = self._chunks.popleft()
            self._bytes -= chunk.size
            self._counts["buffered"] -= chunk.rows
            for parcel in parcels:
                self._parcels.append(parcel)
                self._hold(parcel, 1)

    def parcels(self) -> list[Parcel]:
        """Return all parcels in line."""
        return list(self._parcels)

    def head(self) -> Parcel | None:
        """Return the parcel to be delivered next."""
        return self._parcels[0] if self._parcels else None

    def replace(self, place: int, parcels: Sequence[Parcel]) -> None:
        """Put ``parcels`` where one stood that held the same events."""
        with self._lock:
            self._hold(self._parcels[place], -1)
            del self._parcels[place]
            for parcel in reversed(parcels):
                self._parcels.insert(place, parcel)
                self._hold(parcel, 1)

    def settle(self, receipt: Receipt) -> None:
        """Count the head as the server does, and drop it."""
        with self._lock:
            self._hold(self._parcels.popleft(), -1)
            self._counts.update(
                accepted=receipt.accepted,
                duplicate=receipt.duplicate,
                rejected=receipt.rejected,
                dropped=receipt.dropped,
            )

    def fail(self, place: int = 0) -> None:
        """Count a parcel as failed, and drop it."""
        with self._lock:
            parcel = self._parcels[place]
            del self._parcels[place]
            self._hold(parcel, -1)
            self._counts["failed"] += parcel.rows

    def _seal(self, stream: Stream) -> None:
        self._append(stream.schema, stream.rows, stream.size, self._clock.now_us())
        stream.rows, stream.size = [], 0

    def _append(self, schema: RowSchema, content: list[Row] | pa.RecordBatch, size: int, now_us: int) -> None:
        self._ticket += 1
        self._counts.update(offered=len(content), buffered=len(content))
        self._chunks.append(Chunk(self._ticket, schema, len(content), size, now_us, content))

    def _hold(self, parcel: Parcel, sign: int) -> None:
        """Add a parcel to what is held, or take it away with ``sign`` -1."""
        if parcel.path is None:
            self._bytes += sign * parcel.size
            self._counts["buffered"] += sign * parcel.rows
        else:
            self._counts["spooled"] += sign * parcel.rows

    def _too_large(self) -> TooLarge:
        return TooLarge(f"these events need more than the buffer's {self.max_bytes} bytes; send fewer at once")
