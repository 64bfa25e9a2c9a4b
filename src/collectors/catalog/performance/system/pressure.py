"""Pressure stall information: the share of time in which work waited for CPU, memory or input and output.

Source: ``/proc/pressure`` as in the kernel's ``Documentation/accounting/psi.rst``; absent before Linux 4.20 or
when switched off. The windows are the kernel's own: exponential averages over 10, 60 and 300 seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from collectors.catalog.performance.system.area import Area, HostFiles, Reading, sample
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

_SHARE = MetricSpec(
    "collectors.system.pressure.utilization",
    Kind.GAUGE,
    Unit.RATIO,
    "Share of recent time in which some, or all, non-idle tasks were stalled on a resource.",
    labels=("resource", "system.pressure.stall_type", "window"),
)
_TIME = MetricSpec(
    "collectors.system.pressure.stall_time",
    Kind.COUNTER,
    Unit.SECONDS,
    "Time since boot in which some, or all, non-idle tasks were stalled on a resource.",
    labels=("resource", "system.pressure.stall_type"),
)

_RESOURCES = ("cpu", "memory", "io", "irq")
_WINDOWS = (("avg10", "10s"), ("avg60", "60s"), ("avg300", "300s"))

Stalls = Mapping[str, Mapping[str, float]]
"""By ``some`` and ``full``: the averages in percent, and the total in microseconds."""


def parse_pressure(text: str) -> Stalls:
    """Parse a pressure file: lines of ``some avg10=0.00 avg60=0.00 avg300=0.00 total=0``."""
    stalls = {}
    for line in text.splitlines():
        kind, *fields = line.split()
        stalls[kind] = {key: float(value) for key, _, value in (field.partition("=") for field in fields)}
    return stalls


def _read(files: HostFiles, _: Mapping[str, Stalls] | None) -> Mapping[str, Stalls] | None:
    texts = {resource: files.proc(f"pressure/{resource}") for resource in _RESOURCES}
    return {resource: parse_pressure(text) for resource, text in texts.items() if text} or None


def _derive(now: Reading[Mapping[str, Stalls]], _: Reading[Mapping[str, Stalls]] | None) -> Iterator[Sample]:
    for resource, stalls in now.values.items():
        for kind, fields in stalls.items():
            for key, window in _WINDOWS:
                yield sample(_SHARE, fields[key] / 100, resource, kind, window)
            yield sample(_TIME, fields["total"] / 1e6, resource, kind)


AREA: Area[Mapping[str, Stalls]] = Area(name="pressure", emits=(_SHARE, _TIME), read=_read, derive=_derive)
