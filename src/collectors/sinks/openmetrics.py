"""The last values of tenants' series as text for Prometheus: OpenMetrics 1.0, or the older text format 0.0.4.

Shared by the server's ``/metrics`` and by the sinks that speak to Prometheus.

Names follow from OpenTelemetry's by the rules of its Prometheus compatibility page
(https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/): dots become underscores, the unit
is appended in words, ``_ratio`` to gauges without dimension, ``_total`` to counters. Beyond that, what Prometheus's own
linter asks for: hours are given in seconds and percent as a ratio; a gauge whose name would end in a suffix that is
reserved for other kinds (``_count``, ``_sum`` …) gets ``_current``; and labels that mean something of their own there
(``le``, ``quantile``) are prefixed with ``exported_``, as Prometheus does itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from prometheus_client.core import Metric

from collectors.drivers.sample_store import DeclaredMetric, Series
from collectors.model.metric import Kind, MetricSpec, Unit

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"

STALE_US = 300_000_000
"""A series without a sample for this long is left out."""

_WORDS: Mapping[Unit, tuple[str, float]] = {
    Unit.SECONDS: ("seconds", 1.0),
    Unit.HOURS: ("seconds", 3600.0),
    Unit.BYTES: ("bytes", 1.0),
    Unit.HERTZ: ("hertz", 1.0),
    Unit.CELSIUS: ("celsius", 1.0),
    Unit.RATIO: ("ratio", 1.0),
    Unit.PERCENT: ("ratio", 0.01),
}
"""Unit to its word in a name, and what values are multiplied by. Units in braces count things and have no word."""

_REPLACED = {Unit.HOURS: "hours", Unit.PERCENT: "percent"}
_RESERVED = frozenset({"bucket", "count", "created", "info", "sum", "total"})
_RESERVED_LABELS = frozenset({"tenant", "le", "quantile"})
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9]+")
_ESCAPED = re.compile(r'[\\\n"]')
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


@dataclass(frozen=True, slots=True)
class Name:
    """What a metric is called in Prometheus: ``base`` without ``_total``, its unit in words, and the factor to it."""

    base: str
    unit: str
    scale: float


def prometheus_name(spec: MetricSpec) -> Name:
    """Derive the Prometheus name of a metric."""
    word, scale = _WORDS.get(spec.unit, ("", 1.0))
    if word == "ratio" and spec.kind is Kind.COUNTER:
        word = ""
    # A name ends in its unit and kind, so their words are taken from where else they stand.
    moved = {word, _REPLACED.get(spec.unit), "total" if spec.kind is Kind.COUNTER else None}
    parts = [t for t in _NOT_IN_NAMES.split(spec.name) if t]
    tokens = [t for t in parts if t not in moved] or parts[:1]
    if word:
        tokens.append(word)
    elif spec.kind is Kind.GAUGE and tokens[-1] in _RESERVED:
        tokens.append("current")
    return Name("_".join(tokens), word, scale)


@dataclass(slots=True)
class _Family:
    """All lines of one name. ``source`` is the metric they come from: two that end up with one name can't be mixed."""

    base: str
    counter: bool
    unit: str
    help: str
    source: str
    lines: dict[str, str] = field(default_factory=dict)

    @property
    def sample_name(self) -> str:
        return f"{self.base}_total" if self.counter else self.base

    @property
    def names(self) -> frozenset[str]:
        """Names that no other family may have, nor any of its samples."""
        suffixes = ("", "_total", "_created") if self.counter else ("",)
        return frozenset(self.base + suffix for suffix in suffixes)


class Exposition:
    """Families of samples, filled tenant by tenant and rendered once."""

    def __init__(self, now_us: int) -> None:
        self._oldest_us = now_us - STALE_US
        self._families: dict[str, _Family] = {}
        self._taken: set[str] = set()
        self.left_out = 0
        """Series that can't be shown: another has the name or the labels, or it is a counter below zero."""

    def add_tenant(self, tenant: str, declared: Iterable[DeclaredMetric], series: Iterable[Series]) -> None:
        """Add the fresh, defined last values of a tenant."""
        specs = {m.spec.name: m.spec for m in declared}
        named: dict[str, tuple[_Family | None, float]] = {}
        for one in series:
            spec = specs.get(one.metric)
            if spec is None or one.value is None or one.time_us < self._oldest_us:
                continue
            if one.metric not in named:
                name = prometheus_name(spec)
                counter = spec.kind is Kind.COUNTER
                wanted = _Family(name.base, counter, name.unit, spec.description, spec.name)
                named[one.metric] = self._claim(wanted), name.scale
            family, scale = named[one.metric]
            self._put(family, _pairs(prometheus_labels(tenant, one.labels)), one.value * scale)

    def add_own(self, metrics: Iterable[Metric]) -> None:
        """Add metrics of this process."""
        for metric in metrics:
            own = _Family(metric.name, metric.type == "counter", metric.unit, metric.documentation, metric.name)
            family = self._claim(own)
            for sample in metric.samples:
                self._put(family, _pairs(sample.labels), float(sample.value))

    def render(self, *, openmetrics: bool) -> bytes:
        """Return the whole text in one of the two formats."""
        out: list[str] = []
        for family in sorted(self._families.values(), key=lambda f: f.base):
            if not family.lines:
                continue
            kind = "counter" if family.counter else "gauge"
            name = family.base if openmetrics else family.sample_name
            text = family.help.translate(_ESCAPES) if openmetrics else _plain_help(family.help)
            out += (f"# HELP {name} {text}\n", f"# TYPE {name} {kind}\n")
            if openmetrics and family.unit:
                out.append(f"# UNIT {name} {family.unit}\n")
            sample_name = family.sample_name
            out += (f"{sample_name}{labels} {value}\n" for labels, value in family.lines.items())
        if openmetrics:
            out.append("# EOF\n")
        return "".join(out).encode()

    def _claim(self, wanted: _Family) -> _Family | None:
        """Return the family to add to, None if its name is taken by a different metric."""
        known = self._families.get(wanted.base)
        if known is not None:
            same = (known.source, known.counter, known.unit) == (wanted.source, wanted.counter, wanted.unit)
            return known if same else None
        if wanted.names & self._taken:
            return None
        self._taken |= wanted.names
        self._families[wanted.base] = wanted
        return wanted

    def _put(self, family: _Family | None, labels: str, value: float) -> None:
        impossible = not math.isfinite(value) or (value < 0 and family is not None and family.counter)
        if family is None or impossible or labels in family.lines:
            self.left_out += 1
        else:
            family.lines[labels] = repr(value)


def prefers_openmetrics(accept: str) -> bool:
    """Tell from an Accept header whether OpenMetrics is wanted at least as much as plain text."""
    weights = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for item in accept.split(","):
        media, *parameters = (part.strip() for part in item.split(";"))
        if media in weights:
            weights[media] = max(weights[media], _weight(parameters))
    wanted, plain = weights.values()
    return wanted > 0 and wanted >= plain


def _weight(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def prometheus_labels(tenant: str, labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of a series by Prometheus name; the tenant comes first, and nothing else can pose as it."""
    named: dict[str, str] = {"tenant": tenant}
    for key, value in labels.items():
        name = _label_name(key)
        if not value.isascii():
            # A command line, say, may hold what is not Unicode; it becomes a question mark.
            value = value.encode(errors="replace").decode()  # noqa: PLW2901 - the same value, made fit
        named[name] = f"{named[name]};{value}" if name in named else value
    return named


@lru_cache(maxsize=4096)
def _label_name(key: str) -> str:
    name = "_".join(t for t in _NOT_IN_NAMES.split(key) if t) or "_"
    if name in _RESERVED_LABELS:
        return f"exported_{name}"
    return f"_{name}" if name[0].isdigit() else name


def _pairs(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return (
        "{" + ",".join([f'{k}="{v.translate(_ESCAPES) if _ESCAPED.search(v) else v}"' for k, v in labels.items()]) + "}"
    )


def _plain_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
