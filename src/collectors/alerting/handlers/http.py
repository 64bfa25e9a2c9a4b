"""What the handlers that speak HTTP share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar

import httpx
from pydantic import SecretStr

from collectors.errors import Overloaded, PermanentError, RetryableError

Secret = Callable[[], SecretStr]
"""Gives the secret at the time it is needed, so that it can be rotated."""

_REFUSED = frozenset({400, 413, 422})
"""Statuses that blame the message: the same one will never be taken. Wrong addresses and keys can be mended."""

_JSON = {"Content-Type": "application/json"}
_MAX_WAIT = 86_400.0

_private: ContextVar[bool] = ContextVar("private", default=False)


def _is_public(_: logging.LogRecord) -> bool:
    return not _private.get()


# httpx logs every address, and that of a Slack webhook is its secret.
logging.getLogger("httpx").addFilter(_is_public)


async def post(
    transport: httpx.AsyncBaseTransport | None,
    url: str,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    timeout_seconds: float = 10.0,
) -> None:
    """Post JSON; raises Overloaded, RetryableError or PermanentError if it is not taken.

    Errors name the status only: neither the address, nor what was sent or answered.
    """
    token = _private.set(True)
    try:
        async with (
            httpx.AsyncClient(transport=transport, timeout=timeout_seconds) as client,
            # The body of the answer is not read: it says nothing more, and may be endless.
            client.stream("POST", url, content=body, headers=_JSON | dict(headers or {})) as response,
        ):
            pass
    except Exception as error:  # noqa: BLE001 - a wrong address raises many things, and most repeat it
        raise RetryableError(f"the receiver can't be reached ({type(error).__name__}); check its address") from None
    finally:
        _private.reset(token)
    status = response.status_code
    if response.is_success:
        return
    if status in _REFUSED:
        raise PermanentError(f"the receiver refused the message with status {status}")
    if status in {429, 503}:
        raise Overloaded(f"the receiver is busy, status {status}", retry_after=_wait(response))
    raise RetryableError(f"the receiver answered with status {status}; check its address and key")


def _wait(response: httpx.Response) -> float:
    """Return the seconds a busy receiver asks for; a date instead of seconds counts as none."""
    text = response.headers.get("Retry-After", "")
    return min(float(text), _MAX_WAIT) if text.isdecimal() else 0.0
