from __future__ import annotations

import itertools

import pytest
from intake_double import Intake, QuickClock, Server

from collectors.client import EventClient


@pytest.fixture(scope="session")
def running_server():
    server = Server()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(running_server) -> Server:
    running_server.intake = Intake()
    return running_server


@pytest.fixture
def intake(server) -> Intake:
    return server.intake


@pytest.fixture
def connect(server):
    """Makes clients of the server that live on quick clocks, and closes them in the end."""
    clients = []

    def make(cls=EventClient, **options):
        options = {"clock": QuickClock(), "timeout": 5.0, **options}
        clients.append(cls(server.url, "acme", "secret-key", **options))
        return clients[-1]

    yield make
    for client in clients:
        client._at_exit(0.0)


@pytest.fixture
def play():
    """Makes the fields of distinct playback events."""
    numbers = itertools.count()
    return lambda **fields: {"user_id": "u-1", "track_id": f"t-{next(numbers)}", "ms_played": 1000, **fields}
