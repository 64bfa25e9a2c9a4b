from __future__ import annotations

import asyncio
import random
import sqlite3
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import sinks as zoo
from tests.support.sinks import COUNTER, START_US, ScriptedSink, World, sample, samples, span

from collectors.contract.sink import Receipt, Signal, SinkBatch
from collectors.drivers.sink_spool import SinkSpool
from collectors.errors import LifecycleError, Overloaded, RetryableError, StorageUnavailable
from collectors.model.status import BreakerState
from collectors.runtime import sink_lane
from collectors.runtime.fanout import FanOut
from collectors.testing import ManualClock, settle


@pytest.fixture
async def world(tmp_path: Path):
    made = World(tmp_path)
    yield made
    zoo.undying_may_end.append(True)
    await made.stop()
    zoo.undying_may_end.clear()


# --- what reaches whom ------------------------------------------------------------------------------------------------


async def test_what_is_offered_arrives_as_it_was(world: World) -> None:
    sink = ScriptedSink(linger_seconds=0)
    world.fanout.start({"a": sink})
    offered = (sample(1), sample(2, spec=COUNTER, value=1e300), sample(3, value=None, tank='ö "\n'))
    world.fanout.offer(offered)
    world.fanout.offer_spans((span(1, error="it broke"), span(2, parent="00" * 8)))
    await world.clock.advance(1)
    assert tuple(s for b in sink.batches for s in b.samples) == offered
    assert [s for b in sink.batches for s in b.spans] == [span(1, error="it broke"), span(2, parent="00" * 8)]
    status = world.status("a")
    assert (status.offered, status.delivered, status.queued, status.dropped) == (5, 5, 0, {})
    assert (status.sink, status.attempts, status.failures, status.breaker) == (
        "scripted",
        sink.tried.__len__(),
        0,
        BreakerState.CLOSED,
    )


async def test_text_that_is_not_unicode_arrives_with_question_marks(world: World) -> None:
    sink = ScriptedSink(linger_seconds=0)
    world.fanout.start({"a": sink})
    world.fanout.offer([sample(tank="a\udcff")])
    odd = span()
    world.fanout.offer_spans([type(odd)(**{f: getattr(odd, f) for f in odd.__slots__} | {"name": "x\ud800"})])
    await world.clock.advance(1)
    assert [s.labels for b in sink.batches for s in b.samples] == [(("tank", "a?"),)]
    assert [s.name for b in sink.batches for s in b.spans] == ["x?"]


async def test_a_sink_gets_only_the_tenants_metrics_and_signals_it_wants(world: World) -> None:
    class SpansOnly(ScriptedSink):
        """Keep spans."""

        accepts = frozenset({Signal.SPANS})

    class SamplesOnly(ScriptedSink):
        """Keep samples."""

        accepts = frozenset({Signal.SAMPLES})

    sinks = {
        "all": SamplesOnly(),
        "acme": ScriptedSink(tenants=["acme"]),
        "levels": SamplesOnly(metrics=["zoo.l*", "other.*"]),
        "spans": SpansOnly(),
    }
    world.fanout.start(sinks)
    world.fanout.offer([sample(1), sample(2, tenant="zeta"), sample(3, spec=COUNTER)])
    world.fanout.offer_spans([span(1), span(2, tenant="zeta")])
    await world.clock.advance(3)
    assert {name: sink.times for name, sink in sinks.items()} == {
        "all": [1, 2, 3],
        "acme": [1, 3],
        "levels": [1, 2],
        "spans": [],
    }
    assert {name: sum(len(b.spans) for b in s.batches) for name, s in sinks.items()} == {
        "all": 0,
        "acme": 1,
        "levels": 0,
        "spans": 2,
    }
    assert [s.offered for s in world.fanout.statuses()] == [3, 3, 2, 2]  # acme, all, levels, spans


async def test_samples_wait_for_company_but_not_when_there_is_enough(world: World) -> None:
    sink = ScriptedSink(linger_seconds=5, batch_items=10)
    world.fanout.start({"a": sink})
    await settle()
    world.fanout.offer(samples(0, 3))
    await world.clock.advance(4)
    world.fanout.offer(samples(3, 2))
    assert sink.batches == []
    await world.clock.advance(2)
    assert [len(b) for b in sink.batches] == [5]
    world.fanout.offer(samples(5, 10))
    await settle()
    assert [len(b) for b in sink.batches] == [5, 10]
    world.fanout.offer(samples(15, 2500))
    await world.clock.advance(1)
    await settle(100)
    assert sink.times == list(range(2515))


async def test_two_sinks_of_one_name_are_refused(world: World) -> None:
    world.fanout.start({"a": ScriptedSink()})
    with pytest.raises(ValueError, match="runs already"):
        world.fanout.start({"a": ScriptedSink()})


async def test_one_sink_can_be_stopped_while_others_run(world: World) -> None:
    one, other = ScriptedSink(linger_seconds=0), ScriptedSink(linger_seconds=0)
    world.fanout.start({"one": one, "other": other})
    await world.offer_each(2)
    stopping = asyncio.create_task(world.fanout.stop("one"))
    await world.clock.advance(1)
    await stopping
    await world.offer_each(2, start=2)
    assert (one.times, other.times, one.closed) == ([0, 1], [0, 1, 2, 3], 1)


# --- the law of a lane: trouble is one's own --------------------------------------------------------------------------

BAD = {
    "dead": zoo.dead,
    "hanging": zoo.hanging,
    "undying": zoo.undying,
    "refusing": zoo.refusing,
    "busy": zoo.busy,
    "exploding": zoo.exploding,
    "boasting": zoo.boasting,
    "vague": zoo.vague,
    "giving_up": zoo.giving_up,
    "flapping": zoo.flapping(7),
}


@pytest.mark.parametrize("kind", BAD)
async def test_a_bad_neighbour_changes_nothing_for_the_others(kind: str, tmp_path: Path) -> None:
    """The good sink gets the same batches at the same times with and without the bad one."""
    seen: list[list[tuple[int, tuple[int, ...]]]] = []
    for neighbours in ({}, {"bad": ScriptedSink(BAD[kind])}):
        world = World(tmp_path / str(len(seen)))
        log: list[tuple[int, tuple[int, ...]]] = []

        async def note(batch: SinkBatch, world: World = world, log: list = log) -> Receipt:
            log.append(
                (round(world.clock.now_us(), -3), tuple(s.time_us for s in batch.samples))
            )  # a clock that sums floats is some µs off
            return Receipt(len(batch))

        world.fanout.start({"good": ScriptedSink(note), **neighbours})
        await world.offer_each(120, 0.7, size=3)
        assert zoo.accounted(world.fanout.statuses())
        assert world.status("good").queued <= 9
        zoo.undying_may_end.append(True)
        await world.stop()
        zoo.undying_may_end.clear()
        seen.append(log)
    assert seen[0] == seen[1]
    assert sum(len(times) for _, times in seen[0]) == 360


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    kinds=st.lists(st.sampled_from(sorted(BAD)), min_size=1, max_size=3),
    offers=st.lists(st.tuples(st.integers(1, 40), st.floats(0, 20)), min_size=1, max_size=25),
)
async def test_every_item_is_accounted_for_and_in_order_whatever_happens(seed, kinds, offers, tmp_path_factory) -> None:
    world = World(tmp_path_factory.mktemp("spools"), seed=seed)
    sinks = {f"s{n}": ScriptedSink(BAD[k] if k != "flapping" else zoo.flapping(seed)) for n, k in enumerate(kinds)}
    sinks["good"] = ScriptedSink()
    world.fanout.start(sinks)
    start = 0
    for size, seconds in offers:
        world.fanout.offer(samples(start, size))
        start += size
        assert zoo.accounted(world.fanout.statuses())
        await world.clock.advance(seconds)
        assert zoo.accounted(world.fanout.statuses())
    zoo.undying_may_end.append(True)
    await world.stop()
    zoo.undying_may_end.clear()
    assert sinks["good"].times == list(range(start))
    # The same id is the same batch, and what arrived more than once arrived in order otherwise.
    for name, sink in sinks.items():
        by_id: dict[str, SinkBatch] = {}
        for batch in sink.tried:
            assert by_id.setdefault(batch.id, batch) == batch, name
        once = list(dict.fromkeys(sink.times))
        assert once == sorted(once)


async def test_a_dead_sink_is_left_alone_and_found_again(world: World) -> None:
    sink = ScriptedSink(zoo.dead, linger_seconds=0, breaker_failures=3, breaker_seconds=60)
    world.fanout.start({"a": sink})
    await world.offer_each(100)
    open_ = world.status("a")
    assert (open_.breaker, open_.queued, open_.delivered) == (BreakerState.OPEN, 100, 0)
    assert open_.last_error == "nobody is there"
    assert open_.attempts == open_.failures == open_.consecutive_failures <= 5
    assert open_.oldest_us == START_US
    assert sink.closed == open_.failures  # it is opened anew for each attempt
    sink.behaviour = zoo.well
    await world.rest(700)
    healed = world.status("a")
    assert (healed.breaker, healed.queued, healed.delivered) == (BreakerState.CLOSED, 0, 100)
    assert (healed.consecutive_failures, healed.last_error) == (0, "")
    assert healed.last_success_us > START_US
    assert sink.times == list(range(100))


async def test_a_busy_sink_is_asked_again_when_it_said_and_its_breaker_stays_closed(world: World) -> None:
    sink = ScriptedSink(zoo.busy, linger_seconds=0, breaker_failures=1)
    world.fanout.start({"a": sink})
    world.fanout.offer(samples(0, 1))
    await world.clock.advance(6.9)
    assert len(sink.tried) == 1
    await world.clock.advance(0.2)
    assert len(sink.tried) == 2
    assert world.status("a").breaker is BreakerState.CLOSED
    assert sink.closed == 0  # it is alive; nothing needs mending


@pytest.mark.parametrize("asked", [float("nan"), float("inf"), -5.0, 1e12])
async def test_no_target_can_make_us_wait_for_ever(asked: float, world: World) -> None:
    async def behaviour(batch: SinkBatch) -> Receipt:
        raise Overloaded("later", retry_after=asked)

    sink = ScriptedSink(behaviour, linger_seconds=0)
    world.fanout.start({"a": sink})
    world.fanout.offer(samples(0, 1))
    await world.clock.advance(sink_lane.LONGEST_WAIT_SECONDS + 61)
    assert len(sink.tried) >= 2


async def test_a_hanging_write_is_cut_off_at_its_deadline(world: World) -> None:
    sink = ScriptedSink(zoo.hanging, linger_seconds=0, timeout_seconds=3)
    world.fanout.start({"a": sink})
    world.fanout.offer(samples(0, 1))
    await world.clock.advance(2.9)
    assert world.status("a").failures == 0
    await world.clock.advance(0.2)
    assert world.status("a").last_error == "no answer within 3 s"
    assert not world.status("a").stuck


async def test_a_write_that_ignores_its_deadline_is_not_joined_by_others(world: World) -> None:
    sink = ScriptedSink(zoo.undying, linger_seconds=0, timeout_seconds=1)
    world.fanout.start({"a": sink})
    await world.offer_each(60)
    status = world.status("a")
    assert len(sink.tried) == 1
    assert status.stuck
    assert status.last_error == "an earlier call still goes on, though it was cancelled"
    assert status.queued == 60


async def test_what_is_refused_for_good_is_counted_and_not_sent_again(world: World) -> None:
    sink = ScriptedSink(zoo.refusing, linger_seconds=0)
    world.fanout.start({"a": sink})
    await world.offer_each(5)
    assert world.status("a").dropped == {"refused": 5}
    assert world.status("a").last_error == "this will never do"
    assert len(sink.tried) == 5
    assert world.status("a").breaker is BreakerState.CLOSED


async def test_a_part_that_is_refused_is_counted(world: World) -> None:
    async def behaviour(batch: SinkBatch) -> Receipt:
        return Receipt(len(batch) - 1, 1, "one is too old")

    world.fanout.start({"a": ScriptedSink(behaviour, linger_seconds=0)})
    world.fanout.offer(samples(0, 4))
    await world.clock.advance(1)
    status = world.status("a")
    assert (status.delivered, status.dropped, status.last_error) == (3, {"refused": 1}, "one is too old")


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        (zoo.boasting, "its receipt accounts for 2 items of 1"),
        (zoo.vague, "write returned NoneType, which is no receipt"),
        (zoo.giving_up, "it cancelled itself"),
        (zoo.exploding, "it raised ZeroDivisionError"),
    ],
)
async def test_a_lie_is_a_failure_and_told_without_what_others_wrote(behaviour, told: str, world: World) -> None:
    world.fanout.start({"a": ScriptedSink(behaviour, linger_seconds=0)})
    world.fanout.offer(samples(0, 1))
    await world.clock.advance(0.01)
    assert (world.status("a").last_error, world.status("a").queued) == (told, 1)


async def test_a_sink_out_of_order_is_mended_not_believed(world: World) -> None:
    async def behaviour(batch: SinkBatch) -> Receipt:
        raise LifecycleError("it is not open")

    world.fanout.start({"a": ScriptedSink(behaviour, linger_seconds=0)})
    world.fanout.offer(samples(0, 1))
    await world.clock.advance(1)
    assert world.status("a").queued == 1
    assert world.status("a").dropped == {}


async def test_a_sink_that_fails_to_open_or_close_is_tried_again(world: World) -> None:
    class Stubborn(ScriptedSink):
        """Open only the third time, and never close well."""

        async def open(self) -> None:
            await super().open()
            if self.opened < 3:
                raise RetryableError("not yet")

        async def close(self) -> None:
            await super().close()
            raise OSError("no")

    sink = Stubborn(linger_seconds=0)
    world.fanout.start({"a": sink})
    world.fanout.offer(samples(0, 1))
    await world.clock.advance(60)
    assert (sink.opened, sink.times) == (3, [0])


# --- bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("when_full", "kept"), [("drop_oldest", "newest"), ("drop_newest", "oldest")])
async def test_the_disk_budget_holds_and_what_gives_way_is_counted(when_full: str, kept: str, world: World) -> None:
    sink = ScriptedSink(zoo.dead, linger_seconds=0, disk_bytes=2**20, when_full=when_full)
    world.fanout.start({"a": sink})
    for n in range(40):
        world.fanout.offer(samples(n * 1000, 1000))
        await world.clock.advance(1)
        assert world.status("a").queued_bytes <= 2**20
    status = world.status("a")
    assert status.balance == 0
    assert status.dropped["disk_budget"] + status.queued == 40_000
    assert status.dropped["disk_budget"] > 10_000
    sink.behaviour = zoo.well
    await world.rest(400)
    times = sink.times
    assert times == sorted(times)
    assert times[-1] == 39_999 if kept == "newest" else times == list(range(len(times)))
    assert 0 in times  # the batch at hand never gives way
    assert world.status("a").dropped == status.dropped


async def test_a_batch_larger_than_the_budget_is_dropped_and_counted(tmp_path: Path) -> None:
    spool = SinkSpool(tmp_path / "a.db", 100)
    assert spool.append("a", b"x" * 60, 6, 1)
    assert not spool.append("b", b"x" * 101, 7, 1)
    assert not spool.append("c", b"x" * 60, 8, 1, keep=1)
    assert spool.append("d", b"x" * 60, 9, 2)
    account = spool.account
    assert (account.offered, account.queued, account.queued_bytes, account.oldest_us) == (30, 9, 60, 2)
    assert account.dropped == {"disk_budget": 21}
    spool.close()
    spool.close()


async def test_an_outage_of_days_takes_no_more_memory_than_one_of_minutes(world: World) -> None:
    sink = ScriptedSink(zoo.dead, disk_bytes=64 * 2**20, breaker_seconds=3600)
    world.fanout.start({"a": sink})
    tracemalloc.start()
    await world.offer_each(20, 60, size=1000)
    sink.tried.clear()
    early = tracemalloc.get_traced_memory()[0]
    await world.offer_each(80, 3600, start=20_000, size=1000)
    sink.tried.clear()
    late = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert world.status("a").queued == 100_000
    assert late - early < 400_000  # 80,000 samples are some 3 MB even as bytes
    await world.restart()
    again = ScriptedSink()
    world.fanout.start({"a": again})
    await world.rest(100)
    assert len(again.times) == 100_000
    assert max(len(b) for b in again.batches) <= 3_000


async def test_memory_is_bounded_while_the_disk_does_nothing(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def stuck(work, *arguments):
        await gate.wait()
        return work(*arguments)

    clock = ManualClock(START_US)
    fanout = FanOut(lambda n, c: SinkSpool(tmp_path / n, c.disk_bytes), clock, offload=stuck)
    fanout.start({"a": ScriptedSink(memory_bytes=64 * 1024)})
    for n in range(30):
        fanout.offer(samples(n * 500, 500))
        await clock.advance(2)
    (status,) = fanout.statuses()
    assert status.balance == 0
    assert status.queued_bytes <= 128 * 1024 + 32 * 1024  # the inbox, and one batch on its way
    assert status.dropped["memory_full"] > 5_000
    gate.set()
    stopping = asyncio.create_task(fanout.stop())
    await clock.advance(10)
    await stopping


# --- restart ----------------------------------------------------------------------------------------------------------


async def test_after_a_restart_it_goes_on_where_it_stopped_and_the_account_with_it(world: World) -> None:
    first = ScriptedSink(linger_seconds=0)
    world.fanout.start({"a": first})
    await world.offer_each(5)
    first.behaviour = zoo.dead
    await world.offer_each(5, start=5)
    world.fanout.offer(samples(10, 3))  # still in memory
    await world.restart()
    second = ScriptedSink(linger_seconds=0)
    world.fanout.start({"a": second})
    await world.clock.advance(1)
    assert first.times + second.times == list(range(13))
    assert first.tried[5] == second.tried[0]  # with its id
    status = world.status("a")
    assert (status.offered, status.delivered, status.queued) == (13, 13, 0)


async def test_an_orderly_stop_delivers_what_waits_for_company(world: World) -> None:
    sink = ScriptedSink(linger_seconds=60)
    world.fanout.start({"a": sink})
    await settle()
    world.fanout.offer(samples(0, 3))
    await world.stop()
    assert (sink.times, sink.closed) == ([0, 1, 2], 1)
    assert world.fanout.statuses() == ()
    world.fanout.offer(samples(3, 1))  # nobody is there: nothing happens


async def test_a_crash_loses_only_what_was_not_on_disk_yet(world: World) -> None:
    sink = ScriptedSink(zoo.dead, linger_seconds=0)
    world.fanout.start({"a": sink})
    await world.offer_each(10)
    copy = world.folder / "crashed"
    copy.mkdir()
    for file in world.folder.glob("a.db*"):  # what the disk holds at this moment, journal and all
        (copy / file.name).write_bytes(file.read_bytes())
    after = World(copy)
    again = ScriptedSink()
    after.fanout.start({"a": again})
    await after.clock.advance(5)
    assert again.times == list(range(10))
    await after.stop()


async def test_a_crash_between_writing_and_accounting_repeats_the_batch_with_its_id(world: World) -> None:
    sink = ScriptedSink(linger_seconds=0)
    world.fanout.start({"a": sink})
    spool = world.fanout._routes["a"].lane._queue._spool

    def crash(*_: object) -> None:
        raise StorageUnavailable("the power is gone")

    spool.settle = crash
    world.fanout.offer(samples(0, 2))
    await world.clock.advance(30)
    assert len(sink.batches) == 1  # what is written is not written again for the disk's trouble
    assert world.status("a").balance == 0
    await world.restart()
    again = ScriptedSink()
    world.fanout.start({"a": again})
    await world.clock.advance(1)
    assert again.batches == sink.batches


# --- the disk ---------------------------------------------------------------------------------------------------------


async def test_while_the_disk_refuses_delivery_goes_on_from_memory(world: World) -> None:
    sink = ScriptedSink(linger_seconds=0)
    world.fanout.start({"a": sink})
    await world.offer_each(2)
    spool = world.fanout._routes["a"].lane._queue._spool
    whole, spool._path = spool._path, world.folder / "file" / "a.db"
    (world.folder / "file").write_text("in the way")
    spool.close()
    await world.offer_each(3, 15, start=2)
    status = world.status("a")
    assert sink.times == [0, 1, 2, 3, 4]
    assert (status.saving, status.balance, status.delivered) == (False, 0, 5)
    sink.behaviour = zoo.dead
    await world.offer_each(2, 15, start=5)
    assert world.status("a").queued == 2
    spool._path = whole
    sink.behaviour = zoo.well
    await world.clock.advance(60)
    status = world.status("a")
    assert (status.saving, status.balance, status.delivered, status.offered) == (True, 0, 7, 7)
    assert sink.times == list(range(7))


async def test_a_queue_that_was_damaged_is_set_aside_and_begun_anew(world: World) -> None:
    (world.folder / "a.db").write_bytes(b"this is not a database, but it is long enough to be looked at" * 100)
    sink = ScriptedSink(linger_seconds=0)
    world.fanout.start({"a": sink})
    await world.offer_each(3, 15)
    assert sink.times == [0, 1, 2]
    assert world.status("a").balance == 0
    assert len(list(world.folder.glob("a.db.damaged-*"))) == 1


def test_what_waited_in_a_queue_that_breaks_is_counted_as_lost(tmp_path: Path) -> None:
    spool = SinkSpool(tmp_path / "a.db", 10_000)
    spool.append("one", b"x" * 5000, 5, 1)
    spool.append("two", b"x", 2, 1)
    spool.settle(1, {"refused": 1})
    spool.close()
    content = bytearray((tmp_path / "a.db").read_bytes())
    content[0:100] = b"?" * 100
    (tmp_path / "a.db").write_bytes(content)
    with pytest.raises(StorageUnavailable, match="damaged"):
        spool.head()
    account = spool.account
    assert (account.offered, account.delivered, account.queued) == (7, 4, 0)
    assert account.dropped == {"refused": 1, "damaged": 2}
    spool.append("three", b"x", 1, 1)
    assert spool.account.offered == 8
    spool.settle(1, {})  # a number from the file that is gone: the new one's first batch
    spool.close()


async def test_a_stored_batch_that_can_not_be_read_is_counted_and_passed_over(world: World) -> None:
    spool = world.spool("a", ScriptedSink().config)
    for n, content in enumerate((b"{", b'{"samples": [1]}', b'{"samples": [[9, "t", [], 1, 1.0, ""]]}', b"[1]")):
        spool.append(str(n), content, 1, START_US)
    spool.close()
    sink = ScriptedSink(linger_seconds=0)
    world.fanout.start({"a": sink})
    await world.offer_each(1)
    status = world.status("a")
    assert (status.dropped, status.delivered, status.last_error) == ({"unreadable": 4}, 1, "")


def test_a_disk_that_is_full_is_told_as_such_and_changes_nothing(tmp_path: Path) -> None:
    spool = SinkSpool(tmp_path / "a.db", 2**20)
    spool.append("one", b"x" * 10, 1, 1)
    before = spool.account
    spool._connection.execute("PRAGMA max_page_count = 8")
    with pytest.raises(StorageUnavailable, match="full"):
        spool.append("two", b"x" * 100_000, 1, 1)
    assert spool.account == before
    assert spool.append("two", b"x" * 100_000, 1, 1)
    spool.close()


def test_the_file_shrinks_when_nothing_waits_any_more(tmp_path: Path) -> None:
    spool = SinkSpool(tmp_path / "a.db", 8 * 2**20)
    for n in range(7):
        spool.append(str(n), b"x" * 2**20, 1, 1)
    for _ in range(7):
        spool.settle(spool.head().number, {})
    for n in range(3):
        spool.append(str(n), b"x", 1, 1)
        spool.settle(spool.head().number, {})
    spool.close()
    assert (tmp_path / "a.db").stat().st_size < 2**20
    with sqlite3.connect(tmp_path / "a.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


async def test_a_mistake_of_ours_does_not_silence_a_lane(world: World) -> None:
    sink = ScriptedSink(linger_seconds=0)
    world.fanout.start({"a": sink})
    await settle()
    spool = world.fanout._routes["a"].lane._queue._spool
    right, wrong = spool.head, iter([ValueError("odd"), StorageUnavailable("no")])

    def head():
        error = next(wrong, None)
        if error:
            raise error
        return right()

    spool.head = head
    await world.offer_each(1, 30)
    assert sink.times == [0]


# --- the clock --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump", [-400 * 86_400, 400 * 86_400])
async def test_a_clock_that_jumps_loses_and_delays_nothing(jump: int, world: World) -> None:
    sink = ScriptedSink(zoo.dead, linger_seconds=0)
    world.fanout.start({"a": sink})
    await world.offer_each(3)
    world.clock._now_us += jump * 10**6
    sink.behaviour = zoo.well
    await world.offer_each(60, start=3)
    assert sink.times == list(range(63))


async def test_random_jitter_is_used_if_none_is_given(tmp_path: Path) -> None:
    clock = ManualClock()
    fanout = FanOut(lambda n, c: SinkSpool(tmp_path / n, c.disk_bytes), clock, offload=zoo.inline)
    ids = set()
    sinks = {name: ScriptedSink(linger_seconds=0) for name in "ab"}
    fanout.start(sinks)
    fanout.offer(samples(0, 1))
    await clock.advance(1)
    ids = {b.id for s in sinks.values() for b in s.batches}
    assert len(ids) == 2
    assert all(len(i) == 32 for i in ids)
    stopping = asyncio.create_task(fanout.stop())
    await clock.advance(1)
    await stopping
    assert random.Random(1).random() != 0
