"""Sentinel: the masters it watches, their replicas and sentinels, and whether a failover could be agreed on.

Sources: INFO of a Sentinel, and SENTINEL MASTER, REPLICAS, SENTINELS, CKQUORUM of each master.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from collectors.catalog.performance.redis.area import Area, Reading, pairs, printable, sample, undefined
from collectors.catalog.performance.redis.info import Info, assignments, number
from collectors.catalog.performance.redis.info_field import OWN, gauge
from collectors.catalog.performance.redis.info_field import area as fields_area
from collectors.drivers.redis import Command, Refusal
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

_MAX_MASTERS = 50
_SENTINEL = f"{OWN}sentinel."
_N, _S = Unit.COUNT, Unit.SECONDS

FIELDS = (
    gauge("sentinel_masters", f"{_SENTINEL}masters", _N, "Masters this Sentinel watches."),
    gauge("sentinel_tilt", f"{_SENTINEL}tilt", _N, "Whether it distrusts its clock and only watches."),
    gauge("sentinel_tilt_since_seconds", f"{_SENTINEL}tilt_time", _S, "Time in that mode.", never="it is not in tilt"),
    gauge("sentinel_running_scripts", f"{_SENTINEL}scripts.running", _N, "Scripts that run."),
    gauge("sentinel_scripts_queue_length", f"{_SENTINEL}scripts.waiting", _N, "Scripts that wait."),
    gauge("sentinel_simulate_failure_flags", f"{_SENTINEL}simulated_failures", _N, "Failures it is told to simulate."),
)


def _spec(name: str, unit: Unit, description: str, *labels: str, nullable: bool = False) -> MetricSpec:
    return MetricSpec(f"{_SENTINEL}{name}", Kind.GAUGE, unit, description, ("master", *labels), nullable=nullable)


_OK = _spec("master.ok", _N, "Whether the master is up in this Sentinel's eyes.", "status")
_ADDRESS = _spec("master.address", _N, "1 for the address the master has.", "address")
_REPLICAS = _spec("master.replicas", _N, "Replicas of the master.")
_OK_REPLICAS = _spec("master.ok_replicas", _N, "Replicas of the master that are up and linked.")
_SENTINELS = _spec("master.sentinels", _N, "Sentinels that watch the master, this one included.")
_OK_SENTINELS = _spec("master.ok_sentinels", _N, "Sentinels that watch the master and are up, this one included.")
_QUORUM = _spec("master.quorum_reachable", _N, "Whether quorum and majority for a failover can be reached.")
_EPOCH = _spec("master.config_epoch", _N, "Epoch of the master's configuration; a failover raises it.")
_PING = _spec("master.last_ok_ping", _S, "Time since the master last answered a ping.")
_PEER = _spec("peer.up", _N, "Whether another Sentinel is up.", "peer")
_REPLICA = _spec("replica.up", _N, "Whether a replica is up and linked to the master.", "replica")
_SETTING = _spec("master.setting", _N, "A setting of the master, times in milliseconds.", "setting")
_OWN_SETTING = MetricSpec(
    f"{_SENTINEL}setting", Kind.GAUGE, _N, "A setting of the Sentinel itself: 1 is yes, 0 no.", labels=("setting",)
)
_DOWN = _spec("master.down_time", _S, "Time since this Sentinel holds the master for down.", nullable=True)

_SETTINGS = ("quorum", "down-after-milliseconds", "failover-timeout", "parallel-syncs")
_OWN_SETTINGS = ("announce-hostnames", "resolve-hostnames", "announce-port")
_BAD = frozenset({"s_down", "o_down", "disconnected"})


def _masters(info: Info) -> Iterator[Mapping[str, str]]:
    lines = (text for name, text in info.starting_with("master") if name.isdigit())
    for _, text in zip(range(_MAX_MASTERS), lines, strict=False):
        yield assignments(text)


def _asks(info: Info) -> tuple[Command, ...]:
    if info.mode != "sentinel":
        return ()
    names = [master["name"] for master in _masters(info) if "name" in master]
    kinds = ("MASTER", "REPLICAS", "SENTINELS", "CKQUORUM")
    asked = tuple(("SENTINEL", kind, name) for name in names for kind in kinds)
    return (*asked, *(("SENTINEL", "CONFIG", "GET", name) for name in _OWN_SETTINGS))


def _derive(now: Reading, before: Reading | None) -> Iterator[Sample]:
    if now.info.mode != "sentinel":
        return
    yield from _FIELDS.derive(now, before)
    for name in _OWN_SETTINGS:
        for setting, text in pairs(now.replies.get(("SENTINEL", "CONFIG", "GET", name), [])).items():
            value = {"yes": 1.0, "no": 0.0}.get(text, number(text))
            if value is not None:
                yield sample(_OWN_SETTING, value, setting)
    for told in _masters(now.info):
        name = printable(told["name"])
        yield sample(_OK, float(told["status"] == "ok"), name, told["status"])
        yield sample(_ADDRESS, 1, name, printable(told["address"]))
        yield sample(_REPLICAS, int(told["slaves"]), name)
        yield sample(_SENTINELS, int(told["sentinels"]), name)
        yield from _master(now, told["name"], name)


def _master(now: Reading, key: str, name: str) -> Iterator[Sample]:
    quorum = now.replies.get(("SENTINEL", "CKQUORUM", key))
    if quorum is not None:
        yield sample(_QUORUM, float(not isinstance(quorum, Refusal)), name)
    master = pairs(now.replies.get(("SENTINEL", "MASTER", key), []))
    if master:
        yield sample(_EPOCH, int(master["config-epoch"]), name)
        yield sample(_PING, int(master["last-ok-ping-reply"]) * 1e-3, name)
        down = master.get("s-down-time")
        yield sample(_DOWN, int(down) * 1e-3, name) if down else undefined(_DOWN, "the master is not down", name)
        for setting in _SETTINGS:
            if setting in master:
                yield sample(_SETTING, int(master[setting]), name, setting)
    replicas = now.replies.get(("SENTINEL", "REPLICAS", key))
    if replicas is not None:
        states = [(entry, _well(entry) and entry["master-link-status"] == "ok") for entry in map(pairs, replicas)]
        yield sample(_OK_REPLICAS, sum(up for _, up in states), name)
        for entry, up in states:
            yield sample(_REPLICA, float(up), name, _where(entry))
    peers = now.replies.get(("SENTINEL", "SENTINELS", key))
    if peers is not None:
        entries = [pairs(peer) for peer in peers]
        yield sample(_OK_SENTINELS, 1 + sum(map(_well, entries)), name)
        for entry in entries:
            yield sample(_PEER, float(_well(entry)), name, _where(entry))


def _well(entry: Mapping[str, Any]) -> bool:
    return not _BAD & set(entry["flags"].split(","))


def _where(entry: Mapping[str, Any]) -> str:
    return printable(f"{entry['ip']}:{entry['port']}")


_FIELDS = fields_area("sentinel", FIELDS)
AREA = Area(
    "sentinel",
    (
        *_FIELDS.emits,
        _OK,
        _ADDRESS,
        _REPLICAS,
        _OK_REPLICAS,
        _SENTINELS,
        _OK_SENTINELS,
        _QUORUM,
        _EPOCH,
        _PING,
        _DOWN,
        _PEER,
        _REPLICA,
        _SETTING,
        _OWN_SETTING,
    ),
    _asks,
    _derive,
)
