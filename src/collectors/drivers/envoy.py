"""Envoy's administration interface, that of an Istio sidecar (port 15000) too."""

from __future__ import annotations

from collectors.drivers.http_source import Answers, Page, ask_all


class EnvoyAdmin:
    """The administration interface, by read-only pages."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def read(self) -> Answers:
        """Return JSON texts by page; ``stats`` must be there. Statistics never touched are left out by Envoy."""
        return await ask_all(
            self._page,
            ("stats", "/stats?format=json&usedonly"),
            {
                "clusters": "/clusters?format=json",
                "listeners": "/listeners?format=json",
                "certs": "/certs",
                "server_info": "/server_info",
            },
        )

    async def close(self) -> None:
        """Close connections."""
        await self._page.close()
