"""The live page in a real browser: what it shows of all tenants and of one."""

from __future__ import annotations

import re

import pytest
from page_double import Metric, Tenant, alert, collector, counts
from page_site import START_US, Site
from page_world import SECOND, cpu, network, open_tenant, painted, panel, platform, publish, shown
from playwright.async_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_overview_shows_a_row_for_each_tenant(site: Site, page: Page) -> None:
    platform(site)
    site.double.add(
        Tenant(
            "acme",
            events_per_second=12_345.6,
            ledger={"payment": counts(1000, lost=17)},
            collectors=[collector("a"), collector("b", "failing")],
            alerts=[alert("1")],
        )
    )
    site.double.add(Tenant("quiet", freshness_seconds=None))
    await page.goto(site.url)
    rows = page.locator("tr[data-tenant]")
    await expect(rows).to_have_count(3)
    # What needs attention stands first.
    await expect(rows.first).to_contain_text("acme")
    await expect(rows.first).to_contain_text("12.3 k/s")
    await expect(rows.first).to_contain_text("off by 17")
    await expect(rows.first).to_contain_text("1 running, 1 failing")
    await expect(rows.first).to_contain_text("1 firing")
    await expect(page.locator("tr[data-tenant='platform']")).to_contain_text("balanced")
    await expect(page.locator("tr[data-tenant='quiet']")).to_contain_text("no events")
    await expect(page.locator(".health")).to_contain_text("up 3 h 25 min")
    await expect(page).to_have_title("(1) collectors")


async def test_ledger_is_added_up_by_the_page_itself(site: Site, page: Page) -> None:
    tenant = platform(site)
    tenant.ledger = {"payment": {**counts(100), "stored": 99}}
    await page.goto(site.url)
    await expect(page.locator("tr[data-tenant='platform']")).to_contain_text("off by 1")


async def test_overview_draws_the_past_event_rate_at_once(site: Site, page: Page) -> None:
    platform(site)
    await page.goto(site.url)
    line = page.locator("tr[data-tenant='platform'] .sparkline polyline")
    await expect(line).to_have_attribute("points", re.compile(r"^0\.\d,.+ 100\.0,1\.5$"))


async def test_overview_follows_the_server(site: Site, page: Page) -> None:
    tenant = platform(site)
    await page.goto(site.url)
    await expect(page.locator("tr[data-tenant]")).to_contain_text(["1,234 /s"])
    tenant.events_per_second = None
    tenant.alerts = [alert("1"), alert("2")]
    site.double.add(Tenant("second"))
    await expect(page.locator("tr[data-tenant]")).to_have_count(2)
    await expect(page.locator("tr[data-tenant='platform']")).to_contain_text("2 firing")
    await expect(page.locator("tr[data-tenant='platform'] .number").first).to_have_text("—")


async def test_a_hundred_tenants_can_be_filtered_and_ordered(site: Site, page: Page) -> None:
    for i in range(100):
        site.double.add(Tenant(f"tenant-{i:03d}", events_per_second=float(i * 7 % 100)))
    await page.goto(site.url)
    rows = page.locator("tr[data-tenant]")
    await expect(rows).to_have_count(100)
    await page.get_by_label("Order of tenants").select_option("rate")
    await expect(rows.first).to_contain_text("99 /s")
    await page.get_by_label("Filter tenants").fill("tenant-04")
    await expect(rows).to_have_count(10)
    await page.get_by_label("Filter tenants").fill("nobody")
    await expect(page.get_by_text("No tenant matches.")).to_be_visible()


async def test_without_tenants_the_page_says_what_to_do(site: Site, page: Page) -> None:
    await page.goto(site.url)
    await expect(page.get_by_text("collectors simulate")).to_be_visible()


# One tenant


async def test_a_tenant_opens_by_keyboard_and_shows_its_state(site: Site, page: Page) -> None:
    tenant = platform(site)
    tenant.alerts = [
        alert("1", summary="Disk is nearly full", started=START_US - 300 * SECOND),
        alert("2", summary="Database is down", severity="critical", started=START_US - 60 * SECOND),
        alert("3", summary="All is well again", state="resolved", ended=START_US - SECOND),
    ]
    tenant.collectors.append(collector("redis", "failing", failures=7, last_error="connection refused"))
    await page.goto(site.url)
    await page.get_by_role("link", name="platform").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("platform")
    assert "tenant=platform" in page.url
    await expect(page.get_by_text("Europe/Berlin · EUR")).to_be_visible()

    ledger = page.locator("table.ledger")
    await expect(ledger.locator("tbody tr")).to_have_count(2)
    await expect(ledger.locator("tr", has_text="playback").locator("td").first).to_have_text("1,234,567")
    await expect(ledger.locator("tfoot")).to_contain_text("1,234,577")
    await expect(ledger.locator("tfoot")).to_contain_text("balanced")

    collectors = page.locator("table.collectors tbody tr")
    await expect(collectors.first).to_contain_text("redis")
    await expect(collectors.first).to_contain_text("connection refused")
    await expect(collectors.nth(1)).to_contain_text("running")

    alerts = page.locator(".alerts li")
    await expect(alerts).to_have_count(2)
    await expect(alerts.first).to_contain_text("Database is down")
    await expect(alerts.nth(1)).to_contain_text("since 5 min")
    await page.get_by_role("radio", name="Resolved").check()
    await expect(alerts).to_have_count(1)
    await expect(alerts).to_contain_text("All is well again")


async def test_charts_show_the_history_in_their_units(site: Site, page: Page) -> None:
    platform(site)
    await open_tenant(site, page)
    load = await shown(page, "system.cpu.utilization")
    assert await painted(load) > 300
    await expect(load.locator(".latest-value")).to_have_text(re.compile(r"^(2|3)\d\.\d %$"))
    await expect(load.locator(".legend li")).to_have_count(2)
    network = await shown(page, "system.network.io")
    # A counter is shown as its rate.
    await expect(network.locator(".latest-value")).to_have_text("2.00 MiB/s")
    events = await shown(page, "Events per second")
    await expect(events.locator(".latest-value")).to_have_text("1,234 /s")


async def test_live_samples_are_appended(site: Site, page: Page) -> None:
    platform(site, cpu(1))
    await open_tenant(site, page)
    chart = await shown(page, "system.cpu.utilization")
    site.time_us += 60 * SECOND
    publish(site, "system.cpu.utilization", {"state": "s0"}, 0.97)
    await expect(chart.locator(".latest-value")).to_have_text("97.0 %")
    publish(site, "system.cpu.utilization", {"state": "new"}, 0.99)
    await expect(chart.locator(".legend li")).to_have_count(2)


async def test_a_counter_keeps_its_rate_where_live_samples_join_the_history(site: Site, page: Page) -> None:
    platform(site, network())
    await open_tenant(site, page)
    chart = await shown(page, "system.network.io")
    curve = site.double.tenants["platform"].metrics[0].series[0][1]
    for _ in range(30):
        publish(site, "system.network.io", {"device": "eth0"}, curve(site.time_us / 1e6 + 1))
    await expect(chart.locator(".latest-value")).to_have_text("2.00 MiB/s")
    publish(site, "system.network.io", {"device": "eth0"}, 0.0)
    # A counter that begins anew has no rate until its next sample.
    await expect(chart.locator(".latest-value")).to_have_text("—")


async def test_live_state_replaces_the_old_one(site: Site, page: Page) -> None:
    tenant = platform(site)
    await open_tenant(site, page)
    await expect(page.locator(".tile").first).to_contain_text("1,234 /s")
    tenant.events_per_second = 77.0
    tenant.collectors[0]["state"] = "failing"
    tenant.ledger["payment"] = counts(5, lost=2)
    site.double.publish("platform", "status", tenant.status())
    site.double.publish("platform", "ledger", {"total": tenant.total(), "types": tenant.ledger})
    await expect(page.locator(".tile").first).to_contain_text("77 /s")
    await expect(page.locator("table.collectors .state")).to_have_text("failing")
    await expect(page.locator("table.ledger tbody tr").first).to_contain_text("off by 2")


async def test_an_alert_appears_and_is_announced(site: Site, page: Page) -> None:
    platform(site)
    await open_tenant(site, page)
    await expect(page.get_by_text("No alert is firing.")).to_be_visible()
    fired = alert("9", summary="Brute force on one account", severity="critical", started=START_US)
    site.double.publish("platform", "alert", fired)
    await expect(page.locator(".alerts li")).to_contain_text("Brute force on one account")
    await expect(page.locator("[aria-live=polite]")).to_have_text("critical alert: Brute force on one account")
    await expect(page.locator(".tile", has_text="Alerts")).to_contain_text("1 firing")
    site.double.publish("platform", "alert", {**fired, "state": "resolved", "ended": START_US + SECOND})
    await expect(page.get_by_text("No alert is firing.")).to_be_visible()


async def test_an_undefined_value_says_why(site: Site, page: Page) -> None:
    verified = Metric("collectors.audit.verified", series=[({}, lambda _: None)], reason="no audit events yet")
    platform(site, cpu(), verified)
    await open_tenant(site, page)
    undefined = panel(page, "collectors.audit.verified")
    await expect(undefined).to_have_attribute("data-state", "undefined")
    await expect(undefined.get_by_role("tooltip", include_hidden=True)).to_have_text("No value: no audit events yet")
    await undefined.locator(".latest").hover()
    await expect(undefined.get_by_role("tooltip")).to_be_visible()


async def test_of_many_series_the_largest_are_drawn(site: Site, page: Page) -> None:
    many = Metric(
        "collectors.many",
        unit="{count}",
        labels=("id",),
        series=[({"id": f"n{i}"}, lambda _, i=i: float(i)) for i in range(3000)],
    )
    platform(site, many)
    await open_tenant(site, page)
    chart = await shown(page, "collectors.many")
    entries = chart.locator(".legend li")
    await expect(entries).to_have_count(8)
    await expect(entries.first).to_contain_text("n2999")
    # What comes over the network stays bounded, however many series there are.
    assert int(site.double.queries[-1]["points"]) == 20
    await chart.get_by_role("button", name="2,992 more").click()
    await expect(entries).to_have_count(50)
    await chart.get_by_role("button", name="n2950").click()
    await expect(chart.locator("[aria-pressed=true] .swatch")).to_have_count(8)
    site.time_us += SECOND
    site.double.publish("platform", "samples", {"time": site.time_us, "samples": many.at(site.time_us)})
    await expect(entries).to_have_count(50)
