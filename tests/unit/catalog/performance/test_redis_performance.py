"""The Redis collector on recorded answers; expected numbers are worked out beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.support.redis_answers import collected, derived, source, told
from tests.support.redis_coverage import PAGE, coverage, page

from collectors.catalog.performance.redis import (
    clients,
    cluster,
    commands,
    instance,
    keyspace,
    memory_doctor,
    replication,
    sentinel,
    slow_log,
)
from collectors.catalog.performance.redis.area import Reading, printable
from collectors.catalog.performance.redis.info import Info, number
from collectors.catalog.performance.redis.recorded import RecordedRedis
from collectors.catalog.performance.redis_performance import RedisPerformanceCollector, RedisPerformanceConfig
from collectors.drivers.redis import Refusal
from collectors.testing import BoundCheck, check_golden, collector_checks

GOLDEN = Path(__file__).parents[3] / "golden"


@collector_checks([RedisPerformanceCollector], golden=GOLDEN, lookup=lambda _: RedisPerformanceCollector)
def test_it_keeps_the_contract(check: BoundCheck) -> None:
    check()


def test_the_golden_cases_lead_to_what_is_expected():
    check_golden(RedisPerformanceCollector, GOLDEN)


def test_every_metric_of_the_lists_is_told_or_has_a_reason():
    found = coverage()
    assert {title: len(metrics) for title, metrics in found.items()} == {
        "redis_exporter, fields of INFO": 238,
        "redis_exporter, described": 112,
        "Netdata, redis": 25,
    }
    declared = {spec.name for spec in RedisPerformanceCollector.emits}
    for metrics in found.values():
        for theirs, ours in metrics.items():
            assert ours in declared or (ours.startswith("- ") and len(ours.split()) > 5), theirs


def test_the_page_of_the_coverage_is_up_to_date():
    assert PAGE.read_text() == page(), "write it anew by python -m tests.support.redis_coverage"


def test_modules_fields_of_info_are_passed_on_by_name():
    info = "search_number_of_indexes:2\njson_num_documents:3\nbf_bloom_num_objects:4\nsearch_dialect:off\n"
    got = derived(instance.AREA, info)
    for field, value in (("search_number_of_indexes", 2), ("json_num_documents", 3), ("bf_bloom_num_objects", 4)):
        assert got["module.value", field] == value
    assert ("module.value", "search_dialect") not in got


def test_info_reads_modules_percentages_and_what_is_no_number():
    info = Info.parse(
        "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\nx:12.5%\r\n"
        "module:name=ReJSON,ver=20609,api=1,filters=0,usedby=[search,x],using=[],options=[a]\r\n"
    )
    assert (info.version, info.major, info.product, info.mode) == ("9.1.2", 7, "valkey", "standalone")
    assert info.number("x") == 12.5
    assert info.number("server_name") is None
    assert info.number("absent") is None
    assert info.modules[0]["usedby"] == "[search,x]"
    assert Info.parse("").major == 99
    assert number("1e999") is None
    assert number("nan") is None


@given(st.text(max_size=300))
def test_any_text_is_an_info(text):
    Info.parse(text)


def test_commands_are_chosen_by_time_and_the_others_counted():
    info = "".join(f"cmdstat_c{n}:calls={n},usec={n * 100},usec_per_call=1\n" for n in range(1, 6))
    histogram = ["c5", ["calls", 5, "histogram_usec", [1, 2, 4, 5]], "c1", ["calls", 1, "histogram_usec", [1, 1]]]
    reading = {("LATENCY", "HISTOGRAM"): histogram}
    got = derived(commands.area(2), info + "errorstat_NOAUTH:count=3\n", reading)
    assert {key[1] for key in got if key[0] == "redis.cmd.calls"} == {"c4", "c5"}
    assert got["command.left_out",] == 3
    assert got["redis.cmd.usec", "c5"] == pytest.approx(500e-6)
    assert got["command.latency.bucket", "c5", "1e-06"] == 2
    assert got["command.latency.bucket", "c5", "4e-06"] == 5
    assert got["command.latency.bucket", "c5", "+Inf"] == 5
    assert ("command.latency.bucket", "c1", "1e-06") not in got
    assert got["errors", "NOAUTH"] == 3
    assert ("command.rejected", "c5") not in got  # before Redis 6.2 they are not told


def test_clients_are_added_up_by_class():
    lines = [
        "id=1 age=10 idle=3 flags=N sub=0 psub=0 qbuf=5 omem=0 tot-mem=100 lib-name=redis-py",
        "id=2 age=99 idle=9 flags=b sub=0 psub=0 qbuf=0 omem=7 tot-mem=50 lib-name=",
        "id=3 age=1 idle=0 flags=P sub=2 psub=0 qbuf=0 omem=3 tot-mem=20",
        "id=4 age=5 idle=0 flags=S sub=0 psub=0 qbuf=0 omem=1000 tot-mem=9",
        "id=5 age=6 idle=0 flags=M sub=0 psub=0 qbuf=1 omem=0 tot-mem=8",
        *(f"id={n} age=0 idle=0 flags=xt sub=0 psub=0 qbuf=0 omem=0 tot-mem=1 lib-name=l{n}" for n in range(6, 20)),
    ]
    got = derived(clients.area(100), "", {clients.LIST: "\n".join(lines)})
    assert [got["clients.by_class", c] for c in ("normal", "pubsub", "replica", "master")] == [16, 1, 1, 1]
    assert got["clients.memory", "normal"] == 100 + 50 + 14
    assert got["clients.idle.longest", "normal"] == 9
    assert got["clients.age.longest", "normal"] == 99
    assert got["clients.output_buffer.largest", "replica"] == 1000
    assert got["clients.by_state", "blocked"] == 1
    assert got["clients.by_state", "transaction"] == 14
    assert got["clients.by_library", "unknown"] == 4
    assert got["clients.by_library", "other"] == 19 - 4 - 9  # ten are named


DOCTOR_STATS = {
    "peak.allocated": 10_000_000, "total.allocated": 8_000_000, "clients.normal": 0, "clients.slaves": 0,
    "keys.bytes-per-key": 77, "fragmentation": "1.0", "fragmentation.bytes": 0, "allocator-fragmentation.ratio": "1.0",
    "allocator-fragmentation.bytes": 0, "allocator-rss.ratio": "1.0", "allocator-rss.bytes": 0,
    "rss-overhead.ratio": "1.0", "rss-overhead.bytes": 0,
    "db.0": ["overhead.hashtable.main", 11, "overhead.hashtable.expires", 5],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({}, None),
        ({"total.allocated": 1_000_000}, "empty"),
        ({"peak.allocated": 12_100_000}, "peak"),
        ({"fragmentation": "1.5", "fragmentation.bytes": 11_000_000}, "fragmentation"),
        ({"fragmentation": "1.5", "fragmentation.bytes": 9_000_000}, None),
        (
            {"allocator-fragmentation.ratio": "1.2", "allocator-fragmentation.bytes": 11_000_000},
            "allocator_fragmentation",
        ),
        ({"allocator-rss.ratio": "1.2", "allocator-rss.bytes": 11_000_000}, "allocator_resident"),
        ({"rss-overhead.ratio": "1.2", "rss-overhead.bytes": 11_000_000}, "process_overhead"),
        ({"clients.slaves": 21_000_000}, "replica_buffers"),
        ({"clients.normal": 900_000}, "client_buffers"),
    ],
)  # fmt: skip
def test_the_doctors_verdicts_follow_its_thresholds(change, complaint):
    stats = [item for pair in {**DOCTOR_STATS, **change}.items() for item in pair]
    info = "connected_clients:4\nconnected_slaves:2\nused_memory_rss:9000000\nnumber_of_cached_scripts:3\n"
    got = derived(memory_doctor.AREA, info, {("MEMORY", "STATS"): stats})
    assert {key[1] for key, value in got.items() if key[0] == "memory.doctor" and value} == {complaint} - {None}
    assert got["memory.per_key",] == 77
    assert got["memory.database_overhead", "0", "expires"] == 5


def test_nodes_of_a_cluster_are_read_in_every_state():
    text = (
        "aa 10.0.0.1:7000@17000,door myself,master - 0 0 1 connected 0-99 500 [7->-bb] [8-<-cc]\n"
        "bb 10.0.0.2:7000@17000 master,fail? - 0 0 2 disconnected 100-199\n"
        "cc [2001:db8::1]:7000@17000 master,fail - 0 0 3 disconnected\n"
        "dd 10.0.0.4:7000@17000 slave aa 0 0 1 connected\n"
        "ee :0@0 master,noaddr - 0 0 0 disconnected\n"
    )
    parsed = cluster.parse_nodes(text)
    assert [(n.address, n.role, n.state, n.slots) for n in parsed] == [
        ("10.0.0.1:7000", "master", "ok", 101),
        ("10.0.0.2:7000", "master", "pfail", 100),
        ("[2001:db8::1]:7000", "master", "fail", 0),
        ("10.0.0.4:7000", "replica", "ok", 0),
        (":0", "master", "joining", 0),
    ]
    assert (parsed[0].migrating, parsed[0].importing) == (1, 1)
    got = derived(cluster.AREA, "redis_mode:cluster\n", {("CLUSTER", "NODES"): text})
    assert got["cluster.masters_without_replica",] == 1
    assert got["cluster.nodes", "master", "pfail"] == 1
    assert got["cluster.node.link_up", "10.0.0.2:7000"] == 0
    assert ("cluster.node.link_up", ":0") not in got


async def test_nodes_that_are_down_refuse_or_talk_rubbish_are_told_beside_the_others():
    table = "".join(f"{n}{n} 10.0.0.{n}:1@2 {f} - 0 0 1 connected {n}\n" for n, f in enumerate(
        ["myself,master", "master", "master", "master,fail", "master"], 1))  # fmt: skip
    info = "redis_mode:cluster\nused_memory:5\ndb0:keys=3,expires=0,avg_ttl=0\n"
    nodes = {
        "10.0.0.2:1": {"INFO": "used_memory:7\n", "CLUSTER NODES": "-NOPERM no"},
        "10.0.0.3:1": {"INFO": "used_memory:9\n", "CLUSTER NODES": "rubbish"},
    }
    server = source({"PING": "PONG", "INFO everything": info, "INFO": info, "CLUSTER NODES": table}, nodes)
    collection = await collected(server, max_nodes=4)
    got = told(collection.samples)
    assert got["cluster.node.memory.used", "10.0.0.1:1"] == 5
    assert got["cluster.node.keys", "10.0.0.1:1"] == 3
    assert got["cluster.node.memory.used", "10.0.0.2:1"] == 7
    assert ("cluster.node.up", "10.0.0.3:1") not in got
    assert got["cluster.node.up", "10.0.0.4:1"] == 0
    assert {(issue.code, issue.item) for issue in collection.issues} == {
        ("source_refused", "CLUSTER NODES"),
        ("malformed", "10.0.0.3:1"),
        ("too_many", "nodes"),
    }


async def test_a_node_that_is_away_does_not_hide_the_others(tmp_path):
    (tmp_path / "info.txt").write_text("redis_mode:cluster\n")
    table = "aa 10.0.0.1:1@2 myself,master - 0 0 1 connected 1\nbb 10.0.0.2:1@2 master - 0 0 1 connected 2\n"
    (tmp_path / "replies.json").write_text(json.dumps({"CLUSTER NODES": table}))
    collection = await collected(RecordedRedis(tmp_path))
    got = told(collection.samples)
    assert got["cluster.node.up", "10.0.0.1:1"] == 1
    assert got["cluster.node.up", "10.0.0.2:1"] == 0
    assert ("source_unavailable", "10.0.0.2:1") in {(issue.code, issue.item) for issue in collection.issues}


async def test_a_server_that_refuses_info_still_tells_what_it_may():
    collection = await collected(source({"PING": "PONG", "INFO everything": "-NOPERM no", "SLOWLOG LEN": 4}))
    assert told(collection.samples)["slowlog.length",] == 4
    assert told(collection.samples)["up",] == 1
    assert "+info" in collection.issues[0].message


async def test_a_server_before_redis_7_is_asked_for_one_setting_at_a_time():
    server = source(
        {"PING": "PONG", "INFO everything": "redis_version:6.2.5\n", "CONFIG GET maxmemory": ["maxmemory", "9"]}
    )
    got = told((await collected(server)).samples)
    assert got["setting", "maxmemory"] == 9
    assert "CONFIG GET *" not in server.asked
    assert not any("requirepass" in line for line in server.asked)


async def test_what_is_no_answer_is_an_issue_of_its_part_only():
    replies = {
        "PING": "PONG", "INFO everything": "uptime_in_seconds:5\n", "SLOWLOG LEN": 1, "SLOWLOG GET 32": "rubbish",
        "XINFO STREAM s": 3, "XINFO GROUPS s": [],
    }  # fmt: skip
    collection = await collected(source(replies), streams=("s",))
    assert {(issue.code, issue.item) for issue in collection.issues} == {
        ("malformed", "slow_log"),
        ("malformed", "streams"),
    }
    assert told(collection.samples)["redis.uptime",] == 5


async def test_an_info_that_is_no_text_is_an_issue():
    collection = await collected(source({"PING": "PONG", "INFO everything": 7}))
    assert ("malformed", "INFO") in {(issue.code, issue.item) for issue in collection.issues}


def test_a_sentinel_that_holds_its_master_for_down_says_since_when():
    info = "redis_mode:sentinel\nmaster0:name=songs,status=odown,address=10.0.0.1:1,slaves=1,sentinels=2\n"
    master = ["config-epoch", "4", "last-ok-ping-reply", "7000", "s-down-time", "6000", "quorum", "2"]
    replica = ["ip", "10.0.0.2", "port", "1", "flags", "slave", "master-link-status", "err"]
    peer = ["ip", "10.0.0.3", "port", "9", "flags", "sentinel,s_down"]
    got = derived(sentinel.AREA, info, {
        ("SENTINEL", "MASTER", "songs"): master, ("SENTINEL", "REPLICAS", "songs"): [replica],
        ("SENTINEL", "SENTINELS", "songs"): [peer], ("SENTINEL", "CKQUORUM", "songs"): Refusal.of("NOQUORUM no"),
        ("SENTINEL", "CONFIG", "GET", "resolve-hostnames"): ["resolve-hostnames", "no"],
    })  # fmt: skip
    assert got["sentinel.master.ok", "songs", "odown"] == 0
    assert got["sentinel.master.down_time", "songs"] == 6
    assert got["sentinel.master.last_ok_ping", "songs"] == 7
    assert got["sentinel.master.ok_replicas", "songs"] == 0
    assert got["sentinel.master.ok_sentinels", "songs"] == 1
    assert got["sentinel.peer.up", "songs", "10.0.0.3:9"] == 0
    assert got["sentinel.master.quorum_reachable", "songs"] == 0
    assert got["sentinel.setting", "resolve-hostnames"] == 0


def test_a_replica_that_has_acknowledged_nothing_has_no_lag():
    info = "role:master\nmaster_repl_offset:50\nslave0:ip=10.0.0.2,port=1,state=wait_bgsave,offset=0,lag=-1\n"
    got = derived(replication.AREA, info)
    assert got["replica.lag", "10.0.0.2:1"] is None
    assert got["replica.online", "10.0.0.2:1"] == 0
    assert got["replica.behind", "10.0.0.2:1"] == 50


def test_ratios_without_a_limit_are_undefined():
    got = derived(keyspace.AREA, "used_memory:5\nmaxmemory:0\nconnected_clients:2\n")
    assert got["memory.utilization",] is None
    assert got["clients.utilization",] is None


def test_a_slow_log_that_was_reset_counts_from_its_beginning():
    area, command = slow_log.area(4), ("SLOWLOG", "GET", "4")
    before = Reading(Info({}), {command: [[9, 0, 500, ["GET", "k"]]]}, 0.0)
    now = Reading(Info({}), {command: [[1, 0, 700, ["SET", "k"]], [0, 0, 300, ["get", "k"]]]}, 1.0)
    got = told(area.derive(now, before))
    assert got["slowlog.new",] == 2
    assert got["slowlog.last_duration",] == pytest.approx(700e-6)
    assert told(area.derive(Reading(Info({}), {command: []}, 1.0), before))["slowlog.last_duration",] is None


@pytest.mark.parametrize("bad", [{"key_groups": ("(",)}, {"streams": ("",)}, {"sample_keys": 5}])
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValidationError):
        RedisPerformanceConfig(**bad)


def test_a_hostile_name_stays_a_bounded_label():
    assert printable("a\udcff" + "x" * 500) == ("a\\udcff" + "x" * 500)[:128]
