"""Construct, open, collect, close: in order, out of order, and cancelled on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

from collectors.contract.collector import BaseCollector, CollectorContext
from collectors.errors import LifecycleError
from collectors.model.metric import Collection
from collectors.testing.check import check
from collectors.testing.clock import ManualClock, settle
from collectors.testing.compare import difference
from collectors.testing.guard import Holdings, touched
from collectors.testing.subject import Bench, CheckFailed, Subject, expect, quietly

_CANCEL_SECONDS = 0.1
_MAX_AWAITS = 500


class _WatchedClock(ManualClock):
    """A clock that tells when it was read."""

    reads = 0

    def now_us(self) -> int:
        self.reads += 1
        return super().now_us()

    def monotonic(self) -> float:
        self.reads += 1
        return super().monotonic()


@check()
async def construction_does_nothing(subject: Subject) -> None:
    """Making a collector opens no file or socket, starts nothing and does not read the clock."""
    config = subject.config
    async with subject.bench() as bench:
        given = bench.context()
        clock = _WatchedClock()
        context = CollectorContext(given.tenant, clock, given.lake, None, given.drivers)
        before = Holdings.now()
        with touched() as seen:
            made = subject.cls(config, context)
        expect(not seen, f"__init__ does: {', '.join(seen[:3])}; do that in open")
        expect(not clock.reads, "__init__ reads the clock; do that in open or collect")
        left = await before.left()
        expect(not left, f"__init__ starts: {', '.join(left)}; do that in open")
        expect(made.config == config, "__init__ changes the configuration; keep what is given")


@check()
async def close_is_safe_unopened(subject: Subject) -> None:
    """A collector that was never opened can be closed."""
    async with subject.bench() as bench:
        error = await quietly(bench.make().close)
        expect(error is None, f"close before open raised {error!r}; let it find nothing to release")


@check()
async def close_is_idempotent(subject: Subject) -> None:
    """Closing twice is like closing once."""
    async with subject.bench() as bench:
        collector = bench.make()
        await collector.open()
        await collector.close()
        error = await quietly(collector.close)
        expect(error is None, f"the second close raised {error!r}; forget what is released: x, self.x = self.x, None")


@check()
async def collecting_closed_is_a_lifecycle_error(subject: Subject) -> None:
    """A collector that acquires something in open says so if it is asked to collect without."""
    needs_open = subject.cls.open is not BaseCollector.open
    async with subject.bench() as bench:
        collector = bench.make()
        await _refuses(collector, bench, "before open", needed=needs_open)
        await collector.open()
        await collector.close()
        await _refuses(collector, bench, "after close", needed=needs_open)


@check()
async def can_be_opened_again(subject: Subject) -> None:
    """After close it can be opened anew: that is how the runner mends a collector."""
    async with subject.bench() as bench:
        collector = bench.make()
        await bench.run(collector)
        await collector.close()
        error = await quietly(lambda: bench.run(collector, ()))
        expect(error is None, f"open and collect after close raised {error!r}; let open start afresh")


@check()
async def instances_share_no_state(subject: Subject) -> None:
    """What one instance collects, another does not know."""
    for base in subject.cls.__mro__:
        if base.__module__ != BaseCollector.__module__:
            shared = [k for k, v in vars(base).items() if isinstance(v, list | dict | set | bytearray)]
            shared = [key for key in shared if not key.startswith("__")]
            expect(
                not shared, f"{base.__name__}.{', '.join(shared)} can be changed by all instances; set it in __init__"
            )
    async with subject.bench() as bench:
        first = await bench.run_without_events()
        busy = bench.make()
        await bench.run(busy)
        await bench.again(busy)
        second = await bench.run_without_events()
    found = difference(first, second) if first and second else ""
    expect(not found, f"a new instance collects something else after another one worked: {found}")


@check()
async def leaves_nothing_behind(subject: Subject) -> None:
    """After close no task, thread or open file remains."""
    await _answer_queries(subject)
    before = Holdings.now()
    async with subject.bench() as bench:
        collector = bench.make()
        await bench.run(collector)
        await collector.close()
        left = await before.left()
    expect(not left, f"close leaves behind: {', '.join(left[:3])}")


@check()
async def can_be_cancelled_at_every_await(subject: Subject) -> None:
    """Wherever open and collect wait, they can be cancelled; close is clean after it."""
    await _answer_queries(subject)
    for at in range(_MAX_AWAITS):
        before = Holdings.now()
        where = f"cancelled at its await {at + 1}"
        async with subject.bench() as bench:
            collector = bench.make()
            interruption = _Interruption(bench.run(collector), at)
            task = asyncio.ensure_future(interruption.run())
            either: set[asyncio.Future[Any]] = {task, interruption.reached}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not interruption.reached.done():
                task.result()
                return  # it has no more awaits
            await settle()
            await asyncio.wait({task}, timeout=_CANCEL_SECONDS)
            expect(task.done(), f"{where}, it goes on for more than {_CANCEL_SECONDS:g} s; let CancelledError pass")
            expect(task.cancelled(), f"{where}, it swallows that; let CancelledError pass")
            error = await quietly(collector.close)
            expect(error is None, f"{where}, close raised {error!r}; release only what is there")
            left = await before.left()
            expect(not left, f"{where}, it leaves behind: {', '.join(left[:3])}; end it in close")
    raise CheckFailed(f"it awaits more than {_MAX_AWAITS} times for a small example; ask for many things at once")


class _Interruption:
    """Run a coroutine as its task does, and cancel the task when it waits for the ``at``-th time, counted from 0."""

    def __init__(self, work: Coroutine[Any, Any, Collection], at: int) -> None:
        self._work = work
        self._at = at
        self.reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> Collection:
        return await self

    def __await__(self) -> Generator[Any, Any, Collection]:
        steps = self._work.__await__()
        awaited, send = 0, steps.send
        value: Any = None
        while True:
            try:
                future = send(value)
            except StopIteration as end:
                result: Collection = end.value
                return result
            if awaited == self._at:
                self.reached.set_result(None)
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            awaited += 1
            try:
                value = yield future
                send = steps.send
            except BaseException as error:  # noqa: BLE001  # handed on to where it waits
                value, send = error, steps.throw


async def _refuses(collector: BaseCollector[Any], bench: Bench, when: str, *, needed: bool) -> None:
    error = await quietly(lambda: collector.collect(bench.window))
    if needed:
        expect(
            isinstance(error, LifecycleError),
            f"collect {when} {f'raised {error!r}' if error else 'went through'}; raise LifecycleError",
        )
    else:
        expect(
            error is None or isinstance(error, LifecycleError), f"collect {when} raised {error!r}; raise LifecycleError"
        )


async def _answer_queries(subject: Subject) -> None:
    """Have every query of the example answered, so that no lake's engine counts as left behind."""
    async with subject.bench() as bench:
        await bench.run(bench.make())
