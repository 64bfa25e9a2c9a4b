"""One server for the session (one for each test process), a tenant for each module, and servers to be hurt."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.live_server import LiveServer, TenantHandle, running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The server that most tests share. It is never hurt; each test uses tenants of its own."""
    with running(tmp_path_factory.mktemp("server")) as live:
        yield live


StartServer = Callable[..., LiveServer]


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Start servers that belong to the test alone, with settings of its choice."""
    with contextlib.ExitStack() as stack:

        def start(**overrides: Any) -> LiveServer:
            return stack.enter_context(running(tmp_path, **overrides))

        yield start


@pytest.fixture
def tenant(server: LiveServer) -> TenantHandle:
    """A fresh tenant of the shared server, whose ledger only the test itself moves."""
    return server.tenant()
