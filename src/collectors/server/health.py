"""Health that means progress: alive only while requests get through, ready only while new ones would be kept."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

from collectors.app.folder import DataFolder
from collectors.server.state import GatewayProgress, GatewayState

STALLED_US = 10_000_000
"""Longest a request may wait while nothing is committed."""

_READY_FOR_SECONDS = 1.0
_PROBE_BYTES = 4096


def stalled(progress: GatewayProgress, now_us: int) -> bool:
    """Tell whether requests wait and none gets through; slow progress under load is progress."""
    waits = progress.oldest_waiting_us > 0 and now_us - progress.oldest_waiting_us > STALLED_US
    return waits and now_us - progress.last_commit_us > STALLED_US


class Readiness:
    """Find out whether events would be kept. What was found holds for a second, so that anyone may ask."""

    def __init__(self, state: GatewayState) -> None:
        self._state = state
        self._log = DataFolder(state.config.data).log
        self._lock = threading.Lock()
        self._until = float("-inf")
        self._disk: tuple[str, ...] = ()

    def reasons(self) -> list[str]:
        """Return what is wrong, nothing if all is well. Reads and writes the disk: not for an event loop."""
        found = list(self._disk_reasons())
        if stalled(self._state.progress(), self._state.clock.now_us()):
            found.append("intake_stalled")
        if not self._state.hub.worker_up:
            found.append("worker_silent")
        return found

    def _disk_reasons(self) -> tuple[str, ...]:
        with self._lock:
            if self._state.clock.monotonic() >= self._until:
                self._disk = tuple(self._look_at_disk())
                self._until = self._state.clock.monotonic() + _READY_FOR_SECONDS
            return self._disk

    def _look_at_disk(self) -> list[str]:
        found = []
        try:
            _write(self._log / f".probe-{os.getpid()}")
        except OSError:
            found.append("log_not_writable")
        try:
            free = shutil.disk_usage(self._state.config.data).free
        except OSError:
            free = 0
        if free < self._state.config.intake.min_free_bytes:
            found.append("disk_full")
        return found


def _write(probe: Path) -> None:
    """Write some bytes where the log is, because only that shows that it can be done."""
    try:
        probe.write_bytes(bytes(_PROBE_BYTES))
    finally:
        probe.unlink(missing_ok=True)
