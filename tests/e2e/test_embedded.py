"""Monitoring in one's own process: its folder, its life, and what it does with what a server left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from collectors.app.embedded import EmbeddedOrchestrator, default_health_checker, default_orchestrator
from collectors.app.folder import DataFolder
from collectors.app.supervisor import owned
from collectors.config.collector import CollectorConfig
from collectors.config.server import ServerConfig
from collectors.config.tenant import TenantConfig
from collectors.errors import BadInput, ConfigError, LifecycleError, UnknownName
from collectors.model.status import State
from collectors.monitoring.health import HealthChecker
from tests.e2e.conftest import StartServer
from tests.e2e.embedded_support import execute, sooner_or_later
from tests.e2e.forms import playback

SMALL = TenantConfig(real_time_enabled=False)


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[EmbeddedOrchestrator]:
    """Monitoring on a folder of the test's own."""
    made = EmbeddedOrchestrator(ServerConfig(data=tmp_path / "data"))
    yield made
    await made.shutdown()


async def test_what_a_server_left_in_the_lake_is_analysed(start_server: StartServer) -> None:
    server = start_server()
    tenant = server.tenant(profile="standard")
    tenant.send(*[playback(user_id=f"u{i}", ms_played=60_000) for i in range(7)])
    tenant.settled()
    server.stop()
    platform = EmbeddedOrchestrator(server.config)
    manager = await platform.register_tenant_collectors(tenant.id, SMALL)
    try:

        def active() -> list[float | None]:
            latest = server.folder.samples.latest(tenant.id)
            return [s.value for s in latest if s.metric == "collectors.engagement.active_users"]

        await sooner_or_later(lambda: manager.status("user_engagement").samples and active())
        assert 7.0 in active()
        assert manager.status("user_engagement").state is State.RUNNING
    finally:
        await platform.shutdown()


async def test_a_folder_that_a_server_has_is_refused_with_what_to_do(
    platform: EmbeddedOrchestrator, tmp_path: Path
) -> None:
    with owned(tmp_path / "data"), pytest.raises(ConfigError, match=r"COLLECTORS_DATA.*another folder"):
        await platform.register_tenant_collectors("acme", SMALL)
    manager = await platform.register_tenant_collectors("acme", SMALL)
    assert manager.tenant == "acme"
    with pytest.raises(ConfigError, match="another server"), owned(tmp_path / "data"):
        pass


async def test_settings_are_checked_before_anything_changes(platform: EmbeddedOrchestrator) -> None:
    with pytest.raises(BadInput, match="tenant id"):
        await platform.register_tenant_collectors("No Such Id", SMALL)
    wrong = TenantConfig.model_validate({"policies": {"auth": {"no_such_field": "drop"}}})
    with pytest.raises(ConfigError, match="no such field"):
        await platform.register_tenant_collectors("acme", wrong)
    with pytest.raises(UnknownName):
        await platform.manager("acme")
    with pytest.raises(UnknownName):
        await platform.get_tenant_status("acme")
    with pytest.raises(UnknownName):
        await platform.unregister_tenant_collectors("acme")
    with pytest.raises(UnknownName):
        platform.subscribe("acme", lambda _samples: None)
    await platform.shutdown()
    with pytest.raises(UnknownName, match="initialize_tenant_monitoring"):
        platform.subscribe("acme", lambda _samples: None)


async def test_a_change_of_level_changes_intervals_and_unregistering_stops(platform: EmbeddedOrchestrator) -> None:
    manager = await platform.register_tenant_collectors("acme", SMALL)
    assert {s.name: i for s, i in manager.intervals()}["user_engagement"] == 60.0
    assert set(await manager.get_collector_status()) == {
        "revenue_metrics",
        "tenant_business_metrics",
        "user_engagement",
    }
    same = await platform.register_tenant_collectors("acme", TenantConfig(monitoring_level="comprehensive"))
    assert same is manager
    assert {s.name: i for s, i in manager.intervals()}["user_engagement"] == 30.0
    assert "security_events" in await manager.get_collector_status()
    assert set(await platform.get_status()) == {"acme", "platform"}
    await platform.unregister_tenant_collectors("acme")
    assert set(await platform.get_status()) == {"platform"}
    await platform.register_tenant_collectors("acme", SMALL)
    assert set(await platform.get_status()) == {"acme", "platform"}


async def test_a_subscriber_is_handed_the_samples_of_its_tenant_alone(platform: EmbeddedOrchestrator) -> None:
    for tenant in ("one", "two"):
        manager = await platform.register_tenant_collectors(tenant, SMALL)
        await manager.add("system_performance", CollectorConfig(interval_seconds=0.2))
    seen: list[str] = []
    end = platform.subscribe("one", lambda samples: seen.extend(s.tenant for s in samples))
    await sooner_or_later(lambda: len(seen) > 100)
    assert set(seen) == {"one"}
    end()
    end()
    before = len(seen)
    runs = manager.status("system_performance").runs
    await sooner_or_later(lambda: manager.status("system_performance").runs > runs + 2)
    assert len(seen) == before


async def test_health_names_each_part_and_each_collector(platform: EmbeddedOrchestrator) -> None:
    checker = HealthChecker()
    checker.register("monitoring", platform.check)
    before = await checker.check_all()
    assert not before.healthy
    assert "initialize_tenant_monitoring" in before.unhealthy["monitoring"]
    manager = await platform.register_tenant_collectors("acme", SMALL)
    report = await checker.check_all()
    assert report.healthy, report.unhealthy
    assert {"tail", "load", "scheduler", "store", "tenants", "acme/user_engagement"} <= set(report.components)
    await sooner_or_later(lambda: manager.status("user_engagement").state is State.RUNNING)
    assert (await checker.check_all()).components["acme/user_engagement"].age_seconds is not None
    await platform.shutdown()
    assert not (await checker.check_all()).healthy


def test_it_ends_with_its_loop_and_knows_its_tenants_when_it_starts_again(tmp_path: Path) -> None:
    platform = EmbeddedOrchestrator(ServerConfig(data=tmp_path / "data"))

    async def first() -> None:
        await platform.register_tenant_collectors("acme", SMALL)

    async def second() -> set[str]:
        found = set((await platform.get_tenant_status("acme")).collectors)
        await platform.shutdown()
        await platform.shutdown()
        return found

    asyncio.run(first())
    with owned(tmp_path / "data"):
        """The folder is free: the loop's end ended it."""
    assert "user_engagement" in asyncio.run(second())


async def test_another_loop_meanwhile_is_refused(platform: EmbeddedOrchestrator) -> None:
    await platform.register_tenant_collectors("acme", SMALL)
    errors: list[BaseException] = []

    def elsewhere() -> None:
        try:
            asyncio.run(platform.get_tenant_status("acme"))
        except LifecycleError as error:
            errors.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert "another event loop" in str(errors[0])


async def test_a_server_can_take_the_folder_over(platform: EmbeddedOrchestrator, tmp_path: Path) -> None:
    await platform.register_tenant_collectors("acme", SMALL)
    await platform.shutdown()
    folder = DataFolder(tmp_path / "data")
    assert [t.id for t in folder.control.tenants()] == ["acme", "platform"]
    assert folder.admin_key_file.read_text().startswith("ck_")
    assert folder.keys.keyset("acme").tenant == "acme"


async def test_the_process_has_one_of_each_until_it_is_shut_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import collectors

    monkeypatch.setenv("COLLECTORS_DATA", str(tmp_path / "data"))
    assert collectors.enterprise_orchestrator is default_orchestrator()
    assert collectors.health_checker is default_health_checker()
    before = collectors.enterprise_orchestrator
    await collectors.shutdown()
    assert collectors.enterprise_orchestrator is not before
    await collectors.shutdown()
    assert not (tmp_path / "data").exists(), "asking for it touches nothing"


async def test_a_part_that_dies_ends_monitoring_and_the_next_call_begins_anew(
    platform: EmbeddedOrchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await platform.register_tenant_collectors("acme", SMALL)
    worker: Any = platform._worker
    monkeypatch.setattr(type(worker._tail), "is_alive", property(lambda _self: False))
    await sooner_or_later(lambda: platform._worker is None)
    monkeypatch.undo()
    assert (await platform.get_tenant_status("acme")).healthy


async def test_the_guides_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTORS_DATA", str(tmp_path / "data"))
    guide = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text()
    example = guide.split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    await execute(example, names)
    assert names["status"].tenant == "acme"
    assert [t.id for t in DataFolder(tmp_path / "data").control.tenants()] == ["acme", "platform"]
