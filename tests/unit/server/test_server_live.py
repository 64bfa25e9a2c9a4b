from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_world import (
    NOW_US,
    WORKER_FRAME,
    BeatingClock,
    SteppedClock,
    Worker,
    alert_frame,
    samples_frame,
    status_frame,
)

from collectors.errors import Overloaded
from collectors.server.live import Frame, LiveHub, LiveLimits, Subscription


def hub(tmp_path: Path, limits: LiveLimits | None = None) -> tuple[LiveHub, SteppedClock]:
    clock = SteppedClock()
    return LiveHub(tmp_path / "worker.sock", clock, limits), clock


async def taken(subscription: Subscription, count: int) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    async with asyncio.timeout(20):
        async for frame in subscription:
            found.append((frame.event, orjson.loads(frame.data)) if frame else ("", None))
            if len(found) == count:
                break
    return found


async def waiting(subscription: Subscription) -> list[Frame]:
    """Everything that waits, by ending the subscription."""
    subscription.end()
    return [frame async for frame in subscription if frame]


async def test_frames_reach_every_subscriber_of_the_tenant_in_order_and_nobody_else(tmp_path: Path) -> None:
    live, _ = hub(tmp_path)
    with live.subscribe("acorn") as one, live.subscribe("acorn") as two, live.subscribe("birch") as other:
        for number in range(5):
            live.take(samples_frame("acorn", number))
        live.take(alert_frame("birch", "b-1"))
        values = [[orjson.loads(f.data)["samples"][0]["value"] for f in await waiting(s)] for s in (one, two)]
        assert values == [[0, 1, 2, 3, 4]] * 2
        assert [orjson.loads(f.data) for f in await waiting(other)] == [{"id": "b-1", "state": "firing"}]


def test_a_frame_reads_as_event_stream_and_as_message() -> None:
    frame = Frame(17, "alert", "acorn", b'{"id":"a"}')
    assert frame.sse == b'event: alert\nid: 17\ndata: {"id":"a"}\n\n'
    assert orjson.loads(frame.text) == {"event": "alert", "data": {"id": "a"}}


def test_ids_grow_even_when_the_clock_is_set_back(tmp_path: Path) -> None:
    live, clock = hub(tmp_path)
    subscription = live.subscribe("acorn")
    for step in (0.0, 0.0, -50.0, 10.0):
        clock.advance(step)
        live.take(samples_frame("acorn", 1))
    ids = [frame.id for frame in asyncio.run(waiting(subscription))]
    assert ids == sorted(set(ids))
    assert ids[0] == NOW_US


@pytest.mark.parametrize(
    "frame",
    [
        None,
        [],
        "text",
        {},
        {"event": "samples", "tenant": None, "data": {}},
        {"event": "samples", "tenant": "acorn", "data": []},
        {"event": "gossip", "tenant": "acorn", "data": {}},
        {"event": "worker", "tenant": None, "data": None},
    ],
)
def test_a_frame_that_makes_no_sense_is_counted_and_dropped(tmp_path: Path, frame: object) -> None:
    live, _ = hub(tmp_path)
    subscription = live.subscribe("acorn")
    live.take(frame)
    assert live.bad_frames == 1
    assert asyncio.run(waiting(subscription)) == []


def test_a_slow_subscriber_loses_the_oldest_samples_and_never_an_alert(tmp_path: Path) -> None:
    live, _ = hub(tmp_path, LiveLimits(frames=6))
    slow, quick = live.subscribe("acorn"), live.subscribe("acorn")
    for number in range(4):
        live.take(samples_frame("acorn", number))
        live.take(alert_frame("acorn", f"a-{number}"))
    frames = asyncio.run(waiting(slow))
    assert [f.event for f in frames] == ["alert", "alert", "samples", "alert", "samples", "alert"]
    assert [orjson.loads(f.data)["samples"][0]["value"] for f in frames if f.event == "samples"] == [2, 3]
    assert (slow.dropped, quick.dropped, live.dropped_frames) == (2, 2, 4)
    assert not slow.cut_off.is_set()


def test_outdated_states_go_when_there_are_no_samples_left(tmp_path: Path) -> None:
    live, _ = hub(tmp_path, LiveLimits(frames=2))
    slow = live.subscribe("acorn")
    live.take(status_frame("acorn"))
    live.take({"event": "ledger", "tenant": "acorn", "data": {"total": {}}})
    live.take(alert_frame("acorn", "a"))
    assert [f.event for f in asyncio.run(waiting(slow))] == ["ledger", "alert"]


def test_a_subscriber_that_only_alerts_wait_for_is_cut_off(tmp_path: Path) -> None:
    live, _ = hub(tmp_path, LiveLimits(frames=3))
    slow = live.subscribe("acorn")
    for number in range(5):
        live.take(alert_frame("acorn", f"a-{number}"))
    assert slow.cut_off.is_set()
    assert asyncio.run(waiting(slow)) == []


def test_a_subscriber_that_takes_nothing_is_cut_off_in_the_end(tmp_path: Path) -> None:
    live, _ = hub(tmp_path, LiveLimits(frames=2, dropped_in_a_row=10))
    slow = live.subscribe("acorn")
    for number in range(12):
        live.take(samples_frame("acorn", number))
    assert not slow.cut_off.is_set()
    live.take(samples_frame("acorn", 12))
    assert slow.cut_off.is_set()


def test_bytes_are_bounded_as_well_as_frames(tmp_path: Path) -> None:
    size = len(orjson.dumps(samples_frame("acorn", 1)["data"]))
    live, _ = hub(tmp_path, LiveLimits(frame_bytes=3 * size))
    slow = live.subscribe("acorn")
    for _ in range(9):
        live.take(samples_frame("acorn", 1))
    assert len(asyncio.run(waiting(slow))) == 3


@given(
    events=st.lists(st.sampled_from(["samples", "alert", "status", "ledger", "take"]), max_size=60),
    frames=st.integers(1, 8),
)
def test_no_alert_is_ever_lost_unless_the_subscriber_is_cut_off(events: list[str], frames: int) -> None:
    live = LiveHub(Path("nowhere"), SteppedClock(), LiveLimits(frames=frames))
    subscription = live.subscribe("acorn")
    sent, seen = [], []

    async def run() -> None:
        for number, event in enumerate(events):
            if event == "take":
                if subscription._frames:
                    frame = await anext(subscription)
                    assert frame is not None
                    seen.append(frame)
            else:
                live.take({"event": event, "tenant": "acorn", "data": {"n": number}})
                sent.append((event, number))
            assert len(subscription._frames) <= frames
            assert subscription._bytes == sum(len(f.data) for f in subscription._frames)
        seen.extend(await waiting(subscription))

    asyncio.run(run())
    got = [(f.event, orjson.loads(f.data)["n"]) for f in seen]
    assert got == [item for item in sent if item in set(got)]
    if not subscription.cut_off.is_set():
        assert [x for x in got if x[0] == "alert"] == [x for x in sent if x[0] == "alert"]
        assert len(sent) == len(got) + subscription.dropped


def test_a_newcomer_starts_with_the_last_status_while_the_worker_lives(tmp_path: Path) -> None:
    live, clock = hub(tmp_path)
    live.take(status_frame("acorn", events_per_second=1.0))
    live.take(status_frame("acorn", events_per_second=2.0))
    live.take(samples_frame("acorn", 1))
    (frame,) = asyncio.run(waiting(live.subscribe("acorn")))
    assert (frame.event, orjson.loads(frame.data)["events_per_second"]) == ("status", 2.0)
    clock.advance(10.0)
    assert asyncio.run(waiting(live.subscribe("acorn"))) == []


def test_whoever_comes_back_gets_what_it_missed_of_its_own_tenant(tmp_path: Path) -> None:
    live, _ = hub(tmp_path)
    first = live.subscribe("acorn")
    for number in range(3):
        live.take(samples_frame("acorn", number))
        live.take(samples_frame("birch", 100 + number))
    seen = asyncio.run(waiting(first))[0].id
    values = [orjson.loads(f.data)["samples"][0]["value"] for f in asyncio.run(waiting(live.subscribe("acorn", seen)))]
    assert values == [1, 2]
    assert asyncio.run(waiting(live.subscribe("acorn", 2**62))) == []


def test_the_recent_past_is_bounded_in_bytes(tmp_path: Path) -> None:
    size = len(orjson.dumps(samples_frame("acorn", 1)["data"]))
    live, _ = hub(tmp_path, LiveLimits(recent_bytes=4 * size))
    for _ in range(20):
        live.take(samples_frame("acorn", 1))
    assert len(asyncio.run(waiting(live.subscribe("acorn", 0)))) == 4


def test_subscriptions_are_counted_and_bounded(tmp_path: Path) -> None:
    live, _ = hub(tmp_path, LiveLimits(per_tenant=2, total=3))
    one, two, three = live.subscribe("acorn"), live.subscribe("acorn"), live.subscribe("birch")
    with pytest.raises(Overloaded):
        live.subscribe("gamma")
    live.unsubscribe(three)
    live.unsubscribe(three)
    with pytest.raises(Overloaded):
        live.subscribe("acorn")
    with live.subscribe("gamma"):
        assert live.subscribers == 3
    live.unsubscribe(one)
    live.unsubscribe(two)
    assert live.subscribers == 0


def test_the_worker_is_up_while_it_is_heard_of(tmp_path: Path) -> None:
    live, clock = hub(tmp_path)
    assert (live.worker_up, live.behind_records, live.status("acorn")) == (False, None, None)
    live.take(WORKER_FRAME)
    live.take(status_frame("acorn"))
    assert (live.worker_up, live.behind_records) == (True, 4)
    clock.advance(9.9)
    assert live.worker_up
    clock.advance(0.1)
    assert (live.worker_up, live.behind_records) == (False, None)
    status = live.status("acorn")
    assert status is not None
    assert status["events_per_second"] == 120.0


async def test_frames_come_from_the_bus_through_the_workers_absences(tmp_path: Path) -> None:
    live, _ = hub(tmp_path)
    live.start()
    with live.subscribe("acorn") as subscription:
        for round_ in range(3):  # away, back, away, back …
            worker = Worker(tmp_path / "worker.sock")
            await worker.open()
            async with asyncio.timeout(20):
                await worker.heard.wait()
            worker.publish(alert_frame("acorn", f"a-{round_}"))
            assert await taken(subscription, 1) == [("alert", {"id": f"a-{round_}", "state": "firing"})]
            await worker.close()
    await live.close()
    await live.close()


async def test_rubbish_on_the_bus_only_costs_a_new_connection(tmp_path: Path) -> None:
    live, _ = hub(tmp_path)
    connections = 0
    writers = []

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writers.append(writer)
        good = orjson.dumps(alert_frame("acorn", "a")) + b"\n"
        writer.write(b"[1, 2]\nnot json\n" + good if connections == 1 else good)

    server = await asyncio.start_unix_server(answer, path=str(tmp_path / "worker.sock"))
    live.start()
    with live.subscribe("acorn") as subscription:
        assert await taken(subscription, 1) == [("alert", {"id": "a", "state": "firing"})]
    assert connections == 2
    assert live.bad_frames == 1
    await live.close()
    for writer in writers:
        writer.close()
    server.close()


async def test_a_quiet_stream_shows_signs_of_life_and_a_busy_one_does_not_need_to(tmp_path: Path) -> None:
    clock = BeatingClock()
    live = LiveHub(tmp_path / "worker.sock", clock)
    live.start()
    with live.subscribe("acorn") as quiet, live.subscribe("birch") as busy:
        clock.due.set()
        assert await taken(quiet, 1) == [("", None)]
        live.take(alert_frame("birch", "b"))
        assert await taken(busy, 1) == [("alert", {"id": "b", "state": "firing"})]
        clock.due.set()
        assert await taken(busy, 1) == [("", None)]
    await live.close()


async def test_closing_lets_streams_end_after_what_waits_and_admits_no_more(tmp_path: Path) -> None:
    live, _ = hub(tmp_path)
    live.start()
    with live.subscribe("acorn") as subscription:
        live.take(alert_frame("acorn", "a"))
        await live.close()
        live.take(alert_frame("acorn", "late"))
        assert [f.data async for f in subscription if f] == [b'{"id":"a","state":"firing"}']
    with pytest.raises(Overloaded):
        live.subscribe("acorn")
