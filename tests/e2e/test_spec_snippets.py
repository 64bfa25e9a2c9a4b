# ruff: noqa: E501 - the snippets are word for word
"""The public API as it is promised: each snippet is executed as text, word for word."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import collectors
import collectors.monitoring
from collectors.app.folder import DataFolder
from collectors.config.tenant import TenantConfig
from collectors.model.status import State
from collectors.monitoring.health import HealthReport
from collectors.runtime.manager import CollectorManager
from tests.e2e.embedded_support import execute, sooner_or_later

IMPORTS = """
from collectors import initialize_tenant_monitoring, get_tenant_monitoring_status, create_collector_for_tenant
from collectors import TenantConfig, CollectorConfig, BaseCollector, CollectorManager, CollectorOrchestrator
from collectors import SystemPerformanceCollector, enterprise_orchestrator, health_checker   # and every collector below
"""

TENANT = """
config = TenantConfig(profile="enterprise", monitoring_level="comprehensive", real_time_enabled=True, compliance_mode="strict")
manager = await initialize_tenant_monitoring("tenant_123", config)
status = await manager.get_collector_status()
health = await health_checker.check_all()
"""

COLLECTOR = """
config = CollectorConfig(name="system_performance", interval_seconds=30, priority=1, tags={"environment": "production"},
                         alert_thresholds={"cpu_usage": 80.0, "memory_usage": 85.0, "disk_usage": 90.0})
collector = SystemPerformanceCollector(config)
await collector.start_collection()
"""

ORCHESTRATOR = """
manager = await enterprise_orchestrator.register_tenant_collectors(tenant_id="enterprise_client_001", config=enterprise_config)
status = await get_tenant_monitoring_status("enterprise_client_001")
"""

EXPORTER = """
from collectors.monitoring import MetricsExporter
exporter = MetricsExporter()
await exporter.start_export("tenant_123")
"""

HANDLER = """
async def custom_alert_handler(alert_data): ...     # any async callable can be registered as an alert handler
"""


@pytest.fixture
async def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DataFolder]:
    monkeypatch.setenv("COLLECTORS_DATA", str(tmp_path / "data"))
    yield DataFolder(tmp_path / "data")
    await collectors.shutdown()


@pytest.fixture
async def names() -> dict[str, Any]:
    given: dict[str, Any] = {}
    await execute(IMPORTS, given)
    return given


async def test_a_tenant_is_monitored_and_everything_is_well(folder: DataFolder, names: dict[str, Any]) -> None:
    await execute(TENANT, names)
    assert isinstance(names["manager"], CollectorManager)
    assert set(names["status"]) == {
        "churn_analytics",
        "customer_lifetime_value",
        "experiment_tracking",
        "revenue_metrics",
        "security_events",
        "tenant_business_metrics",
        "user_engagement",
    }
    assert isinstance(names["health"], HealthReport)
    assert names["health"].healthy, names["health"].unhealthy
    assert "tenant_123/user_engagement" in names["health"].components
    assert folder.control.tenant("tenant_123").config == names["config"]
    manager = names["manager"]
    await sooner_or_later(lambda: all(s.state is State.RUNNING for s in manager.statuses()))
    declared = {m.name for m in collectors.TenantBusinessMetricsCollector.emits}
    await sooner_or_later(lambda: declared & {s.metric for s in folder.samples.latest("tenant_123")})


async def test_a_collector_alone_runs_on_a_host_of_its_own(names: dict[str, Any]) -> None:
    await execute(COLLECTOR, names)
    collector = names["collector"]
    try:
        await sooner_or_later(lambda: collector.get_status().runs == 1 and collector.get_status().samples > 50)
        assert collector.get_status().state is State.RUNNING
        assert collector.context.host.latest.samples
    finally:
        await collector.stop_collection()
    assert collector.get_status().state is State.STOPPED


async def test_the_orchestrator_registers_a_tenant_and_tells_of_it(folder: DataFolder, names: dict[str, Any]) -> None:
    names["enterprise_config"] = TenantConfig(profile="enterprise", time_zone="Europe/Stockholm")
    await execute(ORCHESTRATOR, names)
    status = names["status"]
    assert status.tenant == "enterprise_client_001"
    assert status.config == names["enterprise_config"]
    assert set(status.collectors) == set(await names["manager"].get_collector_status())
    assert status.healthy
    assert status.alerts == ()
    assert folder.control.tenant("enterprise_client_001").config.time_zone == "Europe/Stockholm"


async def test_a_tenants_samples_are_exported(folder: DataFolder, names: dict[str, Any]) -> None:
    if not hasattr(collectors.monitoring, "MetricsExporter"):
        pytest.skip("NOT TESTED: collectors.monitoring has no MetricsExporter")
    await execute(TENANT, names)
    await execute(EXPORTER, names)


async def test_any_async_callable_is_told_of_alerts(folder: DataFolder, names: dict[str, Any]) -> None:
    """Registered as it is; one that writes down what it is told shows that it is called."""
    await execute(TENANT, names)
    await execute(HANDLER, names)
    names["manager"].add_alert_handler(names["custom_alert_handler"])
    told: list[dict[str, Any]] = []

    async def notice(alert_data: dict[str, Any]) -> None:
        told.append(alert_data)

    names["manager"].add_alert_handler(notice)
    config = names["CollectorConfig"](interval_seconds=1, alert_thresholds={"memory_usage": 0.0})
    collector = await names["create_collector_for_tenant"]("tenant_123", "system_performance", config)
    await collector.start_collection()
    await sooner_or_later(lambda: told)
    assert told[0]["tenant"] == "tenant_123"
    assert told[0]["status"] == "firing"
    assert "memory_usage" in told[0]["summary"]
