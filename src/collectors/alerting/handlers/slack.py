"""Slack: a Block Kit message by an incoming webhook."""

from __future__ import annotations

from typing import Any

import httpx
import orjson

from collectors.alerting.handlers.http import Secret, post
from collectors.alerting.notification import Kind, Notification, iso, one_line, rule_name
from collectors.model.alert import Alert, AlertState

# Limits of Block Kit.
MAX_HEADER = 150
MAX_TEXT = 3000
_ICONS = {"critical": ":red_circle:", "warning": ":large_orange_circle:", "info": ":large_blue_circle:"}


class SlackHandler:
    """Posts to the channel that ``url``, a secret, stands for."""

    def __init__(
        self, url: Secret, *, transport: httpx.AsyncBaseTransport | None = None, timeout: float = 10.0
    ) -> None:
        self._url = url
        self._transport = transport
        self._timeout = timeout

    async def send(self, notification: Notification) -> None:
        """Post one message for all alerts of the notification."""
        body = orjson.dumps(message(notification))
        await post(self._transport, self._url().get_secret_value(), body, timeout_seconds=self._timeout)


def message(notification: Notification) -> dict[str, Any]:
    """Return the message: a header, a section for each alert, and what they have in common."""
    title = notification.title()
    common = " · ".join(f"{k}={v}" for k, v in (("tenant", notification.tenant), *notification.labels) if v)
    return {
        "text": _escaped(title, MAX_TEXT),  # what a phone shows, and screen readers read
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": _cut(title, MAX_HEADER)}},
            *(_section(alert, notification.kind) for alert in notification.alerts),
            {"type": "context", "elements": [{"type": "mrkdwn", "text": _escaped(common, MAX_TEXT)}]},
        ],
    }


def _section(alert: Alert, kind: Kind) -> dict[str, Any]:
    icon = ":white_check_mark:" if alert.state is AlertState.RESOLVED else _ICONS[alert.severity]
    if kind is Kind.ACKNOWLEDGED:
        icon = ":eyes:"
    until = f" until {iso(alert.ended_us)}" if alert.ended_us is not None else ""
    labels = ", ".join(f"{k}={v}" for k, v in alert.labels)
    facts = f"{alert.severity}, since {iso(alert.started_us)}{until}"
    parts = [
        f"{icon} *{_escaped(rule_name(alert), 200)}*: {_escaped(one_line(alert.summary), 1000)}",
        _escaped(facts, 200),
        *([_escaped(labels, 1000)] if labels else []),
    ]
    return {"type": "section", "text": {"type": "mrkdwn", "text": "\n".join(parts)}}


def _escaped(text: str, limit: int) -> str:
    """Return ``text`` as mrkdwn that calls nobody and links nowhere, in at most ``limit`` characters."""
    made = ""
    for character in text:
        piece = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}.get(character, character)
        if len(made) + len(piece) >= limit:
            return f"{made}…"
        made += piece
    return made


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
