"""Which alerts are firing: thresholds crossed by samples, and findings raised by collectors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from collectors.errors import ConfigError
from collectors.model.alert import Alert, AlertState
from collectors.model.metric import Finding, MetricSpec, Severity

FINDING_QUIET_US = 600 * 10**6
"""A finding is over once it was not raised again for ten minutes."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """Fire while a metric is above ``limit``, given in the unit of ``name``, which may be an alias."""

    name: str
    spec: MetricSpec
    limit: float

    def is_crossed(self, value: float) -> bool:
        """Tell whether a value of the metric is above the limit."""
        return value * self.scale > self.limit

    @property
    def scale(self) -> float:
        """Value of the alias per value of the metric."""
        return self.spec.scale if self.name in self.spec.aliases else 1.0


def thresholds(given: Mapping[str, float], specs: Iterable[MetricSpec], *, where: str) -> list[Threshold]:
    """Resolve ``alert_thresholds``; ConfigError names what the metric may be called."""
    by_name = {name: spec for spec in specs for name in (spec.name, *spec.aliases)}
    resolved = []
    for name, limit in given.items():
        spec = by_name.get(name)
        if spec is None:
            raise ConfigError(
                f"there is no metric or alias {name[:64]!r} here",
                where=f"{where}.alert_thresholds",
                fix=f"use one of: {', '.join(sorted(by_name))}.",
            )
        resolved.append(Threshold(name, spec, limit))
    return resolved


class AlertBook:
    """The firing alerts of all tenants. Each method returns the alerts that changed."""

    def __init__(self, firing: Iterable[Alert] = ()) -> None:
        self._firing: dict[tuple[str, str, str], Alert] = {(a.tenant, a.rule, a.key): a for a in firing}
        self._last_seen: dict[tuple[str, str, str], int] = {}

    def firing(self, tenant: str | None = None) -> list[Alert]:
        """Return what is firing, of one tenant or all."""
        return [a for a in self._firing.values() if tenant is None or a.tenant == tenant]

    def observe(
        self, tenant: str, rule: Threshold, value: float | None, labels: tuple[tuple[str, str], ...], time_us: int
    ) -> list[Alert]:
        """Judge one sample; an undefined value changes nothing."""
        if value is None:
            return []
        key = (tenant, f"threshold:{rule.name}", ",".join(f"{k}={v}" for k, v in labels))
        current = self._firing.get(key)
        if rule.is_crossed(value):
            if current is not None:
                return []
            shown = value * rule.scale
            summary = f"{rule.name} is {shown:g}, above {rule.limit:g}"
            return [self._fire(key, Severity.WARNING, summary, labels, time_us, value)]
        return [self._resolve(key, time_us)] if current is not None else []

    def raise_finding(self, tenant: str, finding: Finding, time_us: int) -> list[Alert]:
        """Fire for a finding, unless the same one is firing already."""
        key = (tenant, finding.rule, finding.key)
        self._last_seen[key] = time_us
        if key in self._firing:
            return []
        return [self._fire(key, finding.severity, finding.summary, finding.labels, time_us, None)]

    def expire(self, now_us: int) -> list[Alert]:
        """Resolve the findings that were quiet for long enough."""
        over = []
        for key, alert in self._firing.items():
            if not alert.rule.startswith("threshold:"):
                seen = self._last_seen.setdefault(key, now_us)
                if now_us - seen > FINDING_QUIET_US:
                    over.append(key)
        return [self._resolve(key, now_us) for key in over]

    def _fire(
        self,
        key: tuple[str, str, str],
        severity: Severity,
        summary: str,
        labels: tuple[tuple[str, str], ...],
        time_us: int,
        value: float | None,
    ) -> Alert:
        tenant, rule, item = key
        identity = hashlib.blake2b("\0".join((*key, str(time_us))).encode(), digest_size=12).hexdigest()
        alert = Alert(identity, tenant, rule, item, severity, AlertState.FIRING, summary, labels, time_us, None, value)
        self._firing[key] = alert
        return alert

    def _resolve(self, key: tuple[str, str, str], time_us: int) -> Alert:
        self._last_seen.pop(key, None)
        return replace(self._firing.pop(key), state=AlertState.RESOLVED, ended_us=time_us)
