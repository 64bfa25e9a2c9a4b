from __future__ import annotations

import asyncio
import math
import shutil
import subprocess
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain
from server_world import NOW_US, Gateway

from collectors.drivers.sample_store import DeclaredMetric, LabelledSample, Series
from collectors.model.metric import Kind, MetricSpec, Sample, Unit
from collectors.sinks.openmetrics import OPENMETRICS, PLAIN, Exposition, prefers_openmetrics, prometheus_name

UTILIZATION = MetricSpec(
    "system.cpu.utilization", Kind.GAUGE, Unit.RATIO, 'Share of "time" a CPU was busy.', ("cpu.mode",)
)
IO = MetricSpec("system.disk.io", Kind.COUNTER, Unit.BYTES, "Bytes read and written.", ("system.device",))


def spec(name: str, kind: Kind = Kind.GAUGE, unit: Unit = Unit.COUNT) -> MetricSpec:
    return MetricSpec(name, kind, unit, "About it.")


@pytest.mark.parametrize(
    ("declared", "base", "unit", "scale"),
    [
        (spec("system.cpu.utilization", unit=Unit.RATIO), "system_cpu_utilization_ratio", "ratio", 1),
        (spec("system.cpu.time", Kind.COUNTER, Unit.SECONDS), "system_cpu_time_seconds", "seconds", 1),
        (spec("system.memory.usage", unit=Unit.BYTES), "system_memory_usage_bytes", "bytes", 1),
        (spec("system.disk.operations", Kind.COUNTER, Unit.OPERATIONS), "system_disk_operations", "", 1),
        (spec("cache.hits", Kind.COUNTER, Unit.RATIO), "cache_hits", "", 1),
        (spec("cpu.frequency", unit=Unit.HERTZ), "cpu_frequency_hertz", "hertz", 1),
        (spec("disk.temperature", unit=Unit.CELSIUS), "disk_temperature_celsius", "celsius", 1),
        (spec("listening.hours", unit=Unit.HOURS), "listening_seconds", "seconds", 3600),
        (spec("rows.dead.percent", unit=Unit.PERCENT), "rows_dead_ratio", "ratio", 0.01),
        (spec("system.process.count", unit=Unit.PROCESSES), "system_process_count_current", "", 1),
        (spec("rows.total", Kind.COUNTER), "rows", "", 1),
        (spec("rows.total"), "rows_total_current", "", 1),
        (spec("total.total", Kind.COUNTER), "total", "", 1),
        (spec("seconds.seconds", unit=Unit.SECONDS), "seconds_seconds", "seconds", 1),
        (spec("uptime.seconds", unit=Unit.SECONDS), "uptime_seconds", "seconds", 1),
        (spec("a.b__c_"), "a_b_c", "", 1),
    ],
)
def test_names_follow_the_rules_of_prometheus(declared: MetricSpec, base: str, unit: str, scale: float) -> None:
    name = prometheus_name(declared)
    assert (name.base, name.unit, name.scale) == (base, unit, scale)


def exposed(
    tenants: Mapping[str, Iterable[tuple[MetricSpec, Mapping[str, str], float | None]]], now_us: int = NOW_US
) -> Exposition:
    exposition = Exposition(now_us)
    for tenant, samples in tenants.items():
        declared = {s.name: DeclaredMetric(s, "test", 1) for s, _, _ in samples}
        series = [
            Series(s.name, labels, NOW_US, value, "" if value is not None else "no data")
            for s, labels, value in samples
        ]
        exposition.add_tenant(tenant, declared.values(), series)
    return exposition


def test_both_formats_say_the_same_in_their_own_way() -> None:
    exposition = exposed(
        {
            "acorn": [(UTILIZATION, {"cpu.mode": "user"}, 0.25), (IO, {"system.device": "sda"}, 4096.0)],
            "birch": [(UTILIZATION, {"cpu.mode": "user"}, 0.5)],
        }
    )
    assert exposition.render(openmetrics=True).decode() == (
        r"""# HELP system_cpu_utilization_ratio Share of \"time\" a CPU was busy.
# TYPE system_cpu_utilization_ratio gauge
# UNIT system_cpu_utilization_ratio ratio
system_cpu_utilization_ratio{tenant="acorn",cpu_mode="user"} 0.25
system_cpu_utilization_ratio{tenant="birch",cpu_mode="user"} 0.5
# HELP system_disk_io_bytes Bytes read and written.
# TYPE system_disk_io_bytes counter
# UNIT system_disk_io_bytes bytes
system_disk_io_bytes_total{tenant="acorn",system_device="sda"} 4096.0
# EOF
"""
    )
    assert exposition.render(openmetrics=False).decode() == (
        """# HELP system_cpu_utilization_ratio Share of "time" a CPU was busy.
# TYPE system_cpu_utilization_ratio gauge
system_cpu_utilization_ratio{tenant="acorn",cpu_mode="user"} 0.25
system_cpu_utilization_ratio{tenant="birch",cpu_mode="user"} 0.5
# HELP system_disk_io_bytes_total Bytes read and written.
# TYPE system_disk_io_bytes_total counter
system_disk_io_bytes_total{tenant="acorn",system_device="sda"} 4096.0
"""
    )


def test_undefined_and_stale_values_are_left_out() -> None:
    samples = {"acorn": [(UTILIZATION, {}, None), (IO, {}, 1.0)]}
    assert b"utilization" not in exposed(samples).render(openmetrics=True)
    assert b"disk_io" in exposed(samples, NOW_US + 300_000_000).render(openmetrics=True)
    assert exposed(samples, NOW_US + 300_000_001).render(openmetrics=True) == b"# EOF\n"


def test_a_series_nobody_declared_is_left_out() -> None:
    exposition = Exposition(NOW_US)
    exposition.add_tenant("acorn", [], [Series("x.y", {}, NOW_US, 1.0, "")])
    assert exposition.render(openmetrics=True) == b"# EOF\n"


def test_metrics_that_end_up_with_one_name_are_not_mixed() -> None:
    one, two = spec("queue.size_now"), spec("queue.size.now")
    exposition = exposed({"acorn": [(one, {}, 1.0), (two, {}, 2.0)], "birch": [(one, {}, 3.0)]})
    assert exposition.left_out == 1
    lines = exposition.render(openmetrics=True).decode().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        'queue_size_now{tenant="acorn"} 1.0',
        'queue_size_now{tenant="birch"} 3.0',
    ]


def test_labels_that_end_up_with_one_name_are_joined_and_none_poses_as_the_tenant() -> None:
    labels = {
        "a.b": "1",
        "a_b": "2",
        "tenant": "birch",
        "9lives": "x",
        "__": "y",
        "quantile": "0.5",
        "cmd": "caf\udce9",
    }
    text = exposed({"acorn": [(spec("x.y"), labels, 1.0)]}).render(openmetrics=True).decode()
    assert (
        'x_y{tenant="acorn",a_b="1;2",exported_tenant="birch",_9lives="x",_="y",exported_quantile="0.5",cmd="caf?"} 1.0'
        in text
    )


def test_a_metric_does_not_take_a_name_that_belongs_to_a_counter() -> None:
    counter, poser = spec("rows.read", Kind.COUNTER), spec("rows.read.created", Kind.COUNTER)
    exposition = exposed({"acorn": [(counter, {}, 1.0), (poser, {}, 2.0)]})
    assert exposition.left_out == 1
    assert [f.name for f in parse_openmetrics(exposition.render(openmetrics=True).decode())] == ["rows_read"]


@pytest.mark.parametrize(("declared", "value"), [(IO, -1.0), (spec("x.y", unit=Unit.HOURS), 1e308)])
def test_a_value_that_the_format_has_no_place_for_is_left_out(declared: MetricSpec, value: float) -> None:
    exposition = exposed({"acorn": [(declared, {}, value)]})
    assert (exposition.left_out, exposition.render(openmetrics=True)) == (1, b"# EOF\n")


def test_series_that_differ_in_nothing_that_is_shown_are_shown_once() -> None:
    exposition = exposed({"acorn": [(spec("x.y"), {"a.b": "1"}, 1.0), (spec("x.y"), {"a_b": "1"}, 2.0)]})
    assert exposition.left_out == 1
    assert exposition.render(openmetrics=True).count(b"x_y{") == 1


names = st.from_regex(r"[a-z][a-z0-9_]{0,8}(\.[a-z][a-z0-9_]{0,8}){1,2}", fullmatch=True)
specs = st.builds(
    MetricSpec,
    names,
    st.sampled_from(Kind),
    st.sampled_from(Unit),
    st.text(max_size=20).map(lambda text: text + "."),
)
label_sets = st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=12), max_size=3)
values = st.floats(allow_nan=False, allow_infinity=False)


@given(
    samples=st.lists(st.tuples(specs, label_sets, values), max_size=12, unique_by=lambda s: s[0].name),
    tenant=st.sampled_from(["acorn", "birch"]),
)
def test_whatever_is_collected_can_be_read_back(
    samples: list[tuple[MetricSpec, Mapping[str, str], float]], tenant: str
) -> None:
    exposition = exposed({tenant: samples})
    rendered = exposition.render(openmetrics=True).decode()
    families = list(parse_openmetrics(rendered))
    read = sorted(s.value for f in families for s in f.samples)
    scaled = [value * prometheus_name(s).scale for s, _, value in samples]
    assert all(math.isfinite(value) for value in read)
    assert len(read) == len(samples) - exposition.left_out
    assert all(value in scaled for value in read)
    assert {s.labels["tenant"] for f in families for s in f.samples} <= {tenant}
    for family in families:
        assert family.unit == "" or family.name.endswith(family.unit)
    plain = list(parse_plain(exposition.render(openmetrics=False).decode()))
    assert sorted(s.value for f in plain for s in f.samples) == read


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("text/plain;version=0.0.4;q=0.3,*/*;q=0.1", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2", True),
        ("text/plain, application/openmetrics-text;q=0.5", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=high", False),
    ],
)
def test_the_format_is_the_one_that_is_preferred(accept: str, openmetrics: bool) -> None:
    assert prefers_openmetrics(accept) is openmetrics


def store_samples(gateway: Gateway) -> None:
    samples = gateway.folder.samples
    specs = [
        UTILIZATION,
        IO,
        MetricSpec("system.process.count", Kind.GAUGE, Unit.PROCESSES, "Processes.", ("process.state",)),
        MetricSpec("listening.hours", Kind.GAUGE, Unit.HOURS, "Hours of listening."),
        MetricSpec("rows.dead", Kind.GAUGE, Unit.PERCENT, "Dead rows.", nullable=True),
    ]
    for tenant, value in (("acorn", 0.25), ("birch", 0.75)):
        samples.declare(tenant, "test", specs)
        samples.add(
            [
                LabelledSample(tenant, Sample(UTILIZATION.name, value, ("us\\er\n",), NOW_US), (("cpu.mode", "u\n"),)),
                LabelledSample(tenant, Sample(IO.name, 10.0, ("sda",), NOW_US), (("system.device", "sda"),)),
                LabelledSample(tenant, Sample("system.process.count", 4.0, ("r",), NOW_US), (("process.state", "r"),)),
                LabelledSample(tenant, Sample("listening.hours", 2.0, (), NOW_US), ()),
                LabelledSample(tenant, Sample("rows.dead", None, (), NOW_US, "no rows"), ()),
            ]
        )


async def scrape(gateway: Gateway, key: str, accept: str = "") -> tuple[str, str]:
    store_samples(gateway)
    async with gateway.client(key) as client:
        answer = await client.get("/metrics", headers={"accept": accept})
    assert answer.status_code == 200
    return answer.headers["content-type"], answer.text


async def test_a_scrape_has_the_tenants_of_its_key(gateway: Gateway) -> None:
    media, text = await scrape(gateway, "acorn-read", "application/openmetrics-text")
    assert media == OPENMETRICS
    families = {f.name: f for f in parse_openmetrics(text)}
    assert sorted(families) == [
        "listening_seconds",
        "system_cpu_utilization_ratio",
        "system_disk_io_bytes",
        "system_process_count_current",
    ]
    assert families["listening_seconds"].samples[0].value == 7200.0
    assert "birch" not in text


async def test_an_operators_scrape_has_all_tenants_and_the_process_itself(gateway: Gateway) -> None:
    media, text = await scrape(gateway, "all-read")
    assert media == PLAIN
    found = {(s.name, s.labels.get("tenant")) for f in parse_plain(text) for s in f.samples}
    assert {
        ("system_disk_io_bytes_total", "acorn"),
        ("system_disk_io_bytes_total", "birch"),
        ("process_resident_memory_bytes", None),
        ("collectors_gateway_worker_up", None),
    } <= found
    _, openmetrics = await scrape(gateway, "all-read", "application/openmetrics-text")
    assert {s.name for f in parse_openmetrics(openmetrics) for s in f.samples} == {name for name, _ in found}


async def test_a_scrape_without_a_key_is_refused(gateway: Gateway) -> None:
    async with gateway.client() as client:
        answer = await client.get("/metrics")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="collectors"')


async def test_prometheus_own_linter_has_nothing_to_say(gateway: Gateway) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: Debian has it in the package prometheus")
    _, text = await scrape(gateway, "all-read")
    command = [promtool, "check", "metrics"]
    checked = await asyncio.to_thread(subprocess.run, command, input=text, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
