"""The built-in page, from the files of the package."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePath

from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parents[1] / "page"

_TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
"""Fixed here, because the machine's own table may differ and browsers are told not to guess."""

_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    ),
    # Asked for again each time, which costs a 304: so a new version is never mixed with an old one.
    "Cache-Control": "no-cache",
}


class PageFiles(StaticFiles):
    """The files of the page, with their types, and headers for a document in place of those for data."""

    def __init__(self, folder: Path = FOLDER) -> None:
        super().__init__(directory=folder, check_dir=False)

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(_HEADERS)
        if response.status_code != 304:
            suffix = PurePath(full_path).suffix
            response.headers["Content-Type"] = _TYPES.get(suffix, "text/plain; charset=utf-8")
        return response

    async def index(self, request: Request) -> Response:
        """Answer with the page itself."""
        return await self.get_response("index.html", request.scope)
