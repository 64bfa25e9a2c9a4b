"""Two tenants side by side: each has its own figures, and neither is treated differently."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from collectors.contract.example import Rows
from collectors.model.event_types import event_type
from collectors.model.metric import Collection, Window
from collectors.testing.check import check, reads_events
from collectors.testing.compare import difference
from collectors.testing.subject import NEIGHBOUR, TENANT, Bench, Subject, expect, observe


@check()
async def tenants_are_treated_alike(subject: Subject) -> None:
    """With the same data, every tenant gets the same collection: who it is for is the runner's business."""
    async with subject.bench() as bench:
        one = await bench.run(bench.make(tenant=TENANT), bench.feed(tenant=TENANT))
        other = await bench.run(bench.make(tenant=NEIGHBOUR), bench.feed(tenant=NEIGHBOUR))
    found = difference(one, other)
    expect(not found, f"on the same data, {found}; leave the tenant's id out of labels and decisions")


@check(reads_events)
async def a_neighbour_is_never_seen(subject: Subject) -> None:
    """With two tenants at work at the same time, each gets what it gets alone."""
    own, poison = subject.example.events, _poison(subject.example.events)
    async with subject.bench() as bench:
        # A cache that forgets whose answer it keeps shows when the same window is asked for in the other order.
        first, second = (_earlier(bench.window, by) for by in (3, 4))
        ours = await _side_by_side(bench, own, poison, first)
        theirs, alone = await _side_by_side(bench, poison, own, second, swap=True)
        found = difference(ours[0], alone) or difference(ours[1], theirs)
    expect(not found, f"beside another tenant, {found}; keep nothing in the module or the class")


async def _side_by_side(
    bench: Bench, one: Mapping[str, Rows], other: Mapping[str, Rows], window: Window, *, swap: bool = False
) -> tuple[Collection, Collection]:
    """Run one collector for each of two tenants, in turn, step by step."""
    names = (NEIGHBOUR, TENANT) if swap else (TENANT, NEIGHBOUR)
    content = dict(zip(names, (one, other), strict=True))
    made = [bench.make(tenant=name, content=content) for name in names]
    feeds = [bench.feed(content[name], tenant=name) for name in names]
    found: list[list[object]] = [[], []]
    for collector in made:
        await collector.open()
    for number in range(max(map(len, feeds))):
        for at, collector in enumerate(made):
            found[at] += observe(collector, feeds[at][number : number + 1])
    collections = [await bench.again(collector, window) for collector in made]
    a, b = (
        Collection(c.samples, (*f, *c.findings), c.issues)  # type: ignore[arg-type]  # observe gives findings
        for c, f in zip(collections, found, strict=True)
    )
    return a, b


def _poison(events: Mapping[str, Rows]) -> dict[str, Rows]:
    """Return other events of the same types: twice as many, by other people, about other things."""
    return {name: [_other(name, row, n) for n in range(2) for row in rows] for name, rows in events.items()}


def _other(name: str, row: Mapping[str, object], number: int) -> dict[str, object]:
    columns = event_type(name).by_name
    free = {
        key
        for key in row
        if key in columns and pa.types.is_string(columns[key].type) and not columns[key].choices and key != "ip"
    }
    marked = {key for key in free if columns[key].mark is not None}
    return {
        key: f"poison-{number}-{value}" if key in marked and isinstance(value, str) else value
        for key, value in row.items()
    }


def _earlier(window: Window, by: int) -> Window:
    return Window(window.start_us - by, window.end_us - by)
