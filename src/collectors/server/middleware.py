"""What happens to every request of the control API before it reaches a route, and to every answer after."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from collectors.errors import CollectorsError, TooLarge
from collectors.server.answers import SECURITY_HEADERS
from collectors.server.auth import Authenticator
from collectors.server.problems import problem

_PROTECTED = ("/v1/", "/metrics")
KEY = "collectors.key"
"""Where the key of a request stands in its scope."""


class SecurityHeaders:
    """Add the security headers that an answer does not set itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def add_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, add_headers)


class BodyLimit:
    """Refuse bodies larger than ``max_bytes``, announced or not."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self._max_bytes:
            await problem(self._too_large())(scope, receive, send)
            return
        received = 0

        async def count() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise HTTPException(413)  # the one kind of error that a body's reader lets through
            return message

        await self._app(scope, count, send)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is larger than {self._max_bytes} bytes; send less at once")


class KeyCheck:
    """Answer only those with a key, on every address below ``/v1/``, known or not, and on ``/metrics``.

    WebSockets are let through: they may bring their key in the first message.
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(_PROTECTED):
            try:
                scope[KEY] = await self._authenticator.identify(scope["headers"])
            except CollectorsError as error:
                await problem(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)
