"""Rules, alerts and samples for the tests of alerting."""

from __future__ import annotations

from typing import Any

from collectors.alerting.notification import Kind, Notification
from collectors.alerting.rules import Rule, bind
from collectors.alerting.state import new_alert
from collectors.config.alerting import PlatformRule
from collectors.model.alert import Alert
from collectors.model.metric import Kind as MetricKind
from collectors.model.metric import MetricSpec, Severity, Unit

S = 10**6
T0 = 1_790_000_000 * S

LOAD = MetricSpec(
    "system.load", MetricKind.GAUGE, Unit.RATIO, "Busy share.", labels=("host",), aliases=("cpu_usage",), scale=100.0
)


def rule(**given: Any) -> Rule:
    """A rule on the load: above 80 % unless it says otherwise, and never held for flapping."""
    limit = {} if "below" in given else {"above": 80.0}
    return bind(
        PlatformRule(**{"name": "cpu", "metric": "cpu_usage", "flapping_seconds": 0.0, **limit, **given}), [LOAD]
    )


def alert(
    name: str = "cpu",
    tenant: str = "acme",
    *,
    severity: Severity = Severity.WARNING,
    at: int = T0,
    summary: str = "cpu_usage is 95, above 80",
    **labels: str,
) -> Alert:
    key = ",".join(f"{k}={v}" for k, v in labels.items())
    return new_alert(tenant, f"threshold:{name}", key, severity, summary, tuple(labels.items()), at, 0.95)


def notification(*alerts: Alert, kind: Kind = Kind.FIRING, changed: bool = True, id_: str = "n1") -> Notification:
    shown = alerts or (alert(host="web1"),)
    news = tuple(a.id for a in shown) if changed else ()
    return Notification(id_, "ops", "g", kind, "acme", (("rule", "cpu"),), shown, news, T0)
