"""What the tests of the page look at, and what they look for on it."""

from __future__ import annotations

import math
import re

from page_double import Metric, Tenant, collector, counts
from page_site import START_US, Site
from playwright.async_api import Locator, Page, expect

SECOND = 1_000_000
REFUSED = r"ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET"
LIVE = re.compile(r"^Live$")


def cpu(states: int = 2) -> Metric:
    series = [({"state": f"s{i}"}, lambda t, i=i: 0.2 + 0.1 * i + 0.05 * math.sin(t / 60)) for i in range(states)]
    return Metric("system.cpu.utilization", description="Share of busy time.", labels=("state",), series=series)


def network() -> Metric:
    """A counter that grows by exactly 2 MiB a second."""
    series = [({"device": "eth0"}, lambda t: 2 * 2**20 * (t - 1.6e9))]
    return Metric("system.network.io", "counter", "By", "Bytes on the wire.", labels=("device",), series=series)


def rate() -> Metric:
    return Metric("collectors.intake.rate", "gauge", "{event}", "Accepted.", "intake", series=[({}, lambda _: 1234.0)])


def platform(site: Site, *metrics: Metric) -> Tenant:
    return site.double.add(
        Tenant(
            "platform",
            events_per_second=1234.0,
            ledger={"playback": counts(1_234_567, duplicate=1_000, rejected=67), "audit": counts(10)},
            collectors=[collector("system_performance", last_success=START_US - 3 * SECOND)],
            metrics=list(metrics) or [cpu(), network(), rate()],
        )
    )


def panel(page: Page, metric: str) -> Locator:
    return page.locator(f"article[data-metric='{metric}']")


async def shown(page: Page, metric: str) -> Locator:
    """The panel of ``metric``, once it shows a chart."""
    found = panel(page, metric)
    await expect(found).to_have_attribute("data-state", "ready")
    await expect(found.locator("canvas")).to_be_visible()
    return found


async def open_tenant(site: Site, page: Page, tenant: str = "platform", more: str = "") -> None:
    await page.goto(f"{site.url}#tenant={tenant}{more}")
    await expect(page.locator(".connection-text")).to_have_text(LIVE)
    await site.streaming(tenant)


def publish(site: Site, metric: str, labels: dict[str, str], value: float | None, tenant: str = "platform") -> None:
    """Let a second pass, and send a live sample."""
    site.time_us += SECOND
    sample = {"metric": metric, "labels": labels, "time": site.time_us, "value": value, "reason": ""}
    site.double.publish(tenant, "samples", {"time": site.time_us, "samples": [sample]})


async def painted(chart: Locator) -> int:
    """Pixels of the canvas that are near the colour of the first line, in either theme."""
    return await chart.locator("canvas").evaluate(
        """canvas => {
            const wanted = getComputedStyle(document.documentElement).getPropertyValue('--series-1').trim();
            const [r, g, b] = [1, 3, 5].map(i => parseInt(wanted.slice(i, i + 2), 16));
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            let found = 0;
            for (let i = 0; i < data.length; i += 4)
                found += data[i + 3] > 200 && Math.abs(data[i] - r) + Math.abs(data[i + 1] - g)
                    + Math.abs(data[i + 2] - b) < 30;
            return found;
        }"""
    )
