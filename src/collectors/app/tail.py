"""Follow the log as it grows: streaming collectors, live counters, freshness."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import structlog

from collectors.clock import SystemClock
from collectors.contract.collector import Streaming
from collectors.drivers.event_log import LogReader, Record
from collectors.model.batch import Batch
from collectors.model.event_types import EVENT_TYPES
from collectors.model.metric import Collection

log = structlog.get_logger()

POLL_SECONDS = 0.01
_READ = pa.ipc.IpcReadOptions(use_threads=False)


@dataclass(slots=True)
class TypeCounts:
    """What arrived of one tenant and type since the worker started, as counters."""

    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    """What a streaming collector has to say of a batch."""

    tenant: str
    collector: str
    collection: Collection


@dataclass(slots=True)
class Progress:
    """What one look at the log brought."""

    observations: list[Observation] = field(default_factory=list)
    changed: set[tuple[str, str]] = field(default_factory=set)
    records: int = 0


Observers = Callable[[], Mapping[tuple[str, str], list[Streaming[Any]]]]
"""(tenant, event type) to the streaming collectors that want it, at the moment."""


class Tail:
    """A thread that reads new records within ``POLL_SECONDS`` and tells ``report`` of them."""

    def __init__(
        self,
        folder: Path,
        clock: SystemClock,
        *,
        after: int,
        observers: Observers,
        report: Callable[[Progress], None],
    ) -> None:
        self._reader = LogReader(folder, after=after)
        self._clock = clock
        self._observers = observers
        self._report = report
        self._stopping = threading.Event()
        self.lock = threading.Lock()
        """Held while collectors observe, so that their state and ``position`` can be read together."""
        self.position = after
        self.counts: dict[tuple[str, str], TypeCounts] = {}
        self.first_unloaded: dict[str, tuple[int, int]] = {}
        """Tenant to (position, acked_us) of its oldest record that is not in the lake yet."""
        self._loaded = 0
        self.last_progress = clock.monotonic()
        """When the thread last looked at the log and was done with what it found."""
        self._thread = threading.Thread(target=self._run, name="tail", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the records in hand."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._reader.close()

    @property
    def is_alive(self) -> bool:
        """Tell whether the thread runs."""
        return self._thread.is_alive()

    def loaded(self, position: int) -> None:
        """Take note that the lake holds the log up to ``position``."""
        with self.lock:
            self._loaded = position
            self.first_unloaded = {t: v for t, v in self.first_unloaded.items() if v[0] > position}

    def _run(self) -> None:
        while not self._stopping.is_set():
            wanted = frozenset(type_name for _, type_name in self._observers())
            records = self._reader.read(max_records=256, max_bytes=8 * 2**20, bodies=wanted)
            if not records:
                self.last_progress = self._clock.monotonic()
                self._clock.block(POLL_SECONDS)
                continue
            self._report(self._take(records))
            self.last_progress = self._clock.monotonic()

    def _take(self, records: list[Record]) -> Progress:
        progress = Progress(records=len(records))
        observers = self._observers()
        with self.lock:
            for record in records:
                self._count(record, progress)
                watching = observers.get((record.tenant, record.type))
                if watching and record.body is not None:
                    self._observe(record, watching, progress)
            self.position = records[-1].position
        return progress

    def _count(self, record: Record, progress: Progress) -> None:
        key = (record.tenant, record.type)
        counts = self.counts.setdefault(key, TypeCounts())
        counts.accepted += record.rows
        counts.duplicate += record.duplicate
        counts.rejected += max(0, record.rejected)
        counts.dropped += record.dropped
        progress.changed.add(key)
        # The loader may be ahead of the tail, and is after a restart.
        if record.rows and record.position > self._loaded:
            self.first_unloaded.setdefault(record.tenant, (record.position, record.acked_us))

    def _observe(self, record: Record, watching: list[Streaming[Any]], progress: Progress) -> None:
        table = pa.ipc.open_stream(record.body, options=_READ).read_all()
        for part in table.to_batches():
            batch = Batch(record.tenant, EVENT_TYPES[record.type], record.position, record.acked_us, part)
            for collector in watching:
                try:
                    collection = collector.observe(batch)
                except Exception:
                    # A detector's bug must not stop the tail that feeds all the others.
                    log.exception("collector.observe_failed", collector=collector.instance_name, tenant=record.tenant)
                    continue
                if collection.samples or collection.findings:
                    progress.observations.append(Observation(record.tenant, collector.instance_name, collection))
