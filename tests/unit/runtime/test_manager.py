"""One tenant's manager, and all of them: what a change of configuration touches, and what it leaves alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.clock import ManualClock

from collectors.config.collector import CollectorConfig
from collectors.config.tenant import TenantConfig
from collectors.contract.collector import BaseCollector, CollectorContext, Host, Sampling, Streaming
from collectors.errors import ConfigError, LifecycleError, UnknownName
from collectors.model.batch import Batch
from collectors.model.metric import Collection, Kind, MetricSpec, Sample, Unit, Window
from collectors.model.status import State, TenantInfo
from collectors.resilience.quota import TenantLimits
from collectors.runtime.manager import CollectorManager, Services, TenantPlan
from collectors.runtime.orchestrator import CollectorOrchestrator
from collectors.runtime.scaling import Load, ScalingPolicy
from collectors.runtime.scheduler import Scheduler

VALUE = MetricSpec("test.value", Kind.GAUGE, Unit.COUNT, "A value.")


class Tally(Sampling[CollectorConfig]):
    """Counts its runs."""

    name = "tally"
    emits = (VALUE,)
    made = 0

    def __init__(self, config: CollectorConfig | None = None, context: CollectorContext | None = None) -> None:
        super().__init__(config, context)
        type(self).made += 1
        self.closed = 0

    async def collect(self, window: Window) -> Collection:
        return Collection((Sample(VALUE.name, 1.0),))

    async def close(self) -> None:
        self.closed += 1


class Other(Tally):
    """Counts its runs, too."""

    name = "other"
    made = 0


class Memory(Streaming[CollectorConfig]):
    """Remembers how many batches it saw."""

    name = "memory"
    emits = (VALUE,)
    event_types = ("auth", "audit")

    def __init__(self, config: CollectorConfig | None = None, context: CollectorContext | None = None) -> None:
        super().__init__(config, context)
        self.seen = 0

    def observe(self, batch: Batch) -> Collection:
        self.seen += 1
        return Collection()

    async def collect(self, window: Window) -> Collection:
        return Collection((Sample(VALUE.name, float(self.seen)),))

    def snapshot(self) -> bytes:
        return json.dumps(self.seen).encode()

    def restore(self, state: bytes) -> None:
        self.seen = json.loads(state)


CATALOGUE: dict[str, type[BaseCollector[Any]]] = {c.name: c for c in (Tally, Other, Memory)}


class World:
    """Everything a manager is given, in memory."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.scheduler = Scheduler(self.clock)
        self.emitted: list[tuple[str, str, float | None]] = []
        self.declared: list[tuple[str, str, int]] = []
        self.handlers: list[tuple[str, str]] = []
        self.collectors: dict[str, dict[str, CollectorConfig]] = {}
        self.max_series = 100
        self.services = Services(
            clock=self.clock,
            scheduler=self.scheduler,
            plan=lambda tenant, _config: TenantPlan(
                dict(self.collectors.get(tenant, {"tally": CollectorConfig(), "memory": CollectorConfig()})),
                TenantLimits(concurrent_runs=3),
                self.max_series,
            ),
            lookup=self.lookup,
            context=self.context,
            emit=lambda runner, collection: self.emitted.extend(
                (runner.tenant, runner.collector.instance_name, s.value) for s in collection.samples
            ),
            declare=self.declare,
            handle=lambda tenant, name, _function: self.handlers.append((tenant, name)),
        )

    def lookup(self, name: str) -> type[BaseCollector[Any]]:
        if name not in CATALOGUE:
            raise UnknownName(name)
        return CATALOGUE[name]

    def context(self, tenant: str, config: TenantConfig, host: Host) -> CollectorContext:
        return CollectorContext(tenant=TenantInfo(tenant, config.time_zone), clock=self.clock, host=host)

    def declare(self, collector: BaseCollector[Any], config: TenantConfig) -> None:
        if "no_such_metric" in collector.config.alert_thresholds:
            raise ConfigError("there is no such metric")
        self.declared.append((collector.context.tenant.id, collector.instance_name, len(config.alert_rules)))

    def plan(self, tenant: str, **collectors: CollectorConfig) -> None:
        self.collectors[tenant] = collectors


@pytest.fixture
def world() -> World:
    Tally.made = Other.made = 0
    return World()


async def test_a_manager_runs_what_the_configuration_plans_and_reports_each_by_name(world: World) -> None:
    manager = CollectorManager("acme", world.services)
    await manager.apply(TenantConfig())
    await world.clock.advance(11)
    status = await manager.get_collector_status()
    assert list(status) == ["memory", "tally"]
    assert {s.state for s in status.values()} == {State.RUNNING}
    assert ("acme", "tally", 1.0) in world.emitted
    assert world.scheduler.tenant("acme").gate.limit == 3
    await manager.stop_all()
    assert await manager.get_collector_status() == {}
    assert world.scheduler.figures().jobs == 0


async def test_only_what_a_change_concerns_is_started_anew(world: World) -> None:
    world.plan("acme", tally=CollectorConfig(), other=CollectorConfig())
    manager = CollectorManager("acme", world.services)
    await manager.apply(TenantConfig())
    world.plan("acme", tally=CollectorConfig(), other=CollectorConfig(interval_seconds=3), memory=CollectorConfig())
    world.max_series = 7
    await manager.apply(TenantConfig(monitoring_level="comprehensive"))
    assert (Tally.made, Other.made) == (1, 2)
    assert set(await manager.get_collector_status()) == {"tally", "other", "memory"}
    world.plan("acme", tally=CollectorConfig(), memory=CollectorConfig(enabled=False))
    await manager.apply(TenantConfig())
    assert set(await manager.get_collector_status()) == {"tally"}
    assert Tally.made == 1
    await manager.stop_all()


async def test_another_time_zone_concerns_every_collector_also_those_added_by_hand(world: World) -> None:
    world.plan("acme", tally=CollectorConfig(), memory=CollectorConfig())
    manager = CollectorManager("acme", world.services)
    await manager.apply(TenantConfig())
    by_hand = await manager.add("other", CollectorConfig(name="mine"))
    manager.create(Other, CollectorConfig(name="idle"))
    memory = next(iter(manager.streaming()))
    assert isinstance(memory, Memory)
    memory.seen = 5
    await manager.apply(TenantConfig(time_zone="Europe/Stockholm"))
    assert Tally.made == 2
    states = {name: s.state for name, s in (await manager.get_collector_status()).items()}
    assert states == dict.fromkeys(("tally", "memory", "mine"), State.STARTING) | {"idle": State.STOPPED}
    anew = next(iter(manager.streaming()))
    assert anew.context.tenant.time_zone == "Europe/Stockholm"
    assert isinstance(anew, Memory)
    assert anew.seen == 5, "what it knew is carried over"
    with pytest.raises(UnknownName):
        manager.status(by_hand)
    await manager.stop_all()


async def test_other_alert_rules_are_declared_without_a_restart(world: World) -> None:
    manager = CollectorManager("acme", world.services)
    await manager.apply(TenantConfig())
    rule = {"name": "high", "metric": "test.value", "above": 3.0}
    await manager.apply(TenantConfig.model_validate({"alert_rules": [rule]}))
    assert Tally.made == 1
    assert world.declared[-2:] == [("acme", "tally", 1), ("acme", "memory", 1)]
    await manager.stop_all()


async def test_a_collector_that_cannot_be_loaded_is_missing_by_itself(world: World) -> None:
    bad = CollectorConfig(alert_thresholds={"no_such_metric": 1.0})
    world.plan("acme", gone=CollectorConfig(), other=bad, tally=CollectorConfig())
    manager = CollectorManager("acme", world.services)
    await manager.apply(TenantConfig())
    assert set(await manager.get_collector_status()) == {"tally"}
    await manager.apply(TenantConfig(monitoring_level="basic"))
    await manager.stop_all()


async def test_collectors_are_added_stopped_started_and_removed_by_hand(world: World) -> None:
    manager = CollectorManager("acme", world.services)
    with pytest.raises(LifecycleError, match="no configuration"):
        manager.create("other")
    await manager.apply(TenantConfig())
    other = manager.create("other")
    assert manager.status("other").state is State.STOPPED
    await other.start_collection()
    await world.clock.advance(2)
    assert other.get_status().runs == 1
    assert manager.intervals()[-1][1] == 10.0
    await other.stop_collection()
    assert manager.status(other).state is State.STOPPED
    assert isinstance(other, Other)
    assert other.closed == 1
    await manager.start("other")
    with pytest.raises(LifecycleError, match="already"):
        manager.create("other")
    await manager.remove("other")
    with pytest.raises(UnknownName, match="it has: memory, tally"):
        await manager.stop("other")
    with pytest.raises(UnknownName):
        await manager.add("no_such_collector")
    await manager.stop_all()


async def test_one_added_by_hand_goes_before_a_planned_one_of_its_name(world: World) -> None:
    world.plan("acme", tally=CollectorConfig())
    manager = CollectorManager("acme", world.services)
    await manager.apply(TenantConfig())
    mine = await manager.add("other")
    world.plan("acme", tally=CollectorConfig(), other=CollectorConfig(interval_seconds=1))
    await manager.apply(TenantConfig(monitoring_level="basic"))
    assert manager.status(mine).state is State.STARTING
    world.plan("acme", tally=CollectorConfig())
    await manager.apply(TenantConfig())
    assert manager.status(mine).state is State.STARTING, "the plan does not take away what it did not bring"
    assert Other.made == 1
    await manager.stop_all()


async def test_a_collector_of_another_tenant_is_not_this_managers(world: World) -> None:
    one, two = (CollectorManager(t, world.services) for t in ("one", "two"))
    await one.apply(TenantConfig())
    await two.apply(TenantConfig())
    with pytest.raises(UnknownName):
        one.status(two.create("other"))
    one.deliver("memory", Collection((Sample(VALUE.name, 9.0),)))
    one.deliver("gone", Collection((Sample(VALUE.name, 8.0),)))
    assert world.emitted == [("one", "memory", 9.0)]
    await one.stop_all()
    await two.stop_all()


async def test_alert_handlers_are_registered_for_the_tenant_under_a_name(world: World) -> None:
    async def tell(alert: dict[str, Any]) -> None: ...

    class Pager:
        async def __call__(self, alert: dict[str, Any]) -> None: ...

    manager = CollectorManager("acme", world.services)
    manager.add_alert_handler(tell)
    manager.add_alert_handler(Pager())
    manager.add_alert_handler(tell, name="second")
    assert world.handlers == [("acme", "tell"), ("acme", "Pager"), ("acme", "second")]


async def test_the_orchestrator_monitors_exactly_the_tenants_it_is_told_of(world: World) -> None:
    orchestrator = CollectorOrchestrator(world.services, states={("a", "memory"): b"7"})
    await orchestrator.match({"a": TenantConfig(), "b": TenantConfig()})
    kept = orchestrator.manager("b")
    await orchestrator.match({"b": TenantConfig(), "c": TenantConfig()})
    assert orchestrator.tenants == ["b", "c"]
    assert orchestrator.manager("b") is kept
    assert orchestrator.statuses("a") == []
    with pytest.raises(UnknownName, match="not monitored"):
        orchestrator.manager("a")
    with pytest.raises(UnknownName):
        await orchestrator.unregister_tenant_collectors("a")
    again = await orchestrator.register_tenant_collectors(tenant_id="a", config=TenantConfig())
    assert [c.seen for c in again.streaming() if isinstance(c, Memory)] == [7], "the state outlived the pause"
    assert set(await orchestrator.get_status()) == {"a", "b", "c"}
    assert {s.name for s in orchestrator.statuses("a")} == {"memory", "tally"}
    await orchestrator.stop()
    assert orchestrator.tenants == []
    assert world.scheduler.figures().jobs == 0


async def test_the_orchestrator_leads_events_to_streaming_collectors_that_run(world: World) -> None:
    orchestrator = CollectorOrchestrator(world.services)
    manager = await orchestrator.register_tenant_collectors("a", TenantConfig())
    await world.clock.settle()
    (memory,) = orchestrator.observers["a", "auth"]
    assert orchestrator.observers["a", "audit"] == [memory]
    orchestrator.deliver("a", "memory", Collection((Sample(VALUE.name, 2.0),)))
    orchestrator.deliver("gone", "memory", Collection((Sample(VALUE.name, 2.0),)))
    assert world.emitted == [("a", "memory", 2.0)]
    assert orchestrator.snapshots() == {("a", "memory"): b"0"}
    await manager.stop("memory")
    await world.clock.settle()
    assert orchestrator.observers == {}
    await manager.start("memory")
    await orchestrator.unregister_tenant_collectors("a")
    await world.clock.settle()
    assert orchestrator.observers == {}


def test_the_orchestrator_decides_on_the_size() -> None:
    orchestrator = CollectorOrchestrator(World().services, scaling=ScalingPolicy(maximum=8))
    assert orchestrator.scale(Load(time=0.0, workers=4, utilisation=1.0)).size == 5
