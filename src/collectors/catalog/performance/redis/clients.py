"""Clients by class: normal ones, subscribers, replicas and masters, and what their buffers take.

Source: CLIENT LIST. Its length grows with the clients, so it is not asked above a number of them; clients are added up
by class, by state and by library, and never told one by one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import partial

from collectors.catalog.performance.redis.area import Area, Reading, printable, sample
from collectors.catalog.performance.redis.info import Info
from collectors.catalog.performance.redis.info_field import OWN
from collectors.drivers.redis import Command
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

_CLASS = ("class",)
_COUNT = MetricSpec(f"{OWN}clients.by_class", Kind.GAUGE, Unit.COUNT, "Clients of a class.", labels=_CLASS)
_MEMORY = MetricSpec(f"{OWN}clients.memory", Kind.GAUGE, Unit.BYTES, "Memory of the clients of a class.", labels=_CLASS)
_OUTPUT = MetricSpec(
    f"{OWN}clients.output_buffer",
    Kind.GAUGE,
    Unit.BYTES,
    "Output that clients of a class have not read.",
    labels=_CLASS,
)
_OUTPUT_LARGEST = MetricSpec(
    f"{OWN}clients.output_buffer.largest", Kind.GAUGE, Unit.BYTES, "Most output one client has not read.", labels=_CLASS
)
_QUERY = MetricSpec(
    f"{OWN}clients.query_buffer", Kind.GAUGE, Unit.BYTES, "Queries of a class not yet executed.", labels=_CLASS
)
_IDLE = MetricSpec(
    f"{OWN}clients.idle.longest", Kind.GAUGE, Unit.SECONDS, "Longest time a client of a class was idle.", labels=_CLASS
)
_AGE = MetricSpec(
    f"{OWN}clients.age.longest", Kind.GAUGE, Unit.SECONDS, "Age of the oldest connection of a class.", labels=_CLASS
)
_STATE = MetricSpec(
    f"{OWN}clients.by_state",
    Kind.GAUGE,
    Unit.COUNT,
    "Clients that wait in a blocking command, are in a transaction, or monitor everything.",
    labels=("state",),
)
_LIBRARY = MetricSpec(
    f"{OWN}clients.by_library",
    Kind.GAUGE,
    Unit.COUNT,
    "Clients by the library they say they use; the rarer ones together as other.",
    labels=("library",),
)
EMITS = (_COUNT, _MEMORY, _OUTPUT, _OUTPUT_LARGEST, _QUERY, _IDLE, _AGE, _STATE, _LIBRARY)

_CLASSES = ("normal", "pubsub", "replica", "master")
_STATES = (("blocked", "b"), ("transaction", "x"), ("monitor", "O"), ("tracking", "t"))
_MAX_LIBRARIES = 10

LIST: Command = ("CLIENT", "LIST")


def too_many(info: Info, most: int) -> bool:
    """Say whether there are more clients than are to be listed."""
    return (info.number("connected_clients") or 0) > most


def _asks(most: int, info: Info) -> tuple[Command, ...]:
    return () if info.mode == "sentinel" or too_many(info, most) else (LIST,)


def _derive(now: Reading, before: Reading | None) -> Iterator[Sample]:  # noqa: ARG001  # as areas are called
    if LIST not in now.replies:
        return
    clients = [dict(part.partition("=")[::2] for part in line.split()) for line in now.replies[LIST].splitlines()]
    by_class: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for client in clients:
        by_class[_class(client)].append(client)
    for name in _CLASSES:
        members = by_class[name]
        yield sample(_COUNT, len(members), name)
        for spec, key in ((_MEMORY, "tot-mem"), (_OUTPUT, "omem"), (_QUERY, "qbuf")):
            yield sample(spec, sum(int(client.get(key, 0)) for client in members), name)
        for spec, key in ((_OUTPUT_LARGEST, "omem"), (_IDLE, "idle"), (_AGE, "age")):
            yield sample(spec, max((int(client.get(key, 0)) for client in members), default=0), name)
    for state, flag in _STATES:
        yield sample(_STATE, sum(flag in client["flags"] for client in clients), state)
    libraries = Counter(printable(client.get("lib-name") or "unknown", 64) for client in clients)
    named = libraries.most_common(_MAX_LIBRARIES)
    for library, count in named:
        yield sample(_LIBRARY, count, library)
    others = libraries.total() - sum(count for _, count in named)
    if others:
        yield sample(_LIBRARY, others, "other")


def _class(client: Mapping[str, str]) -> str:
    flags = client["flags"]
    if "S" in flags:
        return "replica"
    if "M" in flags:
        return "master"
    subscribed = any(client.get(key, "0") != "0" for key in ("sub", "psub", "ssub"))
    return "pubsub" if subscribed or "P" in flags else "normal"


def area(most: int) -> Area:
    """Return the area that lists clients while there are no more than ``most``."""
    return Area("clients", EMITS, partial(_asks, most), _derive)
