"""What a handler is told, and what a handler is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

from collectors.alerting.rules import PREFIX
from collectors.model.alert import Alert, AlertState
from collectors.model.metric import Severity


class Kind(StrEnum):
    """What a notification is about."""

    FIRING = "firing"
    RESOLVED = "resolved"
    ACKNOWLEDGED = "acknowledged"


@dataclass(frozen=True, slots=True)
class Notification:
    """Alerts of one tenant that one handler is told of together.

    ``id`` stays the same over all attempts, so that a receiver can tell repetitions. ``group`` tells the
    notifications that must keep their order. ``kind`` is FIRING while at least one of the alerts does. ``changed`` are
    the ids of those alerts the handler was not told of before in their present state; none in a reminder.
    """

    id: str
    handler: str
    group: str
    kind: Kind
    tenant: str
    labels: tuple[tuple[str, str], ...]
    alerts: tuple[Alert, ...]
    changed: tuple[str, ...]
    created_us: int

    def title(self) -> str:
        """Say in one line what is the matter."""
        if self.kind is Kind.ACKNOWLEDGED:
            return f"[ACKNOWLEDGED] {self.tenant}: {one_line(self.alerts[0].summary)}"
        firing = sum(a.state is AlertState.FIRING for a in self.alerts)
        status = f"FIRING {firing}" if firing else "RESOLVED"
        more = f" and {len(self.alerts) - 1} more" if len(self.alerts) > 1 else ""
        return f"[{status}] {self.tenant}: {one_line(self.alerts[0].summary)}{more}"

    def dump(self) -> str:
        """Return the notification as JSON, to be stored."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Notification:
        """Return the notification that was dumped."""
        given = json.loads(text)
        return cls(
            **{
                **given,
                "kind": Kind(given["kind"]),
                "labels": _pairs(given["labels"]),
                "alerts": tuple(load_alert(a) for a in given["alerts"]),
                "changed": tuple(given["changed"]),
            }
        )


class AlertHandler(Protocol):
    """Tells somebody.

    ``send`` returns once the receiver has taken the notification. It raises RetryableError (Overloaded with
    the wait the receiver asks for) if the same attempt may succeed later, PermanentError if it never will; any other
    error counts as retryable. It may be called again with the same notification, and must bear being cancelled. Its
    errors never hold a secret.
    """

    async def send(self, notification: Notification) -> None:
        """Deliver one notification."""


def notification_id(handler: str, group: str, kind: Kind, alerts: Iterable[Alert], now_us: int) -> str:
    """Return an id that follows from the content, so that the same decision taken twice has the same id."""
    parts = [handler, group, kind, str(now_us), *(f"{a.id}{a.state}" for a in alerts)]
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()


def routing_labels(alert: Alert) -> Mapping[str, str]:
    """Return the labels that routes, silences and inhibitions see."""
    return {**dict(alert.labels), "tenant": alert.tenant, "rule": rule_name(alert), "severity": str(alert.severity)}


def rule_name(alert: Alert) -> str:
    """Return the rule's name as the user wrote it."""
    return alert.rule.removeprefix(PREFIX)


def load_alert(given: Mapping[str, Any]) -> Alert:
    """Return the alert of which ``asdict`` made ``given``."""
    return Alert(
        **{
            **given,
            "severity": Severity(given["severity"]),
            "state": AlertState(given["state"]),
            "labels": _pairs(given["labels"]),
        }
    )


def alert_data(alert: Alert, kind: Kind | None = None) -> dict[str, Any]:
    """Return an alert as webhooks and functions get it; times are ISO 8601 in UTC."""
    return {
        "id": alert.id,
        "status": str(kind or alert.state),
        "tenant": alert.tenant,
        "rule": rule_name(alert),
        "key": alert.key,
        "severity": str(alert.severity),
        "summary": alert.summary,
        "labels": dict(alert.labels),
        "value": alert.value,
        "started": iso(alert.started_us),
        "ended": None if alert.ended_us is None else iso(alert.ended_us),
    }


def iso(time_us: int) -> str:
    """Return a time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def one_line(text: str) -> str:
    """Return ``text`` without line breaks and control characters, which headers and titles can't have."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _pairs(given: Iterable[Iterable[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((k, v) for k, v in given)
