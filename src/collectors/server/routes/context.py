"""What routes are given: the gateway's state, and the key of whoever asks, already checked for the route's scope."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Path
from starlette.requests import Request

from collectors.config.tenant import TENANT_ID
from collectors.drivers.control_store import ApiKey, Scope
from collectors.server.health import Readiness
from collectors.server.middleware import KEY
from collectors.server.schemas import ErrorAnswer
from collectors.server.state import GatewayState


@dataclass(frozen=True)
class Context:
    """The state of the gateway and what the API itself keeps."""

    gateway: GatewayState
    readiness: Readiness
    started: float
    """When the API was made, on the monotonic clock."""
    tenants: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a tenant is written, so that two requests can't both create it or undo each other's change."""


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


Given = Annotated[Context, Depends(_context)]


def _of_tenant(scope: Scope) -> Callable[[Request, Context], Awaitable[ApiKey]]:
    async def check(request: Request, context: Given) -> ApiKey:
        key: ApiKey = request.scope[KEY]
        await context.gateway.authenticator.permit(key, scope, request.path_params["tenant"])
        return key

    return check


async def _of_anything(request: Request, context: Given) -> ApiKey:
    key: ApiKey = request.scope[KEY]
    await context.gateway.authenticator.permit(key, Scope.READ, key.tenant)
    return key


async def _of_server(request: Request, context: Given) -> ApiKey:
    key: ApiKey = request.scope[KEY]
    await context.gateway.authenticator.permit(key, Scope.ADMIN, None)
    return key


TenantReader = Annotated[ApiKey, Depends(_of_tenant(Scope.READ))]
"""A key that may read the tenant in the path."""

TenantAdmin = Annotated[ApiKey, Depends(_of_tenant(Scope.ADMIN))]
"""A key that may administer the tenant in the path."""

Reader = Annotated[ApiKey, Depends(_of_anything)]
"""A key that may read whatever it may see; the route shows no more than that."""

Operator = Annotated[ApiKey, Depends(_of_server)]
"""A key that may administer the whole server."""

TenantId = Annotated[str, Path(pattern=TENANT_ID, description="Id of the tenant.", examples=["acme"])]


def errors(*statuses: int) -> Mapping[int | str, dict[str, Any]]:
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
