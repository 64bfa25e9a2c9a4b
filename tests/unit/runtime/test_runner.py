"""The runner keeps the schedule and the deadline, stamps what is declared, and outlives its collector's troubles."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest
from tests.support.clock import ManualClock

from collectors.config.collector import CollectorConfig
from collectors.contract.collector import CollectorContext, Sampling
from collectors.errors import SourceRefused, SourceUnavailable
from collectors.model.metric import Collection, Issue, Kind, MetricSpec, Sample, Unit, Window
from collectors.model.status import State, TenantInfo
from collectors.runtime.runner import Runner

VALUE = MetricSpec("test.value", Kind.GAUGE, Unit.COUNT, "A value.", labels=("which",))


class Probe(Sampling[CollectorConfig]):
    """A collector that does what a test tells it."""

    name = "probe"
    emits = (VALUE,)
    behave: Callable[[Window], Collection] = staticmethod(lambda _: Collection())

    def __init__(self, config: CollectorConfig, context: CollectorContext) -> None:
        super().__init__(config, context)
        self.windows: list[Window] = []
        self.log: list[str] = []
        self.delay = 0.0

    async def open(self) -> None:
        self.log.append("open")

    async def collect(self, window: Window) -> Collection:
        self.windows.append(window)
        await self.context.clock.sleep(self.delay)
        return self.behave(window)

    async def close(self) -> None:
        self.log.append("close")


class Bench:
    """A runner over a probe and a manual clock."""

    def __init__(self, **config: object) -> None:
        self.clock = ManualClock()
        self.emitted: list[Collection] = []
        context = CollectorContext(tenant=TenantInfo("acme"), clock=self.clock)
        self.probe = Probe(CollectorConfig.model_validate({"interval_seconds": 10, **config}), context)
        self.runner = Runner(self.probe, lambda _, collection: self.emitted.append(collection), self.clock)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


def value(number: float = 1.0, **fields: object) -> Callable[[Window], Collection]:
    return lambda _: Collection((Sample("test.value", number, ("a",), **fields),))  # type: ignore[arg-type]


async def test_runs_start_on_a_grid_that_does_not_drift(bench: Bench) -> None:
    bench.probe.behave = value()
    bench.probe.delay = 0.7
    bench.runner.start()
    bench.runner.start()
    await bench.clock.advance(61)
    starts = [w.end_us for w in bench.probe.windows]
    assert len(starts) in (6, 7)
    # The first run comes at once; from the second on they are on the grid.
    assert {b - a for a, b in itertools.pairwise(starts[1:])} == {10_000_000}
    assert bench.runner.status().lateness_s == 0
    await bench.runner.stop()
    assert bench.runner.status().state is State.STOPPED
    assert bench.probe.log == ["open", "close"]


async def test_windows_touch_and_do_not_overlap(bench: Bench) -> None:
    bench.runner.start()
    await bench.clock.advance(35)
    windows = bench.probe.windows
    assert windows[0].end_us - windows[0].start_us == 10_000_000
    assert all(a.end_us == b.start_us for a, b in itertools.pairwise(windows))
    await bench.runner.stop()


async def test_a_run_that_is_still_going_on_is_not_doubled() -> None:
    bench = Bench(timeout_seconds=30)
    bench.probe.delay = 25
    bench.runner.start()
    await bench.clock.advance(100)
    starts = [w.end_us for w in bench.probe.windows]
    assert {b - a for a, b in itertools.pairwise(starts[1:])} == {30_000_000}
    assert bench.runner.status().skipped >= 4
    await bench.runner.stop()


async def test_samples_get_tenant_time_and_only_declared_ones_pass(bench: Bench) -> None:
    bench.probe.behave = lambda _: Collection(
        (
            Sample("test.value", 1.0, ("a",)),
            Sample("test.value", 2.0, ("b",), time_us=5),
            Sample("test.value", 3.0, ("too", "many")),
            Sample("test.other", 4.0),
        ),
        issues=(Issue("partial", "one disk is missing"),),
    )
    await bench.runner.run_once()
    (collection,) = bench.emitted
    assert [(s.value, s.time_us) for s in collection.samples] == [(1.0, bench.clock.now_us()), (2.0, 5)]
    assert [i.code for i in collection.issues] == ["partial", "undeclared", "undeclared"]
    status = bench.runner.status()
    assert (status.tenant, status.samples, status.issues, status.last_error) == ("acme", 2, 3, "one disk is missing")


@pytest.mark.parametrize(
    ("error", "closed"),
    [(SourceUnavailable("no answer"), False), (SourceRefused("no right"), True), (ValueError("a secret"), False)],
)
async def test_failures_are_counted_and_told_without_secrets(bench: Bench, error: Exception, closed: bool) -> None:
    def fail(_: Window) -> Collection:
        raise error

    bench.probe.behave = fail
    await bench.runner.run_once()
    status = bench.runner.status()
    assert (status.state, status.failures, status.consecutive_failures) == (State.FAILING, 1, 1)
    assert "secret" not in status.last_error
    assert ("close" in bench.probe.log) is closed
    bench.probe.behave = value()
    await bench.runner.run_once()
    assert bench.runner.status().state is State.RUNNING
    assert bench.runner.status().consecutive_failures == 0


async def test_three_failures_in_a_row_open_the_collector_anew(bench: Bench) -> None:
    def fail(_: Window) -> Collection:
        raise SourceUnavailable("down")

    bench.probe.behave = fail
    for _ in range(4):
        await bench.runner.run_once()
    assert bench.probe.log == ["open", "close", "open"]


async def test_a_run_past_its_deadline_is_cut() -> None:
    bench = Bench(timeout_seconds=0.01)

    async def hang(_: Window) -> Collection:
        await asyncio.Event().wait()
        raise AssertionError

    bench.probe.collect = hang  # type: ignore[method-assign]
    await bench.runner.run_once()
    assert "longer than 0.01 s" in bench.runner.status().last_error


async def test_a_close_that_fails_keeps_nobody_from_stopping(bench: Bench) -> None:
    async def fail() -> None:
        raise OSError("stuck")

    bench.probe.close = fail  # type: ignore[method-assign]
    bench.runner.start()
    await bench.clock.advance(2)
    await bench.runner.stop()
    assert bench.runner.status().state is State.STOPPED


async def test_what_a_stream_observes_is_passed_on_at_once(bench: Bench) -> None:
    bench.runner.emit_now(Collection((Sample("test.value", 1.0, ("a",)),)))
    assert bench.emitted[0].samples[0].time_us == bench.clock.now_us()
