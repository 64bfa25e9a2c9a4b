"""Samples and spans as bytes: what waits for a sink, in memory and on disk.

A chunk is one line of JSON that carries the specs of its metrics, so that it can be read after a restart without
knowing which collectors wrote it. Chunks are joined by line feeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from collectors.contract.sink import ExportedSample, ExportedSpan, SinkBatch
from collectors.model.metric import Kind, MetricSpec, Unit


def encode_samples(samples: Sequence[ExportedSample]) -> bytes:
    """Return a chunk of samples."""
    numbers: dict[str, int] = {}
    specs: list[MetricSpec] = []
    rows = []
    for s in samples:
        number = numbers.get(s.spec.name)
        if number is None:
            number = numbers[s.spec.name] = len(specs)
            specs.append(s.spec)
        rows.append((number, s.tenant, s.labels, s.time_us, s.value, s.reason))
    heads = [(s.name, s.kind, s.unit, s.description, s.labels, s.nullable) for s in specs]
    try:
        return orjson.dumps({"specs": heads, "samples": rows})
    except TypeError:  # what is not Unicode, such as a command line, becomes question marks
        return orjson.dumps({"specs": heads, "samples": _clean(rows)})


def encode_spans(spans: Sequence[ExportedSpan]) -> bytes:
    """Return a chunk of spans."""
    rows = [
        (s.tenant, s.trace_id, s.span_id, s.parent_id, s.name, s.start_us, s.end_us, s.attributes, s.error)
        for s in spans
    ]
    try:
        return orjson.dumps({"spans": rows})
    except TypeError:
        return orjson.dumps({"spans": _clean(rows)})


def decode(id_: str, content: bytes) -> SinkBatch:
    """Return the batch of joined chunks; ValueError if it is not one."""
    samples: list[ExportedSample] = []
    spans: list[ExportedSpan] = []
    try:
        for line in content.split(b"\n"):
            chunk = orjson.loads(line)
            specs = [
                MetricSpec(name, Kind(kind), Unit(unit), description, tuple(labels), (), nullable)
                for name, kind, unit, description, labels, nullable in chunk.get("specs", ())
            ]
            samples += (
                ExportedSample(tenant, specs[number], _pairs(labels), time_us, value, reason)
                for number, tenant, labels, time_us, value, reason in chunk.get("samples", ())
            )
            spans += (
                ExportedSpan(tenant, trace, span, parent, name, start, end, _pairs(attributes), error)
                for tenant, trace, span, parent, name, start, end, attributes, error in chunk.get("spans", ())
            )
    except (TypeError, AttributeError, IndexError) as error:
        raise ValueError("this is no batch") from error
    return SinkBatch(id_, tuple(samples), tuple(spans))


def _pairs(found: Sequence[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, value in found)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return str(value.encode(errors="replace"), "utf-8")
    return [_clean(one) for one in value] if isinstance(value, list | tuple) else value
