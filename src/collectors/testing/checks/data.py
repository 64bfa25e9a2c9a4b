"""What comes back from ``collect``: declared, distinct, bounded, and the same each time."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from collectors.contract.example import Rows
from collectors.model.event_types import event_type
from collectors.model.metric import Collection, Finding, Issue, Kind, MetricSpec, Sample
from collectors.testing.check import check, collects, fails, reads_events
from collectors.testing.compare import series
from collectors.testing.subject import CheckFailed, Subject, expect, observe, quietly

HOSTILE_ROWS = 1_500
MAX_SERIES = 1_000
_HOSTILE_TEXT = "\u202e'\"\n{}<b>\\"


@check(fails)
async def fails_as_the_example_says(subject: Subject) -> None:
    """Input that must lead to an error leads to that one."""
    wanted = subject.example.fails
    assert wanted is not None
    async with subject.bench() as bench:
        error = await quietly(lambda: bench.run(bench.make()))
    expect(isinstance(error, wanted), f"this input must lead to {wanted.__name__}; it led to {error!r}")


@check()
async def returns_a_collection(subject: Subject) -> None:
    """Collect returns a Collection of tuples of samples, findings and issues."""
    collection = await subject.collected()
    for what, kind in (("samples", Sample), ("findings", Finding), ("issues", Issue)):
        items = getattr(collection, what)
        expect(isinstance(items, tuple), f"{what} is a {type(items).__name__}; make it a tuple")
        expect(all(isinstance(i, kind) for i in items), f"{what} holds something else than {kind.__name__}")


@check()
async def emits_only_what_it_declares(subject: Subject) -> None:
    """Each sample is of a declared metric and carries all its labels, as text."""
    collection = await subject.collected()
    specs = _specs(subject)
    for sample in collection.samples:
        spec = specs.get(sample.metric)
        if spec is None:
            raise CheckFailed(f"{sample.metric} is not declared; add it to emits")
        labels = [value for value in sample.labels if isinstance(value, str)]
        expect(
            len(labels) == len(spec.labels) and len(sample.labels) == len(spec.labels),
            f"{sample.metric} has the labels {spec.labels}; give a text for each, not {sample.labels}",
        )


@check(once=True)
async def shows_every_metric_it_declares(subject: Subject) -> None:
    """Each declared metric is in what one of the examples leads to."""
    missing = _specs(subject)
    for example in subject.examples:
        if example.fails is None:
            other = Subject(subject.cls, example, subject.examples, subject.lookup, subject.answers)
            collection = await other.collected()
            missing = {
                name: spec for name, spec in missing.items() if name not in {s.metric for s in collection.samples}
            }
    names = sorted(missing)
    expect(not names, f"no example leads to {', '.join(names[:3])}; add one that does, or don't declare it")


@check()
async def series_are_distinct(subject: Subject) -> None:
    """No two samples have the same metric, labels and time."""
    collection = await subject.collected()
    seen: set[Any] = set()
    for sample in collection.samples:
        key = (sample.metric, sample.labels, sample.time_us)
        expect(key not in seen, f"{sample.metric} {sample.labels} is emitted twice; add up or choose before emitting")
        seen.add(key)


@check()
async def only_nullable_metrics_are_undefined(subject: Subject) -> None:
    """A sample without value is of a metric that may have none."""
    specs = _specs(subject)
    async with subject.bench() as bench:
        collections = (await subject.collected(), await bench.run_without_events() or Collection())
    for sample in (sample for collection in collections for sample in collection.samples):
        spec = specs.get(sample.metric)
        expect(
            sample.value is not None or spec is None or spec.nullable,
            f"{sample.metric} came without a value ({sample.reason}); declare it nullable=True or leave it out",
        )


@check()
async def times_are_inside_the_window(subject: Subject) -> None:
    """A sample's own time, where it has one, lies in the window that was asked for."""
    async with subject.bench() as bench:
        window = bench.window
    collection = await subject.collected()
    for sample in collection.samples:
        expect(
            sample.time_us == 0 or window.start_us <= sample.time_us <= window.end_us,
            f"{sample.metric} has a time outside the window; leave time_us to the runner",
        )


@check()
async def counters_never_fall(subject: Subject) -> None:
    """A counter is not negative, and does not get smaller while the collector runs."""
    counters = {spec.name for spec in subject.cls.emits if spec.kind is Kind.COUNTER}
    async with subject.bench() as bench:
        collector = bench.make()
        before: dict[Any, float] = {}
        collection = await bench.run(collector)
        for round_ in range(3):
            for key, sample in series(collection).items():
                if key[0] in counters and sample.value is not None:
                    least = before.get(key, 0.0)
                    expect(
                        sample.value >= least,
                        f"the counter {key[0]} {key[1]} fell from {least:g} to {sample.value:g}; "
                        "count from the start, or declare a gauge",
                    )
                    before[key] = sample.value
            observe(collector, bench.feed(first_id=(round_ + 2) * 100_000_000))
            collection = await bench.again(collector)


@check(lambda subject: collects(subject) and subject.reads_events)
async def bears_a_source_without_events(subject: Subject) -> None:
    """Without a single event there is still a collection."""
    async with subject.bench() as bench:
        for batches in ((), tuple(_without_rows(b) for b in bench.feed())):
            collector = bench.make(content={})
            error = await quietly(lambda c=collector, b=batches: bench.run(c, b))  # type: ignore[misc]
            expect(error is None, f"without events it raised {error!r}; collect zero, or None with a reason")


@check()
async def leaves_what_it_is_given_alone(subject: Subject) -> None:
    """Collecting three times changes neither the configuration nor what is declared."""
    async with subject.bench() as bench:
        collector = bench.make()
        before = copy.deepcopy((collector.config.model_dump(), collector.emits, sorted(collector.context.drivers)))
        await bench.run(collector)
        for _ in range(2):
            await bench.again(collector)
        after = (collector.config.model_dump(), collector.emits, sorted(collector.context.drivers))
    expect(before == after, "collecting changed config, emits or the context; work on copies")


@check()
async def asking_does_not_change_the_answer(subject: Subject) -> None:
    """Asked again about the same source, it tells of the same metrics and labels."""
    async with subject.bench() as bench:
        collector = bench.make()
        await bench.run(collector)
        second, third = await bench.again(collector), await bench.again(collector)
    grown = series(third).keys() ^ series(second).keys()
    expect(not grown, f"asked again, {sorted(grown)[:2]} came or went; keep nothing from run to run that adds up")


@check(reads_events)
async def labels_stay_bounded(subject: Subject) -> None:
    """However many different texts events hold, a metric has no more than 1,000 series."""
    example = subject.example
    hostile = {name: _hostile(name, rows) for name, rows in example.events.items() if rows}
    async with subject.bench() as bench:
        collector = bench.make(content={"acme": hostile})
        collection = await bench.run(collector, bench.feed(hostile))
    counts: dict[str, int] = {}
    for sample in collection.samples:
        counts[sample.metric] = counts.get(sample.metric, 0) + 1
    worst = max(counts, key=lambda name: counts[name], default="")
    expect(
        not worst or counts[worst] <= MAX_SERIES,
        f"{worst} has {counts.get(worst)} series for {HOSTILE_ROWS} texts; name the top ones and add up the rest",
    )


@check(reads_events)
async def labels_hold_no_personal_value(subject: Subject) -> None:
    """No identifier, address or place from an event is a label of a sample."""
    collection = await subject.collected()
    personal = _personal(subject.example.events)
    for sample in collection.samples:
        shown = personal.intersection(sample.labels)
        expect(not shown, f"{sample.metric} has a personal value as a label; count people, don't name them")


def _specs(subject: Subject) -> dict[str, MetricSpec]:
    return {spec.name: spec for spec in subject.cls.emits}


def _without_rows(batch: Any) -> Any:
    return type(batch)(batch.tenant, batch.type, batch.position, batch.acked_us, batch.table.slice(0, 0))


def _hostile(name: str, rows: Rows) -> Rows:
    """Return many rows like the given ones, each text in them different from all others."""
    free = [f for f in event_type(name).columns if pa.types.is_string(f.type) and not f.choices]
    texts = {f.name for f in free if f.name != "properties"}
    return [
        {
            key: f"{_HOSTILE_TEXT}{number}" if key in texts and isinstance(value, str) else value
            for key, value in rows[number % len(rows)].items()
        }
        for number in range(HOSTILE_ROWS)
    ]


def _personal(events: Mapping[str, Rows]) -> set[str]:
    """Return the example's values of marked fields, as text and in hexadecimal."""
    values: set[str] = set()
    for name, rows in events.items():
        marked = {f.name for f in event_type(name).columns if f.mark is not None}
        for row in rows:
            for key in marked & row.keys():
                value = row[key]
                raw = value if isinstance(value, bytes) else str(value).encode()
                values |= {raw.decode("latin-1"), raw.hex()}
    return values - {""}
