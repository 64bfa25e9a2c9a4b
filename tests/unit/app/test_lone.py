"""A collector that stands alone: its own small host, its thresholds, its end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog
from tests.support.clock import ManualClock

from collectors.app.lone import LoneHost
from collectors.config.collector import CollectorConfig
from collectors.contract.collector import CollectorContext, Sampling
from collectors.errors import ConfigError
from collectors.model.metric import Collection, Finding, Kind, MetricSpec, Sample, Severity, Unit, Window
from collectors.model.status import State

HEAT = MetricSpec("test.heat", Kind.GAUGE, Unit.CELSIUS, "How hot it is.", labels=("where",), aliases=("heat",))


class Thermometer(Sampling[CollectorConfig]):
    """Reads what the test says."""

    name = "thermometer"
    emits = (HEAT,)
    heat = 20.0
    findings: tuple[Finding, ...] = ()
    closed = 0

    async def collect(self, window: Window) -> Collection:
        return Collection((Sample(HEAT.name, self.heat, ("kitchen",)),), findings=self.findings)

    async def close(self) -> None:
        self.closed += 1


def thermometer(clock: ManualClock, **config: Any) -> Thermometer:
    return Thermometer(CollectorConfig(**config), CollectorContext(clock=clock))


async def test_it_runs_on_its_interval_until_it_is_stopped_and_leaves_no_task() -> None:
    clock = ManualClock()
    collector = thermometer(clock, interval_seconds=10)
    await collector.start_collection()
    await collector.start_collection()
    await clock.advance(35)
    assert collector.get_status().runs in (4, 5)
    assert collector.get_status().state is State.RUNNING
    host = collector.context.host
    assert isinstance(host, LoneHost)
    assert [s.value for s in host.latest.samples] == [20.0]
    await collector.stop_collection()
    await collector.stop_collection()
    assert collector.closed >= 1
    assert collector.get_status().state is State.STOPPED
    await clock.settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_threshold_that_is_crossed_is_logged_once_each_way() -> None:
    clock = ManualClock()
    collector = thermometer(clock, alert_thresholds={"heat": 30.0}, tags={"house": "old"})
    with structlog.testing.capture_logs() as logs:
        await collector.start_collection()
        await clock.advance(15)
        assert [line for line in logs if line["event"] == "alert"] == []
        collector.heat = 40.0
        await clock.advance(30)
        collector.heat = 20.0
        await clock.advance(30)
        await collector.stop_collection()
    alerts = [(line["rule"], line["state"]) for line in logs if line["event"] == "alert"]
    assert alerts == [("threshold:heat", "firing"), ("threshold:heat", "resolved")]


async def test_what_it_found_is_logged() -> None:
    clock = ManualClock()
    collector = thermometer(clock)
    collector.findings = (Finding("fire", "kitchen", Severity.CRITICAL, "it burns"),)
    with structlog.testing.capture_logs() as logs:
        await collector.start_collection()
        await clock.advance(2)
        await collector.stop_collection()
    assert [line["summary"] for line in logs if line["event"] == "alert"] == ["it burns"]


async def test_a_threshold_on_a_metric_it_has_not_is_refused() -> None:
    collector = thermometer(ManualClock(), alert_thresholds={"cold": 1.0})
    with pytest.raises(ConfigError, match="cold"):
        await collector.start_collection()
