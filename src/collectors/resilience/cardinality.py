"""A bound on a tenant's series: the known ones stay, the rest are folded into one per metric, and the cause is named.

A series is a metric with its label values. Up to the limit each new series becomes known; beyond it, samples of new
ones are added up under the label value ``__overflow__`` (as OpenTelemetry's ``otel.metric.overflow``), so that totals
stay right and memory bounded. What is folded is counted by HyperLogLog per metric and per label, which tells how large
the flood is and which label causes it without keeping any of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from collectors.errors import BadInput
from collectors.model.metric import Kind, MetricSpec, Sample, Unit
from collectors.resilience.hyperloglog import HyperLogLog, hash64

OVERFLOW = "__overflow__"
"""Every label value of the series that stands for all folded ones of a metric."""

_INTENSIVE = frozenset({Unit.RATIO, Unit.SECONDS, Unit.HOURS, Unit.HERTZ, Unit.CELSIUS, Unit.PERCENT})
_MAGIC = b"series1\n"

Series = tuple[str, tuple[str, ...]]
"""A metric's name and its label values."""


@dataclass(frozen=True, slots=True)
class Offender:
    """A metric with more series than there is room for.

    ``folded`` is about how many series were folded in the last one to two periods, with the relative standard error
    of ``HyperLogLog``; ``label`` is the position of the label with the most values among them, ``values`` how many.
    """

    metric: str
    known: int
    folded: int
    label: int
    values: int


@dataclass(slots=True)
class _Flood:
    """Sketches of one metric's folded series: of all of them, and of each label's values."""

    series: HyperLogLog
    labels: list[HyperLogLog] = field(default_factory=list)

    def merged(self, other: _Flood | None) -> _Flood:
        union = _Flood.empty(len(self.labels))
        for part in (self, other):
            if part is not None:
                union.series.merge(part.series)
                for mine, theirs in zip(union.labels, part.labels, strict=True):
                    mine.merge(theirs)
        return union

    @classmethod
    def empty(cls, labels: int) -> _Flood:
        return cls(HyperLogLog(), [HyperLogLog() for _ in range(labels)])


class SeriesLimiter:
    """Decide which series of a tenant are kept.

    At most ``limit`` are known at a time, and at most ``per_metric`` of one metric, so that one metric's flood leaves
    room for the others (half the limit if not given). A series that is not seen for one to two periods of
    ``idle_seconds`` makes room. A metric without labels is one series by its declaration and always kept.
    """

    def __init__(self, limit: int, *, per_metric: int | None = None, idle_seconds: float = 3600.0) -> None:
        if idle_seconds <= 0:
            raise ValueError("idle_seconds must be above 0")
        self.reconfigure(limit, per_metric=per_metric)
        self._idle = idle_seconds
        self._period = 0
        self._rotates_at: float | None = None
        self._known: dict[Series, int] = {}
        self._restored: dict[int, str] = {}
        self._restored_in = 0
        self._per_metric_known: dict[str, int] = {}
        self._floods: dict[str, _Flood] = {}
        self._former_floods: dict[str, _Flood] = {}

    def reconfigure(self, limit: int, *, per_metric: int | None = None) -> None:
        """Change the limit; what is known above a smaller one stays until it is idle."""
        per_metric = max(1, limit // 2) if per_metric is None else per_metric
        if limit < 1 or per_metric < 1:
            raise ValueError("a limit of series is 1 or more")
        self._limit, self._per_metric = limit, per_metric

    @property
    def known(self) -> int:
        """Series that are kept."""
        return len(self._known) + len(self._restored)

    def admit(self, series: Iterable[Series], now: float) -> list[bool]:
        """Say of each series whether it is kept; ``now`` is a monotonic second."""
        self._rotate(now)
        known, period = self._known, self._period
        kept: list[bool] = []
        for one in series:
            if one in known:
                known[one] = period
                kept.append(True)
            else:
                kept.append(not one[1] or self._meet(one))
        return kept

    def offenders(self, most: int = 10) -> list[Offender]:
        """Return the metrics with the most folded series, the worst first."""
        found = []
        for metric in {*self._floods, *self._former_floods}:
            first, second = self._floods.get(metric), self._former_floods.get(metric)
            flood = first.merged(second) if first is not None else self._former_floods[metric]
            values = [round(sketch.estimate()) for sketch in flood.labels]
            worst = max(range(len(values)), key=values.__getitem__)
            folded = round(flood.series.estimate())
            found.append(Offender(metric, self._per_metric_known.get(metric, 0), folded, worst, values[worst]))
        return sorted(found, key=lambda o: (-o.folded, o.metric))[:most]

    def snapshot(self) -> bytes:
        """Return which series are known, as hashes: no label value leaves the process."""
        by_metric: dict[str, list[int]] = {}
        for metric, labels in self._known:
            by_metric.setdefault(metric, []).append(hash64(metric, *labels))
        for hashed, metric in self._restored.items():
            by_metric.setdefault(metric, []).append(hashed)
        parts = [_MAGIC]
        for metric, hashes in sorted(by_metric.items()):
            name = metric.encode()
            parts.append(struct.pack(f">HI{len(name)}s{len(hashes)}Q", len(name), len(hashes), name, *sorted(hashes)))
        return b"".join(parts)

    def restore(self, state: bytes) -> None:
        """Know again what an earlier ``snapshot`` knew; raises ``BadInput`` and changes nothing if it is damaged."""
        restored: dict[int, str] = {}
        counts: dict[str, int] = {}
        try:
            if not state.startswith(_MAGIC):
                raise BadInput("these are not known series; begin without")
            offset = len(_MAGIC)
            while offset < len(state):
                name_length, count = struct.unpack_from(">HI", state, offset)
                name, *hashes = struct.unpack_from(f">{name_length}s{count}Q", state, offset + 6)
                offset += 6 + name_length + 8 * count
                metric = name.decode()
                restored.update(dict.fromkeys(hashes, metric))
                counts[metric] = count
        except (struct.error, UnicodeDecodeError) as error:
            raise BadInput("the known series are damaged; begin without") from error
        self._known.clear()
        self._restored, self._restored_in, self._per_metric_known = restored, self._period, counts

    def _meet(self, series: Series) -> bool:
        """Take in a series that is not known by its labels yet: True if it is kept."""
        metric, labels = series
        hashed = hash64(metric, *labels)
        if self._restored.pop(hashed, None) is not None:
            self._known[series] = self._period
            return True
        of_metric = self._per_metric_known.get(metric, 0)
        if self.known < self._limit and of_metric < self._per_metric:
            self._known[series] = self._period
            self._per_metric_known[metric] = of_metric + 1
            return True
        flood = self._floods.get(metric)
        if flood is None:
            flood = self._floods[metric] = _Flood.empty(len(labels))
        flood.series.add(hashed)
        for sketch, value in zip(flood.labels, labels, strict=True):
            sketch.add(hash64(value))
        return False

    def _rotate(self, now: float) -> None:
        """Begin a new period: forget what was not seen in the last one."""
        if self._rotates_at is None:
            self._rotates_at = now + self._idle
        if now < self._rotates_at:
            return
        # After two silent periods there is nothing left that was seen; more of them change nothing.
        for _ in range(min(2, int((now - self._rotates_at) // self._idle) + 1)):
            self._known = {series: seen for series, seen in self._known.items() if seen == self._period}
            if self._restored_in < self._period:
                self._restored = {}
            self._former_floods, self._floods = self._floods, {}
            self._period += 1
        self._rotates_at = now + self._idle
        self._per_metric_known = {}
        for metric in [*(metric for metric, _ in self._known), *self._restored.values()]:
            self._per_metric_known[metric] = self._per_metric_known.get(metric, 0) + 1


def fold(
    samples: tuple[Sample, ...], limiter: SeriesLimiter, specs: Mapping[str, MetricSpec], now: float
) -> tuple[Sample, ...]:
    """Return the samples of kept series as they are, and one per metric for all the others together.

    Counters and amounts (bytes, users …) are added up; what can't be added, such as a temperature or a ratio, is
    averaged. The sum is a counter's total over the series that are folded now: it falls when one of them becomes
    known, which readers of counters take for a restart.
    """
    kept = limiter.admit([(s.metric, s.labels) for s in samples], now)
    if all(kept):
        return samples
    folded: dict[str, list[Sample]] = {}
    for sample, keep in zip(samples, kept, strict=True):
        if not keep:
            folded.setdefault(sample.metric, []).append(sample)
    result = [sample for sample, keep in zip(samples, kept, strict=True) if keep]
    for metric, group in folded.items():
        spec = specs[metric]
        values = [s.value for s in group if s.value is not None]
        value: float | None = sum(values) if values else None
        if values and spec.kind is Kind.GAUGE and spec.unit in _INTENSIVE:
            value = sum(values) / len(values)
        latest = max(group, key=lambda s: s.time_us)
        result.append(replace(latest, value=value, labels=(OVERFLOW,) * len(spec.labels)))
    return tuple(result)
