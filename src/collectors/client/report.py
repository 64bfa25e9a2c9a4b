"""What a client tells its application: counts, the outcome of a flush, and batches that could not be delivered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from collectors.errors import CollectorsError


@dataclass(frozen=True, slots=True)
class Stats:
    """Where every event is that a client took; ``balance`` is zero at every moment.

    ``accepted``, ``duplicate``, ``rejected`` (kept by the server as dead letters) and ``dropped`` are the server's
    words. ``failed`` events were refused for good, or not delivered before the client closed; ``on_error`` was told
    of each. ``spooled`` events wait on disk, ``buffered`` ones in memory. ``recovered`` says how many of ``offered``
    an earlier process left in the spool.
    """

    offered: int = 0
    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    dropped: int = 0
    failed: int = 0
    spooled: int = 0
    buffered: int = 0
    recovered: int = 0

    @property
    def balance(self) -> int:
        """Zero, or the number of events that the client cannot account for."""
        settled = self.accepted + self.duplicate + self.rejected + self.dropped + self.failed
        return self.offered - settled - self.spooled - self.buffered


@dataclass(frozen=True, slots=True)
class Delivery:
    """The outcome of a flush.

    ``complete`` is true if nothing waits any more of what was sent before the flush: the server took it, or refused
    it for good. ``stats`` are the totals of the client's life; ``reasons`` are the latest ones for which the server
    rejected events, each once, ten at most.
    """

    complete: bool
    stats: Stats
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FailedBatch:
    """Events that will not be delivered, and why.

    ``body`` is the Arrow IPC stream that was sent; it is empty only if a file of the spool could not be read.
    ``path`` is where a client with a spool keeps it, if there was room.
    """

    event_type: str
    rows: int
    idempotency_key: str
    error: CollectorsError
    body: bytes = field(default=b"", repr=False)
    path: Path | None = None

    def table(self) -> pa.Table:
        """Return the events."""
        return pa.ipc.open_stream(self.body).read_all()


OnError = Callable[[FailedBatch], None]
