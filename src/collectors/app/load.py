"""Load the log into the lake about once a second, keep rollups, compact, expire, and delete what is loaded."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from collectors.clock import SystemClock
from collectors.config.server import LakeConfig
from collectors.drivers.event_log import LogReader, delete_segments
from collectors.errors import StorageUnavailable
from collectors.lake.engine import Snapshot
from collectors.lake.loader import Lake
from collectors.lake.maintenance import Maintenance

log = structlog.get_logger()

LOADER_NICENESS = 5
_MAX_LOAD_BYTES = 48 * 2**20
_MAX_LOAD_RECORDS = 4096


class LoadLoop:
    """The thread that owns the lake. ``snapshot`` is what queries see; it is replaced as a whole."""

    def __init__(
        self,
        lake: Lake,
        maintenance: Maintenance,
        log_folder: Path,
        config: LakeConfig,
        clock: SystemClock,
        *,
        loaded: Callable[[int], None],
        needed_from: Callable[[], int],
    ) -> None:
        self._lake = lake
        self._maintenance = maintenance
        self._log_folder = log_folder
        self._config = config
        self._clock = clock
        self._loaded = loaded
        self._needed_from = needed_from
        self._reader = LogReader(log_folder, after=lake.position)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self.snapshot: Snapshot = maintenance.snapshot()
        self.last_progress = clock.monotonic()
        """When the loop last finished a round, loaded or with nothing to load."""
        self.blocked_by = ""
        """Why the lake takes nothing at the moment; empty if it does."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the load in hand, commit the rollups, stop."""
        self._stopping.set()
        self._thread.join()
        self._reader.close()

    @property
    def is_alive(self) -> bool:
        """Tell whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        # Linux gives each thread a niceness of its own: loading yields to the tail, which has 100 ms to keep.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOADER_NICENESS)
        next_rollup = next_care = self._clock.monotonic()
        while True:
            stopping = self._stopping.is_set()
            started = self._clock.monotonic()
            try:
                more = self._load()
                now = self._clock.monotonic()
                if now >= next_rollup or stopping:
                    self._lake.flush_rollups()
                    next_rollup = now + self._config.rollup_seconds
                    self._publish()
                if now >= next_care and not more and not stopping:
                    self._maintenance.run(self._clock.now_us())
                    next_care = now + self._config.compact_seconds
                    self._publish()
                self.blocked_by = ""
                self.last_progress = self._clock.monotonic()
            except (StorageUnavailable, sqlite3.Error, OSError) as error:
                # Nothing is lost: the log keeps what is not loaded, and the next round reads it again.
                self._reader.close()
                self._reader = LogReader(self._log_folder, after=self._lake.position)
                if not self.blocked_by:
                    log.warning("lake.blocked", error=str(error))
                self.blocked_by = str(error)
                more = False
            if stopping:
                return
            if not more:
                self._stopping.wait(max(0.0, self._config.load_seconds - (self._clock.monotonic() - started)))

    def _load(self) -> bool:
        """Load what has come, and return whether there may be more at once."""
        records = self._reader.read(max_records=_MAX_LOAD_RECORDS, max_bytes=_MAX_LOAD_BYTES)
        if not records:
            return False
        self._lake.load(records)
        position = records[-1].position
        self._publish()
        self._loaded(position)
        delete_segments(self._log_folder, through=min(position, self._needed_from()))
        return sum(len(r.body or b"") for r in records) >= _MAX_LOAD_BYTES or len(records) == _MAX_LOAD_RECORDS

    def _publish(self) -> None:
        self.snapshot = self._maintenance.snapshot()
