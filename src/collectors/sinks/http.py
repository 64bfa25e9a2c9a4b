"""What the sinks that post over HTTP share: one kept connection, headers from where secrets stand, errors of ours."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Protocol

import httpx

from collectors.config.alerting import SecretRef, read_secret
from collectors.contract.sink import SinkContext
from collectors.errors import ConfigError, LifecycleError, Overloaded, PermanentError, RetryableError

_REFUSED = frozenset({400, 413, 422})
"""Statuses that blame the batch: the same one will never be taken. Wrong addresses and keys can be mended."""
_BUSY = frozenset({429, 503})
_MAX_ANSWER_BYTES = 64 * 2**10
_MAX_WAIT = 3600.0

_private: ContextVar[bool] = ContextVar("private", default=False)


def _is_public(_: logging.LogRecord) -> bool:
    return not _private.get()


# httpx logs every request with its address: once a second, and an address may hold a key.
logging.getLogger("httpx").addFilter(_is_public)


class HttpSettings(Protocol):
    """What users set for every sink that posts."""

    @property
    def token(self) -> SecretRef | None:
        """Where a bearer token stands."""

    @property
    def headers(self) -> Mapping[str, SecretRef]:
        """Headers by where their values stand."""

    @property
    def ca_file(self) -> Path | None:
        """Authorities to trust."""

    @property
    def timeout_seconds(self) -> float:
        """Longest an attempt may take."""


class HttpPoster:
    """Posts bodies to one target."""

    def __init__(self, settings: HttpSettings, context: SinkContext) -> None:
        self._settings = settings
        self._context = context
        self._client: httpx.AsyncClient | None = None

    async def open(self) -> None:
        """Make a client; the first post connects."""
        await self.close()
        self._client = await self._context.offload(self._make)

    async def close(self) -> None:
        """Release the connection."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        """Return the first 64 KiB of the answer; errors tell the status only, neither address nor content."""
        if self._client is None:
            raise LifecycleError("the sink is not open; open it before writing")
        secret = await self._context.offload(self._secret_headers)
        token = _private.set(True)
        try:
            async with self._client.stream("POST", url, content=body, headers={**headers, **secret}) as response:
                answer = b""
                async for part in response.aiter_bytes():
                    answer += part
                    if len(answer) >= _MAX_ANSWER_BYTES:
                        break
        except Exception as error:  # noqa: BLE001 - a wrong address raises many things, and most repeat it
            raise RetryableError(f"the target can't be reached ({type(error).__name__}); check its address") from None
        finally:
            _private.reset(token)
        status = response.status_code
        if response.is_success:
            return answer[:_MAX_ANSWER_BYTES]
        if status in _REFUSED:
            raise PermanentError(f"the target refused the batch with status {status}")
        if status in _BUSY:
            raise Overloaded(f"the target is busy, status {status}", retry_after=_wait(response))
        raise RetryableError(f"the target answered with status {status}; check its address and key")

    def _make(self) -> httpx.AsyncClient:
        given = self._settings
        try:
            verify: ssl.SSLContext | bool = (
                True if given.ca_file is None else ssl.create_default_context(cafile=given.ca_file)
            )
        except (OSError, ssl.SSLError):
            raise ConfigError("ca_file can't be read", fix="give it certificates in PEM.") from None
        transport = self._context.drivers.get("transport")
        return httpx.AsyncClient(transport=transport, verify=verify, timeout=given.timeout_seconds)

    def _secret_headers(self) -> dict[str, str]:
        """Read the secrets anew, so that they can be rotated."""
        found = {name: read_secret(reference).get_secret_value() for name, reference in self._settings.headers.items()}
        if self._settings.token is not None:
            found["Authorization"] = f"Bearer {read_secret(self._settings.token).get_secret_value()}"
        for name, value in found.items():
            if not (value.isascii() and value.isprintable()):
                raise ConfigError(f"the secret for the header {name} can't be sent", fix="use printable ASCII.")
        return found


def _wait(response: httpx.Response) -> float:
    """Return the seconds a busy target asks for; a date instead of seconds counts as none."""
    text = response.headers.get("Retry-After", "")
    return min(float(text), _MAX_WAIT) if text.isascii() and text.isdecimal() else 0.0
