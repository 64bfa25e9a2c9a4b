"""What people do about alerts: silence them, and say that somebody takes care."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Response
from pydantic import Field

from collectors.config.alerting import Silence
from collectors.config.collector import Model
from collectors.config.matchers import Matchers
from collectors.drivers.alert_store import StoredSilence
from collectors.errors import BadInput, UnknownName
from collectors.model.alert import AlertState
from collectors.server.answers import Answer
from collectors.server.routes.context import ADMINS, READERS, TENANT, Given, TenantId, errors, resource
from collectors.server.schemas import LATEST_US, Micros, _Shape

router = resource("alerts", READERS, prefix=TENANT)

_MAX_SECONDS = 366 * 86_400

Hex = Annotated[str, Path(pattern="^[0-9a-f]{1,64}$", examples=["5f1c2a9b03de"])]


class NewSilence(Model):
    """Alerts that nobody is to be told of for a while."""

    match: Matchers = Field(min_length=1, examples=[["rule=cpu_high", "host=~web.*"]])
    """Conditions on the alerts' labels that must all hold."""

    seconds: int = Field(ge=1, le=_MAX_SECONDS, examples=[7200])
    """How long."""

    starts: Micros | None = None
    """When it begins; now."""

    comment: str = Field(default="", max_length=500)
    """Why."""


class SilenceAnswer(_Shape):
    """A silence that is not over."""

    id: str = Field(examples=["5f1c2a9b03de"])
    match: tuple[str, ...]
    """Conditions on the alerts' labels that must all hold."""
    starts: Micros
    ends: Micros
    author: str
    comment: str
    is_general: bool
    """Whether it holds for all tenants, and only an operator can end it."""


@router.get("/silences", response_model=list[SilenceAnswer], responses=errors(404))
def list_silences(context: Given, tenant: TenantId) -> Answer:
    """List the silences that are not over: the tenant's, and those that hold for all."""
    now = context.gateway.clock.now_us()
    return Answer([_shown(s) for s in context.gateway.alerting.silences(now, tenant)])


@router.post("/silences", response_model=SilenceAnswer, status_code=201, responses=errors(404), dependencies=[ADMINS])
def create_silence(context: Given, tenant: TenantId, new: NewSilence) -> Answer:
    """Have nobody told of matching alerts for a while; they are recorded all the same."""
    starts = context.gateway.clock.now_us() if new.starts is None else new.starts
    ends = starts + new.seconds * 10**6
    if ends > LATEST_US:
        raise BadInput("the silence would end after the year 9999; make it shorter")
    silence = Silence(match=new.match, tenant=tenant, starts_us=starts, ends_us=ends, author="api", comment=new.comment)
    return Answer(_shown(StoredSilence(context.gateway.alerting.add_silence(silence), silence)), 201)


@router.delete(
    "/silences/{silence_id}",
    status_code=204,
    response_class=Response,
    responses=errors(404),
    dependencies=[ADMINS],
)
def end_silence(context: Given, tenant: TenantId, silence_id: Hex) -> Response:
    """End one of the tenant's silences now."""
    context.gateway.alerting.end_silence(silence_id, context.gateway.clock.now_us(), tenant)
    return Response(status_code=204)


@router.post(
    "/alerts/{alert_id}/acknowledge",
    status_code=204,
    response_class=Response,
    responses=errors(404),
    dependencies=[ADMINS],
)
def acknowledge(context: Given, tenant: TenantId, alert_id: Hex) -> Response:
    """Say that somebody takes care of an alert: it is not repeated, and PagerDuty is told."""
    firing = context.gateway.samples.alerts(tenant, AlertState.FIRING, 100_000)
    if all(a.id != alert_id for a in firing):
        raise UnknownName("no alert of that id fires")
    context.gateway.alerting.acknowledge(alert_id, context.gateway.clock.now_us(), "api")
    return Response(status_code=204)


def _shown(stored: StoredSilence) -> dict[str, Any]:
    silence = stored.silence
    return {
        "id": stored.id,
        "match": silence.match,
        "starts": silence.starts_us,
        "ends": silence.ends_us,
        "author": silence.author,
        "comment": silence.comment,
        "is_general": silence.tenant is None,
    }
