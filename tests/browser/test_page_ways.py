"""The live page in a real browser: finding one's way, looks, and the access key."""

from __future__ import annotations

import re

import pytest
from page_double import Metric, Tenant
from page_site import Site, Watch
from page_world import LIVE, SECOND, cpu, network, open_tenant, painted, platform, publish, shown
from playwright.async_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_the_address_says_what_is_shown(site: Site, page: Page) -> None:
    platform(site, cpu(), network(), *[Metric(f"test.m{i}", series=[({}, lambda _: 0.5)]) for i in range(9)])
    await open_tenant(site, page, more="&range=6h&pin=test.m8,system.network.io")
    await shown(page, "test.m8")
    await shown(page, "system.network.io")
    await expect(page.locator(".grid article")).to_have_count(2)
    await expect(page.get_by_role("radio", name="6h")).to_be_checked()
    query = site.double.queries[-1]
    assert int(query["until"]) - int(query["since"]) == pytest.approx(6 * 3600 * SECOND, rel=1e-3)
    await page.get_by_role("radio", name="1h").check()
    await expect(page).to_have_url(re.compile(r"#tenant=platform&range=1h&pin=test\.m8,system\.network\.io$"))
    await page.go_back()
    await expect(page.get_by_role("radio", name="6h")).to_be_checked()
    await page.get_by_role("button", name="Remove test.m8").click()
    await expect(page).to_have_url(re.compile(r"pin=system\.network\.io$"))
    await expect(page.locator(".grid article")).to_have_count(1)


async def test_any_metric_can_be_found_and_charted(site: Site, page: Page) -> None:
    platform(site, cpu(), Metric("db.locks", unit="{count}", description="Locks held.", collector="database"))
    site.double.tenants["platform"].metrics[-1].series = [({}, lambda _: 7.0)]
    await open_tenant(site, page, more="&pin=system.cpu.utilization")
    await page.get_by_role("button", name="Charts", exact=True).click()
    dialog = page.get_by_role("dialog", name="Charts")
    await expect(dialog.get_by_role("group", name="database")).to_be_visible()
    await page.keyboard.type("locks held")
    await expect(dialog.get_by_role("checkbox")).to_have_count(1)
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Space")
    await page.keyboard.press("Escape")
    locks = await shown(page, "db.locks")
    await expect(locks.locator(".latest-value")).to_have_text("7")
    assert page.url.endswith("pin=system.cpu.utilization,db.locks")


async def test_a_drawn_span_is_zoomed_into_and_left_again(site: Site, page: Page) -> None:
    platform(site)
    await open_tenant(site, page)
    chart = await shown(page, "system.cpu.utilization")
    box = await chart.locator(".u-over").bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20, steps=3)
    await page.mouse.up()
    await expect(page).to_have_url(re.compile(r"from=\d+&to=\d+"))
    span = re.search(r"from=(\d+)&to=(\d+)", page.url)
    assert span is not None
    assert int(span[2]) - int(span[1]) == pytest.approx(225, abs=8)
    await shown(page, "system.cpu.utilization")
    await page.get_by_role("button", name="Back to the live range").click()
    await expect(page).not_to_have_url(re.compile("from="))


async def test_a_metric_that_is_gone_can_be_removed(site: Site, page: Page) -> None:
    platform(site)
    await open_tenant(site, page, more="&pin=no.such.metric")
    await page.locator(".note", has_text="no.such.metric").get_by_role("button", name="Remove").click()
    await expect(page.get_by_text("No charts are shown.")).to_be_visible()


async def test_without_events_or_metrics_the_page_says_what_to_do(site: Site, page: Page) -> None:
    site.double.add(Tenant("new"))
    await open_tenant(site, page, "new")
    await expect(page.get_by_text("collectors simulate --tenant new")).to_be_visible()
    await expect(page.get_by_text("No metrics yet.")).to_be_visible()
    site.double.tenants["new"].metrics.append(cpu())
    publish(site, "system.cpu.utilization", {"state": "s0"}, 0.5, tenant="new")
    # The first sample of an unknown metric brings its chart.
    await shown(page, "system.cpu.utilization")


async def test_an_unknown_tenant_is_named_as_such(site: Site, page: Page, watch: Watch) -> None:
    watch.allow("404")
    await page.goto(f"{site.url}#tenant=nobody")
    await expect(page.locator(".problem")).to_contain_text("There is no tenant")


# Looks


async def test_the_theme_follows_the_system_and_the_choice(site: Site, page: Page) -> None:
    platform(site)
    await page.emulate_media(color_scheme="dark")
    await open_tenant(site, page)
    root = page.locator("html")
    await expect(root).to_have_attribute("data-theme", "dark")
    dark = await root.evaluate("node => getComputedStyle(node).backgroundColor")
    chart = await shown(page, "system.cpu.utilization")
    assert await painted(chart) > 300
    await page.get_by_role("button", name="Switch between light and dark").click()
    await expect(root).to_have_attribute("data-theme", "light")
    assert await root.evaluate("node => getComputedStyle(node).backgroundColor") != dark
    assert await painted(chart) > 300
    await page.reload()
    await expect(root).to_have_attribute("data-theme", "light")


@pytest.mark.parametrize("width", [390, 1400])
async def test_nothing_overflows_the_window(site: Site, page: Page, width: int) -> None:
    platform(site)
    await page.set_viewport_size({"width": width, "height": 844})
    for address in ("", "#tenant=platform"):
        await page.goto("about:blank")
        await page.goto(site.url + address)
        await expect(page.locator(".connection-text")).to_have_text(LIVE)
        await expect(page.locator("main h1")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= width


# The key


async def test_the_key_is_asked_for_and_kept_out_of_the_address(site: Site, page: Page, watch: Watch) -> None:
    watch.allow("401")
    platform(site)
    site.double.key = "s3cret"
    await page.goto(site.url)
    field = page.get_by_label("Key of this server or tenant")
    await expect(field).to_be_focused()
    await field.fill("wrong")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("does not accept this key")
    await field.fill("s3cret")
    await page.keyboard.press("Enter")
    await expect(page.locator("tr[data-tenant]")).to_have_count(1)
    assert "s3cret" not in page.url
    await page.reload()
    await expect(page.locator("tr[data-tenant]")).to_have_count(1)


async def test_a_link_may_bring_the_key_along(site: Site, page: Page, watch: Watch) -> None:
    platform(site)
    site.double.key = "s3cret"
    await page.goto(f"{site.url}#key=s3cret&tenant=platform")
    await shown(page, "system.cpu.utilization")
    assert page.url == f"{site.url}#tenant=platform"
    # A key that is no longer accepted is asked for again.
    watch.allow("401")
    site.double.key = "another"
    await expect(page.get_by_label("Key of this server or tenant")).to_be_visible()
