"""The host collector against small trees of kernel files; every expected number is worked out beside the fixture."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from collectors.catalog.performance.system import cgroup, cpu, memory, process
from collectors.catalog.performance.system.area import Reading
from collectors.catalog.performance.system_performance import SystemPerformanceCollector, SystemPerformanceConfig
from collectors.config.collector import CollectorConfig
from collectors.contract.collector import CollectorContext
from collectors.drivers.procfs import Procfs
from collectors.errors import LifecycleError, SourceRefused, SourceUnavailable
from collectors.model.metric import Collection, Window

GOLDEN = Path(__file__).parents[3] / "golden" / "system_performance"
WINDOW = Window(0, 10_000_000)
KIB = 1024


class SteppingClock:
    """Monotonic time that moves only when told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def now_us(self) -> int:
        return int(self.seconds * 1e6)


def room(path: str) -> SimpleNamespace:
    """100 blocks of 4 KiB: 40 used, 50 for users, 10 kept for root; 1000 inodes of which 900 are free."""
    assert path
    return SimpleNamespace(f_frsize=4096, f_blocks=100, f_bfree=60, f_bavail=50, f_files=1000, f_ffree=900)


class Host:
    """A copy of a golden tree that a test may change between readings."""

    def __init__(self, root: Path, case: str, **options: object) -> None:
        shutil.copytree(GOLDEN / case, root, dirs_exist_ok=True)
        self.root = root
        self.clock = SteppingClock()
        self.files = Procfs(
            str(root / "proc"),
            str(root / "sys"),
            str(root / "sys/fs/cgroup"),
            **{"statvfs": room, "ticks_per_second": 100, "page_size": 4096, **options},  # type: ignore[arg-type]
        )
        context = CollectorContext(clock=self.clock, drivers={"procfs": self.files})  # type: ignore[arg-type]
        self.collector = SystemPerformanceCollector(SystemPerformanceConfig(top_processes=3), context)

    def edit(self, path: str, change: Callable[[str], str]) -> None:
        file = self.root / path
        file.write_text(change(file.read_text()))

    def set_cpu(self, line: str) -> None:
        """Replace the line of ``proc/stat`` that begins with the same word."""
        pattern = rf"^{line.split(maxsplit=1)[0]} .*$"
        self.edit("proc/stat", lambda text: re.sub(pattern, line, text, flags=re.MULTILINE))

    async def collect(self, seconds: float = 10.0) -> Collection:
        self.clock.seconds += seconds
        collection = await self.collector.collect(WINDOW)
        declared = {spec.name: spec for spec in self.collector.emits}
        seen = [(s.metric, s.labels) for s in collection.samples]
        assert len(seen) == len(set(seen)), "a series is emitted twice"
        for s in collection.samples:
            assert len(s.labels) == len(declared[s.metric].labels)
            assert s.value is not None or declared[s.metric].nullable
        return collection


@pytest.fixture
def host(tmp_path: Path) -> Callable[..., Host]:
    return lambda case, **options: Host(tmp_path, case, **options)


def values(collection: Collection) -> dict[tuple[str, ...], float | None]:
    return {(s.metric, *s.labels): s.value for s in collection.samples}


def reasons(collection: Collection) -> dict[str, str]:
    return {s.metric: s.reason for s in collection.samples if s.value is None}


async def test_virtual_machine_reports_cpu_by_mode_and_core(host):
    h = host("virtual_machine")
    await h.collector.open()
    # Ten seconds later: core 0 worked 2 s for users and 1 s in the system, idled 6 s and waited 1 s;
    # core 1 had 5 s of soft interrupts and 5 s stolen.
    h.set_cpu("cpu0 1604 4 1161 134019 122 2 20 21 40 0")
    h.set_cpu("cpu1 3037 6 1423 130906 493 4 574 530 0 0")
    h.set_cpu("cpu  4641 10 2584 264925 615 6 594 551 40 0")
    got = values(await h.collect())

    assert got["system.cpu.time", "user", "0"] == 16.04
    assert got["system.cpu.time", "interrupt", "1"] == 5.78  # 4 hard and 574 soft ticks
    assert got["system.cpu.time", "steal", "1"] == 5.30
    share0 = {mode: got["system.cpu.utilization", mode, "0"] for mode in ("user", "system", "idle", "iowait")}
    assert share0 == {"user": 0.2, "system": 0.1, "idle": 0.6, "iowait": 0.1}
    assert got["system.cpu.utilization", "interrupt", "1"] == 0.5
    assert got["system.cpu.utilization", "steal", "1"] == 0.5
    assert got["collectors.system.cpu.utilization",] == pytest.approx(13 / 20)
    assert got["system.cpu.frequency", "0"] == 2_599_998_000
    assert got["system.cpu.frequency", "1"] == 2_600_500_000
    assert got["system.cpu.logical.count",] == 2
    assert got["system.cpu.physical.count",] == 1  # two threads of one core
    assert got["collectors.system.load_average", "5m"] == 0.08
    assert got["collectors.system.context_switches",] == 410476
    assert got["collectors.system.interrupts", "hardware"] == 231495
    assert got["collectors.system.interrupts", "softirq"] == 145023
    assert got["system.process.created",] == 6193
    assert got["collectors.system.run_queue", "running"] == 3
    assert got["collectors.system.run_queue", "blocked"] == 1
    assert got["collectors.system.boot_time",] == 1795363200


async def test_virtual_machine_reports_memory_paging_and_pressure(host):
    h = host("virtual_machine")
    await h.collector.open()
    got = values(await h.collect())

    assert got["system.memory.limit",] == 8_000_000 * KIB
    assert got["system.memory.usage", "used"] == 2_000_000 * KIB
    assert got["system.memory.usage", "free"] == 5_000_000 * KIB
    assert got["system.memory.usage", "buffers"] == 20_000 * KIB
    assert got["system.memory.usage", "cached"] == 1_200_000 * KIB
    assert got["system.memory.utilization", "cached"] == 0.15
    assert got["collectors.system.memory.utilization",] == 0.25
    assert got["system.memory.linux.available",] == 6_000_000 * KIB
    assert got["system.memory.linux.shared",] == 8924 * KIB
    assert got["system.memory.linux.slab.usage", "reclaimable"] == 107632 * KIB
    assert got["system.memory.linux.slab.usage", "unreclaimable"] == 24144 * KIB
    assert got["collectors.system.memory.unwritten", "dirty"] == 92 * KIB
    assert got["collectors.system.memory.unwritten", "writeback"] == 4 * KIB
    assert got["collectors.system.memory.committed",] == 59248 * KIB
    assert got["system.memory.linux.hugepages.limit",] == 10
    assert got["system.memory.linux.hugepages.page_size",] == 2048 * KIB
    assert got["system.memory.linux.hugepages.usage", "used"] == 6
    assert got["system.memory.linux.hugepages.utilization", "free"] == 0.4
    assert got["system.memory.linux.hugepages.reserved",] == 1
    assert got["system.memory.linux.hugepages.surplus",] == 2
    assert got["system.paging.usage", "/dev/vdb", "used"] == 200_000 * KIB
    assert got["system.paging.utilization", "/var/swap file", "free"] == 0.875
    assert got["system.paging.faults", "major"] == 1481
    assert got["system.paging.faults", "minor"] == 2001684 - 1481
    assert got["system.paging.operations", "in"] == 12
    assert got["system.paging.operations", "out"] == 34
    assert got["collectors.system.memory.oom_kills",] == 2
    assert got["collectors.system.pressure.utilization", "cpu", "some", "10s"] == 0.015
    assert got["collectors.system.pressure.utilization", "io", "full", "300s"] == pytest.approx(0.0004)
    assert got["collectors.system.pressure.stall_time", "cpu", "some"] == 11.189159
    assert got["collectors.system.pressure.stall_time", "io", "full"] == 4.480257


async def test_virtual_machine_reports_disks_but_neither_partitions_nor_virtual_devices(host):
    h = host("virtual_machine")
    await h.collector.open()
    got = values(await h.collect())

    assert got["system.disk.io", "vda", "read"] == 3615354 * 512
    assert got["system.disk.io", "vda", "write"] == 6718528 * 512
    assert got["system.disk.operations", "vda", "read"] == 54130
    assert got["system.disk.operations", "vda", "write"] == 13246
    assert got["system.disk.merged", "vda", "read"] == 9595
    assert got["system.disk.merged", "vda", "write"] == 34799
    assert got["system.disk.operation_time", "vda", "read"] == 11.433
    assert got["system.disk.operation_time", "vda", "write"] == 17.316
    assert got["system.disk.io_time", "vda"] == 7.632
    assert got["collectors.system.disk.pending", "vda"] == 5
    assert {key[1] for key in got if key[0] == "system.disk.io_time"} == {"vda", "nvme0n1"}


async def test_virtual_machine_reports_each_real_filesystem_once(host):
    h = host("virtual_machine")
    await h.collector.open()
    got = values(await h.collect())

    root = ("/dev/vda1", "ext4", "rw", "/")
    assert got["system.filesystem.limit", *root] == 400 * KIB
    assert got["system.filesystem.usage", *root, "used"] == 160 * KIB
    assert got["system.filesystem.usage", *root, "free"] == 200 * KIB
    assert got["system.filesystem.usage", *root, "reserved"] == 40 * KIB
    assert got["system.filesystem.utilization", *root, "used"] == 0.4
    assert got["collectors.system.filesystem.utilization", "/"] == pytest.approx(160 / 360)
    assert got["collectors.system.filesystem.inodes", "/", "used"] == 100
    assert got["system.filesystem.limit", "/dev/nvme0n1p1", "xfs", "ro", "/mnt/my music"] == 400 * KIB
    assert {key[1] for key in got if key[0] == "collectors.system.filesystem.utilization"} == {"/", "/mnt/my music"}


async def test_virtual_machine_reports_network_sockets_and_protocols(host):
    h = host("virtual_machine")
    await h.collector.open()
    got = values(await h.collect())

    assert got["system.network.io", "eth0", "receive"] == 1319460673
    assert got["system.network.io", "eth0", "transmit"] == 1287889
    assert got["system.network.packet.count", "eth0", "receive"] == 59504
    assert got["system.network.packet.count", "eth0", "transmit"] == 15421
    assert got["system.network.errors", "eth0", "receive"] == 3
    assert got["system.network.errors", "eth0", "transmit"] == 1
    assert got["system.network.packet.dropped", "eth0", "receive"] == 7
    assert got["system.network.packet.dropped", "eth0", "transmit"] == 2
    assert {key[1] for key in got if key[0] == "system.network.io"} == {"eth0", "lo"}
    assert got["collectors.system.network.sockets", "tcp", "in_use"] == 5
    assert got["collectors.system.network.sockets", "tcp", "time_wait"] == 2
    assert got["collectors.system.network.sockets", "tcp6", "in_use"] == 4
    assert got["collectors.system.network.socket_memory", "tcp"] == 62 * 4096
    assert got["collectors.system.network.tcp.established",] == 3
    assert got["collectors.system.network.tcp.segments", "retransmitted"] == 11
    assert got["collectors.system.network.tcp.connections", "failed"] == 4
    assert got["collectors.system.network.tcp.trouble", "listen_overflow"] == 24
    assert got["collectors.system.network.tcp.trouble", "timeout"] == 26
    assert got["collectors.system.network.udp.datagrams", "no_listener"] == 8
    assert got["collectors.system.network.udp.datagrams", "send_buffer_full"] == 7
    assert got["collectors.system.network.conntrack.usage",] == 33
    assert got["collectors.system.network.conntrack.limit",] == 262144


async def test_virtual_machine_reports_kernel_and_its_own_control_group(host):
    h = host("virtual_machine")
    await h.collector.open()
    h.edit("sys/fs/cgroup/cpuacct/cpuacct.stat", lambda _: "user 5600\nsystem 2900\n")
    collection = await h.collect()
    got = values(collection)

    assert got["system.uptime",] == 1362.16
    assert got["collectors.system.file_descriptors.usage",] == 470
    assert got["collectors.system.file_descriptors.limit",] == 2466165
    assert got["collectors.system.entropy.available",] == 256
    assert got["container.memory.usage",] == 69627904  # the group below the mounted root, not the root itself
    assert got["container.memory.working_set",] == 69627904 - 26697728
    assert got["container.memory.rss",] == 13672448
    assert got["collectors.container.memory.oom_kills",] == 3
    assert got["container.cpu.time", "user"] == 56.0
    assert got["container.cpu.usage",] == pytest.approx(1.0)  # 10 s of CPU in 10 s
    assert got["collectors.container.memory.limit",] is None
    assert got["collectors.container.cpu.limit",] is None
    assert reasons(collection)["collectors.container.memory.limit"] == "no limit is set"


async def test_virtual_machine_reports_processes_by_state_and_the_largest_by_command(host):
    h = host("virtual_machine")
    await h.collector.open()
    stat = lambda pid, change: h.edit(f"proc/{pid}/stat", change)  # noqa: E731
    stat(300, lambda t: t.replace(" 1000 200 ", " 1300 300 "))  # 400 ticks more
    stat(301, lambda t: t.replace(" 500 100 ", " 600 100 "))  # 100 more
    stat(16, lambda t: t.replace(" 0 10 0 0 ", " 0 60 0 0 "))  # 50 more, in the kernel
    # The pid of a process that ended is used again: its new owner has used 30 ticks, not 22.
    stat(302, lambda t: t.replace("odd) R (name", "fresh").replace(" 7 3 ", " 20 10 ").replace(" 905 ", " 999 "))
    got = values(await h.collect())

    states = {key[1]: value for key, value in got.items() if key[0] == "system.process.count"}
    assert states == {"running": 1, "sleeping": 5, "uninterruptible": 1, "stopped": 1, "defunct": 1}
    assert got["collectors.system.threads",] == 8 + 8 + 7
    assert got["system.process.limit",] == 32768
    top_cpu = {key[1]: value for key, value in got.items() if key[0] == "collectors.system.top.cpu.utilization"}
    assert top_cpu == {"worker": 0.25, "[kernel]": 0.025, "fresh": 0.015}  # of 2 CPUs x 10 s x 100 ticks
    top_memory = {key[1]: value for key, value in got.items() if key[0] == "collectors.system.top.memory.usage"}
    assert top_memory == {"worker": 8000 * 4096, "init": 400 * 4096, "fresh": 100 * 4096}


async def test_container_of_cgroup_version_1_reports_limits_throttling_and_its_disks(host):
    h = host("cgroup_v1_container")
    await h.collector.open()
    collection = await h.collect()
    got = values(collection)

    assert got["collectors.container.cpu.limit",] == 0.5
    assert got["collectors.container.cpu.periods", "elapsed"] == 400
    assert got["collectors.container.cpu.periods", "throttled"] == 100
    assert got["collectors.container.cpu.throttled_time",] == 2.5
    assert got["container.cpu.time", "user"] == 20.0
    assert got["container.cpu.usage",] == 0.0
    assert got["collectors.container.memory.limit",] == 134217728  # the parent's is tighter than its own
    assert got["container.memory.working_set",] == 100_000_000
    assert got["collectors.container.memory.utilization",] == pytest.approx(100_000_000 / 134217728)
    assert got["collectors.container.memory.oom_kills",] == 1
    assert got["collectors.container.threads.usage",] == 12
    assert got["collectors.container.threads.limit",] == 100
    assert got["system.memory.limit",] == 4_000_000 * KIB  # the host's, beside the container's
    assert {key[1] for key in got if key[0] == "collectors.system.filesystem.utilization"} == {"/", "/etc/hosts"}
    assert not any(key[0].startswith("collectors.system.pressure") for key in got)
    assert collection.issues == ()


async def test_container_of_cgroup_version_2_takes_the_tightest_limit_on_the_way_up(host):
    h = host("cgroup_v2_container")
    await h.collector.open()
    h.edit("sys/fs/cgroup/app.slice/web/cpu.stat", lambda t: t.replace("user_usec 6000000", "user_usec 9000000"))
    got = values(await h.collect(2.0))

    assert got["collectors.container.cpu.limit",] == 1.5  # its own is 2
    assert got["collectors.container.memory.limit",] == 200_000_000
    assert got["container.memory.usage",] == 120_000_000
    assert got["container.memory.working_set",] == 100_000_000
    assert got["container.memory.rss",] == 70_000_000
    assert got["collectors.container.memory.utilization",] == 0.5
    assert got["collectors.container.memory.oom_kills",] == 7
    assert got["container.cpu.time", "user"] == 9.0
    assert got["container.cpu.usage",] == 1.5  # 3 s of CPU in 2 s
    assert got["collectors.container.cpu.periods", "throttled"] == 5
    assert got["collectors.container.cpu.throttled_time",] == 0.75
    assert got["collectors.container.threads.limit",] == 64
    assert got["system.cpu.frequency", "1"] == 3.6e9
    assert got["collectors.system.pressure.utilization", "cpu", "some", "60s"] == 0.06


async def test_old_kernel_lacks_much_and_fails_nothing(host):
    h = host("old_kernel_without_psi")
    await h.collector.open()
    h.edit("proc/stat", lambda t: t.replace("100 20 30 800 50", "150 20 30 850 50"))
    collection = await h.collect()
    got = values(collection)

    assert got["system.cpu.time", "steal", "0"] == 0
    assert got["collectors.system.cpu.utilization",] == 0.5
    assert got["system.memory.usage", "used"] == 400_000 * KIB  # without MemAvailable: all but free and caches
    assert got["system.disk.io", "sda", "write"] == 160 * 512
    assert {key[1] for key in got if key[0] == "system.disk.io"} == {"sda"}
    assert got["collectors.system.file_descriptors.usage",] == 80
    areas = {"pressure", "network", "container", "top", "filesystem"}
    assert not [key for key in got if areas & set(key[0].split("."))]
    assert collection.issues == ()


async def test_every_declared_metric_is_emitted_by_some_fixture(tmp_path):
    seen = set()
    for case in sorted(path.parent.name for path in GOLDEN.glob("*/proc")):
        h = Host(tmp_path / case, case)
        await h.collector.open()
        h.edit("proc/stat", lambda t: t.replace(" 8000 ", " 9000 "))
        seen |= {s.metric for s in (await h.collect()).samples}
        await h.collector.close()
    assert {spec.name for spec in SystemPerformanceCollector.emits} - seen == {"collectors.system.top.cpu.utilization"}


async def test_ratios_are_undefined_when_no_time_has_passed(host):
    h = host("virtual_machine")
    await h.collector.open()
    collection = await h.collect(0.0)
    got = values(collection)

    assert got["collectors.system.cpu.utilization",] is None
    assert got["system.cpu.utilization", "user", "0"] is None
    assert got["container.cpu.usage",] is None
    assert reasons(collection)["container.cpu.usage"] == "no time passed between the two readings"
    assert not any(key[0] == "collectors.system.top.cpu.utilization" for key in got)


async def test_an_area_that_appears_later_has_no_baseline_at_first(host):
    h = host("virtual_machine")
    stat = (h.root / "proc/stat").read_text()
    (h.root / "proc/stat").unlink()
    h.edit("sys/fs/cgroup/cpuacct/cpuacct.stat", lambda _: "")
    await h.collector.open()
    collection = await h.collect()
    assert [(i.code, i.item) for i in collection.issues] == [("absent", "cpu")]
    assert reasons(collection)["container.cpu.usage"] == "the control group does not account for it"
    assert reasons(collection)["collectors.container.memory.utilization"] == "no limit is set"

    (h.root / "proc/stat").write_text(stat)
    h.edit("sys/fs/cgroup/cpuacct/cpuacct.stat", lambda _: "user 1\nsystem 1\n")
    collection = await h.collect()
    assert collection.issues == ()
    assert reasons(collection)["collectors.system.cpu.utilization"] == "there is no earlier reading to compare with"
    assert reasons(collection)["container.cpu.usage"] == "there is no earlier reading to compare with"
    assert values(collection)["system.cpu.time", "user", "0"] == 14.04


async def test_counters_that_restart_at_zero_count_from_zero(host):
    h = host("cgroup_v2_container")
    await h.collector.open()
    h.edit("sys/fs/cgroup/app.slice/web/cpu.stat", lambda _: "user_usec 500000\nsystem_usec 500000\n")
    h.edit("proc/stat", lambda t: t.replace("100 0 50 350", "30 0 10 400").replace("200 0 100 700", "60 0 20 800"))
    got = values(await h.collect())

    assert got["container.cpu.usage",] == 0.1
    assert got["system.cpu.utilization", "idle", "0"] == 1.0  # user and system went back: not used
    assert got["collectors.system.cpu.utilization",] == 0.0


async def test_a_core_that_comes_online_has_time_but_no_utilization_yet(host):
    h = host("cgroup_v1_container")
    await h.collector.open()
    h.edit("proc/stat", lambda t: t.replace("intr", "cpu1 5 0 0 5 0 0 0 0 0 0\nintr"))
    got = values(await h.collect())

    assert got["system.cpu.time", "user", "1"] == 0.05
    assert ("system.cpu.utilization", "user", "1") not in got


async def test_garbage_in_one_file_is_an_issue_and_the_rest_is_reported(host):
    h = host("virtual_machine")
    h.edit("proc/meminfo", lambda _: "MemTotal: lots\n")
    h.edit("proc/self/mountinfo", lambda _: "not a mount\n")
    await h.collector.open()
    collection = await h.collect()

    assert sorted((i.code, i.item) for i in collection.issues) == [("malformed", "filesystem"), ("malformed", "memory")]
    assert values(collection)["system.uptime",] == 1362.16


async def test_a_file_that_may_not_be_read_is_an_issue_of_its_area(host, monkeypatch):
    h = host("virtual_machine")
    real = h.files.proc

    def proc(path: str) -> str | None:
        if path in ("diskstats", "self/mountinfo"):
            raise SourceRefused(f"{path}: permission denied")
        return real(path)

    monkeypatch.setattr(h.files, "proc", proc)
    await h.collector.open()
    collection = await h.collect()

    assert [(i.code, i.item) for i in collection.issues] == [
        ("source_refused", "disk"),
        ("source_refused", "filesystem"),
    ]


async def test_a_filesystem_that_fails_is_an_issue_and_the_others_are_reported(host):
    def statvfs(path: str) -> SimpleNamespace:
        if path != "/":
            raise PermissionError(13, "no")
        return room(path)

    h = host("virtual_machine", statvfs=statvfs)
    await h.collector.open()
    collection = await h.collect()

    assert [(i.code, i.item) for i in collection.issues] == [("source_refused", "/mnt/my music")]
    assert values(collection)["collectors.system.filesystem.utilization", "/"] == pytest.approx(160 / 360)


async def test_filesystems_of_no_size_report_no_ratios(host):
    empty = SimpleNamespace(f_frsize=4096, f_blocks=0, f_bfree=0, f_bavail=0, f_files=0, f_ffree=0)
    h = host("virtual_machine", statvfs=lambda _: empty)
    h.edit("proc/swaps", lambda t: t.replace("600000\t\t200000", "0\t\t0"))
    await h.collector.open()
    got = values(await h.collect())

    assert got["system.filesystem.limit", "/dev/vda1", "ext4", "rw", "/"] == 0
    assert not [
        key for key in got if key[0] in ("system.filesystem.utilization", "collectors.system.filesystem.inodes")
    ]
    assert ("system.paging.utilization", "/dev/vdb", "free") not in got


async def test_a_host_without_proc_is_an_unavailable_source(tmp_path):
    files = Procfs(str(tmp_path / "proc"), str(tmp_path / "sys"), str(tmp_path / "cgroup"))
    collector = SystemPerformanceCollector(None, CollectorContext(drivers={"procfs": files}))
    await collector.open()
    with pytest.raises(SourceUnavailable, match="needs a Linux host"):
        await collector.collect(WINDOW)
    await collector.close()


async def test_leaving_processes_out_reads_none_of_their_files(host, monkeypatch):
    h = host("virtual_machine")
    monkeypatch.setattr(h.files, "processes", lambda: pytest.fail("processes were read"))
    h.collector.config = SystemPerformanceConfig(top_processes=0)
    await h.collector.open()
    assert not [s for s in (await h.collect()).samples if s.metric.startswith("system.process.count")]


async def test_lifecycle_is_open_collect_close_and_close_may_come_any_time(host):
    h = host("virtual_machine")
    await h.collector.close()
    with pytest.raises(LifecycleError, match="open system_performance"):
        await h.collector.collect(WINDOW)
    await h.collector.open()
    await h.collector.close()
    await h.collector.close()
    with pytest.raises(LifecycleError):
        await h.collector.collect(WINDOW)
    await h.collector.open()
    assert (await h.collect()).samples


async def test_equal_files_and_clock_give_equal_collections(host):
    h = host("virtual_machine")
    await h.collector.open()
    first = await h.collect(10.0)
    await h.collector.close()
    h.clock.seconds = 0.0
    await h.collector.open()
    assert await h.collect(10.0) == first


def test_a_plain_configuration_is_accepted_with_its_thresholds():
    thresholds = {"cpu_usage": 80.0, "memory_usage": 85.0, "disk_usage": 90.0}
    collector = SystemPerformanceCollector(CollectorConfig(name="system_performance", alert_thresholds=thresholds))
    aliases = {alias: spec for spec in collector.emits for alias in spec.aliases}

    assert set(aliases) == set(thresholds)
    assert all(spec.scale == 100.0 for spec in aliases.values())
    assert collector.config.top_processes == 10


def test_a_command_name_may_hold_parentheses_and_blanks():
    text = (GOLDEN / "virtual_machine/proc/302/stat").read_text()
    assert process.parse_process(text).command == "odd) R (name"
    assert process.parse_process(text).state == "sleeping"


def test_a_path_outside_the_cgroup_namespace_is_not_followed(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/cgroup.controllers").write_text("memory\n")
    (tmp_path / "outside/memory.current").write_text("1\n")
    root = tmp_path / "cgroup"
    root.mkdir()
    (root / "cgroup.controllers").write_text("memory\n")
    (root / "memory.current").write_text("42\n")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/../outside\n")
    group = cgroup.AREA.read(Procfs(str(tmp_path / "proc"), str(tmp_path / "sys"), str(root)), None)
    assert group is not None
    assert group.memory == 42
    unknown = [s for s in cgroup.AREA.derive(Reading(group, 1.0), None) if s.metric.endswith("memory.utilization")]
    assert [s.reason for s in unknown] == ["the control group does not account for it"]


def test_parsers_take_what_the_manuals_allow():
    assert cgroup.parse_cpu_max("max 100000\n") is None
    assert cgroup.parse_limit("9223372036854771712\n") is None
    assert cpu.parse_cpuinfo_hertz("processor : 7\ncpu MHz : 800.5\n") == {"7": 800.5e6}
    assert memory.parse_swaps("") == ()
    assert cpu.shares((1, 0, 0, 0, 0, 0, 0), (1, 0, 0, 0, 0, 0, 0)) is None
