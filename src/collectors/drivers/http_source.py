"""Text pages of a monitored system, by HTTP over TCP or a Unix socket; every failure is one of our errors."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from pydantic import SecretStr

from collectors.errors import CollectorsError, ConfigError, SourceRefused, SourceUnavailable

if TYPE_CHECKING:
    import httpx

Answers = dict[str, "str | CollectorsError"]
"""What a source told, by the name of each part; an error for an optional part that it did not tell."""

_SERVER_ERROR = 500
_NO_PASSWORD = SecretStr("")


class Page(Protocol):
    """Anything that returns a page's text."""

    async def get(self, path: str = "") -> str:
        """Return the text of the page at ``path``."""

    async def close(self) -> None:
        """Close connections."""


class HttpSource:
    """Pages under one address.

    ``address`` is ``http://host:port/path``, ``https://…`` or ``unix:/path/of/socket``. A page must arrive whole
    within ``timeout_s`` seconds, so that one that drips does not hold anybody up, and have at most ``max_bytes``
    bytes. Redirects are not followed: credentials go where they were meant to go. No error holds them.
    """

    def __init__(
        self,
        address: str,
        *,
        username: str = "",
        password: SecretStr = _NO_PASSWORD,
        ca_file: str = "",
        timeout_s: float = 5.0,
        max_bytes: int = 64 << 20,
    ) -> None:
        self._address = address
        self._username = username
        self._password = password
        self._ca_file = ca_file
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._client: httpx.AsyncClient | None = None

    @property
    def place(self) -> str:
        """Where the source is, without anything secret."""
        parts = urlsplit(self._address)
        return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or parts.scheme}"

    async def get(self, path: str = "") -> str:
        """Return the text of the page at ``path``; ``SourceUnavailable`` or ``SourceRefused`` if there is none."""
        import httpx

        client = self._connected()
        try:
            async with asyncio.timeout(self._timeout_s), client.stream("GET", self._url(path)) as response:
                self._judge(response.status_code, path)
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > self._max_bytes:
                        raise SourceRefused(f"{self.place} answers with more than {self._max_bytes:,} bytes; narrow it")
        except (TimeoutError, httpx.TimeoutException):
            raise SourceUnavailable(f"{self.place} did not answer within {self._timeout_s:g} s") from None
        except httpx.ConnectError as error:
            if _about_certificates(error):
                raise SourceRefused(f"the certificate of {self.place} is not trusted; set ca_file") from None
            raise SourceUnavailable(f"{self.place} can't be reached; look whether it runs there") from None
        except httpx.HTTPError:
            raise SourceUnavailable(f"{self.place} broke off its answer") from None
        return body.decode("utf-8", "replace")

    async def close(self) -> None:
        """Close connections; safe twice."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _connected(self) -> httpx.AsyncClient:
        import httpx

        if self._client is None:
            parts = urlsplit(self._address)
            auth = httpx.BasicAuth(self._username, self._password.get_secret_value()) if self._username else None
            local = parts.scheme == "unix"
            try:
                verify = ssl.create_default_context(cafile=self._ca_file or None) if parts.scheme == "https" else False
            except (OSError, ssl.SSLError):
                raise ConfigError("ca_file can't be read", fix="name a readable file of PEM certificates.") from None
            self._client = httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(verify=verify, uds=parts.path if local else None),
                timeout=self._timeout_s,
                auth=auth,
            )
        return self._client

    def _url(self, path: str) -> str:
        base = "http://localhost" if self._address.startswith("unix:") else self._address
        return f"{base.rstrip('/')}{path}" if path else base

    def _judge(self, status: int, path: str) -> None:
        page = path.partition("?")[0]
        if status in {401, 403}:
            raise SourceRefused(f"{self.place} refuses {page} ({status}); give a user who may read it")
        if status >= _SERVER_ERROR:
            raise SourceUnavailable(f"{self.place} answers {page} with {status}")
        if status != 200:
            raise SourceRefused(f"{self.place} has no page {page} ({status}); look at the address")


async def ask_all(page: Page, required: tuple[str, str], optional: dict[str, str]) -> Answers:
    """Ask for the page that must be there, then for the others at once; each is a path by the part's name."""
    name, path = required
    answers: Answers = {name: await page.get(path)}
    async with asyncio.TaskGroup() as group:
        asked = {part: group.create_task(_error_or_text(page, path)) for part, path in optional.items()}
    answers.update((part, task.result()) for part, task in asked.items())
    return answers


async def _error_or_text(page: Page, path: str) -> str | CollectorsError:
    try:
        return await page.get(path)
    except CollectorsError as error:
        return error


def _about_certificates(error: BaseException) -> bool:
    """Tell whether a certificate is why a connection failed: the cause is at the end of a chain."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
