"""Monitoring in the test's own process, on a folder of the test's own."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from collectors.clock import SYSTEM_CLOCK
from tests.e2e.live_server import PATIENCE_SECONDS

T = TypeVar("T")


async def sooner_or_later(what: Callable[[], T]) -> T:
    """Return the first true thing ``what`` returns."""
    deadline = SYSTEM_CLOCK.monotonic() + PATIENCE_SECONDS
    while not (found := what()):
        assert SYSTEM_CLOCK.monotonic() < deadline, "it never came"
        await asyncio.sleep(0.02)
    return found


async def execute(text: str, names: dict[str, Any]) -> None:
    """Execute the text of a snippet, which may await, as an interactive session would."""
    code = compile(text, "snippet", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, names)
    if result is not None:
        await result
