"""From what users wrote to handlers that work."""

from __future__ import annotations

from functools import partial

import httpx

from collectors.alerting.delivery import Receiver
from collectors.alerting.handlers.alertmanager import AlertmanagerHandler
from collectors.alerting.handlers.email import EmailHandler
from collectors.alerting.handlers.pagerduty import PagerDutyHandler
from collectors.alerting.handlers.slack import SlackHandler
from collectors.alerting.handlers.webhook import WebhookHandler
from collectors.alerting.notification import AlertHandler
from collectors.clock import Clock
from collectors.config import alerting as config


def receiver(given: config.HandlerConfig, clock: Clock, transport: httpx.AsyncBaseTransport | None = None) -> Receiver:
    """Return the configured handler with its limits; ``transport`` stands in for the network's, for HTTP."""
    return Receiver(_handler(given, clock, transport), given.timeout_seconds, given.give_up_seconds)


def _handler(given: config.HandlerConfig, clock: Clock, transport: httpx.AsyncBaseTransport | None) -> AlertHandler:
    limit = given.timeout_seconds
    match given:
        case config.SlackHandler():
            return SlackHandler(partial(config.read_secret, given.url), transport=transport, timeout=limit)
        case config.PagerDutyHandler():
            key = partial(config.read_secret, given.routing_key)
            return PagerDutyHandler(key, url=given.url, transport=transport, timeout=limit)
        case config.WebhookHandler():
            secret = partial(config.read_secret, given.secret)
            return WebhookHandler(given.url, secret, clock, transport=transport, timeout=limit)
        case config.AlertmanagerHandler():
            return AlertmanagerHandler(
                given.url,
                clock,
                hold_seconds=given.hold_seconds,
                token=None if given.token is None else partial(config.read_secret, given.token),
                transport=transport,
                timeout=limit,
            )
        case config.EmailHandler():
            return EmailHandler(
                given.host,
                given.port,
                given.sender,
                given.to,
                security=given.security,
                username=given.username,
                password=None if given.password is None else partial(config.read_secret, given.password),
                ca_file=given.ca_file,
                timeout=limit,
            )
