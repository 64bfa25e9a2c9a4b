"""What routes are given: the gateway's state, and the certainty that whoever asks may."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from fastapi.params import Depends as Dependency
from starlette.requests import HTTPConnection, Request

from collectors.config.tenant import TENANT_ID
from collectors.drivers.control_store import ApiKey, Scope
from collectors.server.health import Readiness
from collectors.server.middleware import KEY
from collectors.server.routes.strict import StrictRoute
from collectors.server.schemas import ErrorAnswer
from collectors.server.state import GatewayState

TENANT = "/v1/tenants/{tenant}"


@dataclass(frozen=True)
class Context:
    """The state of the gateway and what the API itself keeps."""

    gateway: GatewayState
    readiness: Readiness
    started: float
    """When the API was made, on the monotonic clock."""
    tenants: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a tenant is written, so that two requests can't both create it or undo each other's change."""


def _context(connection: HTTPConnection) -> Context:
    context: Context = connection.app.state.context
    return context


Given = Annotated[Context, Depends(_context)]


def _allow(scope: Scope) -> Callable[[Request, Context], Awaitable[ApiKey]]:
    async def check(request: Request, context: Given) -> ApiKey:
        key: ApiKey = request.scope[KEY]
        tenant = request.path_params.get("tenant", key.tenant)
        await context.gateway.authenticator.permit(key, scope, tenant)
        return key

    return check


async def _allow_operator(request: Request, context: Given) -> None:
    await context.gateway.authenticator.permit(request.scope[KEY], Scope.ADMIN, None)


READERS = Depends(_allow(Scope.READ))
"""Only keys that may read the tenant in the path; without one there, whatever they may see."""

ADMINS = Depends(_allow(Scope.ADMIN))
"""Only keys that may administer the tenant in the path."""

OPERATORS = Depends(_allow_operator)
"""Only keys that may administer the whole server."""

Reader = Annotated[ApiKey, READERS]
"""The key of a reader, where it decides what to show."""

TenantId = Annotated[str, Path(pattern=TENANT_ID, description="Id of the tenant.", examples=["acme"])]


def resource(tag: str, *allowed: Dependency, prefix: str = "") -> APIRouter:
    """Return the router of a resource, whose routes are only for those ``allowed``."""
    return APIRouter(prefix=prefix, tags=[tag], dependencies=allowed, route_class=StrictRoute)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the error answers of a route for OpenAPI: the given ones, and those that any route may give."""
    described = {
        400: "The request is malformed; the message says where.",
        401: "No valid key was sent.",
        403: "The key does not allow this.",
        404: "There is no such thing, or the key may not see it.",
        409: "It exists already, or is in a state that does not allow this.",
        413: "The body is too large.",
        429: "Too much at once; come back after the seconds in Retry-After.",
        503: "Something the answer needs can't be had right now; come back after the seconds in Retry-After.",
    }
    return {
        status: {"model": ErrorAnswer, "description": described[status]}
        for status in sorted({400, 401, 403, 413, 429, 503, *statuses})
    }
