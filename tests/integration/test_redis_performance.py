"""The Redis collector on real servers: Debian's Redis 7.0 and the Valkey of a wheel."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from collectors.errors import CollectorsError, SourceUnavailable
from tests.support.redis_coverage import FIELDS, LISTS, table
from tests.support.servers import redis as support
from tests.support.servers.redis import Server, Servers, free_port, until
from tests.support.servers.redis_runs import (
    OWN,
    WINDOW,
    answers,
    binary_of,
    collected,
    info_fields,
    opened,
    values,
)


@pytest.fixture(scope="module", params=["redis", "valkey"])
def binary(request: pytest.FixtureRequest) -> str:
    return binary_of(request.param)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with support.servers(tmp_path_factory.mktemp("redis")) as servers:
        yield servers


@pytest.fixture(scope="module")
def server(made: Servers, binary: str) -> Server:
    return made.standalone(binary, "--enable-debug-command", "yes")


def test_the_memory_doctor_agrees_with_its_prose(made, binary):
    server = made.standalone(binary, "--enable-debug-command", "yes")
    server.ask("DEBUG", "POPULATE", 200_000, "track", 100)
    server.ask("FLUSHALL", "SYNC")
    server.ask("DEBUG", "POPULATE", 60_000, "track", 100)
    for words, complaint in (
        ("Peak memory", "peak"),
        ("High total RSS", "fragmentation"),
        ("High allocator fragmentation", "allocator_fragmentation"),
        ("High allocator RSS overhead", "allocator_resident"),
        ("High process RSS overhead", "process_overhead"),
        ("Big client buffers", "client_buffers"),
        ("Many scripts", "scripts"),
    ):
        before = words in server.ask("MEMORY", "DOCTOR")
        got = values(asyncio.run(collected(server)))
        after = words in server.ask("MEMORY", "DOCTOR")
        assert got[f"{OWN}memory.doctor", complaint] in {before, after}, words  # resident memory moves by itself
    assert got[f"{OWN}memory.doctor", "peak"] == 1


async def test_every_field_of_info_is_told_as_it_stands(server):
    """What changes from one question to the next, such as CPU time and counts of commands, may only have grown."""
    server.ask("SET", "k", "v", "EX", 100)
    server.ask("GET", "k")
    before = info_fields(server.ask("INFO", "everything"))
    got = values(await collected(server))
    after = info_fields(server.ask("INFO", "everything"))
    compared = 0
    for name, text in before.items():
        field = FIELDS.get(name)
        if field is None or not re.fullmatch(r"-?[\d.]+%?", text) or (field.never and text.startswith("-")):
            continue
        told = got[(field.spec.name, *field.labels)]
        raw = [float(t.removesuffix("%")) * field.scale for t in (text, after[name])]
        assert told is not None
        if raw[0] == raw[1]:
            if "instantaneous" not in name and "query" not in name and "clients" not in name:
                assert told == pytest.approx(raw[0], rel=0.05, abs=0.2), name
        else:
            assert min(raw) * 0.8 - 1e6 * ("mem" in name) <= told <= max(raw) * 1.2 + 1e6 * ("mem" in name), name
        compared += 1
    assert compared > 100


@pytest.fixture
def exporter() -> Iterator[Callable[[Server], dict[str, float]]]:
    """Give what the redis_exporter of Debian says of a server."""
    program = shutil.which("prometheus-redis-exporter")
    if program is None:
        pytest.skip(
            "NOT TESTED: agreement with redis_exporter; install it by: apt-get install prometheus-redis-exporter"
        )
    running: list[subprocess.Popen[bytes]] = []

    def scrape(server: Server) -> dict[str, float]:
        port = free_port()
        command = [program, "--redis.addr", f"redis://{server.address}", "--web.listen-address", f"127.0.0.1:{port}"]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

        def read() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
                return str(page.read().decode())

        text = until(read, "the start of redis_exporter")
        return {
            name.removeprefix("redis_"): float(value)
            for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("redis_"))
        }

    yield scrape
    for process in running:
        process.kill()
        process.wait()


_MOVING = re.compile(
    r"memory|mem_|allocator|cpu|net_|uptime|commands|connect|client|reads|writes|buffer|rss|process_id"
)


def test_what_redis_exporter_tells_is_told_alike(server, exporter):
    for n in range(20):
        server.ask("SET", f"track:{n}", n, "EX", 1000)
        server.ask("GET", f"track:{n % 3}")
        server.ask("GET", "gone")
    with contextlib.suppress(Exception):
        server.ask("GET")
    theirs = exporter(server)
    got = values(asyncio.run(collected(server)))
    compared = set()
    for name, source in table(LISTS["redis_exporter, fields of INFO"]).items():
        field = FIELDS.get(source)
        if field is None or name not in theirs:
            continue
        told = got.get((field.spec.name, *field.labels))
        if told is None:
            assert theirs[name] == -1, name
            continue
        compared.add(name)
        wanted = theirs[name] * field.scale
        if _MOVING.search(name):
            assert told == pytest.approx(wanted, rel=0.5, abs=3e5 * field.scale), name
        else:
            assert told == pytest.approx(wanted, abs=1e-9), name
    # Debian's exporter knows the fields of Redis 5; what both have that this server tells is compared, all of it.
    assert len(compared) > 60
    assert theirs['db_keys{db="db0"}'] == got["redis.db.keys", "0"]
    assert theirs['db_keys_expiring{db="db0"}'] == got["redis.db.expires", "0"]
    assert theirs['commands_total{cmd="get"}'] == got["redis.cmd.calls", "get"]
    took = theirs['commands_duration_seconds_total{cmd="get"}']
    assert took == pytest.approx(got["redis.cmd.usec", "get"], abs=1e-9)
    assert theirs["slowlog_length"] == got[f"{OWN}slowlog.length",]
    assert theirs["config_maxmemory"] == got[f"{OWN}setting", "maxmemory"] if "config_maxmemory" in theirs else True
    assert theirs["start_time_seconds"] == pytest.approx(got[f"{OWN}start_time",], abs=1.5)


async def test_slow_log_and_hit_ratio_are_told_since_the_reading_before(made, binary):
    server = made.standalone(binary, "--enable-debug-command", "yes", "--slowlog-log-slower-than", "4000")
    async with opened(server) as collector:
        first = await collector.collect(WINDOW)
        server.ask("DEBUG", "SLEEP", "0.01")
        server.ask("SET", "k", 1)
        for key in ("k", "k", "k", "gone"):
            server.ask("GET", key)
        second = values(await collector.collect(WINDOW))
        third = values(await collector.collect(WINDOW))
    assert values(first)[f"{OWN}slowlog.new",] is None
    assert second[f"{OWN}slowlog.new",] == 1
    assert second[f"{OWN}slowlog.new_duration",] >= 0.01
    assert second[f"{OWN}slowlog.command.count", "debug"] == 1
    assert second[f"{OWN}keyspace.hit_ratio",] == 0.75
    assert third[f"{OWN}slowlog.new",] == 0
    assert third[f"{OWN}slowlog.entries",] == 1
    assert third[f"{OWN}keyspace.hit_ratio",] is None


async def test_streams_are_told_as_they_were_made(server):
    server.ask("DEL", "plays")
    for n in range(1, 6):
        server.ask("XADD", "plays", f"{n}000-0", "track", n)
    server.ask("XGROUP", "CREATE", "plays", "royalties", 0)
    server.ask("XREADGROUP", "GROUP", "royalties", "ada", "COUNT", 3, "STREAMS", "plays", ">")
    server.ask("XACK", "plays", "royalties", "1000-0")
    got = values(await collected(server, streams=("pl*ys", "none")))
    assert got[f"{OWN}stream.length", "plays"] == 5
    assert got[f"{OWN}stream.entries_added", "plays"] == 5
    assert got[f"{OWN}stream.first_entry_time", "plays"] == 1
    assert got[f"{OWN}stream.last_entry_time", "plays"] == 5
    assert got[f"{OWN}stream.group.lag", "plays", "royalties"] == 2
    assert got[f"{OWN}stream.group.pending", "plays", "royalties"] == 2
    assert got[f"{OWN}stream.group.entries_read", "plays", "royalties"] == 3
    assert got[f"{OWN}stream.group.time_behind", "plays", "royalties"] == 2
    assert got[f"{OWN}stream.group.consumer.pending", "plays", "royalties", "ada"] == 2
    assert got[f"{OWN}stream.group.oldest_pending_age", "plays", "royalties"] > 1e9  # since 1970


async def test_classes_of_clients_are_counted(server):
    with (
        socket.create_connection(("127.0.0.1", server.port)) as one,
        socket.create_connection(one.getpeername()) as two,
    ):
        one.sendall(b"SUBSCRIBE news\r\n")
        two.sendall(b"BLPOP nothing 0\r\n")
        one.recv(1000)
        until(lambda: "blocked_clients:1" in server.ask("INFO", "clients"), "a client to be blocked")
        got = values(await collected(server))
        few = await collected(server, max_clients=0)
    assert got[f"{OWN}clients.by_class", "pubsub"] == 1
    assert got[f"{OWN}clients.by_state", "blocked"] == 1
    assert [issue.item for issue in few.issues] == ["clients"]
    assert (f"{OWN}clients.by_class", "normal") not in values(few)


async def test_a_million_keys_cost_no_more_than_the_budget(made):
    server = made.standalone(binary_of("redis"), "--enable-debug-command", "yes")
    server.ask("DEBUG", "POPULATE", 900_000, "session", 20)
    server.ask("DEBUG", "POPULATE", 100_000, "cart", 20)
    server.ask("CONFIG", "RESETSTAT")
    server.ask("CONFIG", "SET", "slowlog-log-slower-than", 20_000)
    server.ask("SLOWLOG", "RESET")
    collection = await collected(server, key_groups=("(session):", "(cart):"), sample_keys=1_000, sample_seconds=5.0)
    calls = info_fields(server.ask("INFO", "commandstats"))
    got = values(collection)
    sampled = got[f"{OWN}key_group.sampled",]
    assert sampled is not None
    assert 500 < sampled < 2_000
    assert calls["cmdstat_scan"].startswith("calls=10,")
    assert calls["cmdstat_memory|usage"].startswith(f"calls={sampled:g},")
    assert "cmdstat_keys" not in calls
    assert server.ask("SLOWLOG", "GET") == []  # nothing took the server 20 ms
    # 900,000 and 100,000 keys; a sample of 1,000 is within four standard errors of them, 0.1 ± 0.04
    assert got[f"{OWN}key_group.keys", "cart"] == pytest.approx(100_000, abs=40_000)
    assert got[f"{OWN}key_group.keys", "session"] == pytest.approx(900_000, abs=40_000)
    exact = server.ask("MEMORY", "USAGE", "session:7")
    assert got[f"{OWN}key_group.memory", "session"] == pytest.approx(900_000 * exact, rel=0.2)


async def test_a_replica_and_its_master_tell_of_each_other(made, binary):
    master = made.standalone(binary)
    replica = made.replica(master)
    master.ask("SET", "k", "v")
    until(lambda: replica.ask("GET", "k") == "v", "replication")
    until(lambda: _offset(master) == _offset(replica), "the acknowledgement")
    theirs, ours = values(await collected(replica)), values(await collected(master))
    assert ours["redis.role", "master"] == 1
    assert ours[f"{OWN}replica.online", replica.address] == 1
    assert ours["redis.slaves.connected",] == 1
    assert theirs["redis.role", "slave"] == 1
    assert theirs[f"{OWN}replication.link_up",] == 1
    assert theirs["redis.replication.replica_offset",] == pytest.approx(_offset(master), abs=100)
    master.stop()
    until(lambda: "master_link_status:down" in replica.ask("INFO", "replication"), "the loss to be seen")
    alone = await collected(replica)
    assert values(alone)[f"{OWN}replication.link_up",] == 0
    assert values(alone)[f"{OWN}replication.last_io_age",] is None


def _offset(server: Server) -> int:
    fields = info_fields(server.ask("INFO", "replication"))
    return int(fields.get("slave_repl_offset") or fields["master_repl_offset"])


async def test_a_failover_is_seen_by_a_sentinel_and_by_the_new_master(made):
    master = made.standalone(binary_of("valkey" if support.valkey_binary() else "redis"))
    replica = made.replica(master)
    sentinels = made.sentinels(master)
    until(lambda: "slaves=1" in sentinels[0].ask("INFO", "sentinel"), "the replica to be found", 15)
    async with opened(sentinels[0]) as watching, opened(replica) as standing_by:
        before = values(await watching.collect(WINDOW))
        assert before[f"{OWN}sentinel.master.ok", "songs", "ok"] == 1
        assert before[f"{OWN}sentinel.master.address", "songs", master.address] == 1
        assert before[f"{OWN}sentinel.master.sentinels", "songs"] == 3
        assert before[f"{OWN}sentinel.master.ok_sentinels", "songs"] == 3
        assert before[f"{OWN}sentinel.master.ok_replicas", "songs"] == 1
        assert before[f"{OWN}sentinel.master.quorum_reachable", "songs"] == 1
        assert before[f"{OWN}sentinel.peer.up", "songs", sentinels[1].address] == 1
        assert values(await standing_by.collect(WINDOW))["redis.role", "slave"] == 1
        master.stop()
        until(lambda: replica.address in sentinels[0].ask("INFO", "sentinel"), "the failover", 20)
        until(lambda: "role:master" in replica.ask("INFO", "replication"), "the promotion")
        after = values(await watching.collect(WINDOW))
        assert after[f"{OWN}sentinel.master.address", "songs", replica.address] == 1
        epoch = (f"{OWN}sentinel.master.config_epoch", "songs")
        assert (after[epoch] or 0) > (before[epoch] or 0)
        with contextlib.suppress(SourceUnavailable):  # a new master ends the connections it had as a replica
            await standing_by.collect(WINDOW)
        assert values(await standing_by.collect(WINDOW))["redis.role", "master"] == 1
        for other in sentinels[1:]:
            other.stop()
        until(lambda: "s_down" in str(sentinels[0].ask("SENTINEL", "SENTINELS", "songs")), "the loss of the others", 15)
        alone = values(await watching.collect(WINDOW))
        assert alone[f"{OWN}sentinel.master.quorum_reachable", "songs"] == 0
        assert alone[f"{OWN}sentinel.master.ok_sentinels", "songs"] == 1


async def test_a_cluster_is_told_node_by_node_with_the_slots_that_move(made, binary):
    nodes = made.cluster(binary)
    ids = [node.ask("CLUSTER", "MYID") for node in nodes]
    nodes[0].ask("CLUSTER", "SETSLOT", 7, "MIGRATING", ids[1])
    nodes[1].ask("CLUSTER", "SETSLOT", 7, "IMPORTING", ids[0])
    owner = next(n for n in nodes if answers(n, "XADD", "plays", "1000-0", "track", "1"))
    door = next(n for n in nodes if n is not owner)
    async with opened(door, streams=("plays",), keys=("plays",)) as collector:
        collection = await collector.collect(WINDOW)
        got = values(collection)
        assert collection.issues == ()
        assert got[f"{OWN}cluster.ok",] == 1
        assert got[f"{OWN}cluster.slots", "assigned"] == 16_384
        assert got[f"{OWN}cluster.slots", "uncovered"] == 0
        assert got[f"{OWN}cluster.size",] == 3
        assert got[f"{OWN}cluster.masters_without_replica",] == 3
        assert sum(got[f"{OWN}cluster.node.slots", n.address] or 0 for n in nodes) == 16_384
        assert [got[f"{OWN}cluster.node.up", n.address] for n in nodes] == [1, 1, 1]
        assert [got[f"{OWN}cluster.node.slots_moving", n.address, "out"] for n in nodes] == [1, 0, 0]
        assert [got[f"{OWN}cluster.node.slots_moving", n.address, "in"] for n in nodes] == [0, 1, 0]
        assert got[f"{OWN}cluster.node.keys", owner.address] == 1
        assert got[f"{OWN}stream.length", "plays"] == 1  # asked of the node that has it
        assert got[f"{OWN}key.size", "plays"] == 1
        owner.stop()
        with contextlib.suppress(CollectorsError):  # the stream's node is away, and so is what was asked of it
            await collector.collect(WINDOW)
    async with opened(door) as collector:
        down = await collector.collect(WINDOW)
        assert values(down)[f"{OWN}cluster.node.up", owner.address] == 0
