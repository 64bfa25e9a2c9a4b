"""A browser, and a server in the same event loop for it to look at."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from page_site import Site, Watch
from playwright.async_api import Browser, Page, async_playwright, expect

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)

expect.set_options(timeout=20_000)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.skip("NOT TESTED: the page needs Chromium; install the package 'chromium' and run again")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def site() -> AsyncIterator[Site]:
    site = Site()
    await site.start()
    yield site
    await site.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def watch(browser: Browser, site: Site) -> AsyncIterator[Watch]:
    """A fresh page; a test fails if it says an error, or asks anything outside its origin."""
    context = await browser.new_context(
        viewport={"width": 1400, "height": 900}, color_scheme="light", timezone_id="UTC", locale="en-GB"
    )
    context.set_default_timeout(20_000)
    watch = Watch(await context.new_page(), site.url)
    yield watch
    problems = watch.unexpected()
    await context.close()
    assert problems == []


@pytest.fixture
def page(watch: Watch) -> Page:
    return watch.page
