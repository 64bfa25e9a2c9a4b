"""Decide who runs when: one timetable, a few workers, and walls between tenants and sources.

A waiting collector is an entry in a heap, not a task: 200,000 of them cost memory and nothing else. A worker is a task
that runs whatever is due, one after the other; only when a run waits for its source does the next worker start. So
collectors that answer at once share one task, and those that wait have one each, up to the bound.

Under pressure the most urgent goes first: earliest deadline first (Liu and Layland 1973), the deadline being the due
time plus ``priority`` intervals. A low priority waits longer, but never for ever.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from collectors.clock import Clock
from collectors.resilience.adaptive import AdaptivePolicy, unloaded_latency
from collectors.resilience.backoff import Backoff
from collectors.resilience.breaker import Breaker, BreakerPolicy
from collectors.resilience.quota import Rate, TenantLimits
from collectors.resilience.retry_budget import RetryBudget
from collectors.runtime.bulkhead import Gate, SourceShare, TenantShare
from collectors.runtime.cost import Cost
from collectors.runtime.histogram import Histogram
from collectors.runtime.job import Job
from collectors.runtime.schedule import Timetable, next_due, spread

log = structlog.get_logger()

_BACKOFF = Backoff(first=0.5, longest=10.0)
_BREAKER = BreakerPolicy()
_ADAPTIVE = AdaptivePolicy()
_TENANT = TenantLimits()


@dataclass(frozen=True, slots=True)
class SchedulerPolicy:
    """How a scheduler treats all its jobs.

    ``attempts`` is the most per run, ``grace_seconds`` how long a run that was told to end may take to clean up.
    First runs come within ``first_run_seconds``, unless more than ``starts_per_second`` would have to begin.
    """

    concurrent_runs: int = 256
    attempts: int = 3
    grace_seconds: float = 5.0
    first_run_seconds: float = 1.0
    starts_per_second: float = 5000.0
    backoff: Backoff = _BACKOFF
    retry_ratio: float = 0.1
    retry_reserve: int = 10
    breaker: BreakerPolicy = _BREAKER
    adaptive: AdaptivePolicy = _ADAPTIVE
    tenant: TenantLimits = _TENANT
    slice_seconds: float = 0.005
    """How long a worker runs collectors before it lets the event loop look at sockets."""
    resolution_seconds: float = 0.002
    """Due times closer together than this are served by one waking."""


@dataclass(frozen=True, slots=True)
class SchedulerFigures:
    """How the scheduler is doing; lateness in seconds, None before the first run."""

    jobs: int
    running: int
    stuck: int
    ready: int
    runs: int
    lateness_p50: float | None
    lateness_p99: float | None


class Scheduler:
    """Runs jobs on their grids until they are removed. Used on one event loop; it has tasks only while it has jobs."""

    def __init__(
        self,
        clock: Clock,
        policy: SchedulerPolicy | None = None,
        *,
        seed: int = 0,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self.clock = clock
        self.cpu = cpu
        self.policy = policy or SchedulerPolicy()
        self.lateness = Histogram()
        self._draw = random.Random(seed).random  # noqa: S311  # jitter needs no secrecy, and tests need the seed
        self._tenants: dict[str, TenantShare[Job]] = {}
        self._sources: dict[str, SourceShare[Job]] = {}
        self._timetable: Timetable[Job] = Timetable()
        self._ready: list[tuple[float, int, Job, int]] = []
        self._order = 0
        self._jobs = 0
        self._stuck = 0
        self._workers: set[asyncio.Task[None]] = set()
        self._free_worker = False
        self._timekeeper: asyncio.Task[None] | None = None
        self._sleeper: asyncio.Task[None] | None = None
        self._wakes_at = math.inf

    # Who may use how much.

    def tenant(self, name: str) -> TenantShare[Job]:
        """Return a tenant's share."""
        share = self._tenants.get(name)
        if share is None:
            retries = RetryBudget(self.policy.retry_ratio, self.policy.retry_reserve)
            share = self._tenants[name] = TenantShare(name, self.policy.tenant, retries, self.clock.monotonic())
        return share

    def limit_tenant(self, name: str, limits: TenantLimits) -> None:
        """Change a tenant's limits while it runs."""
        share = self.tenant(name)
        share.reconfigure(limits, self.clock.monotonic())
        self._admit_parked(share.gate)

    def source(self, name: str) -> SourceShare[Job]:
        """Return the share of a source that several collectors ask."""
        share = self._sources.get(name)
        if share is None:
            share = self._sources[name] = SourceShare(name, self.policy.adaptive, None, self.clock.monotonic())
        return share

    def limit_source(self, name: str, rate: Rate | None) -> None:
        """Change how many runs a second may ask a source."""
        self.source(name).rate.reconfigure(rate, self.clock.monotonic())

    def breaker(self, tenant: str, source: str) -> Breaker:
        """Return a tenant's breaker of a source; a collector that shares no source has its own."""
        return self.tenant(tenant).breaker(source, self.policy.breaker) if source else Breaker(self.policy.breaker)

    def cost(self, tenant: str) -> Cost:
        """Return what all collectors of a tenant have cost since the process began."""
        share = self.tenant(tenant)
        total = Cost()
        total.add(share.retired)
        for job in share.jobs:
            total.add(job.cost)
        return total

    def costs(self) -> Mapping[str, Cost]:
        """Return the cost of every tenant."""
        return {name: self.cost(name) for name in self._tenants}

    @property
    def is_alive(self) -> bool:
        """False if the timekeeper died: then nothing runs any more, and the process should be started anew."""
        return self._timekeeper is None or not self._timekeeper.done()

    @property
    def overdue(self) -> float:
        """Seconds since the timekeeper should have looked at the timetable; 0 if it is in time."""
        return max(0.0, self.clock.monotonic() - self._timetable.next)

    def figures(self) -> SchedulerFigures:
        """Report how the scheduler is doing."""
        return SchedulerFigures(
            jobs=self._jobs,
            running=sum(share.gate.used for share in self._tenants.values()),
            stuck=self._stuck,
            ready=len(self._ready) + sum(len(s.gate.waiting) for s in self._tenants.values()),
            runs=self.lateness.total,
            lateness_p50=self.lateness.quantile(0.5),
            lateness_p99=self.lateness.quantile(0.99),
        )

    # What runs.

    def add(self, job: Job) -> None:
        """Run ``job`` on its grid, for the first time very soon."""
        self._jobs += 1
        job.tenant.jobs.add(job)
        within = max(self.policy.first_run_seconds, self._jobs / self.policy.starts_per_second)
        job.due = self.clock.monotonic() + spread(job.key) * min(job.grid.interval, within)
        self._at(job.due, self._come_due, job)
        if self._timekeeper is None:
            self._timekeeper = asyncio.create_task(self._keep_time(), name="scheduler")

    async def remove(self, job: Job) -> None:
        """End ``job``: cancel its run, if any, and wait for it, but not longer than the grace."""
        if job.removed:
            return
        job.removed = True
        if job.task is None:
            job.mark += 1
        elif job.task is not asyncio.current_task():
            self._cancel(job)
            job.done = asyncio.get_running_loop().create_future()
            self._at(self.clock.monotonic() + self.policy.grace_seconds, self._give_up, job)
            await job.done
        job.tenant.jobs.discard(job)
        job.tenant.retired.add(job.cost)
        self._jobs -= 1
        if not self._jobs and self._timekeeper is not None:
            keeper, self._timekeeper = self._timekeeper, None
            keeper.cancel()
            await asyncio.wait((keeper,))

    def arm(self, job: Job) -> None:
        """Have the job's run cut at its deadline; called when it waits for the first time."""
        self._free_worker = False
        if not job.armed:
            job.armed = True
            self._at(job.deadline, self._cut, job)
        self._staff()

    def retry_after(self, job: Job, at_least: float) -> float | None:
        """Return the seconds to the next attempt of the job's run, None if it must not have one.

        It must not when it had enough, when its deadline would pass, or when the tenant's budget of retries is spent.
        """
        if job.attempt >= self.policy.attempts or job.cut or job.removed:
            return None
        delay = max(at_least, self.policy.backoff.delay(job.attempt, self._draw))
        if self.clock.monotonic() + delay >= job.deadline or not job.tenant.retries.try_spend():
            return None
        return delay

    # The timekeeper.

    async def _keep_time(self) -> None:
        try:
            while True:
                now = self.clock.monotonic()
                self._timetable.run(now)
                self._staff()
                wait = max(self.policy.resolution_seconds, min(self._timetable.next - now, 3600.0))
                self._wakes_at = now + wait
                self._sleeper = asyncio.create_task(self.clock.sleep(wait), name="scheduler:sleep")
                await asyncio.wait((self._sleeper,))
        finally:
            self._wakes_at = math.inf
            if self._sleeper is not None:
                self._sleeper.cancel()

    def _at(self, when: float, action: Callable[[Job, float], None], job: Job) -> None:
        self._timetable.put(when, action, job)
        if when + self.policy.resolution_seconds < self._wakes_at and self._sleeper is not None:
            self._wakes_at = when
            self._sleeper.cancel()

    # What the timetable holds.

    def _come_due(self, job: Job, _now: float) -> None:
        self._order += 1
        urgency = job.due + job.priority * job.grid.interval
        heapq.heappush(self._ready, (urgency, self._order, job, job.mark))

    def _cut(self, job: Job, now: float) -> None:
        """Tell a run that its time is over, and see to it that it goes."""
        job.cut = True
        self._cancel(job)
        self._at(now + self.policy.grace_seconds, self._abandon, job)

    def _abandon(self, job: Job, now: float) -> None:
        """Go on without a run that does not end: its place is free for others, and only its own collector waits."""
        if not job.abandoned:
            job.abandoned = True
            self._stuck += 1
            assert job.task is not None
            self._workers.discard(job.task)
            self._release(job)
            log.error("collector.stuck", collector=job.key)
        self._cancel(job)
        self._at(now + job.timeout, self._abandon, job)

    def _give_up(self, job: Job, now: float) -> None:
        """Stop waiting for the run of a removed job."""
        self._abandon(job, now)
        if job.done is not None and not job.done.done():
            job.done.set_result(None)

    @staticmethod
    def _cancel(job: Job) -> None:
        assert job.task is not None
        job.cancels += 1
        job.task.cancel()

    # The workers.

    def _staff(self) -> None:
        """Start a worker if there is something to do, nobody free to do it, and room for one."""
        if self._ready and not self._free_worker and len(self._workers) < self.policy.concurrent_runs:
            self._free_worker = True
            worker = asyncio.create_task(self._work(), name="scheduler:worker")
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        now = self.clock.monotonic()
        until = now + self.policy.slice_seconds
        try:
            while (job := self._take(now)) is not None:
                if not await self._execute(job, now):
                    return  # somebody else has this worker's place
                self._free_worker = True
                now = self.clock.monotonic()
                if now > until:
                    await self.clock.sleep(0)
                    now = self.clock.monotonic()
                    until = now + self.policy.slice_seconds
        finally:
            self._free_worker = False

    def _take(self, now: float) -> Job | None:
        """Return the most urgent job that may run, and take its places; None if there is none."""
        while self._ready:
            entry = heapq.heappop(self._ready)
            job = entry[2]
            if job.mark != entry[3]:
                continue
            tenant, source = job.tenant, job.source
            if tenant.gate.full:
                tenant.gate.park(entry)
                continue
            if source is not None and source.gate.full:
                source.gate.park(entry)
                continue
            wait = tenant.wait(now)
            if source is not None:
                wait = max(wait, source.rate.wait(1, now))
            if wait > 0:
                # A limit of nothing at all may be raised some day: look again in a minute.
                self._timetable.put(now + min(wait, 60.0), self._come_due, job)
                continue
            tenant.quota.runs.charge(1, now)
            tenant.gate.used += 1
            if source is not None:
                source.rate.charge(1, now)
                source.gate.used += 1
            return job
        return None

    async def _execute(self, job: Job, now: float) -> bool:
        """Make one attempt; False if it took so long that the worker was replaced."""
        if not job.attempt:
            job.lateness = max(0.0, now - job.due)
            job.deadline = now + job.timeout
            self.lateness.add(job.lateness)
            job.tenant.retries.requested()
        job.attempt += 1
        job.began = now
        job.queried = job.cost.query_seconds
        job.armed = job.cut = job.answered = job.congested = False
        job.task = asyncio.current_task()
        retry: float | None = None
        try:
            retry = await job.work(job)
        except asyncio.CancelledError:
            if not job.absorb_cancel():
                raise
        finally:
            abandoned = job.abandoned
            self._finish(job, retry)
        return not abandoned

    def _finish(self, job: Job, retry: float | None) -> None:
        now = self.clock.monotonic()
        if job.source is not None and (job.answered or job.cut or job.congested):
            if job.answered:
                job.unloaded = unloaded_latency(job.unloaded, now - job.began, now - job.unloaded_at)
                job.unloaded_at = now
            job.source.observe(job.began, now, job.unloaded, failed=not job.answered)
        job.tenant.quota.query_seconds.charge(job.cost.query_seconds - job.queried, now)
        job.task = None
        job.mark += 1
        if job.abandoned:
            job.abandoned = False
            self._stuck -= 1
        else:
            self._release(job)
        if job.removed:
            if job.done is not None and not job.done.done():
                job.done.set_result(None)
        elif retry is not None:
            self._at(now + retry, self._come_due, job)
        else:
            job.attempt = 0
            job.due, left_out = next_due(job.grid, job.due, now, job.overlap)
            job.skipped += left_out
            self._at(job.due, self._come_due, job)

    # The walls.

    def _release(self, job: Job) -> None:
        """Give the job's places to those who wait for them."""
        self._leave(job.tenant.gate)
        if job.source is not None:
            self._leave(job.source.gate)

    def _leave(self, gate: Gate[Job]) -> None:
        gate.used -= 1
        if gate.waiting:
            self._admit_parked(gate)

    def _admit_parked(self, gate: Gate[Job]) -> None:
        room = gate.limit - gate.used
        while gate.waiting and room > 0:
            entry = heapq.heappop(gate.waiting)
            if entry[2].mark == entry[3]:
                heapq.heappush(self._ready, entry)
                room -= 1
        self._staff()
