"""Runs of the Redis collector against real servers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from collectors.catalog.performance.redis_performance import RedisPerformanceCollector, RedisPerformanceConfig
from collectors.contract.collector import CollectorContext
from collectors.model.metric import Collection, Window
from tests.support.redis_coverage import ROOT
from tests.support.servers import redis as support
from tests.support.servers.redis import Server

SECRET = "tune-in-4711"
WINDOW = Window(0, 1)
OWN = "collectors.redis."


def binary_of(kind: str) -> str:
    found, how = {
        "redis": (support.redis_binary(), support.DEBIAN),
        "valkey": (support.valkey_binary(), support.VALKEY),
    }[kind]
    if found is None:
        pytest.skip(f"NOT TESTED: the Redis collector against {kind}; {how}")
    return found


@contextlib.asynccontextmanager
async def opened(server: Server, **config: Any) -> AsyncIterator[RedisPerformanceCollector]:
    settings = RedisPerformanceConfig(**{"port": server.port, "request_timeout_seconds": 5.0, **config})
    collector = RedisPerformanceCollector(settings, CollectorContext())
    try:
        await collector.open()
        yield collector
    finally:
        await collector.close()


async def collected(server: Server, **config: Any) -> Collection:
    async with opened(server, **config) as collector:
        return await collector.collect(WINDOW)


def values(collection: Collection) -> dict[tuple[str, ...], float | None]:
    return {(s.metric, *s.labels): s.value for s in collection.samples}


def info_fields(text: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def answers(server: Server, *command: str) -> bool:
    import redis

    try:
        server.ask(*command)
    except redis.RedisError:
        return False
    return True


def documented_rights() -> list[str]:
    [line] = [x for x in (ROOT / "docs" / "redis.md").read_text().splitlines() if x.startswith("ACL SETUSER")]
    return line.replace("PASSWORD", SECRET).split()


def answers_as(server: Server, *command: str) -> bool:
    import redis

    try:
        server.ask(*command, username="collectors", password=SECRET)
    except redis.exceptions.NoPermissionError:
        return False
    return True
