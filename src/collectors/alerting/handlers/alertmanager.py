"""Prometheus Alertmanager: alerts by its API v2; it then groups, silences and tells by its own configuration."""

from __future__ import annotations

import re
from typing import Any

import httpx
import orjson

from collectors.alerting.handlers.http import Secret, post
from collectors.alerting.notification import Kind, Notification, iso, routing_labels, rule_name
from collectors.clock import Clock
from collectors.model.alert import Alert, AlertState

_NO_NAME = re.compile(r"^(?=[0-9])|[^a-zA-Z0-9_]")


class AlertmanagerHandler:
    """Posts alerts; one that fires ends there after ``hold_seconds`` unless it is told again."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        hold_seconds: float = 18_000.0,
        token: Secret | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout: float = 10.0,
    ) -> None:
        self._url = f"{url.rstrip('/')}/api/v2/alerts"
        self._clock = clock
        self._hold_us = round(hold_seconds * 1e6)
        self._token = token
        self._transport = transport
        self._timeout = timeout

    async def send(self, notification: Notification) -> None:
        """Post all alerts of the notification; Alertmanager knows no acknowledgement."""
        if notification.kind is Kind.ACKNOWLEDGED:
            return
        until = self._clock.now_us() + self._hold_us
        body = orjson.dumps([alert_body(a, until) for a in notification.alerts])
        headers = {"Authorization": f"Bearer {self._token().get_secret_value()}"} if self._token else {}
        await post(self._transport, self._url, body, headers, timeout_seconds=self._timeout)


def alert_body(alert: Alert, until_us: int) -> dict[str, Any]:
    """Return an alert as Alertmanager takes it; it drops labels without a value, and names hold no dots."""
    ended = alert.ended_us if alert.state is AlertState.RESOLVED else None
    labels = {_NO_NAME.sub("_", k): v for k, v in routing_labels(alert).items() if v and k != "rule"}
    return {
        "labels": {"alertname": rule_name(alert), **labels, **({"item": alert.key} if alert.key else {})},
        "annotations": {"summary": alert.summary, "id": alert.id},
        "startsAt": iso(alert.started_us),
        "endsAt": iso(until_us if ended is None else max(ended, alert.started_us + 1000)),
    }
