"""The control API: everything over HTTP except the event routes. Made from a GatewayState by ``create_api``."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from importlib.metadata import version

import anyio.to_thread
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware import Middleware

from collectors.server import openapi, problems
from collectors.server.health import Readiness
from collectors.server.middleware import BodyLimit, KeyCheck, SecurityHeaders
from collectors.server.routes import (
    alerts,
    event_types,
    keys,
    ledger,
    operations,
    overview,
    samples,
    streams,
    tenants,
)
from collectors.server.routes.context import Context
from collectors.server.routes.page import PageFiles
from collectors.server.state import GatewayState

MAX_BODY_BYTES = 2**20
"""Largest body of a control request."""

_THREADS = 8
"""Control requests that read stores at the same time: many pages must not take the event path's processor time."""


def create_api(state: GatewayState) -> FastAPI:
    """Return the control API as an ASGI application; while its lifespan lasts, live frames flow."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        state.hub.start()
        yield
        await state.hub.close()

    app = FastAPI(
        title="collectors",
        version=version("collectors"),
        lifespan=lifespan,
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(BodyLimit, max_bytes=MAX_BODY_BYTES),
            Middleware(KeyCheck, authenticator=state.authenticator),
        ],
    )
    app.state.context = Context(state, Readiness(state), state.clock.monotonic())
    resources = (overview, tenants, keys, ledger, samples, alerts, streams, event_types, operations)
    for resource in resources:
        app.include_router(resource.router)
    app.include_router(streams.sockets)
    problems.install(app, [r for resource in resources for r in resource.router.routes if isinstance(r, APIRoute)])
    page = PageFiles()
    app.add_route("/", page.index, include_in_schema=False)
    app.mount("/assets", page)
    app.openapi = partial(openapi.describe, app)  # type: ignore[method-assign] # FastAPI's own way to adapt it
    return app
