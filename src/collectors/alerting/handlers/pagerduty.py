"""PagerDuty: trigger, acknowledge and resolve by its Events API v2."""

from __future__ import annotations

from typing import Any

import httpx
import orjson

from collectors.alerting.handlers.http import Secret, post
from collectors.alerting.notification import Kind, Notification, alert_data, iso, one_line, rule_name
from collectors.model.alert import Alert, AlertState
from collectors.model.metric import Severity

URL = "https://events.pagerduty.com/v2/enqueue"
MAX_SUMMARY = 1024
_SEVERITIES = {Severity.CRITICAL: "critical", Severity.WARNING: "warning", Severity.INFO: "info"}


class PagerDutyHandler:
    """Sends an event for each alert; the alert's id is its dedup key, so that repetitions are one incident."""

    def __init__(
        self,
        routing_key: Secret,
        *,
        url: str = URL,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout: float = 10.0,
    ) -> None:
        self._key = routing_key
        self._url = url
        self._transport = transport
        self._timeout = timeout

    async def send(self, notification: Notification) -> None:
        """Send what changed, or everything if the notification is a reminder."""
        key = self._key().get_secret_value()
        changed = notification.changed
        for alert in notification.alerts:
            if not changed or alert.id in changed:
                body = orjson.dumps({"routing_key": key, **event(alert, notification.kind)})
                await post(self._transport, self._url, body, timeout_seconds=self._timeout)


def event(alert: Alert, kind: Kind) -> dict[str, Any]:
    """Return the event without its routing key."""
    if kind is Kind.ACKNOWLEDGED:
        return {"event_action": "acknowledge", "dedup_key": alert.id}
    if alert.state is AlertState.RESOLVED:
        return {"event_action": "resolve", "dedup_key": alert.id}
    return {
        "event_action": "trigger",
        "dedup_key": alert.id,
        "client": "collectors",
        "payload": {
            "summary": one_line(f"{alert.tenant}: {alert.summary}")[:MAX_SUMMARY],
            "source": alert.tenant,
            "severity": _SEVERITIES[alert.severity],
            "timestamp": iso(alert.started_us),
            "component": rule_name(alert),
            "class": rule_name(alert),
            "group": alert.tenant,
            "custom_details": alert_data(alert),
        },
    }
