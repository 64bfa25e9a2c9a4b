"""What a sink writes to in the contract's checks: a stand-in that remembers what arrived, and fails when told to."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

import httpx


class Trouble(StrEnum):
    """How a target can fail."""

    UNAVAILABLE = "unavailable"
    """It does not answer."""
    BUSY = "busy"
    """It wants to be asked again in ``BUSY_SECONDS``."""
    REFUSED = "refused"
    """It will never take this batch."""
    WRONG_KEY = "wrong_key"
    """It does not know the key, until somebody mends that."""
    HANGING = "hanging"
    """It takes the connection and says nothing."""


BUSY_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A sample as the target understood it. ``key`` is what it knows repeated ones by."""

    key: Hashable
    tenant: str
    value: float | None


class SinkTarget(ABC):
    """A stand-in for one target. Derive from it, or from ``HttpTarget``, and give it to ``check_sink``."""

    troubles: ClassVar[frozenset[Trouble]] = frozenset(Trouble)
    """What it can be told to do."""
    secrets: tuple[str, ...] = ()
    """Secrets that the sink knows and must not tell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trouble: Trouble | None = None

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """What a user writes to have the sink write here."""

    @property
    def drivers(self) -> Mapping[str, Any]:
        """What the sink is given to reach it by."""
        return {}

    @abstractmethod
    def arrived(self) -> list[Arrival]:
        """Return the samples that arrived, in order."""


class HttpTarget(SinkTarget):
    """A target that is posted to; ``decode`` reads its requests."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.requests: list[httpx.Request] = []

    @property
    def drivers(self) -> Mapping[str, Any]:
        return {"transport": httpx.MockTransport(self._answer)}

    def arrived(self) -> list[Arrival]:
        return [one for request in self.requests for one in self.decode(request)]

    @abstractmethod
    def decode(self, request: httpx.Request) -> Iterable[Arrival]:
        """Return the samples of a request."""

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        match self.trouble:
            case Trouble.UNAVAILABLE:
                raise httpx.ConnectError("nobody listens at " + str(request.url))
            case Trouble.HANGING:
                await asyncio.Event().wait()
            case Trouble.BUSY:
                return httpx.Response(429, headers={"Retry-After": f"{BUSY_SECONDS:.0f}"})
            case Trouble.REFUSED:
                return httpx.Response(400, text=f"{dict(request.headers)}")
            case Trouble.WRONG_KEY:
                return httpx.Response(401, text=f"{dict(request.headers)}")
        await request.aread()
        self.requests.append(request)
        return httpx.Response(200)


MakeTarget = Callable[[Path], SinkTarget]
