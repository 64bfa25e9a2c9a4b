"""The live page in a real browser, against a server that answers like the gateway."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from conftest import START_US, Site, Watch
from page_double import Metric, Tenant, alert, collector, counts
from playwright.async_api import Locator, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

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


# The overview


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


# Finding one's way


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


# Trouble


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
    await expect(panel(page, "system.cpu.utilization").locator(".legend li").first).to_contain_text(re.compile("91|s1"))


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
