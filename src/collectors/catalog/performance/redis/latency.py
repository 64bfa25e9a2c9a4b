"""Latency events that the server's latency monitor saw; it rests while latency-monitor-threshold is 0.

Source: LATENCY LATEST, of each event the time and duration of the last one and the longest ever.
"""

from __future__ import annotations

from collections.abc import Iterator

from collectors.catalog.performance.redis.area import Area, Reading, printable, sample
from collectors.catalog.performance.redis.info import Info
from collectors.catalog.performance.redis.info_field import OWN
from collectors.drivers.redis import Command
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

_LABELS = ("event",)
_WHEN = MetricSpec(
    f"{OWN}latency.event.last_time", Kind.GAUGE, Unit.SECONDS, "When it was last slow, since the epoch.", labels=_LABELS
)
_LAST = MetricSpec(
    f"{OWN}latency.event.last", Kind.GAUGE, Unit.SECONDS, "How long it took when it was last slow.", labels=_LABELS
)
_LONGEST = MetricSpec(
    f"{OWN}latency.event.longest", Kind.GAUGE, Unit.SECONDS, "The longest it ever took.", labels=_LABELS
)

_LATEST: Command = ("LATENCY", "LATEST")


def _asks(info: Info) -> tuple[Command, ...]:
    return (_LATEST,) if info.mode != "sentinel" else ()


def _derive(now: Reading, before: Reading | None) -> Iterator[Sample]:  # noqa: ARG001  # as areas are called
    for event in now.replies.get(_LATEST, []):
        name, when_s, last_ms, longest_ms = event[:4]  # Valkey tells more
        name = printable(name)
        yield sample(_WHEN, when_s, name)
        yield sample(_LAST, last_ms * 1e-3, name)
        yield sample(_LONGEST, longest_ms * 1e-3, name)


AREA = Area("latency", (_WHEN, _LAST, _LONGEST), _asks, _derive)
