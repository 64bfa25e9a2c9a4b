from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support import sinks as zoo
from tests.support.sinks import ScriptedSink, World, sample, samples

from collectors.config.sinks import JsonLinesSink as JsonLinesConfig
from collectors.config.sinks import OtlpSink, PluginSink, PrometheusSink
from collectors.contract import sink_registry
from collectors.contract.sink import SinkContext
from collectors.contract.sink_registry import make_sink, sink_class, sink_names
from collectors.errors import ConfigError, LifecycleError, UnknownName
from collectors.monitoring.exporter import MetricsExporter, default_sinks, use_export_host
from collectors.runtime.exports import Exports
from collectors.runtime.sink_metrics import SINK_METRICS, sink_samples
from collectors.sinks.json_lines import JsonLinesSink
from collectors.testing import settle


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "queues")


@pytest.fixture
def host(world: World) -> Exports:
    context = SinkContext(world.clock, {}, zoo.inline)
    return Exports(world.make, lambda given: JsonLinesSink(given, context), lambda: ["tenant_123", "other"])


async def finish(world: World, work) -> None:
    import asyncio

    task = asyncio.ensure_future(work)
    for _ in range(100):
        if task.done():
            break
        await world.clock.advance(0.1)
    await task


def read(folder: Path) -> list[tuple[str, float]]:
    files = sorted(folder.glob("*.jsonl"))
    return [(r["tenant"], r["value"]) for f in files for r in map(json.loads, f.read_text().splitlines())]


async def test_a_tenant_is_exported_from_start_to_stop_and_no_other(
    world: World, host: Exports, tmp_path: Path
) -> None:
    exporter = MetricsExporter({"files": JsonLinesConfig(folder=tmp_path / "out")}, host)
    host.publish("tenant_123", (sample(0, tenant="tenant_123", value=0.0),))
    await exporter.start_export("tenant_123")
    await exporter.start_export("tenant_123")
    assert host.wanted
    host.publish("tenant_123", (sample(1, tenant="tenant_123", value=1.0),))
    host.publish("other", (sample(1, tenant="other", value=2.0),))
    await world.clock.advance(3)
    status = exporter.status()
    assert status.tenants == {"tenant_123": 1}
    assert [(s.name, s.delivered) for s in status.sinks] == [("files", 1)]
    await exporter.start_export("other")
    host.publish("other", (sample(2, tenant="other", value=3.0),))
    await finish(world, exporter.stop_export("tenant_123"))
    await finish(world, exporter.stop_export("nobody"))
    host.publish("tenant_123", (sample(3, tenant="tenant_123", value=4.0),))
    await finish(world, exporter.stop_export())
    assert read(tmp_path / "out") == [("tenant_123", 1.0), ("other", 3.0)]
    assert exporter.status().sinks == ()
    assert not host.wanted


async def test_two_exporters_of_one_tenant_end_each_by_itself(world: World, host: Exports, tmp_path: Path) -> None:
    one, two = (MetricsExporter({n: JsonLinesConfig(folder=tmp_path / n)}, host) for n in ("one", "two"))
    await one.start_export("tenant_123")
    await two.start_export("tenant_123")
    await finish(world, one.stop_export())
    host.publish("tenant_123", (sample(1, tenant="tenant_123", value=1.0),))
    await finish(world, two.stop_export())
    assert (read(tmp_path / "one"), read(tmp_path / "two")) == ([], [("tenant_123", 1.0)])


async def test_the_process_own_host_is_asked_if_none_is_given(host: Exports) -> None:
    exporter = MetricsExporter({})
    with pytest.raises(LifecycleError, match="initialize_tenant_monitoring"):
        await exporter.start_export("tenant_123")
    use_export_host(host)
    try:
        await exporter.start_export("tenant_123")
        with pytest.raises(UnknownName, match="not monitored"):
            await exporter.start_export("stranger")
        await exporter.stop_export()
    finally:
        use_export_host(None)


async def test_an_export_whose_sinks_can_not_be_made_has_not_begun(host: Exports, monkeypatch) -> None:
    exporter = MetricsExporter(host=host)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "not an address")
    with pytest.raises(ConfigError, match="OTEL_EXPORTER_"):
        await exporter.start_export("tenant_123")
    assert exporter.status().tenants == {}
    assert not host.wanted


def test_the_default_is_what_opentelemetry_has() -> None:
    assert default_sinks({}) == {"prometheus": PrometheusSink(host="127.0.0.1", port=9464)}
    given = {"OTEL_EXPORTER_PROMETHEUS_HOST": "::1", "OTEL_EXPORTER_PROMETHEUS_PORT": "9999"}
    assert default_sinks(given) == {"prometheus": PrometheusSink(host="::1", port=9999)}
    url = "http://collector:4318"
    assert default_sinks({"OTEL_EXPORTER_OTLP_ENDPOINT": url}) == {"otlp": OtlpSink(url=url)}


async def test_configured_sinks_get_all_tenants(world: World, host: Exports, tmp_path: Path) -> None:
    host.configure({"files": JsonLinesConfig(folder=tmp_path / "out")})
    assert host.wanted
    for tenant in ("tenant_123", "other"):
        host.publish(tenant, samples(0, 2, tenant=tenant))
    await world.clock.advance(3)
    assert [s.delivered for s in host.statuses()] == [4]
    await finish(world, host.stop())
    assert len(read(tmp_path / "out")) == 4


async def test_sinks_tell_of_themselves_in_declared_metrics(world: World) -> None:
    world.fanout.start({"bad": ScriptedSink(zoo.refusing, linger_seconds=0), "dead": ScriptedSink(zoo.dead)})
    await settle()
    world.fanout.offer(samples(0, 3))
    await world.clock.advance(10)
    found = {}
    for status in world.fanout.statuses():
        for s in sink_samples(status, world.clock.now_us()):
            spec = next(m for m in SINK_METRICS if m.name == s.metric)
            assert len(spec.labels) == len(s.labels)
            found[s.metric, *s.labels] = s.value
    assert found["collectors.sink.dropped", "bad", "refused"] == 3
    assert found["collectors.sink.queued", "dead"] == 3
    assert found["collectors.sink.lag", "dead"] == pytest.approx(9, abs=1)
    assert found["collectors.sink.lag", "bad"] == 0
    assert found["collectors.sink.failures", "dead"] > 0
    await world.stop()


# --- by entry point ---------------------------------------------------------------------------------------------------


class _Point:
    def __init__(self, name: str, cls: object, value: str = "") -> None:
        self.name, self.value = name, value or f"somewhere:{cls}"
        self.load = lambda: cls


@pytest.fixture
def installed(monkeypatch):
    points = [_Point("json_lines", JsonLinesSink), _Point("scripted", ScriptedSink), _Point("odd", int)]
    monkeypatch.setattr(sink_registry, "entry_points", lambda group: points)
    sink_registry._found.cache_clear()
    yield points
    sink_registry._found.cache_clear()


def test_sinks_are_found_by_name(installed, tmp_path: Path) -> None:
    assert sink_names() == ["json_lines", "odd", "scripted"]
    assert isinstance(make_sink(JsonLinesConfig(folder=tmp_path)), JsonLinesSink)
    with pytest.raises(UnknownName, match="there are: json_lines"):
        sink_class("nothing")
    with pytest.raises(ConfigError, match="no sink of that name"):
        sink_class("odd")
    installed.append(_Point("odd", int, "elsewhere:x"))
    sink_registry._found.cache_clear()
    with pytest.raises(ConfigError, match="uninstall one"):
        sink_names()


def test_a_plug_in_gets_its_own_settings_and_the_common_ones(installed) -> None:
    given = PluginSink(sink="json_lines", linger_seconds=7, settings={"folder": "here", "files": 3})
    sink = make_sink(given)
    assert (sink.config.linger_seconds, sink.config.folder, sink.config.files) == (7, Path("here"), 3)
