"""Real processes come and go as the size is decided, and a load is followed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.support.clock import ManualClock, until

from collectors.app.hands import LocalHand, Staff, keep_size
from collectors.clock import SYSTEM_CLOCK
from collectors.errors import StorageUnavailable
from collectors.runtime.scaling import Load, Scaler, ScalingPolicy

WAITS = "import signal; signal.pause()"


def waits(_number: int) -> Sequence[str]:
    return [sys.executable, "-S", "-c", WAITS]


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.fixture
async def hand() -> AsyncIterator[tuple[LocalHand, ManualClock]]:
    clock = ManualClock()
    made = LocalHand(waits, clock, start_seconds=5.0)
    yield made, clock
    await made.close()


async def test_it_grows_and_shrinks_to_the_size_the_newest_first(hand: tuple[LocalHand, ManualClock]) -> None:
    local, clock = hand
    await local.resize(3)
    assert await local.staff() == Staff(0, 3)
    await clock.advance(6)
    assert await local.staff() == Staff(3, 0)
    before = local.processes
    assert all(map(alive, before.values()))
    await local.resize(1)
    assert local.processes == {0: before[0]}
    assert not alive(before[2])
    await local.resize(1)
    assert local.processes == {0: before[0]}, "the same size touches nothing"
    await local.close()
    assert not alive(before[0])


async def test_one_that_dies_is_replaced_under_its_number(hand: tuple[LocalHand, ManualClock]) -> None:
    local, _ = hand
    await local.resize(2)
    before = local.processes
    os.kill(before[0], 9)
    await until(lambda: not alive(before[0]))
    found = Staff(0, 2)
    while found.starting != 1:
        await SYSTEM_CLOCK.sleep(0.001)
        found = await local.staff()
    await local.resize(2)
    assert set(local.processes) == {0, 1}
    assert local.processes[0] != before[0]
    assert local.processes[1] == before[1]


async def test_one_that_does_not_go_is_killed_after_the_grace(tmp_path: Path) -> None:
    clock = ManualClock()
    ready = tmp_path / "ready"
    stays = (
        "import pathlib, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"pathlib.Path({str(ready)!r}).touch()\nwhile True: signal.pause()"
    )
    local = LocalHand(lambda _n: [sys.executable, "-S", "-c", stays], clock, grace_seconds=7.0)
    await local.resize(1)
    await until(ready.exists)
    (pid,) = local.processes.values()
    closing = asyncio.create_task(local.close())
    await clock.advance(6.9)
    assert alive(pid)
    await clock.advance(0.2)
    await closing
    assert not alive(pid)


async def test_a_command_that_does_not_exist_is_told() -> None:
    local = LocalHand(lambda _n: ["/no/such/program"], ManualClock())
    with pytest.raises(StorageUnavailable, match="No such file"):
        await local.resize(1)


async def test_a_load_is_followed_by_real_processes_and_a_failed_look_is_survived(
    hand: tuple[LocalHand, ManualClock],
) -> None:
    local, clock = hand
    work = [0.6]

    async def measure(staff: Staff) -> Load:
        if work[0] < 0:
            raise OSError("the meter is away")
        used = min(1.0, work[0] / staff.ready) if staff.ready else 0.0
        return Load(clock.monotonic(), staff.ready, used, starting=staff.starting)

    scaler = Scaler(ScalingPolicy(maximum=4, shrink_after_seconds=60.0))
    task = asyncio.create_task(keep_size(scaler, local, measure, clock))

    async def pass_time(seconds: int) -> int:
        """Pass time with breaks in which processes, which know no manual clock, start and end."""
        for _ in range(seconds):
            await clock.advance(1)
            await SYSTEM_CLOCK.sleep(0.005)
        return len(local.processes)

    try:
        assert await pass_time(20) == 1
        work[0] = 2.5
        assert await pass_time(90) == 3
        work[0] = -1.0
        assert await pass_time(30) == 3
        work[0] = 0.5
        assert await pass_time(120) == 1
    finally:
        task.cancel()
        await asyncio.wait((task,))
