"""Servers that answer from a map, and what the Redis collector makes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from collectors.catalog.performance.redis.area import Area, Reading
from collectors.catalog.performance.redis.info import Info
from collectors.catalog.performance.redis_performance import RedisPerformanceCollector, RedisPerformanceConfig
from collectors.contract.collector import CollectorContext
from collectors.drivers.redis import Refusal
from collectors.model.metric import Collection, Sample, Window
from collectors.testing import JumpingClock


def source(replies: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]] | None = None) -> Any:
    """Return a source that answers from a map of commands, written with blanks; a text that begins with - refuses."""

    class Source:
        def __init__(self) -> None:
            self.asked: list[str] = []

        async def ask(self, commands: Sequence[tuple[str, ...]], node: str = "") -> list[Any]:
            told = (nodes or {})[node] if node else replies
            lines = [" ".join(command) for command in commands]
            self.asked += lines
            answers = [told.get(line, "-ERR unknown command") for line in lines]
            return [Refusal.of(a[1:]) if isinstance(a, str) and a[:1] == "-" else a for a in answers]

        async def close(self) -> None:
            pass

    return Source()


def told(samples: Iterable[Sample]) -> dict[tuple[str, ...], float | None]:
    return {(s.metric.removeprefix("collectors.redis."), *s.labels): s.value for s in samples}


def derived(area: Area, info: str = "", replies: Mapping[tuple[str, ...], Any] | None = None) -> dict[Any, Any]:
    return told(area.derive(Reading(Info.parse(info), replies or {}, 0.0), None))


async def collected(server: Any, **config: Any) -> Collection:
    collector = RedisPerformanceCollector(
        RedisPerformanceConfig(**config), CollectorContext(clock=JumpingClock(), drivers={"redis": server})
    )
    await collector.open()
    collection = await collector.collect(Window(0, 1))
    await collector.close()
    return collection
