from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from server_world import Gateway
from starlette.applications import Starlette
from starlette.routing import Mount

from collectors.server.routes.page import FOLDER, PageFiles


async def test_the_page_and_its_parts_come_with_their_types_and_may_load_nothing_foreign(gateway: Gateway) -> None:
    async with gateway.client() as client:
        page = await client.get("/")
        script = await client.get("/assets/main.js")
        style = await client.get("/assets/css/base.css")
        icon = await client.get("/assets/favicon.svg")
        text = await client.get("/assets/vendor/uplot/LICENSE")
    assert page.content == (FOLDER / "index.html").read_bytes()
    assert [a.headers["content-type"] for a in (page, script, style, icon, text)] == [
        "text/html; charset=utf-8",
        "text/javascript; charset=utf-8",
        "text/css; charset=utf-8",
        "image/svg+xml",
        "text/plain; charset=utf-8",
    ]
    for answer in (page, script, style, icon, text):
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"].startswith("default-src 'self';")
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-cache"


async def test_what_the_browser_has_is_not_sent_again(gateway: Gateway) -> None:
    async with gateway.client() as client:
        first = await client.get("/assets/main.js")
        again = await client.get("/assets/main.js", headers={"if-none-match": first.headers["etag"]})
        head = await client.head("/")
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["cache-control"] == "no-cache"
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    "path",
    ["/assets/", "/assets/nothing.js", "/assets/css", "/assets/%2e%2e/api.py", "/assets/a%00b", "/assets/" + "x" * 300],
)
async def test_nothing_else_is_served(gateway: Gateway, path: str) -> None:
    async with gateway.client() as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_the_page_is_only_read(gateway: Gateway) -> None:
    async with gateway.client() as client:
        for path in ("/", "/assets/main.js"):
            answer = await client.post(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
            assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


async def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("hunter2")
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "link.txt").symlink_to(tmp_path / "secret.txt")
    app = Starlette(routes=[Mount("/assets", PageFiles(tmp_path / "page"))])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        assert (await client.get("/assets/link.txt")).status_code == 404
