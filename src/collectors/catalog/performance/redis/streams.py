"""Streams and how far their consumer groups are behind.

Sources: XINFO STREAM, GROUPS and CONSUMERS, and XPENDING. An entry's id begins with the millisecond it was added,
unless producers make ids of their own; the metrics that end in ``time`` and ``time_behind`` rest on that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from collectors.catalog.performance.redis import routing
from collectors.catalog.performance.redis.area import answered, pairs, printable, sample, undefined
from collectors.catalog.performance.redis.info_field import OWN
from collectors.clock import Clock
from collectors.drivers.redis import Command, RedisSource, Refusal
from collectors.model.metric import Issue, Kind, MetricSpec, Sample, Unit

_STREAM = f"{OWN}stream."
_GROUP = f"{OWN}stream.group."
_N, _S = Unit.COUNT, Unit.SECONDS


def _gauge(name: str, unit: Unit, description: str, *labels: str, nullable: bool = False) -> MetricSpec:
    return MetricSpec(name, Kind.GAUGE, unit, description, ("stream", *labels), nullable=nullable)


_EMPTY = "the stream has no entry"
_LENGTH = _gauge(f"{_STREAM}length", _N, "Entries of a stream.")
_ADDED = MetricSpec(
    f"{_STREAM}entries_added", Kind.COUNTER, Unit.EVENTS, "Entries ever added to a stream.", labels=("stream",)
)
_GROUPS = _gauge(f"{_STREAM}groups", _N, "Consumer groups of a stream.")
_TREE = _gauge(f"{_STREAM}radix_tree", _N, "Keys and nodes of the tree that holds a stream.", "part")
_FIRST = _gauge(f"{_STREAM}first_entry_time", _S, "When the oldest entry was added.", nullable=True)
_LAST = _gauge(f"{_STREAM}last_entry_time", _S, "When the newest entry that is left was added.", nullable=True)
_GENERATED = _gauge(f"{_STREAM}last_generated_time", _S, "When an entry was last added.")
_DELETED = _gauge(f"{_STREAM}max_deleted_time", _S, "When the newest deleted entry had been added.", nullable=True)
_CONSUMERS = _gauge(f"{_GROUP}consumers", _N, "Consumers of a group.", "group")
_PENDING = _gauge(f"{_GROUP}pending", _N, "Entries delivered to a group and not acknowledged.", "group")
_READ = MetricSpec(
    f"{_GROUP}entries_read",
    Kind.GAUGE,
    Unit.EVENTS,
    "Entries a group has read, by the server's count, undefined where it can't tell.",
    labels=("stream", "group"),
    nullable=True,
)
_LAG = _gauge(
    f"{_GROUP}lag", _N, "Entries a group has still to be given, undefined where the server can't tell.", "group",
    nullable=True,
)  # fmt: skip
_BEHIND = _gauge(f"{_GROUP}time_behind", _S, "From the last entry given to a group to the last one added.", "group")
_DELIVERED = _gauge(f"{_GROUP}last_delivered_time", _S, "When the last entry given to a group was added.", "group")
_OLDEST = _gauge(
    f"{_GROUP}oldest_pending_age", _S, "Age of the oldest entry that was not acknowledged.", "group", nullable=True
)
_CONSUMER_PENDING = _gauge(
    f"{_GROUP}consumer.pending", _N, "Entries a consumer has not acknowledged.", "group", "consumer"
)
_CONSUMER_IDLE = _gauge(f"{_GROUP}consumer.idle", _S, "Time since a consumer last asked.", "group", "consumer")
_CONSUMER_INACTIVE = _gauge(
    f"{_GROUP}consumer.inactive",
    _S,
    "Time since a consumer last got something, undefined if it never did.",
    "group",
    "consumer",
    nullable=True,
)
EMITS = (
    _LENGTH, _ADDED, _GROUPS, _TREE, _FIRST, _LAST, _GENERATED, _DELETED, _CONSUMERS, _PENDING, _READ, _LAG, _BEHIND,
    _DELIVERED, _OLDEST, _CONSUMER_PENDING, _CONSUMER_IDLE, _CONSUMER_INACTIVE,
)  # fmt: skip

_GLOB = frozenset("*?[")


class Streams:
    """The streams that are named, and those that are found by pattern on walks through the keys."""

    def __init__(self, names: Sequence[str], most: int, consumers: int) -> None:
        self._names = tuple(name for name in names if not _GLOB & set(name))
        patterns = (name for name in names if _GLOB & set(name))
        self._walks = tuple(routing.Walk("MATCH", pattern, "TYPE", "stream") for pattern in patterns)
        self._found: dict[str, None] = {}
        self._most = most
        self._consumers = consumers

    async def collect(
        self, source: RedisSource, clock: Clock, steps: int, seconds: float
    ) -> tuple[list[Sample], list[Issue]]:
        """Look for new streams within the budget, and ask about all that are known."""
        issues: list[Issue] = []
        for walk in self._walks:
            self._found |= dict.fromkeys(await walk.go(source, clock, steps, seconds))
            if walk.refusal is not None:
                issues += answered([("SCAN",)], [walk.refusal])[1]
        names = sorted({*self._names, *self._found})
        if len(names) > self._most:
            issues.append(
                Issue("too_many", f"{len(names)} streams are known; the first {self._most} are told", "streams")
            )
        samples, unanswered = await self._ask(source, clock.now_us(), names[: self._most])
        return samples, list(dict.fromkeys((*issues, *unanswered)))

    async def _ask(self, source: RedisSource, now_us: int, names: Sequence[str]) -> tuple[list[Sample], list[Issue]]:
        commands = [("XINFO", kind, name) for name in names for kind in ("STREAM", "GROUPS")]
        replies = await routing.ask(source, commands)
        for name in [n for n in self._found if _missing(replies.get(("XINFO", "STREAM", n)))]:
            del self._found[name]  # deleted since it was found, which is nobody's fault
            commands = [command for command in commands if command[2] != name]
        given, issues = answered(commands, [replies[command] for command in commands])
        groups = [(name, pairs(group)) for name in names for group in given.get(("XINFO", "GROUPS", name), [])]
        more: list[Command] = []
        for name, group in groups:
            more += [("XINFO", "CONSUMERS", name, group["name"]), ("XPENDING", name, group["name"])]
        details, unanswered = answered(more, list((await routing.ask(source, more)).values()))
        samples: list[Sample] = []
        last: dict[str, str] = {}
        for name in names:
            if ("XINFO", "STREAM", name) in given:
                stream = pairs(given["XINFO", "STREAM", name])
                last[name] = stream["last-generated-id"]
                samples += _stream(printable(name), stream)
        for name, group in groups:
            if name in last:
                key = group["name"]
                labels = (printable(name), printable(key))
                samples += _group(labels, group, last[name])
                samples += _pending(labels, details.get(("XPENDING", name, key)), now_us)
                samples += self._each_consumer(labels, details.get(("XINFO", "CONSUMERS", name, key), []))
        return samples, [*issues, *unanswered]

    def _each_consumer(self, labels: tuple[str, str], reply: Sequence[Any]) -> Iterator[Sample]:
        consumers = sorted(map(pairs, reply), key=lambda consumer: (-consumer["pending"], consumer["name"]))
        for consumer in consumers[: self._consumers]:
            mine = (*labels, printable(consumer["name"]))
            yield sample(_CONSUMER_PENDING, consumer["pending"], *mine)
            yield sample(_CONSUMER_IDLE, consumer["idle"] * 1e-3, *mine)
            inactive = consumer.get("inactive")  # from Redis 7.2 on
            if inactive is not None and inactive >= 0:
                yield sample(_CONSUMER_INACTIVE, inactive * 1e-3, *mine)
            elif inactive is not None:
                yield undefined(_CONSUMER_INACTIVE, "it never got an entry", *mine)


def _stream(name: str, told: Mapping[str, Any]) -> Iterator[Sample]:
    yield sample(_LENGTH, told["length"], name)
    yield sample(_GROUPS, told["groups"], name)
    yield sample(_TREE, told["radix-tree-keys"], name, "keys")
    yield sample(_TREE, told["radix-tree-nodes"], name, "nodes")
    yield sample(_GENERATED, _seconds(told["last-generated-id"]), name)
    for spec, key in ((_FIRST, "first-entry"), (_LAST, "last-entry")):
        entry = told[key]
        yield sample(spec, _seconds(entry[0]), name) if entry else undefined(spec, _EMPTY, name)
    if "entries-added" in told:  # from Redis 7 on
        yield sample(_ADDED, told["entries-added"], name)
        deleted = _seconds(told["max-deleted-entry-id"])
        yield sample(_DELETED, deleted, name) if deleted else undefined(_DELETED, "nothing was deleted", name)


def _group(labels: tuple[str, str], told: Mapping[str, Any], last: str) -> Iterator[Sample]:
    yield sample(_CONSUMERS, told["consumers"], *labels)
    yield sample(_PENDING, told["pending"], *labels)
    delivered = _seconds(told["last-delivered-id"])
    yield sample(_DELIVERED, delivered, *labels)
    for spec, key in ((_READ, "entries-read"), (_LAG, "lag")):
        value = told.get(key)
        if value is None:
            reason = (
                "the server can't tell since entries were deleted or skipped" if key in told else "it is older than 7.0"
            )
            yield undefined(spec, reason, *labels)
        else:
            yield sample(spec, value, *labels)
    if told.get("lag") == 0:
        yield sample(_BEHIND, 0, *labels)
    elif delivered:
        yield sample(_BEHIND, max(0.0, _seconds(last) - delivered), *labels)


def _pending(labels: tuple[str, str], told: Sequence[Any] | None, now_us: int) -> Iterator[Sample]:
    if told is None:
        return
    oldest = told[1]
    if oldest is None:
        yield undefined(_OLDEST, "everything was acknowledged", *labels)
    else:
        yield sample(_OLDEST, max(0.0, now_us * 1e-6 - _seconds(oldest)), *labels)


def _seconds(entry_id: str) -> float:
    return int(entry_id.partition("-")[0]) * 1e-3


def _missing(reply: Any) -> bool:
    return isinstance(reply, Refusal) and reply.cause == "missing"
