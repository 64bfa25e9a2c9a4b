"""The host collector beside psutil on the machine that runs the tests.

The two read the kernel moments apart while the machine works, so a number that moves is compared with one reading
of psutil before and one after ours: a counter must lie between them, a level within a margin of either.
"""

from __future__ import annotations

import sys

import psutil
import pytest

from collectors.catalog.performance.system_performance import SystemPerformanceCollector
from collectors.model.metric import Window

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

TICK = 0.011  # psutil and we read the same tick counters: a hundredth of a second, and rounding


async def sampled() -> dict[tuple[str, ...], float]:
    collector = SystemPerformanceCollector()
    await collector.open()
    collection = await collector.collect(Window(0, 1))
    await collector.close()
    return {(s.metric, *s.labels): s.value for s in collection.samples if s.value is not None}


async def test_cpu_times_lie_between_two_readings():
    before = psutil.cpu_times(percpu=True)
    got = await sampled()
    after = psutil.cpu_times(percpu=True)

    assert got["system.cpu.logical.count",] == psutil.cpu_count()
    for core, (low, high) in enumerate(zip(before, after, strict=True)):
        for mode, fields in (("user", ("user",)), ("system", ("system",)), ("interrupt", ("irq", "softirq"))):
            value = got["system.cpu.time", mode, str(core)]
            assert sum(getattr(low, f) for f in fields) - TICK <= value <= sum(getattr(high, f) for f in fields) + TICK


async def test_memory_agrees_within_what_other_programs_may_take_meanwhile():
    got = await sampled()
    now = psutil.virtual_memory()
    margin = 0.02 * now.total  # tests that run beside this one allocate

    assert got["system.memory.limit",] == now.total
    assert got["system.memory.usage", "free"] == pytest.approx(now.free, abs=margin)
    assert got["system.memory.linux.available",] == pytest.approx(now.available, abs=margin)
    assert 100 * got["collectors.system.memory.utilization",] == pytest.approx(now.percent, abs=2.0)


async def test_disk_and_network_counters_lie_between_two_readings():
    disks, nets = psutil.disk_io_counters(perdisk=True), psutil.net_io_counters(pernic=True)
    got = await sampled()
    disks_after, nets_after = psutil.disk_io_counters(perdisk=True), psutil.net_io_counters(pernic=True)

    for _, disk in (key for key in got if key[0] == "system.disk.io_time"):
        for direction, byte_field, field in (
            ("read", "read_bytes", "read_count"),
            ("write", "write_bytes", "write_count"),
        ):
            ours = got["system.disk.io", disk, direction]
            assert getattr(disks[disk], byte_field) <= ours <= getattr(disks_after[disk], byte_field)
            assert getattr(disks[disk], field) <= got["system.disk.operations", disk, direction]
    for _, nic, direction in [key for key in got if key[0] == "system.network.io"]:
        field = "bytes_recv" if direction == "receive" else "bytes_sent"
        assert getattr(nets[nic], field) <= got["system.network.io", nic, direction] <= getattr(nets_after[nic], field)


async def test_filesystem_boot_time_and_processes_agree():
    got = await sampled()
    usage = psutil.disk_usage("/")

    full = got.get(("collectors.system.filesystem.utilization", "/"))
    if full is not None:  # a machine may run from memory
        assert 100 * full == pytest.approx(usage.percent, abs=1.0)  # psutil rounds, others write
    assert got["collectors.system.boot_time",] == pytest.approx(psutil.boot_time(), abs=1.0)
    processes = sum(value for key, value in got.items() if key[0] == "system.process.count")
    assert processes == pytest.approx(len(psutil.pids()), rel=0.2, abs=10)  # they come and go
    assert got["collectors.system.load_average", "15m"] == pytest.approx(psutil.getloadavg()[2], abs=0.5)
