"""nginx's status: the page of ``stub_status``, or the API of the commercial build."""

from __future__ import annotations

from collectors.drivers.http_source import Answers, Page, ask_all

_PLUS_PARTS = (
    "processes", "connections", "ssl", "slabs", "workers", "resolvers",
    "http/requests", "http/server_zones", "http/location_zones", "http/upstreams", "http/caches",
    "http/limit_reqs", "http/limit_conns",
    "stream/server_zones", "stream/upstreams", "stream/limit_conns", "stream/zone_sync",
)  # fmt: skip


class NginxStatus:
    """The page of ``stub_status``."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def read(self) -> Answers:
        """Return the text ``status``."""
        return {"status": await self._page.get()}

    async def close(self) -> None:
        """Close the connection."""
        await self._page.close()


class NginxPlus:
    """The API of NGINX Plus, at an address that ends with its version, such as ``http://host:8080/api/9``."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def read(self) -> Answers:
        """Return JSON texts by endpoint; ``nginx`` must be there, the others depend on version and configuration."""
        return await ask_all(self._page, ("nginx", "/nginx"), {part: f"/{part}" for part in _PLUS_PARTS})

    async def close(self) -> None:
        """Close connections."""
        await self._page.close()
