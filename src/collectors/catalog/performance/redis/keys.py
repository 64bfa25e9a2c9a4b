"""Keys that are watched by name, and groups of keys estimated from a sample.

Sources: TYPE, MEMORY USAGE and the command for each type's length; SCAN for the sample. The sample is drawn within a
budget of steps and time, so that the largest keyspace costs no more than a small one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from collectors.catalog.performance.redis import routing
from collectors.catalog.performance.redis.area import answered, printable, sample
from collectors.catalog.performance.redis.info import number
from collectors.catalog.performance.redis.info_field import OWN
from collectors.clock import Clock
from collectors.drivers.redis import Command, RedisSource, Refusal, Reply
from collectors.model.metric import Issue, Kind, MetricSpec, Sample, Unit

_KEY = ("key",)
_GROUP = ("group",)
_N = Unit.COUNT
_EXISTS = MetricSpec(f"{OWN}key.exists", Kind.GAUGE, _N, "Whether a watched key exists.", labels=_KEY)
_SIZE = MetricSpec(
    f"{OWN}key.size", Kind.GAUGE, _N, "Length of a watched key: bytes of a string, else elements.", labels=_KEY
)
_MEMORY = MetricSpec(f"{OWN}key.memory", Kind.GAUGE, Unit.BYTES, "Memory of a watched key.", labels=_KEY)
_VALUE = MetricSpec(f"{OWN}key.value", Kind.GAUGE, _N, "Value of a watched key that is a number.", labels=_KEY)
WATCHED = (_EXISTS, _SIZE, _MEMORY, _VALUE)

_GROUP_KEYS = MetricSpec(
    f"{OWN}key_group.keys", Kind.GAUGE, _N, "Estimated keys of a group, from a sample.", labels=_GROUP
)
_GROUP_MEMORY = MetricSpec(
    f"{OWN}key_group.memory",
    Kind.GAUGE,
    Unit.BYTES,
    "Estimated memory of a group's keys, from a sample.",
    labels=_GROUP,
)
_GROUPS = MetricSpec(f"{OWN}key_group.distinct", Kind.GAUGE, _N, "Groups in the sample.")
_SAMPLED = MetricSpec(f"{OWN}key_group.sampled", Kind.GAUGE, _N, "Keys in the sample.")
_TOOK = MetricSpec(f"{OWN}key_group.duration", Kind.GAUGE, Unit.SECONDS, "Time the sample took.")
GROUPED = (_GROUP_KEYS, _GROUP_MEMORY, _GROUPS, _SAMPLED, _TOOK)

_OTHER = "other"
_LONGEST_NUMBER = 32
_LENGTHS = {
    "string": "STRLEN", "list": "LLEN", "set": "SCARD", "zset": "ZCARD", "hash": "HLEN", "stream": "XLEN",
}  # fmt: skip


async def watch(source: RedisSource, keys: Sequence[str]) -> tuple[list[Sample], list[Issue]]:
    """Ask about keys by name; of a string no more is read than a number is long."""
    first: list[Command] = [command for key in keys for command in (("TYPE", key), ("MEMORY", "USAGE", key))]
    types, issues = answered(first, list((await routing.ask(source, first)).values()))
    second: list[Command] = []
    for key in keys:
        kind = types.get(("TYPE", key))
        if kind in _LENGTHS:
            second.append((_LENGTHS[kind], key))
        if kind == "string":
            second.append(("GETRANGE", key, "0", str(_LONGEST_NUMBER)))
    sizes, unanswered = answered(second, list((await routing.ask(source, second)).values()))
    samples = [made for key in keys for made in _watched(key, {**types, **sizes})]
    return samples, list(dict.fromkeys((*issues, *unanswered)))


def _watched(key: str, told: Mapping[Command, Reply]) -> Iterator[Sample]:
    name, kind = printable(key), told.get(("TYPE", key))
    if kind is not None:
        yield sample(_EXISTS, float(kind != "none"), name)
    memory = told.get(("MEMORY", "USAGE", key))
    if memory is not None:
        yield sample(_MEMORY, memory, name)
    size = told.get((_LENGTHS.get(str(kind), ""), key))
    if size is not None:
        yield sample(_SIZE, size, name)
    value = number(told.get(("GETRANGE", key, "0", str(_LONGEST_NUMBER))) or "")
    if value is not None:
        yield sample(_VALUE, value, name)


class KeyGroups:
    """Groups of keys by regular expression.

    A key belongs to the first expression that matches its beginning. The group is called like the expression's first
    bracket group if it has one, else like the expression; beyond ``most`` groups, and for keys nothing matches, other.
    """

    def __init__(self, patterns: Sequence[str], most: int) -> None:
        self._patterns = tuple(map(re.compile, patterns))
        self._most = most
        self._walk = routing.Walk()

    async def collect(
        self, source: RedisSource, clock: Clock, steps: int, seconds: float
    ) -> tuple[list[Sample], list[Issue]]:
        """Draw a sample and scale it up to the number of keys."""
        start = clock.monotonic()
        [total] = await source.ask([("DBSIZE",)])
        keys = await self._walk.go(source, clock, steps, seconds / 2)
        if isinstance(total, Refusal) or self._walk.refusal is not None:
            refusals = ((("DBSIZE",), total), (("SCAN",), self._walk.refusal))
            told = [(command, reply) for command, reply in refusals if isinstance(reply, Refusal)]
            return [], answered([command for command, _ in told], [reply for _, reply in told])[1]
        counts: Counter[str] = Counter()
        weighed: Counter[str] = Counter()
        memory: Counter[str] = Counter()
        issues: list[Issue] = []
        until = start + seconds
        for at in range(0, len(keys), routing.PAGE):
            page = keys[at : at + routing.PAGE]
            groups = [self._group(key) for key in page]
            counts.update(groups)
            if clock.monotonic() >= until or issues:
                continue  # the rest is counted, and not weighed
            commands: list[Command] = [("MEMORY", "USAGE", key) for key in page]
            sizes, issues = answered(commands, await source.ask(commands))
            for command, group in zip(commands, groups, strict=True):
                size = sizes.get(command)
                if size is not None:  # it may be gone by now
                    memory[group] += size
                    weighed[group] += 1
        samples = [
            sample(_SAMPLED, len(keys)),
            sample(_GROUPS, len(counts)),
            sample(_TOOK, clock.monotonic() - start),
            *self._estimates(total, len(keys), counts, weighed, memory),
        ]
        return samples, issues

    def _estimates(
        self, total: int, sampled: int, counts: Counter[str], weighed: Counter[str], memory: Counter[str]
    ) -> Iterator[Sample]:
        named = {group for group, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: self._most]}
        keys: Counter[str] = Counter()
        sizes: dict[str, float] = {}
        for group, count in counts.items():
            name = group if group in named else _OTHER
            estimate = count * max(total, sampled) / sampled
            keys[name] += estimate  # type: ignore[assignment]  # a Counter adds up fractions as well
            if weighed[group]:
                sizes[name] = sizes.get(name, 0.0) + estimate * memory[group] / weighed[group]
        for name in sorted(keys):
            yield sample(_GROUP_KEYS, keys[name], printable(name))
            if name in sizes:
                yield sample(_GROUP_MEMORY, sizes[name], printable(name))

    def _group(self, key: str) -> str:
        for pattern in self._patterns:
            match = pattern.match(key)
            if match:
                return (match[1] or _OTHER) if pattern.groups else pattern.pattern
        return _OTHER
