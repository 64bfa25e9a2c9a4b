"""Find the server a command is about, and talk to its API."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from collectors.errors import (
    BadInput,
    CollectorsError,
    ConfigError,
    Forbidden,
    Overloaded,
    SourceRefused,
    SourceUnavailable,
    TooLarge,
    Unauthenticated,
    UnknownName,
)

if TYPE_CHECKING:
    import httpx

SERVER_FILE = "server.json"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_TIMEOUT_SECONDS = 30.0
_BY_STATUS: Mapping[int, type[CollectorsError]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: UnknownName,
    413: TooLarge,
}


@dataclass(frozen=True, slots=True)
class Target:
    """A server's address and a key for it."""

    url: str
    key: str = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """The headers every request carries."""
        return {"Authorization": f"Bearer {self.key}"}

    @property
    def local(self) -> bool:
        """Whether it is on this machine, where no proxy of the environment leads to."""
        return urlsplit(self.url).hostname in _LOOPBACK


def find_server(url: str | None, key: str | None, data: Path) -> Target:
    """Return the server named by ``url`` and ``key``, or by the data folder of one that runs here; else ConfigError."""
    local = _local_url(data)
    if url is None and local is None:
        raise ConfigError(
            f"there is no server to talk to: none runs on the data folder {data}",
            fix="start one with: collectors serve; or name one by --url and --key, or by --data.",
        )
    address = (url or local or "").rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"{address!r} is no address of a server", where="--url", fix="write http://HOST:PORT.")
    if key is None and address == local:  # the folder's key is for its own server and goes nowhere else
        key_file = data / "admin.key"
        key = key_file.read_text().strip() if key_file.exists() else None
    if not key:
        raise ConfigError("a key is needed", where="--key", fix="make one with: collectors keys create TENANT.")
    return Target(address, key)


def _local_url(data: Path) -> str | None:
    """Return the address of the server that runs on a data folder."""
    try:
        server = json.loads((data / SERVER_FILE).read_text())
        os.kill(int(server["pid"]), 0)
    except ProcessLookupError:
        return None  # it was killed: nobody took the file away
    except PermissionError:
        pass  # it runs as another user
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(server["url"])


def refusal(status: int, body: bytes, headers: Mapping[str, str]) -> CollectorsError:
    """Return the error that an answer stands for, in the server's words."""
    try:
        error = json.loads(body)["error"]
        message = str(error["message"])
    except (ValueError, KeyError, TypeError):
        message = f"the server answered with status {status}"
    if status in {429, 503}:
        return Overloaded(message, retry_after=retry_after(headers))
    if status >= 500:
        return SourceUnavailable(message)
    return _BY_STATUS.get(status, BadInput if status == 400 else SourceRefused)(message)


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds a server asks to wait, 1 if it does not say so in seconds."""
    try:
        return max(0.0, float(headers["retry-after"]))
    except (KeyError, ValueError):
        return 1.0


def unreachable(target: Target, error: Exception) -> SourceUnavailable:
    """Return the error for a server that did not answer."""
    reason = str(error) or type(error).__name__
    return SourceUnavailable(f"no answer from {target.url}: {reason}. Is the server running?")


class Api:
    """The server's API; to be used in a ``with`` block. Methods return the answers' JSON and raise our errors."""

    def __init__(self, target: Target, transport: httpx.BaseTransport | None = None) -> None:
        import httpx

        self._target = target
        self._client = httpx.Client(
            base_url=target.url,
            headers=target.headers,
            timeout=_TIMEOUT_SECONDS,
            transport=transport,
            trust_env=not target.local,
        )

    def get(self, path: str, **parameters: str | int) -> Any:
        """Read what stands at ``path``."""
        return self._call("GET", path, params=parameters)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send ``body`` as JSON."""
        return self._call("POST", path, json=body)

    def tenants(self, only: str | None = None) -> list[str]:
        """Return the tenants that the key may see, or the one asked for."""
        return [only] if only else [str(t["id"]) for t in self.get("/v1/tenants")]

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        import httpx

        try:
            answer = self._client.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise unreachable(self._target, error) from error
        if answer.is_error:
            raise refusal(answer.status_code, answer.content, answer.headers)
        try:
            return answer.json()
        except ValueError:
            raise SourceRefused(f"{self._target.url} did not answer as a server of this kind does") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
