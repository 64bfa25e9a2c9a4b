"""Run one collector on its interval and keep it from harming anyone."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from collectors.clock import Clock
from collectors.contract.collector import BaseCollector
from collectors.errors import CollectorsError, RetryableError
from collectors.model.metric import Collection, Issue, Sample, Window
from collectors.model.status import CollectorStatus, State

log = structlog.get_logger()

Emit = Callable[["Runner", Collection], None]
"""What to do with a stamped collection; must not block."""

_FIRST_RUN_WITHIN = 1.0
_REOPEN_AFTER_FAILURES = 3


@dataclass(slots=True)
class _Tally:
    runs: int = 0
    failures: int = 0
    consecutive: int = 0
    samples: int = 0
    issues: int = 0
    last_success_us: int = 0
    last_duration: float = 0.0
    lateness: float = 0.0
    last_error: str = ""
    state: State = State.STOPPED
    reported: set[str] = field(default_factory=set)


class Runner:
    """The active half of a collector: schedule, deadline, stamping, and an account of how it goes.

    Runs start on a fixed grid of the monotonic clock, so they do not drift; a run that is due while the one before
    still goes on is left out. A failed run is tried again at the next due time; after three failures in a row the
    collector is closed and opened anew.
    """

    def __init__(self, collector: BaseCollector[Any], emit: Emit, clock: Clock) -> None:
        self.collector = collector
        self._emit = emit
        self._clock = clock
        self._tally = _Tally()
        self._task: asyncio.Task[None] | None = None
        self._labels = {spec.name: spec.labels for spec in collector.emits}
        self._opened = False
        self._window_start = 0

    @property
    def tenant(self) -> str:
        """Id of the tenant the collector works for."""
        return self.collector.context.tenant.id

    def start(self) -> None:
        """Begin to run; nothing happens if it runs already."""
        if self._task is None:
            self._tally.state = State.STARTING
            self._task = asyncio.create_task(self._run_forever(), name=f"collector:{self.collector.instance_name}")

    async def stop(self) -> None:
        """Cancel the run that goes on, if any, and close the collector."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._close()
        self._tally.state = State.STOPPED

    def status(self) -> CollectorStatus:
        """Report how the collector is doing."""
        t = self._tally
        return CollectorStatus(
            name=self.collector.instance_name,
            tenant=self.tenant,
            state=t.state,
            runs=t.runs,
            failures=t.failures,
            consecutive_failures=t.consecutive,
            samples=t.samples,
            issues=t.issues,
            last_success_us=t.last_success_us,
            last_duration_s=t.last_duration,
            lateness_s=t.lateness,
            last_error=t.last_error,
        )

    async def run_once(self) -> None:
        """Run now, within the deadline, and account for it; raises nothing but cancellation."""
        config = self.collector.config
        timeout = config.timeout_seconds or config.interval_seconds
        started = self._clock.monotonic()
        self._tally.runs += 1
        try:
            async with asyncio.timeout(timeout):
                await self._ensure_open()
                now = self._clock.now_us()
                window = Window(min(self._window_start or now - round(config.interval_seconds * 1e6), now), now)
                collection = await self.collector.collect(window)
        except TimeoutError:
            await self._failed(f"it took longer than {timeout:g} s; raise timeout_seconds or its interval")
        except CollectorsError as error:
            await self._failed(str(error), reopen=not isinstance(error, RetryableError))
        except Exception as error:
            # A collector's bug is its own: it is told in its status and the log, and others never notice.
            log.exception("collector.crashed", collector=self.collector.instance_name, tenant=self.tenant)
            await self._failed(f"{type(error).__name__} in the collector; the log has the trace")
        else:
            self._window_start = window.end_us
            self._succeeded(self._stamped(collection, window.end_us))
        self._tally.last_duration = self._clock.monotonic() - started

    def emit_now(self, collection: Collection) -> None:
        """Pass on what a streaming collector observed between two runs."""
        stamped = self._stamped(collection, self._clock.now_us())
        self._tally.samples += len(stamped.samples)
        self._emit(self, stamped)

    async def _run_forever(self) -> None:
        interval = self.collector.config.interval_seconds
        # Spread collectors of one interval over time, the same way after each restart.
        seed = zlib.crc32(f"{self.tenant}/{self.collector.instance_name}".encode()) / 2**32
        due = self._clock.monotonic() + seed * min(interval, _FIRST_RUN_WITHIN)
        while True:
            await self._clock.sleep(due - self._clock.monotonic())
            self._tally.lateness = max(0.0, self._clock.monotonic() - due)
            await self.run_once()
            missed = max(0.0, self._clock.monotonic() - due) // interval
            due += interval * (missed + 1)

    async def _ensure_open(self) -> None:
        if not self._opened:
            await self.collector.open()
            self._opened = True

    async def _close(self) -> None:
        self._opened = False
        try:
            await self.collector.close()
        except Exception:
            # Closing must not keep a manager from stopping the rest.
            log.exception("collector.close_failed", collector=self.collector.instance_name, tenant=self.tenant)

    async def _failed(self, message: str, *, reopen: bool = False) -> None:
        t = self._tally
        t.failures += 1
        t.consecutive += 1
        t.last_error = message
        t.state = State.FAILING
        log.warning("collector.failed", collector=self.collector.instance_name, tenant=self.tenant, error=message)
        if reopen or t.consecutive % _REOPEN_AFTER_FAILURES == 0:
            await self._close()

    def _succeeded(self, collection: Collection) -> None:
        t = self._tally
        t.consecutive = 0
        t.state = State.RUNNING
        t.last_success_us = self._clock.now_us()
        t.samples += len(collection.samples)
        t.issues += len(collection.issues)
        t.last_error = collection.issues[0].message if collection.issues else ""
        self._emit(self, collection)

    def _stamped(self, collection: Collection, now_us: int) -> Collection:
        """Give samples their time, and leave out those the collector did not declare as they are."""
        good: list[Sample] = []
        issues: Sequence[Issue] = collection.issues
        for sample in collection.samples:
            keys = self._labels.get(sample.metric)
            if keys is None or len(keys) != len(sample.labels):
                if sample.metric not in self._tally.reported:
                    self._tally.reported.add(sample.metric)
                    log.error("collector.undeclared", collector=self.collector.instance_name, metric=sample.metric)
                issues = (*issues, Issue("undeclared", f"{sample.metric} is not declared with these labels"))
                continue
            good.append(sample if sample.time_us else replace(sample, time_us=now_us))
        return Collection(tuple(good), collection.findings, tuple(issues))
