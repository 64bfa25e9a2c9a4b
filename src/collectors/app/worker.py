"""The worker process: everything behind the log. Started by the supervisor; stops on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import signal
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

import structlog

from collectors.alerting.desk import AlertDesk
from collectors.app.crew import Crew
from collectors.app.export import WorkerExports
from collectors.app.folder import DataFolder
from collectors.app.load import LoadLoop
from collectors.app.tail import Observation, Progress, Tail
from collectors.clock import SystemClock
from collectors.config.alert_rule import AlertRule
from collectors.config.server import ServerConfig
from collectors.config.tenant import PLATFORM_TENANT
from collectors.contract.collector import BaseCollector, TenantLake
from collectors.drivers.bus import BusPublisher
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
from collectors.runtime.runner import Runner
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


class Worker:
    """Tail, loader, collectors, alerts and the bus of one data folder."""

    def __init__(self, config: ServerConfig, clock: SystemClock) -> None:
        self._config = config
        self._clock = clock
        self._folder = DataFolder(config.data, clock)
        self._bus = BusPublisher(self._folder.bus)
        firing = self._folder.samples.alerts(state=AlertState.FIRING, limit=100_000)
        self._alerts = AlertDesk(config.alerting, self._folder.alerting, clock, firing)
        shutil.rmtree(self._folder.spill, ignore_errors=True)  # what a killed worker left
        self._engine = DuckDBEngine(
            EngineLimits(
                memory_bytes=config.lake.query_memory_bytes,
                threads=config.lake.query_threads,
                timeout_seconds=config.lake.query_timeout_seconds,
                concurrency=1,
                spill=self._folder.spill,
            )
        )
        self._zones: dict[str, str] = {}
        self._retentions: dict[str, Mapping[str, int]] = {}
        self._lake = Lake(self._folder.lake, self._folder.ledger, self._zone)
        self._streaming = StreamingStore(self._folder.path / "streaming.db")
        position, states = self._streaming.load()
        self._saved_position = self._lake.position if position is None else position
        self._own_rules: dict[str, tuple[AlertRule, ...]] = {}
        # What waits to be stored about once a second, or until the disk takes it.
        self._declarations: dict[tuple[str, str], tuple[MetricSpec, ...]] = {}
        self._pending: list[LabelledSample] = []
        self._changed_alerts: dict[str, Alert] = {}
        self._live: dict[tuple[str, str], None] = {}
        self._rates: dict[str, tuple[float, int]] = {}
        self._rate: dict[str, float] = {}
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._exports = WorkerExports(self._folder.path / "sinks", clock, lambda: self.crew.tenants)
        self.crew = Crew(clock, self._emit, self._tenant_lake, states, self._declare)
        self._tail = Tail(
            self._folder.log,
            clock,
            after=self._saved_position,
            observers=lambda: self.crew.observers,
            report=self._report,
        )
        self._tail.loaded(self._lake.position)
        self._load = LoadLoop(
            self._lake,
            Maintenance(self._lake, self._retention),
            self._folder.log,
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
            await self._refresh_tenants()
            self._tail.start()
            log.info("worker.started", position=self._lake.position)
            async with asyncio.TaskGroup() as tasks:
                for every, work in (
                    (LIVE_SECONDS, self._publish_live),
                    (STORE_SECONDS, self._watch),
                    (STORE_SECONDS, self._store),
                    (SELF_SECONDS, self._tell_of_collectors),
                    (TENANTS_SECONDS, self._refresh_tenants),
                    (STATE_SECONDS, self._save_states),
                    (EXPIRE_SECONDS, self._expire),
                ):
                    tasks.create_task(self._repeat(every, work))
                delivering = tasks.create_task(self._alerts.run())
                await self._stop.wait()
                delivering.cancel()
        finally:
            await self.crew.stop()
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
        self.crew.deliver(observation)

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
            self._bus.publish(samples_frame(tenant, self._clock.now_us(), labelled))
            self._exports.publish(tenant, labelled, collector.emits)
        changed: list[Alert] = []
        for item in labelled:
            changed += self._alerts.observe(tenant, collector.instance_name, item.sample, item.labels)
        for finding in collection.findings:
            changed += self._alerts.raise_finding(tenant, finding)
        self._announce(changed)

    def _announce(self, alerts: Iterable[Alert]) -> None:
        for alert in alerts:
            self._bus.publish(alert_frame(alert))
            self._changed_alerts[alert.id] = alert
            log.info("alert", tenant=alert.tenant, rule=alert.rule, state=alert.state, severity=alert.severity)

    def _declare(self, collector: BaseCollector[Any]) -> None:
        tenant = collector.context.tenant.id
        self._declarations[tenant, collector.instance_name] = collector.emits
        own = self._own_rules.get(tenant, ())
        given = collector.config.alert_thresholds
        self._announce(self._alerts.declare(tenant, collector.instance_name, collector.emits, given, own))

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
        alive = {"tail": self._tail.is_alive, "load": self._load.is_alive, "scheduler": self.crew.scheduler.is_alive}
        if not all(alive.values()):
            log.error("worker.part_died", **alive)
            os._exit(70)  # EX_SOFTWARE; nothing needs closing: all that counts is durable

    async def _tell_of_collectors(self) -> None:
        """Add what the collectors cost and how they do to the samples, so that it is charted and alerted on."""
        now = self._clock.now_us()
        for tenant in self.crew.tenants:
            for status in self.crew.statuses(tenant):
                labels = (("collector", status.name),)
                for sample in self_samples(status, now):
                    self._pending.append(LabelledSample(tenant, sample, labels))
                    self._announce(self._alerts.observe(tenant, "intake", sample, labels))

    async def _store(self) -> None:
        """Store what came up in the last second, and publish what is told once a second."""
        now = self._clock.now_us()
        self._announce(self._alerts.expire())
        with self._tail.lock:
            counters: dict[str, list[LabelledSample]] = {}
            for tenant, type_ in self._tail.counts:
                counters.setdefault(tenant, []).extend(self._counter_samples(tenant, type_, now))
            waiting = dict(self._tail.first_unloaded)
        for tenant in self.crew.tenants:
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
                self._announce(self._alerts.observe(tenant, "intake", item.sample, item.labels))
            self._bus.publish(samples_frame(tenant, now, own))
            self._bus.publish(status_frame(tenant, self.crew.statuses(tenant), fresh, self._rate[tenant]))
        pending, self._pending = self._pending, []
        changed, self._changed_alerts = self._changed_alerts, {}
        try:
            counts = await asyncio.to_thread(self._write_and_count, pending, list(changed.values()))
        except sqlite3.Error:
            # The disk is full: what can't be stored now is tried again with the next, as far as memory allows.
            self._pending = [*pending, *self._pending][-MAX_PENDING:]
            self._changed_alerts = changed | self._changed_alerts
            raise
        await self._alerts.save()
        for tenant in self.crew.tenants:
            mine = {type_: c for (owner, type_), c in counts.items() if owner == tenant}
            self._bus.publish(ledger_frame(tenant, mine))
        behind = sum(c.rows for c in await asyncio.to_thread(tail_counts, self._folder.log, after=self._lake.position))
        self._bus.publish(worker_frame(now, self._lake.position, behind, self._load.blocked_by))

    def _write_and_count(
        self, pending: list[LabelledSample], changed: list[Alert]
    ) -> dict[tuple[str, str], LedgerCounts]:
        for key in list(self._declarations):
            self._folder.samples.declare(*key, self._declarations[key])
            del self._declarations[key]
        if pending:
            self._folder.samples.add(pending)
        if changed:
            self._folder.samples.put_alerts(changed)
        return self._folder.ledger.counts()

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

    async def _refresh_tenants(self) -> None:
        tenants = await asyncio.to_thread(self._folder.control.tenants)
        self._zones = {t.id: t.config.time_zone for t in tenants}
        self._retentions = {t.id: t.config.retention_days for t in tenants}
        self._own_rules = {t.id: t.config.alert_rules for t in tenants}
        known = set(self.crew.tenants)
        await self.crew.match(tenants)
        for tenant in set(self.crew.tenants) - known:
            specs = (*OWN, *SINK_METRICS) if tenant == PLATFORM_TENANT else OWN
            self._declarations[tenant, "intake"] = specs
            self._announce(self._alerts.declare(tenant, "intake", specs, {}, self._own_rules[tenant]))
        running = {(t, s.name) for t in self.crew.tenants for s in self.crew.statuses(t)}
        running |= {(t, "intake") for t in self.crew.tenants}
        for tenant, collector in self._alerts.declared - running:
            self._announce(self._alerts.withdraw(tenant, collector))

    async def _save_states(self) -> None:
        with self._tail.lock:
            position, states = self._tail.position, self.crew.snapshots()
        await asyncio.to_thread(self._streaming.save, position, states)
        self._saved_position = position

    async def _expire(self) -> None:
        before = self._clock.now_us() - self._config.samples_days * 86_400 * 10**6
        await asyncio.to_thread(self._folder.samples.expire, before)
        await asyncio.to_thread(self._folder.alerting.expire, before)

    # What others ask.

    def _zone(self, tenant: str) -> str:
        zone = self._zones.get(tenant)
        if zone is None:
            zone = self._zones[tenant] = self._folder.control.tenant(tenant).config.time_zone
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
