"""What users write about alerts: rules, who is told, when to be quiet.

Secrets are never written here, only where they are: a configuration may be printed, stored and sent around.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, AwareDatetime, Field, SecretStr, model_validator

from collectors.config.alert_rule import NAME, AlertRule, LabelName
from collectors.config.collector import Model
from collectors.config.matchers import Matchers
from collectors.config.tenant import TENANT_ID, TimeZone
from collectors.errors import ConfigError

_REFERENCE = re.compile(r"(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)")
_DAY_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _check_reference(text: str) -> str:
    if not _REFERENCE.fullmatch(text):
        raise ValueError("a secret is not written here; write env:VARIABLE or file:/path, where it stands")
    return text


SecretRef = Annotated[str, AfterValidator(_check_reference)]
"""Where a secret stands: ``env:VARIABLE`` or ``file:/path``; read anew for each use, so that it can be rotated."""


def read_secret(reference: str) -> SecretStr:
    """Return the secret that ``reference`` leads to; ConfigError names the place and never the secret."""
    kind, _, name = reference.partition(":")
    try:
        text = os.environ.get(name, "") if kind == "env" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"the secret in {name} can't be read", fix="make the file readable.") from None
    if not text.strip():
        raise ConfigError(f"there is no secret in {reference}", fix="set the variable, or write the file.")
    return SecretStr(text.strip())


HandlerName = Annotated[str, Field(pattern=NAME)]


class PlatformRule(AlertRule):
    """A rule that the operator writes for all tenants, or for some."""

    tenants: tuple[Annotated[str, Field(pattern=TENANT_ID)], ...] = ()
    """Only these tenants; all if empty."""


class _Handler(Model):
    timeout_seconds: float = Field(default=10.0, gt=0, le=120)
    """Longest one attempt may take."""

    give_up_seconds: float = Field(default=86_400.0, gt=0, le=604_800)
    """A notification that can't be delivered for this long is given up, which is recorded."""


class SlackHandler(_Handler):
    """Messages in a Slack channel, by an incoming webhook."""

    type: Literal["slack"] = "slack"
    """Which kind of handler this is."""
    url: SecretRef
    """Where the address of the incoming webhook stands; the address is the secret."""


class PagerDutyHandler(_Handler):
    """Incidents in PagerDuty, by its Events API v2."""

    type: Literal["pagerduty"] = "pagerduty"
    """Which kind of handler this is."""
    routing_key: SecretRef
    """Where the integration key stands."""
    url: str = Field(default="https://events.pagerduty.com/v2/enqueue", pattern=r"^https?://")
    """Address of the API; another one in the EU's service region."""


class WebhookHandler(_Handler):
    """JSON to any address, signed as Standard Webhooks does."""

    type: Literal["webhook"] = "webhook"
    """Which kind of handler this is."""
    url: str = Field(pattern=r"^https?://")
    """Where to post."""
    secret: SecretRef
    """Where the signing key stands: ``whsec_`` and base64, or any text."""


class AlertmanagerHandler(_Handler):
    """Alerts to a Prometheus Alertmanager, by its API v2."""

    type: Literal["alertmanager"] = "alertmanager"
    """Which kind of handler this is."""
    url: str = Field(pattern=r"^https?://")
    """Address of the Alertmanager, such as http://alertmanager:9093."""
    token: SecretRef | None = None
    """Where a bearer token stands, if a proxy in front wants one."""
    hold_seconds: float = Field(default=18_000.0, gt=0)
    """Alertmanager ends an alert that it was not told of again for this long; more than the route's repeat_seconds."""


class EmailHandler(_Handler):
    """Mail by SMTP."""

    type: Literal["email"] = "email"
    """Which kind of handler this is."""
    host: str = Field(min_length=1)
    """Mail server."""
    port: int = Field(default=587, ge=1, le=65535)
    """Its port: 587 with starttls, 465 with tls, 25 in a private network."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is encrypted."""
    ca_file: Path | None = None
    """Certificate authorities to trust, PEM; the system's if not set."""
    username: str = ""
    """User to log in as; none if empty."""
    password: SecretRef | None = None
    """Where the password stands."""
    sender: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")
    """Address the mail comes from."""
    to: tuple[Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")], ...] = Field(min_length=1)
    """Addresses it goes to."""

    @model_validator(mode="after")
    def _no_password_in_the_clear(self) -> Self:
        if self.username and self.security == "none":
            raise ValueError("a password is not sent unencrypted; set security to starttls or tls")
        if bool(self.username) != (self.password is not None):
            raise ValueError("give both username and password, or neither")
        return self


HandlerConfig = Annotated[
    SlackHandler | PagerDutyHandler | WebhookHandler | AlertmanagerHandler | EmailHandler, Field(discriminator="type")
]


class Route(Model):
    """Which alerts go to which handlers, and how they are put together.

    One notification never mixes tenants, whatever ``group_by`` says.
    """

    match: Matchers = ()
    """Conditions on the alert's labels, which include ``tenant``, ``rule`` and ``severity``; none takes all."""

    handlers: tuple[HandlerName, ...] = Field(min_length=1)
    """Who is told."""

    group_by: tuple[LabelName, ...] = ("rule",)
    """Alerts that have these labels in common are told together."""

    wait_seconds: float = Field(default=5.0, ge=0, le=3600)
    """How long the first alert of a group waits for others."""

    interval_seconds: float = Field(default=60.0, gt=0, le=86_400)
    """Least time between two notifications of a group."""

    repeat_seconds: float = Field(default=14_400.0, gt=0, le=2_592_000)
    """What still fires is told again after this long, unless it was acknowledged."""

    proceed: bool = False
    """Whether later routes are looked at too; else the first that matches is the only one."""


class Inhibition(Model):
    """Alerts that are not told while another fires, such as slow queries while the database is down."""

    source: Matchers = Field(min_length=1)
    """Conditions on the alert that silences others while it fires."""

    target: Matchers = Field(min_length=1)
    """Conditions on the alerts that are not told meanwhile."""

    equal: tuple[LabelName, ...] = ()
    """Labels in which both must agree; they are always of the same tenant."""


def _clock_time(text: str) -> str:
    try:
        time.fromisoformat(text)
    except ValueError:
        raise ValueError("a time of day is written 22:30") from None
    return text


TimeOfDay = Annotated[str, Field(pattern=r"^\d\d:\d\d$"), AfterValidator(_clock_time)]


class Maintenance(Model):
    """Times at which matching alerts are recorded, but nobody is told."""

    name: str = Field(pattern=NAME)
    """What is done then."""

    match: Matchers = ()
    """Conditions on the alerts; none takes all."""

    starts: AwareDatetime | None = None
    """Once: when it begins, with its offset from UTC."""

    ends: AwareDatetime | None = None
    """Once: when it ends."""

    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = ()
    """Every week: the days on which it begins."""

    begins_at: TimeOfDay = "00:00"
    """Every week: when it begins."""

    ends_at: TimeOfDay = "00:00"
    """Every week: when it ends; on the next day if not after the beginning."""

    time_zone: TimeZone = "UTC"
    """IANA time zone of these times of day."""

    @model_validator(mode="after")
    def _either(self) -> Self:
        once = self.starts is not None and self.ends is not None
        if once == bool(self.days) or (self.starts is None) != (self.ends is None):
            raise ValueError("give either starts and ends, or days with begins_at and ends_at")
        if self.starts is not None and self.ends is not None and self.starts >= self.ends:
            raise ValueError("it must end after it starts")
        return self

    def is_open(self, moment: datetime) -> bool:
        """Tell whether ``moment``, which knows its zone, lies in the window; its end is exclusive."""
        if self.starts is not None and self.ends is not None:
            return self.starts <= moment < self.ends
        local = moment.astimezone(ZoneInfo(self.time_zone))
        begin, end = time.fromisoformat(self.begins_at), time.fromisoformat(self.ends_at)
        today = _DAY_NAMES[local.weekday()] in self.days
        if begin < end:
            return today and begin <= local.time() < end
        yesterday = _DAY_NAMES[(local - timedelta(days=1)).weekday()] in self.days
        return (today and local.time() >= begin) or (yesterday and local.time() < end)


class Silence(Model):
    """A person's wish not to be told of matching alerts for a while; they are recorded all the same."""

    match: Matchers = Field(min_length=1)
    """Conditions on the alerts' labels."""

    tenant: Annotated[str, Field(pattern=TENANT_ID)] | None = None
    """Only this tenant's alerts; all tenants' if not set."""

    starts_us: int = Field(ge=0)
    """Beginning, in UTC microseconds."""

    ends_us: int = Field(ge=0)
    """End, exclusive."""

    author: str = Field(default="", max_length=200)
    """Who wants it."""

    comment: str = Field(default="", max_length=500)
    """Why."""

    @model_validator(mode="after")
    def _has_a_length(self) -> Self:
        if self.ends_us <= self.starts_us:
            raise ValueError("it must end after it starts")
        return self


class AlertingConfig(Model):
    """Rules for all tenants, and who is told of alerts."""

    rules: tuple[PlatformRule, ...] = ()
    """Thresholds beyond those of the collectors' ``alert_thresholds``."""

    handlers: Mapping[HandlerName, HandlerConfig] = Field(default_factory=dict)
    """Who can be told, by a name of your choice; one that no route names is told of everything."""

    routes: tuple[Route, ...] = ()
    """Which alerts go to whom; the first that matches counts."""

    inhibitions: tuple[Inhibition, ...] = ()
    """Which alerts are not told while others fire."""

    maintenance: tuple[Maintenance, ...] = ()
    """Planned times at which nobody is told."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [rule.name for rule in self.rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"there are two rules called {twice[0]}")
        for route in self.routes:
            for name in route.handlers:
                handler = self.handlers.get(name)
                if handler is None:
                    raise ValueError(f"a route names the handler {name}, which there is not")
                if isinstance(handler, AlertmanagerHandler) and handler.hold_seconds <= route.repeat_seconds:
                    raise ValueError(f"hold_seconds of {name} must be more than repeat_seconds of its route")
        return self
