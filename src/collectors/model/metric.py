"""Declared metrics and their values."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from enum import StrEnum

_NAME = re.compile(r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$")
_LABEL = re.compile(r"^[a-z_][a-z0-9_.]*$")


class Kind(StrEnum):
    """How a metric behaves over time (OpenTelemetry's instrument kinds that we use)."""

    COUNTER = "counter"
    GAUGE = "gauge"


class Unit(StrEnum):
    """UCUM units as OpenTelemetry writes them; ``1`` is a ratio, ``{thing}`` a count."""

    RATIO = "1"
    SECONDS = "s"
    HOURS = "h"
    BYTES = "By"
    HERTZ = "Hz"
    CELSIUS = "Cel"
    COUNT = "{count}"
    EVENTS = "{event}"
    USERS = "{user}"
    OPERATIONS = "{operation}"
    PACKETS = "{packet}"
    PROCESSES = "{process}"
    THREADS = "{thread}"
    CPUS = "{cpu}"
    PAGES = "{page}"
    FAULTS = "{fault}"
    ERRORS = "{error}"
    MINOR_UNITS = "{minor_unit}"
    PERCENT = "%"


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric a collector may emit, declared once; docs, HELP text, dashboards and alerts derive from it.

    ``labels`` are the keys a sample of this metric carries, always all of them, in this order.
    ``aliases`` are short names users may write in ``alert_thresholds`` (``cpu_usage``).
    ``nullable`` metrics may be undefined; such a sample has no value and says why.
    """

    name: str
    kind: Kind
    unit: Unit
    description: str
    labels: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    nullable: bool = False
    scale: float = 1.0
    """Value of the alias per value of the metric: ``cpu_usage`` is in percent, so its scale is 100."""

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise ValueError(f"metric name {self.name!r} must be lower.dotted_snake, such as 'system.cpu.time'")
        for key in self.labels:
            if not _LABEL.match(key):
                raise ValueError(f"label {key!r} of {self.name} must be lower_snake")
        if not self.description.endswith("."):
            raise ValueError(f"the description of {self.name} must be a sentence that ends with a full stop")


@dataclass(frozen=True, slots=True)
class Sample:
    """A declared metric's value at a time.

    ``labels`` are the label *values* in the order of the spec's keys. ``value`` is None only for a nullable
    metric, and then ``reason`` says why it is undefined. ``time_us`` is 0 until the runner stamps it.
    """

    metric: str
    value: float | None
    labels: tuple[str, ...] = ()
    time_us: int = 0
    reason: str = ""

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"{self.metric}: {self.value} is not a number; emit None with a reason instead")
        if self.value is None and not self.reason:
            raise ValueError(f"{self.metric}: an undefined value needs a reason")


class Severity(StrEnum):
    """How soon a person should look."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a collector detected that a person should know of, such as a brute-force attempt.

    ``key`` identifies the finding for deduplication: the same rule and key is the same ongoing matter.
    """

    rule: str
    key: str
    severity: Severity
    summary: str
    labels: tuple[tuple[str, str], ...] = ()
    time_us: int = 0


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that could not be collected, while the rest could."""

    code: str
    message: str
    item: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """Half-open interval ``[start_us, end_us)`` of UTC microseconds."""

    start_us: int
    end_us: int

    def __post_init__(self) -> None:
        if self.end_us < self.start_us:
            raise ValueError("a window must not end before it starts")


@dataclass(frozen=True, slots=True)
class Collection:
    """What one ``collect`` brought back: samples, findings, and what could not be had."""

    samples: tuple[Sample, ...] = ()
    findings: tuple[Finding, ...] = ()
    issues: tuple[Issue, ...] = field(default=())
