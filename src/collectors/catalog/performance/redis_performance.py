"""A Redis or Valkey server: alone, with replicas, as a Sentinel, or as the door to a cluster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, SecretStr

from collectors.catalog.performance.redis import (
    access_log,
    clients,
    cluster,
    commands,
    info_memory,
    info_persistence,
    info_server,
    info_traffic,
    instance,
    keys,
    keyspace,
    latency,
    memory_doctor,
    nodes,
    replication,
    sentinel,
    settings,
    slow_log,
    streams,
)
from collectors.catalog.performance.redis.area import Area, Reading, answered
from collectors.catalog.performance.redis.examples import EXAMPLES
from collectors.catalog.performance.redis.info import Info
from collectors.catalog.performance.redis.info_field import OWN
from collectors.catalog.performance.redis.recorded import RecordedRedis
from collectors.catalog.performance.redis.routing import PAGE
from collectors.config.collector import CollectorConfig
from collectors.contract.collector import Sampling
from collectors.contract.example import Example
from collectors.drivers.redis import Command, Redis, RedisAccess, RedisSource
from collectors.errors import LifecycleError
from collectors.model.metric import Collection, Issue, Kind, MetricSpec, Sample, Unit, Window
from collectors.model.status import Stability

_PING: Command = ("PING",)
_INFO: Command = ("INFO", "everything")
_ROUND_TRIP = MetricSpec(
    f"{OWN}ping", Kind.GAUGE, Unit.SECONDS, "Time from a PING to its answer, the network between included."
)

_FIXED_AREAS: tuple[Area, ...] = (
    instance.AREA,
    info_server.AREA,
    info_memory.AREA,
    info_persistence.AREA,
    info_traffic.AREA,
    keyspace.AREA,
    replication.AREA,
    latency.AREA,
    memory_doctor.AREA,
    settings.AREA,
    access_log.AREA,
    sentinel.AREA,
    cluster.AREA,
)


def _check_pattern(text: str) -> str:
    import re

    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"this is no regular expression: {error}") from None
    return text


Pattern = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_check_pattern)]
Key = Annotated[str, Field(min_length=1, max_length=512)]


class RedisPerformanceConfig(CollectorConfig):
    """Which server is asked, and for how much."""

    host: str = "127.0.0.1"
    """Name or address of the server: a standalone one, a replica, a Sentinel, or any node of a cluster."""

    port: int = Field(default=6379, ge=1, le=65535)
    """Its port; Sentinels have 26379."""

    unix_socket: str = ""
    """Path of its Unix socket, instead of host and port."""

    username: str = ""
    """User of its access list; the default user if empty."""

    password: SecretStr = SecretStr("")
    """What it asks for; or ``env:VARIABLE`` or ``file:/path`` where that stands, read anew for each connection."""

    database: int = Field(default=0, ge=0)
    """Number of the database in which keys and streams are looked at."""

    tls: bool = False
    """Whether the connection is encrypted and the server's certificate checked."""

    ca_file: Path | None = None
    """Certificate authorities to trust, PEM; the system's if not set."""

    certificate_file: Path | None = None
    """Certificate to show the server, PEM, if it wants one."""

    certificate_key_file: Path | None = None
    """Key of that certificate, PEM."""

    request_timeout_seconds: float = Field(default=2.0, gt=0, le=60)
    """How long the server may take to answer, before it counts as away."""

    max_commands: int = Field(default=60, ge=1, le=500)
    """Commands told by name, those that took most time."""

    max_clients: int = Field(default=1_000, ge=0, le=20_000)
    """Clients are told by class while there are no more than these: listing them takes the server's time."""

    slow_log_entries: int = Field(default=32, ge=1, le=1_000)
    """Newest entries of the slow log that are looked at."""

    max_nodes: int = Field(default=50, ge=0, le=500)
    """Nodes of a cluster that are asked one by one; 0 asks only the given one."""

    streams: tuple[Key, ...] = Field(default=(), max_length=100)
    """Streams to tell of, by name or by pattern such as ``orders:*``."""

    max_streams: int = Field(default=20, ge=1, le=200)
    """Streams told of at most."""

    max_consumers: int = Field(default=20, ge=0, le=200)
    """Consumers told of in each group, those with most pending entries; their names become labels."""

    keys: tuple[Key, ...] = Field(default=(), max_length=100)
    """Keys to watch by name: size, memory, and value if it is a number."""

    key_groups: tuple[Pattern, ...] = Field(default=(), max_length=50)
    """Groups of keys by regular expression, named by its first bracket group; don't let that be a personal value."""

    max_key_groups: int = Field(default=20, ge=1, le=200)
    """Groups told by name, the largest; the rest together as other."""

    sample_keys: int = Field(default=1_000, ge=PAGE, le=100_000)
    """Keys looked at in a run, for groups and for each pattern of streams: what a run may cost the server."""

    sample_seconds: float = Field(default=0.5, gt=0, le=10)
    """Time that looking at keys may take in a run."""


class RedisPerformanceCollector(Sampling[RedisPerformanceConfig]):
    """Report memory, traffic, latency, persistence, replication, cluster and streams of a Redis or Valkey server.

    Metrics are named as OpenTelemetry's Redis receiver names them, and ``collectors.redis.*`` where it has nothing.
    The alias ``hit_rate`` is the share of look-ups since the previous run that found their key, ``memory_usage`` the
    share of maxmemory that is used, ``client_usage`` that of the connections; all in percent.

    Given a node of a cluster, the whole cluster is told and each node is asked how it fares; given a Sentinel, the
    masters it watches. A version's missing commands are left out; a right that the user lacks becomes an issue that
    names it, and docs/redis.md lists the rights. Nothing asked takes the server longer the more keys it has: keys are
    looked at by SCAN within ``sample_keys`` and ``sample_seconds``, clients only up to ``max_clients``.
    """

    name: ClassVar[str] = "redis_performance"
    Config = RedisPerformanceConfig
    stability = Stability.BETA
    emits = (
        _ROUND_TRIP,
        *(spec for area in _FIXED_AREAS for spec in area.emits),
        *commands.EMITS,
        *slow_log.EMITS,
        *clients.EMITS,
        *nodes.EMITS,
        *streams.EMITS,
        *keys.WATCHED,
        *keys.GROUPED,
    )

    _source: RedisSource | None = None
    _areas: tuple[Area, ...] = ()
    _streams: streams.Streams
    _groups: keys.KeyGroups
    _before: Reading | None = None

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return EXAMPLES

    @classmethod
    def recorded(cls, folder: Path) -> Mapping[str, Any]:
        """Return a server that answers from the files in ``folder``."""
        return {"redis": RecordedRedis(folder)}

    async def open(self) -> None:
        config = self.config
        self._areas = (
            *_FIXED_AREAS,
            commands.area(config.max_commands),
            slow_log.area(config.slow_log_entries),
            clients.area(config.max_clients),
        )
        self._streams = streams.Streams(config.streams, config.max_streams, config.max_consumers)
        self._groups = keys.KeyGroups(config.key_groups, config.max_key_groups)
        self._before = None
        self._source = self.context.drivers.get("redis") or Redis(_access(config))
        await self._source.ask([_PING])

    async def collect(self, window: Window) -> Collection:  # noqa: ARG002  # a server only knows the present
        source, clock = self._opened(), self.context.clock
        start = clock.monotonic()
        await source.ask([_PING])
        samples = [Sample(_ROUND_TRIP.name, clock.monotonic() - start)]
        now, issues = await self._read(source)
        before = self._before if self._before and self._before.info.life == now.info.life else None
        for area in self._areas:
            try:
                samples += tuple(area.derive(now, before))
            except (ValueError, LookupError, TypeError, AttributeError):
                issues.append(_malformed(area.name))
        for name, work in self._further(source, now):
            try:
                found, unanswered = await work()
            except (ValueError, LookupError, TypeError, AttributeError):
                issues.append(_malformed(name))
            else:
                samples += found
                issues += unanswered
        self._before = now
        return Collection(samples=tuple(samples), issues=tuple(issues))

    async def close(self) -> None:
        source, self._source = self._source, None
        self._before = None
        if source is not None:
            await source.close()

    def _opened(self) -> RedisSource:
        if self._source is None:
            raise LifecycleError("open redis_performance before collecting from it")
        return self._source

    async def _read(self, source: RedisSource) -> tuple[Reading, list[Issue]]:
        """Ask for INFO, then in one go for all that the server it describes can be asked."""
        given, issues = answered([_INFO], await source.ask([_INFO]))
        text = given.get(_INFO, "")
        if not isinstance(text, str):
            text = ""
            issues.append(_malformed("INFO"))
        info = Info.parse(text)
        if clients.too_many(info, self.config.max_clients):
            issues.append(Issue("too_many", "more clients are connected than max_clients lets be listed", "clients"))
        asked = tuple(dict.fromkeys(command for area in self._areas for command in self._asks(area, info)))
        replies: Mapping[Command, Any] = {}
        if asked:
            replies, unanswered = answered(asked, await source.ask(asked))
            issues += unanswered
        return Reading(info, replies, self.context.clock.monotonic()), issues

    @staticmethod
    def _asks(area: Area, info: Info) -> Iterable[Command]:
        try:
            return area.asks(info)
        except (ValueError, LookupError):
            return ()  # what is odd in INFO is told when the area's samples are derived

    def _further(
        self, source: RedisSource, now: Reading
    ) -> Iterable[tuple[str, Callable[[], Awaitable[tuple[list[Sample], list[Issue]]]]]]:
        """Yield what takes more questions, each depending on answers."""
        config, clock = self.config, self.context.clock
        if now.info.mode == "sentinel":
            return
        steps, seconds = config.sample_keys // PAGE, config.sample_seconds
        if config.max_nodes and cluster.NODES in now.replies:

            async def ask_nodes() -> tuple[list[Sample], list[Issue]]:
                return await nodes.collect(source, cluster.parse_nodes(now.replies[cluster.NODES]), config.max_nodes)

            yield "nodes", ask_nodes
        if config.streams:
            yield "streams", lambda: self._streams.collect(source, clock, steps, seconds)
        if config.keys:
            yield "keys", lambda: keys.watch(source, config.keys)
        if config.key_groups:
            yield "key_groups", lambda: self._groups.collect(source, clock, steps, seconds)


def _access(config: RedisPerformanceConfig) -> RedisAccess:
    return RedisAccess(
        host=config.host,
        port=config.port,
        unix_socket=config.unix_socket,
        username=config.username,
        password=config.password,
        database=config.database,
        tls=config.tls,
        ca_file=config.ca_file,
        certificate_file=config.certificate_file,
        certificate_key_file=config.certificate_key_file,
        timeout_seconds=config.request_timeout_seconds,
    )


def _malformed(area: str) -> Issue:
    return Issue("malformed", "the server's answer is not what its manual says", area)


if __name__ == "__main__":
    from collectors.catalog.show import show

    show(RedisPerformanceCollector())
