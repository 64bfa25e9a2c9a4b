"""What is asked of every sink, in the order of the contract's law."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from collectors.clock import SYSTEM_CLOCK
from collectors.contract.sink import BaseSink, ExportedSample, Receipt, Signal, SinkBatch, SinkContext
from collectors.errors import CollectorsError, LifecycleError, Overloaded, PermanentError, RetryableError
from collectors.model.metric import Kind, MetricSpec, Unit
from collectors.testing.checks.lifecycle import _Interruption
from collectors.testing.clock import JumpingClock, settle
from collectors.testing.guard import Holdings, touched
from collectors.testing.sink_target import BUSY_SECONDS, MakeTarget, SinkTarget, Trouble
from collectors.testing.subject import CheckFailed, expect, quietly

_CANCEL_SECONDS = 0.1
_MAX_AWAITS = 500
NOW_US = 1_772_452_800_000_000

LEVEL = MetricSpec("zoo.level", Kind.GAUGE, Unit.RATIO, "How full a tank is.", ("tank",), nullable=True)
WATER = MetricSpec("zoo.water", Kind.COUNTER, Unit.BYTES, "What ran through.", ("tank",))


def batch(id_: str = "0123456789abcdef0123456789abcdef", start: int = 0) -> SinkBatch:
    """Return four samples of two tenants and two metrics, the ``start``-th second and on."""
    rows = (("acme", LEVEL, 0.25), ("acme", WATER, 4096.0), ("zeta", LEVEL, 0.5), ("acme", LEVEL, 0.75))
    samples = [
        ExportedSample(tenant, spec, (("tank", "north"),), NOW_US + (start + n) * 1_000_000, value)
        for n, (tenant, spec, value) in enumerate(rows)
    ]
    return SinkBatch(id_, tuple(samples))


@dataclass(frozen=True)
class SinkSubject:
    """A sink class and what it writes to."""

    cls: type[BaseSink[Any]]
    target: MakeTarget

    @asynccontextmanager
    async def bench(self, trouble: Trouble | None = None) -> AsyncIterator[tuple[SinkTarget, BaseSink[Any]]]:
        """Yield a target and a new sink for it."""
        with tempfile.TemporaryDirectory(prefix="sink-target-") as folder:
            target = self.target(Path(folder))
            target.trouble = trouble
            sink = self.make(target)
            try:
                yield target, sink
            finally:
                await quietly(sink.close)

    def make(self, target: SinkTarget) -> BaseSink[Any]:
        """Return a new sink, not opened."""
        config = self.cls.Config.model_validate(dict(target.settings))
        return self.cls(config, SinkContext(JumpingClock(NOW_US), target.drivers, _inline))

    @property
    def troubles(self) -> frozenset[Trouble]:
        """How its target can fail."""
        with tempfile.TemporaryDirectory(prefix="sink-target-") as folder:
            return self.target(Path(folder)).troubles


@dataclass(frozen=True)
class SinkCheck:
    """A demand on a sink; ``trouble`` is what its target must be able to do for it."""

    name: str
    demand: str
    run: Callable[[SinkSubject], Awaitable[None]]
    trouble: Trouble | None = None
    signal: Signal | None = Signal.SAMPLES

    def applies_to(self, subject: SinkSubject) -> bool:
        """Whether ``subject`` is to be checked."""
        taken = self.signal is None or self.signal in subject.cls.accepts
        return taken and (self.trouble is None or self.trouble in subject.troubles)


def check(
    trouble: Trouble | None = None, *, signal: Signal | None = Signal.SAMPLES
) -> Callable[[Callable[[SinkSubject], Awaitable[None]]], SinkCheck]:
    """Make a check of a function; its name is the check's, its docstring the demand."""

    def make(run: Callable[[SinkSubject], Awaitable[None]]) -> SinkCheck:
        return SinkCheck(run.__name__, (run.__doc__ or "").strip(), run, trouble, signal)

    return make


@check(signal=None)
async def settings_are_described(subject: SinkSubject) -> None:
    """A configuration can't be changed, refuses misspelt keys, and says what each setting is for."""
    config = subject.cls.Config
    expect(
        config.model_config.get("frozen") and config.model_config.get("extra") == "forbid", "derive Config from Model"
    )
    bare = [name for name, field in config.model_fields.items() if not (field.description or "").strip()]
    expect(not bare, f"say what {', '.join(bare)} is for, in a docstring below it")


@check(signal=None)
async def construction_does_nothing(subject: SinkSubject) -> None:
    """Making a sink opens no file or socket and starts nothing."""
    async with subject.bench() as (target, _):
        config = subject.cls.Config.model_validate(dict(target.settings))
        context = SinkContext(JumpingClock(NOW_US), target.drivers, _inline)
        before = Holdings.now()
        with touched() as seen:
            subject.cls(config, context)
        expect(not seen, f"__init__ does: {', '.join(seen[:3])}; do that in open")
        left = await before.left()
        expect(not left, f"__init__ starts: {', '.join(left)}; do that in open")


@check(signal=None)
async def close_is_safe_unopened(subject: SinkSubject) -> None:
    """A sink that was never opened can be closed."""
    async with subject.bench() as (_, sink):
        error = await quietly(sink.close)
        expect(error is None, f"close before open raised {error!r}; let it find nothing to release")


@check(signal=None)
async def close_is_idempotent(subject: SinkSubject) -> None:
    """Closing twice is like closing once."""
    async with subject.bench() as (_, sink):
        await sink.open()
        await sink.close()
        error = await quietly(sink.close)
        expect(error is None, f"the second close raised {error!r}; forget what is released: x, self.x = self.x, None")


@check()
async def writing_closed_is_a_lifecycle_error(subject: SinkSubject) -> None:
    """A sink says so if it is asked to write before open or after close."""
    async with subject.bench() as (_, sink):
        for when in ("before open", "after close"):
            error = await quietly(lambda: sink.write(batch()))
            expect(
                isinstance(error, LifecycleError),
                f"write {when} {f'raised {error!r}' if error else 'went through'}; raise LifecycleError",
            )
            await sink.open()
            await sink.close()


@check()
async def can_be_opened_again(subject: SinkSubject) -> None:
    """After close it can be opened anew: that is how it is mended."""
    async with subject.bench() as (target, sink):
        for n in range(2):
            await sink.open()
            await _written(sink, batch(str(n), n * 10))
            await sink.close()
        expect(len(target.arrived()) == 2 * len(batch()), "what is written after open, close and open does not arrive")


@check()
async def leaves_nothing_behind(subject: SinkSubject) -> None:
    """After close no task, thread or open file remains."""
    async with subject.bench() as (_, warm):
        await warm.open()
        await _written(warm, batch())  # libraries are loaded
    async with subject.bench() as (_, sink):
        before = Holdings.now()
        await sink.open()
        await _written(sink, batch())
        await sink.close()
        left = await before.left()
    expect(not left, f"close leaves behind: {', '.join(left[:3])}")


@check()
async def can_be_cancelled_at_every_await(subject: SinkSubject) -> None:
    """Wherever open and write wait, they can be cancelled; close is clean after it."""
    for at in range(_MAX_AWAITS):
        before = Holdings.now()
        where = f"cancelled at its await {at + 1}"
        async with subject.bench() as (_, sink):
            interruption: Any = _Interruption(_open_and_write(sink), at)  # type: ignore[arg-type]  # any result will do
            task = asyncio.ensure_future(interruption.run())
            either: set[asyncio.Future[Any]] = {task, interruption.reached}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not interruption.reached.done():
                task.result()
                return  # it has no more awaits
            await settle()
            await asyncio.wait({task}, timeout=_CANCEL_SECONDS)
            expect(task.done(), f"{where}, it goes on; let CancelledError pass")
            expect(task.cancelled(), f"{where}, it swallows that; let CancelledError pass")
            error = await quietly(sink.close)
            expect(error is None, f"{where}, close raised {error!r}; release only what is there")
        left = await before.left()
        expect(not left, f"{where}, it leaves behind: {', '.join(left[:3])}; end it in close")
    raise CheckFailed(f"it awaits more than {_MAX_AWAITS} times for a small batch; send more at once")


@check()
async def every_item_arrives_once(subject: SinkSubject) -> None:
    """What the receipt calls delivered is what arrived: each sample once, with its tenant and value."""
    async with subject.bench() as (target, sink):
        await sink.open()
        given = batch()
        receipt = await _written(sink, given)
        expect(receipt == Receipt(len(given)), f"all was well and the receipt says {receipt}")
        wanted = sorted((s.tenant, s.value) for s in given.samples if s.value is not None)
        got = sorted((a.tenant, a.value) for a in target.arrived() if a.value is not None)
        expect(got == wanted, f"these were written: {wanted}; these arrived: {got}")


@check()
async def odd_values_and_labels_are_accounted_for(subject: SinkSubject) -> None:
    """Undefined values, numbers of all sizes, and labels with quotes, line feeds and other scripts harm nobody."""
    odd = (("tank", 'n"\\\n,=}'), ("le", "x"), ("name", "🎵 日本"), ("empty", ""), ("long", "x" * 5000))
    values = (None, -1e300, 5e-324, 2.0**63, 0.0)
    samples = [
        ExportedSample("acme", spec, odd, NOW_US + n, value, "" if value is not None else "no tank")
        for spec in (LEVEL, WATER)
        for n, value in enumerate(values)
    ]
    async with subject.bench() as (target, sink):
        await sink.open()
        given = SinkBatch("odd", tuple(samples))
        receipt = await _written(sink, given)
        expect(receipt.delivered > 0, f"of odd samples nothing is delivered: {receipt.reason or 'no reason'}")
        expect(target.arrived(), "of odd samples nothing arrives")
        await _written(sink, batch())


@check()
async def an_empty_batch_is_fine(subject: SinkSubject) -> None:
    """Nothing to write is no error."""
    async with subject.bench() as (_, sink):
        await sink.open()
        error = await quietly(lambda: _written(sink, SinkBatch("nothing")))
        expect(error is None, f"an empty batch led to {error!r}")


@check()
async def a_repeated_batch_can_be_known(subject: SinkSubject) -> None:
    """A batch that is written twice has the same keys at the target, and another batch has others."""
    async with subject.bench() as (target, sink):
        await sink.open()
        await _written(sink, batch())
        once = {a.key for a in target.arrived()}
        await _written(sink, batch())
        expect({a.key for a in target.arrived()} == once, "the target can't know a repeated batch; send the batch's id")
        await _written(sink, batch("another", 100))
        found = len({a.key for a in target.arrived()})
        expect(found == 2 * len(once), "the target takes another batch for a repeated one; send the batch's id")


@check(Trouble.UNAVAILABLE)
async def an_unavailable_target_is_retryable(subject: SinkSubject) -> None:
    """A target that does not answer raises RetryableError, and what it missed can be written later."""
    await _fails(subject, Trouble.UNAVAILABLE, RetryableError)


@check(Trouble.WRONG_KEY)
async def a_wrong_key_is_retryable(subject: SinkSubject) -> None:
    """A target that does not know the key raises RetryableError: people mend that without a restart."""
    await _fails(subject, Trouble.WRONG_KEY, RetryableError)


@check(Trouble.REFUSED)
async def a_refusal_is_permanent(subject: SinkSubject) -> None:
    """A target that will never take the batch raises PermanentError."""
    await _fails(subject, Trouble.REFUSED, PermanentError)


@check(Trouble.BUSY)
async def a_busy_target_says_when(subject: SinkSubject) -> None:
    """A target that is busy raises Overloaded, with the seconds that it asked for."""
    error = await _fails(subject, Trouble.BUSY, Overloaded)
    asked = getattr(error, "retry_after", None)
    expect(asked == BUSY_SECONDS, f"the target asked for {BUSY_SECONDS:g} s and Overloaded says {asked}")


@check(Trouble.HANGING)
async def a_hanging_target_can_be_given_up(subject: SinkSubject) -> None:
    """While a target hangs, the event loop goes on, and write can be cancelled."""
    async with subject.bench(Trouble.HANGING) as (_, sink):
        writing = asyncio.ensure_future(_open_and_write(sink))
        await settle()
        expect(not writing.done(), "the target hangs and write came back; wait until it has taken the batch")
        writing.cancel()
        await asyncio.wait({writing}, timeout=_CANCEL_SECONDS)
        expect(writing.cancelled(), "cancelled while the target hangs, write goes on; let CancelledError pass")


@check(Trouble.WRONG_KEY)
async def secrets_are_never_told(subject: SinkSubject) -> None:
    """No error, log line or repr holds a secret."""
    seen = _Told()
    root = logging.getLogger()
    level = root.level
    root.addHandler(seen)
    root.setLevel(logging.DEBUG)
    try:
        async with subject.bench(Trouble.WRONG_KEY) as (target, sink):
            error = await quietly(lambda: _open_and_write(sink))
            told = [*seen.lines, repr(error), str(error), repr(sink), repr(sink.config), sink.config.model_dump_json()]
            found = [line[:30] for line in told for secret in target.secrets if secret in line]
            expect(not found, f"a secret stands in {found[:1]}; tell where it is kept instead")
    finally:
        root.removeHandler(seen)
        root.setLevel(level)


class _Told(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


async def _inline(work: Callable[..., Any], *arguments: Any) -> Any:
    await SYSTEM_CLOCK.sleep(0)
    return work(*arguments)


async def _open_and_write(sink: BaseSink[Any]) -> Receipt:
    await sink.open()
    return await sink.write(batch())


async def _written(sink: BaseSink[Any], given: SinkBatch) -> Receipt:
    kept = replace(given)
    receipt = await sink.write(given)
    expect(isinstance(receipt, Receipt), f"write returned {type(receipt).__name__}; return a Receipt")
    total = receipt.delivered + receipt.refused
    expect(total == len(given), f"the receipt accounts for {total} items of {len(given)}")
    expect(given == kept, "write changes the batch it is given")
    return receipt


async def _fails(subject: SinkSubject, trouble: Trouble, wanted: type[CollectorsError]) -> BaseException | None:
    async with subject.bench(trouble) as (target, sink):
        error = await quietly(lambda: _open_and_write(sink))
        if error is None:
            raise CheckFailed(f"the target is {trouble} and write says nothing of it; raise {wanted.__name__}")
        expect(
            isinstance(error, wanted), f"the target is {trouble} and write raised {error!r}; raise {wanted.__name__}"
        )
        target.trouble = None
        await sink.close()
        await sink.open()
        await _written(sink, batch())
        expect(len(target.arrived()) >= len(batch()), f"after it was {trouble}, nothing arrives any more")
        return error


SINK_CHECKS: tuple[SinkCheck, ...] = tuple(found for found in list(globals().values()) if isinstance(found, SinkCheck))
"""All checks of sinks, in the order in which they are run."""
