"""Run one collector on its interval and keep it from harming anyone."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol

import structlog

from collectors.clock import Clock
from collectors.config.collector import CollectorConfig
from collectors.contract.collector import BaseCollector
from collectors.errors import CollectorsError, Overloaded, RetryableError, StorageUnavailable
from collectors.model.metric import Collection, Issue, MetricSpec, Window
from collectors.model.status import BreakerState, CollectorStatus, State
from collectors.resilience.cardinality import SeriesLimiter, fold
from collectors.runtime.cost import Cost, Steps, metered
from collectors.runtime.job import Job
from collectors.runtime.schedule import Overlap
from collectors.runtime.scheduler import Scheduler
from collectors.runtime.stamping import stamp

log = structlog.get_logger()

Emit = Callable[["Runner", Collection], None]
"""What to do with a stamped collection; must not block."""

_REOPEN_AFTER_FAILURES = 3
_CLOSE_SECONDS = 5.0
BLOCKING_SECONDS = 1.0
"""A collector that keeps everybody from running for longer breaks the contract; its breaker counts a failure."""


class _Guard(Protocol):
    """A deadline around a block, such as ``asyncio.timeout``."""

    async def __aenter__(self) -> object: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None: ...
    def expired(self) -> bool: ...


@functools.cache
def _declared(collector: type[BaseCollector[Any]]) -> Mapping[str, MetricSpec]:
    return {spec.name: spec for spec in collector.emits}


class Runner:
    """The active half of a collector: its place in the schedule, deadline, retries, breaker, stamping, and an account.

    Runs start on a fixed grid of the monotonic clock, so they do not drift; what happens to due times that pass while
    a run still goes on is the ``overlap`` policy's. A failure that may pass is tried again within the deadline and
    the tenant's retry budget; after three failures in a row the collector is closed and opened anew; after more, its
    circuit breaker leaves the source alone for a while.

    Runners that share a ``scheduler`` share its workers and are kept apart by its limits; alone, a runner has its own.
    Collectors with one ``source`` share its rate and adaptive limit, and those of one tenant its breaker too.
    ``series`` bounds the tenant's series.
    """

    __slots__ = (
        "_breaker",
        "_clock",
        "_consecutive",
        "_cost",
        "_emit",
        "_failures",
        "_issues",
        "_job",
        "_last_duration",
        "_last_error",
        "_last_success_us",
        "_lateness",
        "_opened",
        "_overlap",
        "_retries",
        "_runs",
        "_samples",
        "_scheduler",
        "_series",
        "_skipped",
        "_source",
        "_specs",
        "_state",
        "_steps",
        "_window_start",
        "collector",
    )

    def __init__(
        self,
        collector: BaseCollector[Any],
        emit: Emit,
        clock: Clock,
        *,
        scheduler: Scheduler | None = None,
        source: str = "",
        overlap: Overlap = Overlap.SKIP,
        series: SeriesLimiter | None = None,
    ) -> None:
        self.collector = collector
        self._emit = emit
        self._clock = clock
        self._scheduler = scheduler or Scheduler(clock)
        self._source = source
        self._overlap = overlap
        self._series = series
        self._specs = _declared(type(collector))
        self._breaker = self._scheduler.breaker(self.tenant, source)
        self._cost = Cost()
        self._steps = Steps()
        self._job: Job | None = None
        self._opened = False
        self._window_start = 0
        self._state = State.STOPPED
        self._runs = self._failures = self._consecutive = self._retries = self._skipped = 0
        self._samples = self._issues = self._last_success_us = 0
        self._last_duration = self._lateness = 0.0
        self._last_error = ""

    @property
    def tenant(self) -> str:
        """Id of the tenant the collector works for."""
        return self.collector.context.tenant.id

    @property
    def is_started(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._job is not None

    def start(self) -> None:
        """Begin to run; nothing happens if it runs already."""
        if self._job is not None:
            return
        self._state = State.STARTING
        config = self.collector.config
        self._job = Job(
            f"{self.tenant}/{self.collector.instance_name}",
            self._attempt,
            self._scheduler.tenant(self.tenant),
            self._scheduler.source(self._source) if self._source else None,
            interval=config.interval_seconds,
            timeout=self._timeout,
            priority=config.priority,
            overlap=self._overlap,
            cost=self._cost,
        )
        self._scheduler.add(self._job)

    async def stop(self) -> None:
        """Cancel the run that goes on, if any, and close the collector."""
        job, self._job = self._job, None
        if job is not None:
            await self._scheduler.remove(job)
            self._skipped += job.skipped
            self._lateness = job.lateness
        await self._close()
        self._state = State.STOPPED

    def status(self) -> CollectorStatus:
        """Report how the collector is doing."""
        job = self._job
        return CollectorStatus(
            name=self.collector.instance_name,
            tenant=self.tenant,
            state=self._state,
            runs=self._runs,
            failures=self._failures,
            consecutive_failures=self._consecutive,
            samples=self._samples,
            issues=self._issues,
            last_success_us=self._last_success_us,
            last_duration_s=self._last_duration,
            lateness_s=self._lateness if job is None else job.lateness,
            last_error=self._last_error,
            breaker=self._breaker.state,
            breaker_opened=self._breaker.opened,
            retries=self._retries,
            skipped=self._skipped + (0 if job is None else job.skipped),
            stuck=job is not None and job.abandoned,
            cpu_seconds=self._cost.cpu_seconds,
            queries=self._cost.queries,
            query_seconds=self._cost.query_seconds,
            bytes_read=self._cost.bytes_read,
        )

    async def run_once(self) -> None:
        """Run now, once, within the deadline, and account for it; raises nothing but cancellation."""
        await self._run(asyncio.timeout(self._timeout), None)

    def emit_now(self, collection: Collection) -> None:
        """Pass on what a streaming collector observed between two runs."""
        self._pass_on(stamp(collection, self._specs, self._clock.now_us()))

    @property
    def _timeout(self) -> float:
        config: CollectorConfig = self.collector.config
        return config.timeout_seconds or config.interval_seconds

    async def _attempt(self, job: Job) -> float | None:
        return await self._run(job, job)

    async def _run(self, guard: _Guard, job: Job | None) -> float | None:
        """Ask the source once and account for it; returns the seconds to the next attempt, if there is to be one."""
        started = self._clock.monotonic()
        permit = self._breaker.allow(started)
        if permit is None:
            self._skipped += 1
            self._state = State.FAILING
            return None
        if job is None or job.attempt == 1:
            self._runs += 1
        self._steps.longest = 0.0
        failure: BaseException
        try:
            async with guard:
                collection, end_us = await metered(
                    self._collect(), self._cost, self._steps, self._clock, self._scheduler.cpu, self._suspended
                )
        except asyncio.CancelledError as error:
            failure, message = error, "its run was cancelled, and not by its caller"
            task = asyncio.current_task()
            if job is None or self._job is not job:
                self._breaker.abandoned(permit)
                raise
            if task is not None and task.cancelling():
                # Somebody wants the whole task gone: nothing may be awaited any more.
                self._breaker.failed(permit, self._clock.monotonic())
                self._account_failure(message)
                raise
        except (Exception, SystemExit) as error:  # noqa: BLE001  # it is told, whatever it is
            failure, message = error, self._explain(error, guard)
        else:
            if job is not None:
                job.answered = True
            self._last_duration = self._clock.monotonic() - started
            self._window_start = end_us
            self._succeeded(stamp(collection, self._specs, end_us), permit)
            return None
        self._last_duration = self._clock.monotonic() - started
        return await self._failed(failure, message, permit, job)

    def _explain(self, error: BaseException, guard: _Guard) -> str:
        """Say what went wrong to those who look after the collector."""
        if isinstance(error, CollectorsError):
            return str(error)
        if isinstance(error, TimeoutError) and guard.expired():
            return f"it took longer than {self._timeout:g} s; raise timeout_seconds or its interval"
        # A collector's bug is its own: it is told in its status and the log, and others never notice. The trace is
        # logged once, because rendering it time and again would keep them waiting.
        message = f"{type(error).__name__} in the collector; the log has the trace"
        if message != self._last_error:
            about = {"collector": self.collector.instance_name, "tenant": self.tenant}
            log.error("collector.crashed", **about, exc_info=error)
        return message

    async def _collect(self) -> tuple[Collection, int]:
        """Open the collector if need be, and return what it says of the time since its last run and that time's end."""
        if not self._opened:
            await self.collector.open()
            self._opened = True
        now = self._clock.now_us()
        start = self._window_start or now - round(self.collector.config.interval_seconds * 1e6)
        collection = await self.collector.collect(Window(min(start, now), now))
        if not isinstance(collection, Collection):
            raise TypeError(f"collect() returned {type(collection).__name__}, not a Collection")
        return collection, now

    def _suspended(self) -> None:
        if self._job is not None:
            self._scheduler.arm(self._job)

    async def _close(self) -> None:
        self._opened = False
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.collector.close()
        except (Exception, SystemExit):
            # Closing must not keep a manager from stopping the rest.
            log.exception("collector.close_failed", collector=self.collector.instance_name, tenant=self.tenant)

    async def _failed(self, error: BaseException, message: str, permit: int, job: Job | None) -> float | None:
        """Account for a failed attempt and return the seconds to the next, None if the run is over."""
        if job is not None and isinstance(error, RetryableError):
            job.congested = isinstance(error, Overloaded)
            retry = self._retry(error, message, permit, job)
            if retry is not None:
                return retry
        else:
            self._breaker.failed(permit, self._clock.monotonic())
        self._account_failure(message)
        refused = isinstance(error, CollectorsError) and not isinstance(error, RetryableError)
        if refused or self._consecutive % _REOPEN_AFTER_FAILURES == 0:
            self._suspended()
            await self._close()
        return None

    def _retry(self, error: RetryableError, message: str, permit: int, job: Job) -> float | None:
        """Report the failed attempt, and return the seconds to the next, None if there is none."""
        self._breaker.failed(permit, self._clock.monotonic())
        wait = error.retry_after if isinstance(error, Overloaded | StorageUnavailable) else 0.0
        retry = None
        if self._breaker.state is BreakerState.CLOSED:
            retry = self._scheduler.retry_after(job, wait)
        if retry is not None:
            self._retries += 1
            self._last_error = message
        return retry

    def _account_failure(self, message: str) -> None:
        self._failures += 1
        self._consecutive += 1
        self._state = State.FAILING
        self._last_error = message
        about = {"collector": self.collector.instance_name, "tenant": self.tenant, "error": message}
        log.warning("collector.failed", **about, breaker=str(self._breaker.state))

    def _succeeded(self, collection: Collection, permit: int) -> None:
        self._consecutive = 0
        self._state = State.RUNNING
        self._last_success_us = self._clock.now_us()
        if self._steps.longest > BLOCKING_SECONDS:
            blocked = f"it kept all others waiting for {self._steps.longest:.1f} s; let it await or use a thread"
            collection = replace(collection, issues=(*collection.issues, Issue("blocking", blocked)))
            self._breaker.failed(permit, self._clock.monotonic())
        else:
            self._breaker.succeeded(permit)
        self._pass_on(collection)

    def _pass_on(self, collection: Collection) -> None:
        """Bound the series, account for the collection and emit it."""
        if self._series is not None and collection.samples:
            kept = fold(collection.samples, self._series, self._specs, self._clock.monotonic())
            if kept is not collection.samples:
                issue = Issue(
                    "overflow", "series beyond the tenant's limit were folded; raise the limit or drop a label"
                )
                collection = replace(collection, samples=tuple(kept), issues=(*collection.issues, issue))
        self._samples += len(collection.samples)
        self._issues += len(collection.issues)
        self._last_error = collection.issues[0].message if collection.issues else ""
        try:
            self._emit(self, collection)
        except Exception:
            # What becomes of the samples is not the collector's doing, and must not end its runs.
            log.exception("collector.emit_failed", collector=self.collector.instance_name, tenant=self.tenant)
