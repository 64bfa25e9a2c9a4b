"""The worker process: everything behind the log. Started by the supervisor; stops on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import structlog

from collectors.alerting.desk import AlertDesk
from collectors.app.composition import Reach, services
from collectors.app.export import WorkerExports
from collectors.app.folder import DataFolder
from collectors.app.load import LoadLoop
from collectors.app.tail import Observation, Progress, Tail
from collectors.clock import SystemClock
from collectors.config.alert_rule import AlertRule
from collectors.config.server import ServerConfig
from collectors.config.tenant import PLATFORM_TENANT, TenantConfig
from collectors.contract.collector import BaseCollector, TenantLake
from collectors.drivers.bus import BusPublisher
from collectors.drivers.control_store import Tenant
from collectors.drivers.event_log import tail_counts
from collectors.drivers.sample_store import LabelledSample
from collectors.drivers.streaming_store import StreamingStore
from collectors.lake.duckdb_engine import DuckDBEngine, EngineLimits
from collectors.lake.engine import Snapshot, TenantView
from collectors.lake.loader import Lake
from collectors.lake.maintenance import Maintenance
from collectors.model.alert import Alert, AlertState
from collectors.model.batch import LedgerCounts
from collectors.model.metric import Collection, Kind, MetricSpec, Sample, Unit
from collectors.monitoring.frames import alert_frame, ledger_frame, samples_frame, status_frame, worker_frame
from collectors.runtime.orchestrator import CollectorOrchestrator
from collectors.runtime.runner import Runner
from collectors.runtime.scheduler import Scheduler
from collectors.runtime.self_metrics import SELF_METRICS, self_samples
from collectors.runtime.sink_metrics import SINK_METRICS

log = structlog.get_logger()

LIVE_SECONDS = 0.04
STORE_SECONDS = 1.0
TENANTS_SECONDS = 1.0
STATE_SECONDS = 5.0
SELF_SECONDS = 10.0
EXPIRE_SECONDS = 600.0
MAX_PENDING = 100_000
"""Samples that wait for a store that can't be written."""

EVENTS = MetricSpec(
    "collectors.intake.events",
    Kind.COUNTER,
    Unit.EVENTS,
    "Events that reached the log since the worker started, by type and what became of them.",
    labels=("type", "outcome"),
)
RATE = MetricSpec(
    "collectors.intake.rate",
    Kind.GAUGE,
    Unit.EVENTS,
    "Accepted events per second over the last second.",
)
FRESHNESS = MetricSpec(
    "collectors.lake.freshness",
    Kind.GAUGE,
    Unit.SECONDS,
    "Age of the oldest accepted event that is not in the lake yet.",
)
OWN = (EVENTS, RATE, FRESHNESS, *SELF_METRICS)


Subscriber = Callable[[Sequence[LabelledSample]], None]
"""Is handed samples on the event loop as they come in; must not block."""


def _exit() -> None:
    os._exit(70)  # EX_SOFTWARE; nothing needs closing: all that counts is durable


class Worker:
    """Tail, loader, collectors, alerts and the bus of one data folder.

    ``die`` is called when one of its active parts has died; in a process of its own that ends it, and the supervisor
    starts it anew.
    """

    def __init__(self, config: ServerConfig, clock: SystemClock, *, die: Callable[[], None] = _exit) -> None:
        self._config = config
        self._clock = clock
        self._die = die
        self.folder = DataFolder(config.data, clock)
        self._bus = BusPublisher(self.folder.bus)
        firing = self.folder.samples.alerts(state=AlertState.FIRING, limit=100_000)
        self.alerts = AlertDesk(config.alerting, self.folder.alerting, clock, firing)
        shutil.rmtree(self.folder.spill, ignore_errors=True)  # what a killed worker left
        self._engine = DuckDBEngine(
            EngineLimits(
                memory_bytes=config.lake.query_memory_bytes,
                threads=config.lake.query_threads,
                timeout_seconds=config.lake.query_timeout_seconds,
                concurrency=1,
                spill=self.folder.spill,
            )
        )
        self._zones: dict[str, str] = {}
        self._retentions: dict[str, Mapping[str, int]] = {}
        self._lake = Lake(self.folder.lake, self.folder.ledger, self._zone)
        self._streaming = StreamingStore(self.folder.path / "streaming.db")
        position, states = self._streaming.load()
        self._saved_position = self._lake.position if position is None else position
        self._own_rules: dict[str, tuple[AlertRule, ...]] = {}
        self.paused: set[str] = set()
        """Tenants that are not monitored although they are on record."""
        self.subscribers: list[Subscriber] = []
        self.progress: dict[str, float] = {}
        """Chore to the monotonic second at which it last came to its end."""
        self.started = asyncio.Event()
        self._refreshing = asyncio.Lock()
        # What waits to be stored about once a second, or until the disk takes it.
        self._declarations: dict[tuple[str, str], tuple[MetricSpec, ...]] = {}
        self._pending: list[LabelledSample] = []
        self._changed_alerts: dict[str, Alert] = {}
        self._live: dict[tuple[str, str], None] = {}
        self._rates: dict[str, tuple[float, int]] = {}
        self._rate: dict[str, float] = {}
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.scheduler = Scheduler(clock)
        reach = Reach(clock, self._tenant_lake)
        wiring = services(reach, self.scheduler, self._emit, self._declare, self.alerts.register)
        self.orchestrator = CollectorOrchestrator(wiring, states=states)
        self._exports = WorkerExports(self.folder.path / "sinks", clock, lambda: self.orchestrator.tenants)
        self._tail = Tail(
            self.folder.log,
            clock,
            after=self._saved_position,
            observers=lambda: self.orchestrator.observers,
            report=self._report,
        )
        self._tail.loaded(self._lake.position)
        self._load = LoadLoop(
            self._lake,
            Maintenance(self._lake, self._retention),
            self.folder.log,
            config.lake,
            clock,
            loaded=self._tail.loaded,
            needed_from=lambda: self._saved_position,
        )

    async def run(self) -> None:
        """Work until ``stop`` is called."""
        await self._bus.open()
        self._exports.start(self._config.sinks)
        self._load.start()  # before the collectors, which take a moment to be imported
        try:
            await self.refresh()
            self._tail.start()
            self.started.set()
            log.info("worker.started", position=self._lake.position)
            async with asyncio.TaskGroup() as tasks:
                for every, work in (
                    (LIVE_SECONDS, self._publish_live),
                    (STORE_SECONDS, self._watch),
                    (STORE_SECONDS, self._store),
                    (SELF_SECONDS, self._tell_of_collectors),
                    (TENANTS_SECONDS, self.refresh),
                    (STATE_SECONDS, self._save_states),
                    (EXPIRE_SECONDS, self._expire),
                ):
                    tasks.create_task(self._repeat(every, work))
                delivering = tasks.create_task(self.alerts.run())
                await self._stop.wait()
                delivering.cancel()
        finally:
            await self.orchestrator.stop()
            await self._exports.stop()
            await asyncio.to_thread(self._tail.stop)
            await asyncio.to_thread(self._load.stop)
            await self._store()
            await self._save_states()
            await self._bus.close()
            log.info("worker.stopped", position=self._lake.position)

    def stop(self) -> None:
        """Ask ``run`` to end."""
        self._stop.set()

    async def _repeat(self, seconds: float, work: Any) -> None:
        while not self._stop.is_set():
            try:
                await work()
                self.progress[work.__name__] = self._clock.monotonic()
            except Exception:
                # One chore's trouble, such as a full disk under the samples, must not end the others.
                log.exception("worker.chore_failed", chore=work.__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stop.wait()

    # What the tail reports.

    def _report(self, progress: Progress) -> None:
        """Hand the tail thread's news to the event loop."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the worker is stopping
            self._loop.call_soon_threadsafe(self._progress, progress)

    def _progress(self, progress: Progress) -> None:
        self._live.update(dict.fromkeys(progress.changed))
        for observation in progress.observations:
            self._observe(observation)

    def _observe(self, observation: Observation) -> None:
        self.orchestrator.deliver(observation.tenant, observation.collector, observation.collection)

    # What collectors report.

    def _emit(self, runner: Runner, collection: Collection) -> None:
        tenant = runner.tenant
        collector = runner.collector
        keys = {spec.name: spec.labels for spec in collector.emits}
        tags = tuple(collector.config.tags.items())
        labelled = [
            LabelledSample(tenant, s, (*zip(keys[s.metric], s.labels, strict=True), *tags)) for s in collection.samples
        ]
        self._pending.extend(labelled)
        if labelled:
            for tell in self.subscribers:
                tell(labelled)
            self._bus.publish(samples_frame(tenant, self._clock.now_us(), labelled))
            self._exports.publish(tenant, labelled, collector.emits)
        changed: list[Alert] = []
        for item in labelled:
            changed += self.alerts.observe(tenant, collector.instance_name, item.sample, item.labels)
        for finding in collection.findings:
            changed += self.alerts.raise_finding(tenant, finding)
        self._announce(changed)

    def _announce(self, alerts: Iterable[Alert]) -> None:
        for alert in alerts:
            self._bus.publish(alert_frame(alert))
            self._changed_alerts[alert.id] = alert
            log.info("alert", tenant=alert.tenant, rule=alert.rule, state=alert.state, severity=alert.severity)

    def _declare(self, collector: BaseCollector[Any], config: TenantConfig) -> None:
        tenant, name, given = collector.context.tenant.id, collector.instance_name, collector.config.alert_thresholds
        self._announce(self.alerts.declare(tenant, name, collector.emits, given, config.alert_rules))
        self._declarations[tenant, name] = collector.emits

    # Chores.

    async def _publish_live(self) -> None:
        """Publish the counters that changed since the last time."""
        changed, self._live = self._live, {}
        now = self._clock.now_us()
        by_tenant: dict[str, list[LabelledSample]] = {}
        with self._tail.lock:
            for tenant, type_ in changed:
                by_tenant.setdefault(tenant, []).extend(self._counter_samples(tenant, type_, now))
        for tenant, samples in by_tenant.items():
            self._bus.publish(samples_frame(tenant, now, samples))

    async def _watch(self) -> None:
        """End the process if one of its active parts died, so that the supervisor starts it anew."""
        alive = {"tail": self._tail.is_alive, "load": self._load.is_alive, "scheduler": self.scheduler.is_alive}
        if not all(alive.values()):
            log.error("worker.part_died", **alive)
            self._die()

    async def _tell_of_collectors(self) -> None:
        """Add what the collectors cost and how they do to the samples, so that it is charted and alerted on."""
        now = self._clock.now_us()
        for tenant in self.orchestrator.tenants:
            for status in self.orchestrator.statuses(tenant):
                labels = (("collector", status.name),)
                for sample in self_samples(status, now):
                    self._pending.append(LabelledSample(tenant, sample, labels))
                    self._announce(self.alerts.observe(tenant, "intake", sample, labels))

    async def _store(self) -> None:
        """Store what came up in the last second, and publish what is told once a second."""
        now = self._clock.now_us()
        self._announce(self.alerts.expire())
        with self._tail.lock:
            counters: dict[str, list[LabelledSample]] = {}
            for tenant, type_ in self._tail.counts:
                counters.setdefault(tenant, []).extend(self._counter_samples(tenant, type_, now))
            waiting = dict(self._tail.first_unloaded)
        for tenant in self.orchestrator.tenants:
            self._rate[tenant] = self._measure_rate(tenant)
            fresh = max(0.0, (now - waiting[tenant][1]) / 1e6) if tenant in waiting else 0.0
            own = [
                LabelledSample(tenant, Sample(RATE.name, self._rate[tenant], (), now), ()),
                LabelledSample(tenant, Sample(FRESHNESS.name, fresh, (), now), ()),
                *counters.get(tenant, ()),
            ]
            if tenant == PLATFORM_TENANT:
                own += self._exports.samples(now)
            self._exports.publish(tenant, own, (*OWN, *SINK_METRICS))
            self._pending.extend(own)
            for item in own:
                self._announce(self.alerts.observe(tenant, "intake", item.sample, item.labels))
            self._bus.publish(samples_frame(tenant, now, own))
            self._bus.publish(status_frame(tenant, self.orchestrator.statuses(tenant), fresh, self._rate[tenant]))
        pending, self._pending = self._pending, []
        changed, self._changed_alerts = self._changed_alerts, {}
        try:
            counts = await asyncio.to_thread(self._write_and_count, pending, list(changed.values()))
        except sqlite3.Error:
            # The disk is full: what can't be stored now is tried again with the next, as far as memory allows.
            self._pending = [*pending, *self._pending][-MAX_PENDING:]
            self._changed_alerts = changed | self._changed_alerts
            raise
        await self.alerts.save()
        for tenant in self.orchestrator.tenants:
            mine = {type_: c for (owner, type_), c in counts.items() if owner == tenant}
            self._bus.publish(ledger_frame(tenant, mine))
        behind = sum(c.rows for c in await asyncio.to_thread(tail_counts, self.folder.log, after=self._lake.position))
        self._bus.publish(worker_frame(now, self._lake.position, behind, self._load.blocked_by))

    def _write_and_count(
        self, pending: list[LabelledSample], changed: list[Alert]
    ) -> dict[tuple[str, str], LedgerCounts]:
        for key in list(self._declarations):
            self.folder.samples.declare(*key, self._declarations[key])
            del self._declarations[key]
        if pending:
            self.folder.samples.add(pending)
        if changed:
            self.folder.samples.put_alerts(changed)
        return self.folder.ledger.counts()

    def _counter_samples(self, tenant: str, type_: str, now: int) -> list[LabelledSample]:
        counts = self._tail.counts[tenant, type_]
        return [
            LabelledSample(
                tenant,
                Sample(EVENTS.name, float(value), (type_, outcome), now),
                (("type", type_), ("outcome", outcome)),
            )
            for outcome, value in (
                ("accepted", counts.accepted),
                ("duplicate", counts.duplicate),
                ("rejected", counts.rejected),
                ("dropped", counts.dropped),
            )
        ]

    def _measure_rate(self, tenant: str) -> float:
        total = sum(c.accepted for (owner, _), c in self._tail.counts.items() if owner == tenant)
        now = self._clock.monotonic()
        then, before = self._rates.get(tenant, (now - STORE_SECONDS, total))
        self._rates[tenant] = (now, total)
        return max(0.0, (total - before) / max(1e-3, now - then))

    async def refresh(self) -> None:
        """Follow the tenants on record: start, change and stop collectors as their configurations say."""
        async with self._refreshing:  # whoever read the record first must not have the last word
            await self._follow(await asyncio.to_thread(self.folder.control.tenants))

    async def _follow(self, tenants: Sequence[Tenant]) -> None:
        self._zones = {t.id: t.config.time_zone for t in tenants}
        self._retentions = {t.id: t.config.retention_days for t in tenants}
        rules, self._own_rules = self._own_rules, {t.id: t.config.alert_rules for t in tenants}
        known = set(self.orchestrator.tenants)
        await self.orchestrator.match({t.id: t.config for t in tenants if t.id not in self.paused})
        now = set(self.orchestrator.tenants)
        for tenant in (t for t in now if t not in known or rules.get(t) != self._own_rules[t]):
            specs = (*OWN, *SINK_METRICS) if tenant == PLATFORM_TENANT else OWN
            self._declarations[tenant, "intake"] = specs
            self._announce(self.alerts.declare(tenant, "intake", specs, {}, self._own_rules[tenant]))
        running = {(t, s.name) for t in now for s in self.orchestrator.statuses(t)} | {(t, "intake") for t in now}
        for tenant, collector in self.alerts.declared - running:
            self._announce(self.alerts.withdraw(tenant, collector))

    async def _save_states(self) -> None:
        with self._tail.lock:
            position, states = self._tail.position, self.orchestrator.snapshots()
        await asyncio.to_thread(self._streaming.save, position, states)
        self._saved_position = position

    async def _expire(self) -> None:
        before = self._clock.now_us() - self._config.samples_days * 86_400 * 10**6
        await asyncio.to_thread(self.folder.samples.expire, before)
        await asyncio.to_thread(self.folder.alerting.expire, before)

    # What others ask.

    def pulse(self) -> dict[str, tuple[float, float]]:
        """Return for each active part the seconds since it last got on, and how many are normal."""
        now, care = self._clock.monotonic(), self._config.lake.load_seconds
        return {
            "tail": (now - self._tail.last_progress, 10.0),
            "load": (now - self._load.last_progress, 30.0 + care),
            "scheduler": (self.scheduler.overdue, 10.0),
            "store": (now - self.progress.get("_store", now), 30.0),
            "tenants": (now - self.progress.get("refresh", now), 30.0),
        }

    def _zone(self, tenant: str) -> str:
        zone = self._zones.get(tenant)
        if zone is None:
            zone = self._zones[tenant] = self.folder.control.tenant(tenant).config.time_zone
        return zone

    def _retention(self) -> dict[str, Mapping[str, int]]:
        return dict(self._retentions)

    def _tenant_lake(self, tenant: str) -> TenantLake:
        return TenantView(self._engine, tenant, self._snapshot)

    async def _snapshot(self) -> Snapshot:
        return self._load.snapshot


async def work(config: ServerConfig) -> None:
    """Run a worker until SIGTERM or SIGINT."""
    worker = Worker(config, SystemClock())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    gc.freeze()
    await worker.run()
