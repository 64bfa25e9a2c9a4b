"""A rule as it is judged: a threshold bound to the metric it is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from collectors.config.alert_rule import AlertRule
from collectors.config.alerting import PlatformRule
from collectors.config.matchers import matches
from collectors.errors import ConfigError
from collectors.model.metric import MetricSpec, Severity

Labels = tuple[tuple[str, str], ...]

PREFIX = "threshold:"
"""Begins ``Alert.rule`` of every threshold, to tell them from what collectors find by themselves."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A threshold on one metric. Limits are in the unit of ``shown``, which may be an alias; times in microseconds."""

    name: str
    shown: str
    spec: MetricSpec
    limit: float
    clear: float
    is_upper: bool = True
    for_us: int = 0
    missing: Literal["keep", "ok", "alert"] = "keep"
    missing_after_us: int = 300 * 10**6
    flapping_fires: int = 3
    flapping_us: int = 1800 * 10**6
    severity: Severity = Severity.WARNING
    labels: Labels = ()
    match: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()

    @property
    def scale(self) -> float:
        """Value of the alias per value of the metric."""
        return self.spec.scale if self.shown in self.spec.aliases else 1.0

    def is_crossed(self, value: float) -> bool:
        """Tell whether a value of the metric is over the limit."""
        shown = value * self.scale
        return shown > self.limit if self.is_upper else shown < self.limit

    def is_clear(self, value: float) -> bool:
        """Tell whether a value of the metric ends an alert that fires."""
        shown = value * self.scale
        return shown <= self.clear if self.is_upper else shown >= self.clear

    def applies(self, tenant: str, labels: Labels) -> bool:
        """Tell whether the rule is about a series."""
        return (not self.tenants or tenant in self.tenants) and (not self.match or matches(self.match, dict(labels)))

    def summary(self, value: float | None) -> str:
        """Say what is the matter, in the user's unit."""
        if value is None:
            return f"{self.shown} has no value"
        return f"{self.shown} is {value * self.scale:g}, {'above' if self.is_upper else 'below'} {self.limit:g}"


def thresholds(given: Mapping[str, float], specs: Iterable[MetricSpec], *, where: str) -> list[Rule]:
    """Resolve ``alert_thresholds``, the short form; ConfigError names what the metric may be called."""
    by_name = names(specs)
    return [
        Rule(f"{PREFIX}{name}", name, _spec(name, by_name, f"{where}.alert_thresholds"), limit, limit)
        for name, limit in given.items()
    ]


def bind(rule: AlertRule, specs: Iterable[MetricSpec], *, where: str = "alerting.rules") -> Rule:
    """Bind a written rule to the metric it names; ConfigError names what the metric may be called."""
    limit = rule.above if rule.above is not None else rule.below
    assert limit is not None, "the configuration has one of them"
    return Rule(
        name=f"{PREFIX}{rule.name}",
        shown=rule.metric,
        spec=_spec(rule.metric, names(specs), f"{where}.{rule.name}"),
        limit=limit,
        clear=limit if rule.clear is None else rule.clear,
        is_upper=rule.above is not None,
        for_us=round(rule.for_seconds * 1e6),
        missing=rule.missing,
        missing_after_us=round(rule.missing_after_seconds * 1e6),
        flapping_fires=rule.flapping_fires,
        flapping_us=round(rule.flapping_seconds * 1e6),
        severity=rule.severity,
        labels=tuple(sorted(rule.labels.items())),
        match=rule.match,
        tenants=rule.tenants if isinstance(rule, PlatformRule) else (),
    )


def names(specs: Iterable[MetricSpec]) -> dict[str, MetricSpec]:
    """Return all that the metrics may be called."""
    return {name: spec for spec in specs for name in (spec.name, *spec.aliases)}


def _spec(name: str, by_name: Mapping[str, MetricSpec], where: str) -> MetricSpec:
    spec = by_name.get(name)
    if spec is None:
        known = ", ".join(sorted(by_name))
        raise ConfigError(f"there is no metric or alias {name[:64]!r} here", where=where, fix=f"use one of: {known}.")
    return spec
