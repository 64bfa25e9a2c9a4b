"""Network: interfaces, sockets, TCP and UDP counters, connection tracking.

Sources: ``/proc/net/dev``, ``sockstat``, ``sockstat6``, ``snmp`` and ``netstat`` as in proc(5) and the kernel's
``Documentation/networking/snmp_counter.rst``; ``nf_conntrack`` of ``/proc/sys/net/netfilter``. All of them are of
the network namespace that the collector runs in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from collectors.catalog.performance.system.area import Area, HostFiles, Reading, protocol_counters, sample
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

_BY_INTERFACE = ("network.interface.name", "network.io.direction")
_IO = MetricSpec("system.network.io", Kind.COUNTER, Unit.BYTES, "Bytes received and transmitted.", labels=_BY_INTERFACE)
_PACKETS = MetricSpec(
    "system.network.packet.count",
    Kind.COUNTER,
    Unit.PACKETS,
    "Packets received and transmitted.",
    # The convention names the interface otherwise here than in its sister metrics.
    labels=("system.device", "network.io.direction"),
)
_ERRORS = MetricSpec("system.network.errors", Kind.COUNTER, Unit.ERRORS, "Packets with errors.", labels=_BY_INTERFACE)
_DROPPED = MetricSpec(
    "system.network.packet.dropped",
    Kind.COUNTER,
    Unit.PACKETS,
    "Packets dropped although they had no error.",
    labels=_BY_INTERFACE,
)
_SOCKETS = MetricSpec(
    "collectors.system.network.sockets",
    Kind.GAUGE,
    Unit.COUNT,
    "Sockets by protocol and state.",
    labels=("protocol", "state"),
)
_SOCKET_MEMORY = MetricSpec(
    "collectors.system.network.socket_memory",
    Kind.GAUGE,
    Unit.BYTES,
    "Kernel memory in the buffers of a protocol's sockets.",
    labels=("protocol",),
)
_TCP_ESTABLISHED = MetricSpec(
    "collectors.system.network.tcp.established",
    Kind.GAUGE,
    Unit.COUNT,
    "TCP connections that are established or wait to be closed by this side.",
)
_TCP_SEGMENTS = MetricSpec(
    "collectors.system.network.tcp.segments",
    Kind.COUNTER,
    Unit.COUNT,
    "TCP segments received, sent, sent again, received with errors, and sent resets.",
    labels=("kind",),
)
_TCP_CONNECTIONS = MetricSpec(
    "collectors.system.network.tcp.connections",
    Kind.COUNTER,
    Unit.COUNT,
    "TCP connections opened by this side, accepted, failed while opening, and reset once established.",
    labels=("event",),
)
_TCP_TROUBLE = MetricSpec(
    "collectors.system.network.tcp.trouble",
    Kind.COUNTER,
    Unit.COUNT,
    "What TCP suffered: accept queue overflows, dropped connection requests, SYN cookies, timeouts and the like.",
    labels=("kind",),
)
_UDP_DATAGRAMS = MetricSpec(
    "collectors.system.network.udp.datagrams",
    Kind.COUNTER,
    Unit.COUNT,
    "UDP datagrams received, sent, for no listener, with errors, and lost for want of buffer.",
    labels=("kind",),
)
_CONNTRACK = MetricSpec(
    "collectors.system.network.conntrack.usage", Kind.GAUGE, Unit.COUNT, "Connections in the tracking table."
)
_CONNTRACK_LIMIT = MetricSpec(
    "collectors.system.network.conntrack.limit", Kind.GAUGE, Unit.COUNT, "Connections the tracking table has room for."
)

_PROTOCOLS: tuple[tuple[str, str, MetricSpec, tuple[str, ...]], ...] = (
    ("Tcp", "CurrEstab", _TCP_ESTABLISHED, ()),
    ("Tcp", "InSegs", _TCP_SEGMENTS, ("received",)),
    ("Tcp", "OutSegs", _TCP_SEGMENTS, ("sent",)),
    ("Tcp", "RetransSegs", _TCP_SEGMENTS, ("retransmitted",)),
    ("Tcp", "InErrs", _TCP_SEGMENTS, ("bad",)),
    ("Tcp", "OutRsts", _TCP_SEGMENTS, ("reset",)),
    ("Tcp", "ActiveOpens", _TCP_CONNECTIONS, ("opened",)),
    ("Tcp", "PassiveOpens", _TCP_CONNECTIONS, ("accepted",)),
    ("Tcp", "AttemptFails", _TCP_CONNECTIONS, ("failed",)),
    ("Tcp", "EstabResets", _TCP_CONNECTIONS, ("reset",)),
    ("TcpExt", "ListenOverflows", _TCP_TROUBLE, ("listen_overflow",)),
    ("TcpExt", "ListenDrops", _TCP_TROUBLE, ("listen_drop",)),
    ("TcpExt", "SyncookiesSent", _TCP_TROUBLE, ("syncookie_sent",)),
    ("TcpExt", "SyncookiesFailed", _TCP_TROUBLE, ("syncookie_failed",)),
    ("TcpExt", "TCPTimeouts", _TCP_TROUBLE, ("timeout",)),
    ("TcpExt", "TCPSynRetrans", _TCP_TROUBLE, ("syn_retransmitted",)),
    ("TcpExt", "TCPRcvQDrop", _TCP_TROUBLE, ("receive_queue_drop",)),
    ("TcpExt", "TCPAbortOnMemory", _TCP_TROUBLE, ("abort_on_memory",)),
    ("Udp", "InDatagrams", _UDP_DATAGRAMS, ("received",)),
    ("Udp", "OutDatagrams", _UDP_DATAGRAMS, ("sent",)),
    ("Udp", "NoPorts", _UDP_DATAGRAMS, ("no_listener",)),
    ("Udp", "InErrors", _UDP_DATAGRAMS, ("bad",)),
    ("Udp", "RcvbufErrors", _UDP_DATAGRAMS, ("receive_buffer_full",)),
    ("Udp", "SndbufErrors", _UDP_DATAGRAMS, ("send_buffer_full",)),
)
_STATES = {"inuse": "in_use", "orphan": "orphaned", "tw": "time_wait", "alloc": "allocated"}

EXCLUDED = re.compile(r"(veth|cali|lxc|ifb).*")
"""Host ends of containers' interfaces, of which a node has hundreds, and redirection devices."""

Interfaces = Mapping[str, tuple[int, ...]]
"""The sixteen columns of ``/proc/net/dev`` by interface."""


@dataclass(frozen=True, slots=True)
class Network:
    """What is read of the network; ``sockets`` by protocol and column, memory in pages."""

    interfaces: Interfaces
    sockets: Mapping[str, Mapping[str, int]]
    protocols: Mapping[str, Mapping[str, int]]
    conntrack: int | None
    conntrack_limit: int | None
    page_size: int


def parse_net_dev(text: str) -> Interfaces:
    """Parse ``/proc/net/dev``: two heading lines, then eight columns of receiving and eight of transmitting."""
    rows = (line.partition(":") for line in text.splitlines()[2:])
    return {
        name.strip(): tuple(map(int, columns.split()))
        for name, _, columns in rows
        if not EXCLUDED.fullmatch(name.strip())
    }


def parse_sockstat(text: str) -> dict[str, dict[str, int]]:
    """Parse ``/proc/net/sockstat`` or ``sockstat6``: lines of ``TCP: inuse 1 orphan 0``."""
    sockets = {}
    for line in text.splitlines():
        protocol, _, rest = line.partition(":")
        words = rest.split()
        sockets[protocol.lower()] = {key: int(value) for key, value in zip(words[::2], words[1::2], strict=True)}
    return sockets


def _read(files: HostFiles, _: Network | None) -> Network | None:
    text = files.proc("net/dev")
    if text is None:
        return None
    return Network(
        interfaces=parse_net_dev(text),
        sockets=parse_sockstat((files.proc("net/sockstat") or "") + (files.proc("net/sockstat6") or "")),
        protocols={
            **protocol_counters(files.proc("net/snmp") or ""),
            **protocol_counters(files.proc("net/netstat") or ""),
        },
        conntrack=_number(files.proc("sys/net/netfilter/nf_conntrack_count")),
        conntrack_limit=_number(files.proc("sys/net/netfilter/nf_conntrack_max")),
        page_size=files.page_size,
    )


def _derive(now: Reading[Network], _: Reading[Network] | None) -> Iterator[Sample]:
    network = now.values
    for interface, columns in network.interfaces.items():
        yield from _interface(interface, "receive", columns[:8])
        yield from _interface(interface, "transmit", columns[8:])
    for protocol, sockets in network.sockets.items():
        for key, state in _STATES.items():
            if key in sockets:
                yield sample(_SOCKETS, sockets[key], protocol, state)
        if "mem" in sockets:
            yield sample(_SOCKET_MEMORY, sockets["mem"] * network.page_size, protocol)
    for protocol, key, spec, labels in _PROTOCOLS:
        counters = network.protocols.get(protocol, {})
        if key in counters:
            yield sample(spec, counters[key], *labels)
    for spec, value in ((_CONNTRACK, network.conntrack), (_CONNTRACK_LIMIT, network.conntrack_limit)):
        if value is not None:
            yield sample(spec, value)


def _interface(name: str, direction: str, columns: tuple[int, ...]) -> Iterator[Sample]:
    for spec, value in zip((_IO, _PACKETS, _ERRORS, _DROPPED), columns, strict=False):
        yield sample(spec, value, name, direction)


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


AREA: Area[Network] = Area(
    name="network",
    emits=(
        _IO,
        _PACKETS,
        _ERRORS,
        _DROPPED,
        _SOCKETS,
        _SOCKET_MEMORY,
        _TCP_ESTABLISHED,
        _TCP_SEGMENTS,
        _TCP_CONNECTIONS,
        _TCP_TROUBLE,
        _UDP_DATAGRAMS,
        _CONNTRACK,
        _CONNTRACK_LIMIT,
    ),
    read=_read,
    derive=_derive,
)
