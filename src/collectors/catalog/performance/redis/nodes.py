"""Every node of a cluster, asked for itself: how it fares, and which slots it is moving.

Sources: INFO and CLUSTER NODES of each node, since only a node itself tells which slots leave and reach it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from collectors.catalog.performance.redis.area import answered, sample
from collectors.catalog.performance.redis.cluster import NODES, Node, parse_nodes
from collectors.catalog.performance.redis.info import Info
from collectors.catalog.performance.redis.info_field import OWN
from collectors.drivers.redis import Command, RedisSource
from collectors.errors import CollectorsError
from collectors.model.metric import Issue, Kind, MetricSpec, Sample, Unit

_NODE = f"{OWN}cluster.node."
_B, _N = Unit.BYTES, Unit.COUNT
_LABELS = ("node",)

_UP = MetricSpec(f"{_NODE}up", Kind.GAUGE, _N, "Whether a node of the cluster answered.", labels=_LABELS)
_MASTER = MetricSpec(f"{_NODE}master", Kind.GAUGE, _N, "Whether a node is a master.", labels=_LABELS)
_KEYS = MetricSpec(f"{_NODE}keys", Kind.GAUGE, _N, "Keys of a node.", labels=_LABELS)
_MOVING = MetricSpec(
    f"{_NODE}slots_moving", Kind.GAUGE, _N, "Slots that leave a node or reach it.", labels=("node", "direction")
)

_INFO: Command = ("INFO",)


def _node(name: str, kind: Kind, unit: Unit, description: str) -> MetricSpec:
    return MetricSpec(f"{_NODE}{name}", kind, unit, description, labels=_LABELS)


_FIELDS = {
    "used_memory": _node("memory.used", Kind.GAUGE, _B, "Memory a node allocated."),
    "used_memory_rss": _node("memory.rss", Kind.GAUGE, _B, "Memory the operating system gave a node."),
    "maxmemory": _node("memory.limit", Kind.GAUGE, _B, "Memory a node may use; 0 is no limit."),
    "connected_clients": _node("clients", Kind.GAUGE, _N, "Clients of a node."),
    "blocked_clients": _node("clients.blocked", Kind.GAUGE, _N, "Clients of a node that wait."),
    "connected_slaves": _node("replicas", Kind.GAUGE, _N, "Replicas of a node."),
    "instantaneous_ops_per_sec": _node("commands.rate", Kind.GAUGE, Unit.HERTZ, "Commands a second, just now."),
    "total_commands_processed": _node("commands", Kind.COUNTER, Unit.OPERATIONS, "Commands of a node."),
    "keyspace_hits": _node("keyspace.hits", Kind.COUNTER, Unit.OPERATIONS, "Look-ups that found their key."),
    "keyspace_misses": _node("keyspace.misses", Kind.COUNTER, Unit.OPERATIONS, "Look-ups that found nothing."),
    "evicted_keys": _node("keys.evicted", Kind.COUNTER, Unit.EVENTS, "Keys a node evicted."),
    "expired_keys": _node("keys.expired", Kind.COUNTER, Unit.EVENTS, "Keys of a node that expired."),
    "rejected_connections": _node("connections.rejected", Kind.COUNTER, Unit.EVENTS, "Connections a node refused."),
    "total_net_input_bytes": _node("net.input", Kind.COUNTER, _B, "Bytes a node received."),
    "total_net_output_bytes": _node("net.output", Kind.COUNTER, _B, "Bytes a node sent."),
    "used_cpu_user": _node("cpu.user", Kind.COUNTER, Unit.SECONDS, "CPU time of a node for itself."),
    "used_cpu_sys": _node("cpu.system", Kind.COUNTER, Unit.SECONDS, "CPU time of a node in the kernel."),
    "master_repl_offset": _node("replication.offset", Kind.GAUGE, _B, "Offset of a node's replication stream."),
    "uptime_in_seconds": _node("uptime", Kind.GAUGE, Unit.SECONDS, "Time since a node started."),
    "total_error_replies": _node("errors", Kind.COUNTER, Unit.ERRORS, "Answers of a node that were errors."),
}
EMITS = (_UP, _MASTER, _KEYS, _MOVING, *_FIELDS.values())


async def collect(source: RedisSource, nodes: Sequence[Node], most: int) -> tuple[list[Sample], list[Issue]]:
    """Ask all nodes at the same time, at most ``most`` of them; one that fails is told as down."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_ask(source, node)) for node in nodes[:most]]
    samples: list[Sample] = []
    issues: list[Issue] = []
    for found, unanswered in (task.result() for task in tasks):
        samples += found
        issues += unanswered
    if len(nodes) > most:
        issues.append(Issue("too_many", f"the cluster has {len(nodes)} nodes; max_nodes lets {most} be asked", "nodes"))
    return samples, list(dict.fromkeys(issues))


async def _ask(source: RedisSource, node: Node) -> tuple[list[Sample], list[Issue]]:
    if node.state in {"fail", "joining"}:  # the cluster has given it up, and so do we
        return [sample(_UP, 0, node.address)], []
    commands = (_INFO, NODES)
    try:
        replies = await source.ask(commands, "" if node.myself else node.address)
        given, issues = answered(commands, replies)
        return list(_derive(node, given.get(_INFO, ""), given.get(NODES, ""))), issues
    except CollectorsError as error:
        return [sample(_UP, 0, node.address)], [Issue(error.code, str(error), node.address)]
    except (ValueError, LookupError, TypeError, AttributeError):
        return [], [Issue("malformed", "the node's answer is not what its manual says", node.address)]


def _derive(node: Node, text: str, table: str) -> Iterator[Sample]:
    where = node.address
    info = Info.parse(text)
    yield sample(_UP, 1, where)
    yield sample(_MASTER, float(node.role == "master"), where)
    for name, spec in _FIELDS.items():
        value = info.number(name)
        if value is not None:
            yield sample(spec, value, where)
    if info.fields:
        counts = (
            value.partition(",")[0].removeprefix("keys=") for name, value in info.starting_with("db") if name.isdigit()
        )
        yield sample(_KEYS, sum(map(int, counts)), where)
    for one in parse_nodes(table):
        if one.myself:
            yield sample(_MOVING, one.migrating, where, "out")
            yield sample(_MOVING, one.importing, where, "in")
