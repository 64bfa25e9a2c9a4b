from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.simulate.pace import Pacer


class SlowClock:
    """Moves only by sleeping and by work, and oversleeps each time."""

    def __init__(self, oversleep: float = 0.0) -> None:
        self.now = 1_000.0
        self.naps: list[float] = []
        self._oversleep = oversleep

    def now_us(self) -> int:
        return int(self.now * 1e6)

    def monotonic(self) -> float:
        return self.now

    def block(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds + self._oversleep

    async def sleep(self, seconds: float) -> None:
        self.block(seconds)


def test_batches_go_when_their_first_event_is_due():
    clock = SlowClock()
    pacer = Pacer(100.0, clock)
    went = []
    for n in (10, 30, 10):
        pacer.block(n)
        went.append(clock.now - 1_000.0)
    assert went == pytest.approx([0.0, 0.1, 0.4])


@given(st.lists(st.integers(1, 500), min_size=2, max_size=60), st.floats(0, 0.05), st.floats(0, 0.02))
def test_oversleeping_and_work_do_not_add_up(sizes, oversleep, work):
    clock = SlowClock(oversleep)
    pacer = Pacer(1_000.0, clock)
    sent = 0
    for n in sizes:
        behind = pacer.block(n)
        due = 1_000.0 + sent / 1_000.0
        assert clock.now >= due - 1e-9
        if not behind:
            assert clock.now <= due + oversleep + 1e-9
        sent += n
        clock.now += work


def test_it_sleeps_once_for_each_batch_and_never_for_nothing():
    clock = SlowClock()
    pacer = Pacer(10.0, clock)
    for _ in range(20):
        pacer.block(5)
    assert len(clock.naps) == 19
    assert min(clock.naps) > 0


def test_a_slow_receiver_is_behind_a_schedule_that_does_not_wait_for_it():
    clock = SlowClock()
    pacer = Pacer(10.0, clock)
    assert pacer.block(10) == 0.0
    clock.now += 3.5
    assert pacer.block(10) == pytest.approx(2.5)
    assert clock.naps == []
    assert pacer.block(10) == pytest.approx(1.5)
    assert pacer.block(10) == pytest.approx(0.5)
    assert pacer.block(10) == 0.0
    assert clock.naps == pytest.approx([0.5])


async def test_waiting_in_an_event_loop_does_the_same():
    clock = SlowClock()
    pacer = Pacer(10.0, clock)
    assert await pacer.wait(5) == 0.0
    assert await pacer.wait(5) == 0.0
    assert clock.naps == pytest.approx([0.5])
    clock.now += 2.0
    assert await pacer.wait(5) == pytest.approx(1.5)


def test_without_a_rate_nothing_waits():
    clock = SlowClock()
    pacer = Pacer(None, clock)
    assert [pacer.block(10**6) for _ in range(100)] == [0.0] * 100
    assert clock.naps == []


@pytest.mark.parametrize("rate", [0, -1.0, float("nan")])
def test_a_rate_is_above_zero(rate):
    with pytest.raises(ValueError, match="above 0"):
        Pacer(rate, SlowClock())
