"""How errors leave the API: one shape for all of them, and nothing in it that somebody sent or that is secret."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from collectors.errors import (
    BadInput,
    CollectorsError,
    MalformedBody,
    Overloaded,
    StorageUnavailable,
    TooLarge,
    Unauthenticated,
)
from collectors.server.answers import SECURITY_HEADERS, Answer

log = structlog.get_logger()

_CODES = {404: "not_found", 405: "method_not_allowed", 413: TooLarge.code, 415: "unsupported_media_type"}
_MESSAGES = {
    400: "the body can't be read; send JSON in UTF-8",
    404: "there is nothing at this address; /openapi.json lists what there is",
    405: "this address does not take that method; the Allow header lists those it takes",
    413: "the body is too large; send less at once",
}
_MAX_PLACES = 5
_PLACE_LENGTH = 64


def problem(error: CollectorsError) -> Answer:
    """Return the answer that tells of ``error``."""
    headers = {}
    if isinstance(error, Overloaded | StorageUnavailable):
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    if isinstance(error, Unauthenticated):
        # Only Bearer: asked for Basic, a browser would open its own window over the page.
        headers["WWW-Authenticate"] = 'Bearer realm="collectors"'
    position = error.position if isinstance(error, MalformedBody) else ""
    return _answer(error.http_status, error.code, str(error), headers, position)


def install(app: FastAPI, routes: Sequence[Route]) -> None:
    """Give every error of ``app``, whose routes are ``routes``, the common shape."""

    async def on_http(request: Request, error: Exception) -> Answer:
        assert isinstance(error, HTTPException)
        status, headers = error.status_code, dict(error.headers or {})
        if status == 405:
            # The router names only the methods of the first route with that path.
            path = request.scope["path"]
            methods = {method for r in routes if r.path_regex.match(path) for method in r.methods or ()}
            headers["Allow"] = ", ".join(sorted(methods)) or headers.get("Allow", "")
        message = _MESSAGES.get(status, "the request can't be answered")
        return _answer(status, _CODES.get(status, BadInput.code), message, headers)

    app.add_exception_handler(CollectorsError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(sqlite3.Error, _on_database)
    app.add_exception_handler(Exception, _on_bug)


async def _on_error(request: Request, error: Exception) -> Answer:
    assert isinstance(error, CollectorsError)
    if error.http_status >= 500:
        log.warning("api.failed", path=request.scope["path"], code=error.code, error=str(error))
    return problem(error)


async def _on_validation(_: Request, error: Exception) -> Answer:
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    if errors and errors[0]["type"] == "json_invalid":
        place = f"character {errors[0]['loc'][-1]}"
        return problem(MalformedBody("the body is not JSON", position=place))
    return problem(BadInput(_explain(errors)))


async def _on_database(request: Request, error: Exception) -> Answer:
    log.warning("api.database", path=request.scope["path"], error=str(error))
    return problem(StorageUnavailable("a database of the server can't be used right now; try again"))


async def _on_bug(request: Request, error: Exception) -> Answer:
    log.error("api.bug", path=request.scope["path"], error=type(error).__name__)
    # This answer is made outside the middleware that adds these headers to all others.
    message = "the server made a mistake; its log says more"
    return _answer(500, CollectorsError.code, message, dict(SECURITY_HEADERS))


def _answer(status: int, code: str, message: str, headers: Mapping[str, str], position: str = "") -> Answer:
    error = {"code": code, "message": message}
    if position:
        error["position"] = position
    return Answer({"error": error}, status, dict(headers))


def _explain(errors: Sequence[Any]) -> str:
    parts = [f"{_place(e['loc'])}: {_reason(e)}" for e in errors[:_MAX_PLACES]]
    if len(errors) > _MAX_PLACES:
        parts.append(f"and {len(errors) - _MAX_PLACES} more")
    return "; ".join(parts)


def _place(location: Sequence[int | str]) -> str:
    """Write a location as a path; names in it may be the sender's, so they are cut short and plain."""
    names = ("".join(c if c.isprintable() else "?" for c in str(part))[:_PLACE_LENGTH] for part in location)
    return ".".join(names)


def _reason(error: Mapping[str, Any]) -> str:
    if error["type"] in ("value_error", "assertion_error"):
        # The words of a validator may quote the value.
        return "this value is not valid here; the description in /openapi.json says what is"
    message: str = error["msg"]
    return message[:1].lower() + message[1:]
