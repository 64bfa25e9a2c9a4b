"""The live page in a real browser: servers that go away, slow networks, hostile data."""

from __future__ import annotations

from typing import Any

import pytest
from page_double import Tenant, alert, collector, counts
from page_site import START_US, Site, Watch
from page_world import LIVE, REFUSED, SECOND, cpu, open_tenant, panel, platform, publish, shown
from playwright.async_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_the_page_comes_back_after_the_server_was_away(site: Site, page: Page, watch: Watch) -> None:
    watch.allow(REFUSED)
    tenant = platform(site)
    await open_tenant(site, page)
    await shown(page, "system.cpu.utilization")
    await site.stop()
    await expect(page.locator(".connection-text")).to_contain_text("Reconnecting")
    await expect(page.locator("[aria-live=polite]")).to_have_text("Connection lost. Reconnecting.")
    tenant.alerts.append(alert("7", summary="Raised while nobody could hear", started=START_US))
    await site.start()
    await expect(page.locator(".connection-text")).to_have_text(LIVE)
    # What was missed is asked for.
    await expect(page.locator(".alerts li")).to_contain_text("Raised while nobody could hear")
    await site.streaming("platform")
    site.time_us += 60 * SECOND
    publish(site, "system.cpu.utilization", {"state": "s0"}, 0.91)
    entry = panel(page, "system.cpu.utilization").locator(".legend li", has_text="s0")
    await expect(entry).to_contain_text("91.0 %")


async def test_a_page_that_opens_before_its_server_waits_for_it(site: Site, page: Page, watch: Watch) -> None:
    watch.allow(REFUSED)
    platform(site)
    await page.goto(site.url)
    await expect(page.locator("tr[data-tenant]")).to_have_count(1)
    await site.stop()
    await page.get_by_role("link", name="platform").click()
    await expect(page.locator(".problem")).to_contain_text("cannot be reached")
    await site.start()
    await shown(page, "system.cpu.utilization")
    await expect(page.locator(".problem")).to_be_hidden()


async def test_samples_that_come_before_the_history_are_not_lost(site: Site, page: Page) -> None:
    platform(site, cpu(1))
    site.double.ready.clear()
    await open_tenant(site, page)
    waiting = panel(page, "system.cpu.utilization")
    await expect(waiting).to_have_attribute("data-state", "loading")
    site.time_us += 60 * SECOND
    publish(site, "system.cpu.utilization", {"state": "s0"}, 0.97)
    site.double.publish("platform", "alert", alert("1", summary="Sent after the sample"))
    await expect(page.locator(".alerts li")).to_have_count(1)
    site.double.ready.set()
    await expect(waiting).to_have_attribute("data-state", "ready")
    await expect(waiting.locator(".latest-value")).to_have_text("97.0 %")


HOSTILE = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>'
REVERSED = "\u202egnp.exe\u202c txt"


async def test_hostile_text_is_only_text(site: Site, page: Page) -> None:
    evil: dict[str, Any] = {"state": HOSTILE, "__proto__": "x", "rtl": REVERSED}
    long = {"state": "L" * 10_000, "__proto__": "y", "rtl": "\u05e9\u05dc\u05d5\u05dd"}
    tenant = platform(site, cpu())
    tenant.metrics[0].description = HOSTILE
    tenant.metrics[0].series = [(evil, lambda _: 0.4), (long, lambda _: 0.5)]
    tenant.collectors.append(collector(HOSTILE, "failing", last_error=HOSTILE * 50))
    tenant.ledger[HOSTILE] = counts(1)
    tenant.alerts.append(alert(HOSTILE, summary=HOSTILE, rule=REVERSED, labels=evil | {"l": "L" * 10_000}))
    site.double.add(Tenant(HOSTILE, time_zone=HOSTILE))
    await page.goto(site.url)
    await expect(page.locator("tr[data-tenant]")).to_have_count(2)
    await page.get_by_role("link", name=HOSTILE).focus()
    await open_tenant(site, page)
    chart = await shown(page, "system.cpu.utilization")
    await expect(chart.locator(".legend li")).to_have_count(2)
    await expect(page.locator(".alerts li")).to_contain_text(HOSTILE)
    site.double.publish("platform", "alert", alert("2", summary=HOSTILE))
    await expect(page.locator("[aria-live=polite]")).to_contain_text(HOSTILE)
    await page.get_by_role("button", name="Charts", exact=True).click()
    await expect(page.get_by_role("dialog")).to_contain_text(HOSTILE)
    assert await page.evaluate("[window.pwned ?? 0, ({}).state ?? 0, document.images.length]") == [0, 0, 0]
    assert await page.evaluate("document.scripts.length") == 2
    assert await page.evaluate("document.documentElement.scrollWidth") <= 1400


async def test_broken_frames_are_passed_over(site: Site, page: Page) -> None:
    platform(site, cpu(1))
    await open_tenant(site, page)
    chart = await shown(page, "system.cpu.utilization")
    for queue in site.double.streams["platform"]:
        queue.put_nowait("event: samples\ndata: {not json\n\n: a comment\n\nevent: unheard-of\ndata: 1\n\n")
    site.time_us += 60 * SECOND
    publish(site, "system.cpu.utilization", {"state": "s0"}, 0.97)
    await expect(chart.locator(".latest-value")).to_have_text("97.0 %")
    await expect(page.locator(".connection-text")).to_have_text(LIVE)
