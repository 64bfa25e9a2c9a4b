"""State that survives: stop anywhere, go on in a new instance, and nothing has changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from collectors.contract.collector import Streaming
from collectors.errors import CollectorsError
from collectors.model.batch import Batch
from collectors.model.metric import Collection
from collectors.testing.check import check, streaming
from collectors.testing.compare import difference
from collectors.testing.events import Feed
from collectors.testing.subject import Bench, Subject, expect, observe, quietly

_PARTS = 4


@check(streaming)
async def goes_on_where_it_stopped(subject: Subject) -> None:
    """Stopped after any batch and restored in a new instance, it ends like one that was never stopped."""
    async with subject.bench() as bench:
        parts = _parts(bench)
        wanted = await bench.run(bench.make(), parts)
        for stop in range(len(parts) + 1):
            before = await _opened(bench)
            findings = observe(before, parts[:stop])
            after = await _opened(bench, before.snapshot())
            findings += observe(after, parts[stop:])
            got = await _collected(bench, after, findings)
            found = difference(wanted, got)
            expect(not found, f"stopped after {stop} of {len(parts)} batches and restored, {found}; put it in snapshot")


@check(streaming)
async def a_crash_loses_nothing(subject: Subject) -> None:
    """Killed after more batches than its last snapshot knows, it sees these again and ends the same."""
    async with subject.bench() as bench:
        parts = _parts(bench)
        wanted = await bench.run(bench.make(), parts)
        half = len(parts) // 2
        before = await _opened(bench)
        findings = observe(before, parts[:half])
        state = before.snapshot()
        lost = observe(before, parts[half:])
        await before.close()
        after = await _opened(bench, state)
        again = observe(after, parts[half:])
        expect(set(lost) <= set(again), "what it found between its last snapshot and a crash, it does not find again")
        found = difference(wanted, await _collected(bench, after, (*findings, *again)))
    expect(not found, f"killed and restored from an earlier snapshot, {found}; let snapshot be a copy")


@check(streaming)
async def a_snapshot_changes_nothing(subject: Subject) -> None:
    """Taking a snapshot is bytes, twice the same, and leaves the state as it is."""
    async with subject.bench() as bench:
        wanted = await bench.run(bench.make())
        collector = await _opened(bench)
        findings = observe(collector, bench.feed())
        one, two = collector.snapshot(), collector.snapshot()
        expect(isinstance(one, bytes), f"snapshot returned {type(one).__name__}; return bytes")
        expect(one == two, "two snapshots of the same state differ; write sets and dictionaries in order")
        found = difference(wanted, await _collected(bench, collector, findings))
    expect(not found, f"after a snapshot, {found}; take it without clearing anything")


@check(streaming)
async def restoring_replaces_the_state(subject: Subject) -> None:
    """What an instance has seen before it is restored does not count any more."""
    async with subject.bench() as bench:
        seen = await _opened(bench)
        observe(seen, bench.feed())
        state = seen.snapshot()
        wanted = await _collected(bench, await _opened(bench, state), ())
        other = await _opened(bench)
        observe(other, bench.feed(first_id=500_000_000))
        other.restore(state)
        found = difference(wanted, await _collected(bench, other, ()))
    expect(not found, f"restored over a state that was there, {found}; set the state, don't add to it")


@check(streaming)
async def a_foreign_snapshot_is_refused(subject: Subject) -> None:
    """Bytes that are no snapshot of its own are refused with an error of the tree."""
    async with subject.bench() as bench:
        state = (await _opened(bench)).snapshot()
        for foreign in (b"\x00\xffnot a snapshot", b"[]", state[: len(state) // 2]):
            collector = await _opened(bench)

            async def restore(collector: Streaming[Any] = collector, foreign: bytes = foreign) -> None:
                collector.restore(foreign)

            error = await quietly(restore)
            refused = isinstance(error, CollectorsError) or (foreign == state and error is None)
            expect(
                refused, f"restoring {foreign[:12]!r} led to {error!r}; raise MalformedBody, so that it starts afresh"
            )


async def _opened(bench: Bench, state: bytes | None = None) -> Streaming[Any]:
    """Return a new instance, restored before it is opened, as a worker does it."""
    collector = bench.make()
    assert isinstance(collector, Streaming)
    if state is not None:
        collector.restore(state)
    await collector.open()
    return collector


async def _collected(bench: Bench, collector: Streaming[Any], findings: Sequence[Any]) -> Collection:
    collection = await bench.again(collector)
    return Collection(collection.samples, (*findings, *collection.findings), collection.issues)


def _parts(bench: Bench) -> Feed:
    """Cut the example's batches, so that there is something to stop between."""
    parts: list[Batch] = []
    for batch in bench.feed():
        size = -(-batch.table.num_rows // _PARTS)
        parts += [
            Batch(batch.tenant, batch.type, batch.position, batch.acked_us, batch.table.slice(start, size))
            for start in range(0, batch.table.num_rows, size)
        ]
    return tuple(parts)
