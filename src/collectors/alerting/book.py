"""Which alerts are firing: rules crossed by samples, and findings raised by collectors."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from collectors.alerting.rules import PREFIX, Labels, Rule, thresholds
from collectors.alerting.state import FORGET_US, SeriesState, new_alert, series_key
from collectors.model.alert import Alert, AlertState
from collectors.model.metric import Finding

__all__ = ["FINDING_QUIET_US", "AlertBook", "Threshold", "thresholds"]

Threshold = Rule
"""What ``alert_thresholds`` are resolved to."""

FINDING_QUIET_US = 600 * 10**6
"""A finding is over once it was not raised again for ten minutes."""

SWEEP_US = 5 * 10**6
"""How often all series are looked at for missing samples."""

FORGETTING_US = 3600 * 10**6
"""How often to look for series that are gone, where nothing else about missing samples matters."""

_Key = tuple[str, str, str]
"""Tenant, rule, and what tells its series or findings apart."""


class AlertBook:
    """The alerts of all tenants. Each method returns the alerts that fired or were resolved by it.

    After a restart ``firing`` are the alerts on record that are not over, and ``snapshot`` is what was last saved, at
    ``now_us``. The record decides what fires; while nothing ran, no series counts as missing.
    """

    def __init__(self, firing: Iterable[Alert] = (), snapshot: bytes = b"", now_us: int | None = None) -> None:
        self._series: dict[tuple[str, str], dict[str, SeriesState]] = {}
        self._rules: dict[tuple[str, str], Rule] = {}
        self._findings: dict[_Key, Alert] = {(a.tenant, a.rule, a.key): a for a in firing}
        self._last_seen: dict[_Key, int] = {}
        self._swept_us = 0
        self._forgot_us = 0
        if snapshot:
            self._restore(snapshot, now_us)
        # What fires by a threshold but is not in the snapshot waits among the findings until its series is heard again.

    def firing(self, tenant: str | None = None) -> list[Alert]:
        """Return what is firing, of one tenant or all."""
        alerts = [*self._findings.values(), *(s.alert for s in self._all_series() if s.alert is not None)]
        return [a for a in alerts if tenant is None or a.tenant == tenant]

    def adopt(self, tenant: str, rule: Rule, now_us: int) -> None:
        """Judge what is known of ``rule`` by its present form, and expect samples if their absence is an alert."""
        if rule.tenants and tenant not in rule.tenants:
            return
        self._rules[tenant, rule.name] = rule
        known = self._series.setdefault((tenant, rule.name), {})
        if rule.missing == "alert" and not known:
            known[""] = self._new_series(tenant, rule.name, "", (), now_us)

    def retire(self, tenant: str, rules: Collection[str], now_us: int) -> list[Alert]:
        """Resolve what fires by thresholds of ``tenant`` that exist no more."""
        over = [self._findings.pop(k) for k in list(self._findings) if k[0] == tenant and k[1] in rules]
        for name in rules:
            self._rules.pop((tenant, name), None)
            over += [s.alert for s in self._series.pop((tenant, name), {}).values() if s.alert is not None]
        return [_resolved(alert, now_us) for alert in over]

    def observe(
        self, tenant: str, rule: Rule, value: float | None, labels: Labels, time_us: int, arrived_us: int | None = None
    ) -> list[Alert]:
        """Judge one sample of the rule's metric, which has its own time and, if that is known, one of arrival."""
        if not rule.applies(tenant, labels):
            return []
        self._rules[tenant, rule.name] = rule
        known = self._series.setdefault((tenant, rule.name), {})
        arrived = time_us if arrived_us is None else arrived_us
        changed = []
        if labels and (expected := known.pop("", None)) is not None and expected.alert is not None:
            changed.append(_resolved(expected.alert, arrived))
        key = series_key(labels)
        series = known.get(key)
        if series is None:
            series = known[key] = self._new_series(tenant, rule.name, key, labels, arrived)
        alert = series.observe(rule, value, time_us, arrived)
        return [*changed, alert] if alert is not None else changed

    def raise_finding(self, tenant: str, finding: Finding, time_us: int) -> list[Alert]:
        """Fire for a finding, unless the same one is firing already."""
        key = (tenant, finding.rule, finding.key)
        self._last_seen[key] = time_us
        if key in self._findings:
            return []
        alert = new_alert(*key, finding.severity, finding.summary, finding.labels, time_us)
        self._findings[key] = alert
        return [alert]

    def expire(self, now_us: int) -> list[Alert]:
        """Resolve the findings that were quiet for long enough, and judge the series that no longer report."""
        changed = []
        for key in list(self._findings):
            quiet = FORGET_US if key[1].startswith(PREFIX) else FINDING_QUIET_US
            if now_us - self._last_seen.setdefault(key, now_us) > quiet:
                del self._last_seen[key]
                changed.append(_resolved(self._findings.pop(key), now_us))
        if not 0 <= now_us - self._swept_us < SWEEP_US:
            self._swept_us = now_us
            is_forgetting = not 0 <= now_us - self._forgot_us < FORGETTING_US
            if is_forgetting:
                self._forgot_us = now_us
            for (tenant, name), known in self._series.items():
                rule = self._rules.get((tenant, name))
                if rule is not None and rule.missing == "keep" and not is_forgetting:
                    continue
                for item, series in list(known.items()):
                    alert = series.miss(rule, now_us) if rule is not None else None
                    if alert is not None:
                        changed.append(alert)
                    if item and now_us - series.heard_us >= FORGET_US and series.alert is None:
                        del known[item]
        return changed

    def snapshot(self, now_us: int) -> bytes:
        """Return what a restart must know beside the alerts that are firing."""
        expecting = {key for key, rule in self._rules.items() if rule.missing == "alert"}
        series = [
            [name, *s.dump()]
            for (tenant, name), known in self._series.items()
            for s in known.values()
            if s.is_notable or (tenant, name) in expecting
        ]
        findings = [[*key, seen] for key, seen in self._last_seen.items()]
        return json.dumps({"saved": now_us, "series": series, "findings": findings}).encode()

    def _restore(self, snapshot: bytes, now_us: int | None) -> None:
        saved = json.loads(snapshot)
        down = 0 if now_us is None else max(0, now_us - saved["saved"])
        for name, *dumped in saved["series"]:
            tenant, key = dumped[0], dumped[1]
            series = SeriesState.load(dumped, self._findings.pop((tenant, name, key), None))
            series.heard_us += down
            self._series.setdefault((tenant, name), {})[key] = series
        for tenant, name, key, seen in saved["findings"]:
            if (tenant, name, key) in self._findings:
                self._last_seen[tenant, name, key] = seen + down

    def _new_series(self, tenant: str, rule: str, key: str, labels: Labels, now_us: int) -> SeriesState:
        self._last_seen.pop((tenant, rule, key), None)
        return SeriesState(tenant, key, labels, self._findings.pop((tenant, rule, key), None), heard_us=now_us)

    def _all_series(self) -> Iterator[SeriesState]:
        for known in self._series.values():
            yield from known.values()


def _resolved(alert: Alert, time_us: int) -> Alert:
    return replace(alert, state=AlertState.RESOLVED, ended_us=max(time_us, alert.started_us))
