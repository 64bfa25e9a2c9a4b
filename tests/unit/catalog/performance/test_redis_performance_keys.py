"""Keys, groups of keys and streams, as the Redis collector tells of them."""

from __future__ import annotations

import pytest
from tests.support.redis_answers import collected, source, told

from collectors.catalog.performance.redis import (
    routing,
)
from collectors.testing import JumpingClock


async def test_groups_of_keys_are_scaled_up_and_the_small_ones_put_together():
    keys = [f"session:{n}" for n in range(60)] + [f"cart:{n}" for n in range(30)] + ["a:1", "b:1", "odd"]
    sizes = {f"MEMORY USAGE {key}": 100 if key.startswith("s") else 50 for key in keys}
    sizes["MEMORY USAGE odd"] = None  # deleted meanwhile
    server = source({"PING": "PONG", "INFO everything": "", "DBSIZE": 930, "SCAN 0 COUNT 100": ["0", keys], **sizes})
    collection = await collected(server, key_groups=(r"(\w+):",), max_key_groups=2)
    got = told(collection.samples)
    assert got["key_group.sampled",] == 93
    assert got["key_group.distinct",] == 5
    assert got["key_group.keys", "session"] == pytest.approx(600)
    assert got["key_group.memory", "session"] == pytest.approx(60_000)
    assert got["key_group.keys", "cart"] == pytest.approx(300)
    assert got["key_group.keys", "other"] == pytest.approx(30)
    assert got["key_group.memory", "other"] == pytest.approx(1_000)  # of the two that were weighed


async def test_a_walk_goes_on_where_it_stopped_and_keeps_to_its_budget():
    replies = {f"SCAN {n} COUNT 100": [str((n + 1) % 5), [f"k{n}", f"k{n}"]] for n in range(5)}
    server, clock, walk = source(replies), JumpingClock(), routing.Walk()
    assert await walk.go(server, clock, 3, 1.0) == ["k0", "k1", "k2"]
    assert await walk.go(server, clock, 3, 1.0) == ["k3", "k4"]  # the way ends
    assert await walk.go(server, clock, 3, 0.0) == ["k0"]  # no time for more than one step
    assert len(server.asked) == 6


@pytest.mark.parametrize("refused", ["DBSIZE", "SCAN 0 COUNT 100", "MEMORY USAGE k"])
async def test_groups_without_the_rights_are_an_issue(refused):
    replies = {
        "PING": "PONG",
        "INFO everything": "",
        "DBSIZE": 1,
        "SCAN 0 COUNT 100": ["0", ["k"]],
        "MEMORY USAGE k": 9,
    }
    collection = await collected(source({**replies, refused: "-NOPERM no"}), key_groups=("k",))
    assert [issue.code for issue in collection.issues] == ["source_refused"]
    assert ("key_group.memory", "k") not in told(collection.samples)


async def test_an_empty_server_has_no_groups():
    server = source({"PING": "PONG", "INFO everything": "", "DBSIZE": 0, "SCAN 0 COUNT 100": ["0", []]})
    got = told((await collected(server, key_groups=("k",))).samples)
    assert got["key_group.sampled",] == 0
    assert not [key for key in got if key[0] == "key_group.keys"]


async def test_watched_keys_are_told_by_their_type():
    server = source({
        "PING": "PONG", "INFO everything": "", "TYPE n": "string", "MEMORY USAGE n": 56, "STRLEN n": 2,
        "GETRANGE n 0 32": "42", "TYPE t": "string", "MEMORY USAGE t": 90, "STRLEN t": 5, "GETRANGE t 0 32": "words",
        "TYPE l": "list", "MEMORY USAGE l": 80, "LLEN l": 3, "TYPE gone": "none", "MEMORY USAGE gone": None,
    })  # fmt: skip
    got = told((await collected(server, keys=("n", "t", "l", "gone"))).samples)
    assert got["key.value", "n"] == 42
    assert ("key.value", "t") not in got
    assert got["key.size", "l"] == 3
    assert got["key.exists", "gone"] == 0
    assert not any(line.startswith("GET ") for line in server.asked)


STREAM = [
    "length", 1, "radix-tree-keys", 1, "radix-tree-nodes", 2, "last-generated-id", "5000-0", "groups", 1,
    "first-entry", ["5000-0", ["user", "ada"]], "last-entry", ["5000-0", ["user", "ada"]],
]  # fmt: skip


async def test_a_stream_before_redis_7_has_no_lag_and_says_why():
    group = ["name", "g", "consumers", 1, "pending", 0, "last-delivered-id", "2000-0"]
    replies = {
        "PING": "PONG", "INFO everything": "redis_version:6.2.5\n", "XINFO STREAM s": STREAM, "XINFO GROUPS s": [group],
        "XINFO CONSUMERS s g": [["name", "w", "pending", 0, "idle", 1500]], "XPENDING s g": [0, None, None, None],
    }  # fmt: skip
    collection = await collected(source(replies), streams=("s",))
    got = told(collection.samples)
    assert got["stream.group.lag", "s", "g"] is None
    assert "it is older than 7.0" in {s.reason for s in collection.samples}
    assert got["stream.group.time_behind", "s", "g"] == 3
    assert got["stream.group.consumer.idle", "s", "g", "w"] == 1.5
    assert "ada" not in repr(collection)


async def test_a_stream_found_by_pattern_may_be_deleted_and_too_many_are_told():
    replies = {
        "PING": "PONG", "INFO everything": "", "SCAN 0 MATCH s* TYPE stream COUNT 100": ["0", ["s1", "s2", "s3"]],
        "XINFO STREAM s1": "-ERR no such key", "XINFO GROUPS s1": "-ERR no such key", "XINFO STREAM s2": STREAM,
        "XINFO GROUPS s2": [], "XINFO STREAM s3": STREAM, "XINFO GROUPS s3": [],
    }  # fmt: skip
    collection = await collected(source(replies), streams=("s*",), max_streams=2)
    got = told(collection.samples)
    assert ("stream.length", "s1") not in got
    assert got["stream.length", "s2"] == 1
    assert ("stream.length", "s3") not in got
    assert [issue.code for issue in collection.issues] == ["too_many"]
