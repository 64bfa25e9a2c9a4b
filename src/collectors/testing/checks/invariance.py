"""What must not matter: the order of rows, how they are cut into batches and files, and what else is in a buffer."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from collectors.model.batch import Batch
from collectors.model.event_types import event_type
from collectors.testing.check import check, reads_events, streaming
from collectors.testing.compare import difference
from collectors.testing.subject import CheckFailed, Subject, expect, observe

_SEEDS = (1, 2)


@check()
async def the_same_input_gives_the_same_output(subject: Subject) -> None:
    """Two instances on the same input return equal collections, to the last bit and in the same order."""
    async with subject.bench() as bench:
        one = await bench.run(bench.make())
    async with subject.bench() as bench:
        other = await bench.run(bench.make())
    expect(
        one == other,
        f"two runs on the same input differ ({difference(one, other) or 'in their order'}); sort sets, seed chance, "
        "take time from the window",
    )


@check(reads_events)
async def the_order_of_rows_does_not_matter(subject: Subject) -> None:
    """Events that arrive together may come in any order."""
    wanted = await subject.collected()
    async with subject.bench() as bench:
        for seed in _SEEDS:
            chance = random.Random(seed)  # noqa: S311  # an order is no secret
            events = {name: chance.sample(list(rows), len(rows)) for name, rows in subject.example.events.items()}
            feed = tuple(_permuted(batch, seed) for batch in bench.feed())
            got = await bench.run(bench.make(content={"acme": events}), feed)
            found = difference(wanted, got)
            expect(not found, f"with the rows of a batch in another order, {found}")


@check(reads_events)
async def cutting_into_batches_does_not_matter(subject: Subject) -> None:
    """One batch, a few, or one for each event: the sums are the same."""
    wanted = await subject.collected()
    async with subject.bench() as bench:
        for size in (1, 3):
            feed = tuple(part for batch in bench.feed() for part in _cut(batch, size))
            got = await bench.run(bench.make(batches=1 + size), feed)
            found = difference(wanted, got)
            expect(not found, f"with {size} events in a batch, {found}")


@check(streaming)
async def looks_only_at_its_own_rows(subject: Subject) -> None:
    """A batch may be a part of larger buffers; what lies beside it is not looked at."""
    wanted = await subject.collected()
    async with subject.bench() as bench:
        got = await bench.run(bench.make(), tuple(_amid_others(batch) for batch in bench.feed()))
    found = difference(wanted, got)
    expect(not found, f"as a slice of a larger batch, {found}; mind the offset of a sliced array")


@check(streaming)
async def batches_are_left_as_they_were(subject: Subject) -> None:
    """Observing changes nothing in a batch: others see the same memory."""
    async with subject.bench() as bench:
        collector, feed = bench.make(), tuple(_writable(batch) for batch in bench.feed())
        before = [_bytes(batch) for batch in feed]
        await collector.open()
        observe(collector, feed)
    expect(before == [_bytes(batch) for batch in feed], "observe wrote into the batch; copy what is to be changed")


@check(reads_events)
async def optional_fields_may_be_missing(subject: Subject) -> None:
    """Events with only what their type requires are collected as well."""
    events = {
        name: [{k: v for k, v in row.items() if k in _needed(name)} for row in rows]
        for name, rows in subject.example.events.items()
    }
    async with subject.bench() as bench:
        try:
            await bench.run(bench.make(content={"acme": events}), bench.feed(events))
        except Exception as error:
            raise CheckFailed(
                f"with optional fields left out it raised {error!r}; expect null in every optional field"
            ) from error


def _permuted(batch: Batch, seed: int) -> Batch:
    order = np.random.default_rng(seed).permutation(batch.table.num_rows)
    return _with(batch, batch.table.take(pa.array(order)))


def _cut(batch: Batch, size: int) -> Iterator[Batch]:
    rows = batch.table.num_rows
    for start in range(0, rows, size):
        yield _with(batch, batch.table.take(pa.array(range(start, min(rows, start + size)), pa.int64())))


def _amid_others(batch: Batch) -> Batch:
    """Put the rows between others, as a slice of one larger batch."""
    rows = batch.table.num_rows
    other = batch.table.take(pa.array([0] * 3))
    whole = pa.Table.from_batches([other, batch.table, other]).combine_chunks().to_batches()[0]
    return _with(batch, whole.slice(3, rows))


def _writable(batch: Batch) -> Batch:
    """Copy a batch to memory that NumPy may write to."""
    arrays = []
    for column in batch.table.columns:
        buffers = [b and pa.py_buffer(bytearray(b.to_pybytes())) for b in column.buffers()]
        arrays.append(pa.Array.from_buffers(column.type, len(column), buffers, column.null_count, column.offset))
    return _with(batch, pa.RecordBatch.from_arrays(arrays, schema=batch.table.schema))


def _bytes(batch: Batch) -> list[bytes]:
    return [b.to_pybytes() for column in batch.table.columns for b in column.buffers() if b is not None]


def _with(batch: Batch, table: pa.RecordBatch) -> Batch:
    return Batch(batch.tenant, batch.type, batch.position, batch.acked_us, table)


def _needed(name: str) -> set[str]:
    return {"event_time", "received_time"} | {f.name for f in event_type(name).columns if f.required}
