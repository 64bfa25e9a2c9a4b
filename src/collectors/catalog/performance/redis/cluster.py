"""A cluster as one node sees it: slots, members, epochs, messages of the bus.

Sources: CLUSTER INFO and CLUSTER NODES.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from collectors.catalog.performance.redis.area import Area, Reading, printable, sample
from collectors.catalog.performance.redis.info import Info, number
from collectors.catalog.performance.redis.info_field import OWN
from collectors.drivers.redis import Command
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

SLOTS = 16_384
_CLUSTER = f"{OWN}cluster."
_N = Unit.COUNT

_OK = MetricSpec(f"{_CLUSTER}ok", Kind.GAUGE, _N, "Whether the cluster answers queries, as this node sees it.")
_SLOTS = MetricSpec(
    f"{_CLUSTER}slots",
    Kind.GAUGE,
    _N,
    "Hash slots by state: assigned ones are ok, possibly failing (pfail) or failing; the rest is uncovered.",
    labels=("state",),
)
_NODES = MetricSpec(f"{_CLUSTER}nodes.known", Kind.GAUGE, _N, "Nodes this node knows, itself included.")
_SHARDS = MetricSpec(f"{_CLUSTER}size", Kind.GAUGE, _N, "Masters with slots.")
_EPOCH = MetricSpec(
    f"{_CLUSTER}epoch", Kind.GAUGE, _N, "Epoch of the cluster and of this node; failovers raise it.", labels=("of",)
)
_MESSAGES = MetricSpec(
    f"{_CLUSTER}messages",
    Kind.COUNTER,
    Unit.EVENTS,
    "Messages on the cluster bus by direction and type.",
    labels=("direction", "type"),
)
_MESSAGE_TOTAL = MetricSpec(
    f"{_CLUSTER}messages.total", Kind.COUNTER, Unit.EVENTS, "Messages on the cluster bus.", labels=("direction",)
)
_LINK_LIMIT = MetricSpec(
    f"{_CLUSTER}links.buffer_limit_exceeded", Kind.COUNTER, Unit.EVENTS, "Links of the bus freed for their size."
)
_MEMBERS = MetricSpec(f"{_CLUSTER}nodes", Kind.GAUGE, _N, "Nodes by role and state.", labels=("role", "state"))
_UNREPLICATED = MetricSpec(
    f"{_CLUSTER}masters_without_replica", Kind.GAUGE, _N, "Masters with slots that no good replica follows."
)
_NODE_SLOTS = MetricSpec(f"{_CLUSTER}node.slots", Kind.GAUGE, _N, "Hash slots of a master.", labels=("node",))
_NODE_LINK = MetricSpec(
    f"{_CLUSTER}node.link_up", Kind.GAUGE, _N, "Whether this node's link to another is up.", labels=("node",)
)

_INFO: Command = ("CLUSTER", "INFO")
NODES: Command = ("CLUSTER", "NODES")
_MAX_NODES = 1_000


@dataclass(frozen=True, slots=True)
class Node:
    """A line of CLUSTER NODES; ``migrating`` and ``importing`` are only told by a node of itself."""

    id: str
    address: str
    flags: frozenset[str]
    master: str
    linked: bool
    slots: int
    migrating: int
    importing: int

    @property
    def role(self) -> str:
        """Master or replica."""
        return "master" if "master" in self.flags else "replica"

    @property
    def state(self) -> str:
        """Fail, pfail (possibly failing), joining, or ok."""
        if "fail" in self.flags:
            return "fail"
        if "fail?" in self.flags:
            return "pfail"
        return "joining" if self.flags & {"handshake", "noaddr"} else "ok"

    @property
    def myself(self) -> bool:
        """Whether it is the node that was asked."""
        return "myself" in self.flags


def parse_nodes(text: str) -> list[Node]:
    """Parse what CLUSTER NODES answers; IP version 6 addresses have colons of their own."""
    nodes = []
    for line in text.splitlines()[:_MAX_NODES]:
        node, address, flags, master, _, _, _, link, *slots = line.split(" ")
        ranges = [part for part in slots if part and part[0] != "["]
        moving = [part for part in slots if part[:1] == "["]
        nodes.append(
            Node(
                id=node,
                address=printable(address.partition("@")[0]),
                flags=frozenset(flags.split(",")),
                master=master,
                linked=link == "connected",
                slots=sum(_width(part) for part in ranges),
                migrating=sum("->-" in part for part in moving),
                importing=sum("-<-" in part for part in moving),
            )
        )
    return nodes


def _width(slots: str) -> int:
    first, _, last = slots.partition("-")
    return int(last or first) - int(first) + 1


def _asks(info: Info) -> tuple[Command, ...]:
    return (_INFO, NODES) if info.mode == "cluster" else ()


def _derive(now: Reading, before: Reading | None) -> Iterator[Sample]:  # noqa: ARG001  # as areas are called
    if _INFO in now.replies:
        yield from _health(Info.parse(now.replies[_INFO]))
    if NODES in now.replies:
        yield from _members(parse_nodes(now.replies[NODES]))


def _health(told: Info) -> Iterator[Sample]:
    fields: Mapping[str, str] = told.fields
    yield sample(_OK, float(fields["cluster_state"] == "ok"))
    assigned = int(fields["cluster_slots_assigned"])
    yield sample(_SLOTS, assigned, "assigned")
    yield sample(_SLOTS, SLOTS - assigned, "uncovered")
    for state in ("ok", "pfail", "fail"):
        yield sample(_SLOTS, int(fields[f"cluster_slots_{state}"]), state)
    yield sample(_NODES, int(fields["cluster_known_nodes"]))
    yield sample(_SHARDS, int(fields["cluster_size"]))
    yield sample(_EPOCH, int(fields["cluster_current_epoch"]), "cluster")
    yield sample(_EPOCH, int(fields["cluster_my_epoch"]), "node")
    for direction in ("sent", "received"):
        for name, text in told.starting_with("cluster_stats_messages_"):
            kind, _, end = name.rpartition("_")
            count = number(text)
            if end == direction and kind and count is not None:
                yield sample(_MESSAGES, count, direction, kind)
        total = told.number(f"cluster_stats_messages_{direction}")
        if total is not None:
            yield sample(_MESSAGE_TOTAL, total, direction)
    freed = told.number("total_cluster_links_buffer_limit_exceeded")
    if freed is not None:
        yield sample(_LINK_LIMIT, freed)


def _members(nodes: list[Node]) -> Iterator[Sample]:
    counts = Counter((node.role, node.state) for node in nodes)
    for role in ("master", "replica"):
        for state in ("ok", "pfail", "fail", "joining"):
            yield sample(_MEMBERS, counts[role, state], role, state)
    followed = {node.master for node in nodes if node.role == "replica" and node.state == "ok"}
    yield sample(_UNREPLICATED, sum(bool(node.slots) and node.id not in followed for node in nodes))
    for node in nodes:
        if node.role == "master" and node.slots:
            yield sample(_NODE_SLOTS, node.slots, node.address)
        if not node.myself and node.state != "joining":
            yield sample(_NODE_LINK, float(node.linked), node.address)


AREA = Area(
    "cluster",
    (
        _OK, _SLOTS, _NODES, _SHARDS, _EPOCH, _MESSAGES, _MESSAGE_TOTAL, _LINK_LIMIT, _MEMBERS, _UNREPLICATED,
        _NODE_SLOTS, _NODE_LINK,
    ),
    _asks,
    _derive,
)  # fmt: skip
