"""Sending until every batch is answered, and adding up the answers."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from cli_server import Answer, Request, receipt, refusal, serving

from collectors.cli.connect import Target
from collectors.cli.sending import Media, Parcel, Receipts, Sender, send_all
from collectors.clock import SystemClock
from collectors.errors import BadInput, Forbidden, Overloaded, SourceUnavailable, TooLarge, Unauthenticated, UnknownName


class QuickClock(SystemClock):
    """Time passes only by sleeping, and sleeping takes no time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)  # noqa: TID251 - only to let others run


def _parcels(count: int, rows: int = 3, tenant: str = "acme") -> Iterator[Parcel]:
    for i in range(count):
        yield Parcel(
            tenant, "playback", rows, b"x" * 10, Media.ARROW, f"key-{i}", range(i * rows + 1, (i + 1) * rows + 1)
        )


def _send(url: str, parcels: Iterator[Parcel], clock: SystemClock | None = None, **options: object) -> Receipts:
    async def run() -> Receipts:
        sender = Sender(Target(url, "secret"), clock=clock or QuickClock(), **options)  # type: ignore[arg-type]
        return await sender.run(parcels)

    return asyncio.run(run())


def test_everything_is_sent_once_with_key_and_kind_and_added_up() -> None:
    with serving(lambda _: receipt(3, duplicate=1)) as server:
        receipts = _send(server.url, _parcels(20), connections=4)
    assert sorted(r.headers["idempotency-key"] for r in server.requests) == sorted(f"key-{i}" for i in range(20))
    for request in server.requests:
        assert request.path == "/v1/tenants/acme/events/playback"
        assert request.headers["authorization"] == "Bearer secret"
        assert request.headers["content-type"] == "application/vnd.apache.arrow.stream"
        assert request.body == b"x" * 10
    assert (receipts.offered, receipts.accepted, receipts.duplicate) == (60, 40, 20)
    assert (receipts.unaccounted, receipts.requests, receipts.repeats, receipts.bytes) == (0, 20, 0, 200)
    assert receipts.events == Counter({("acme", "playback"): 60})


def test_each_tenant_is_sent_with_its_own_key() -> None:
    with serving(lambda _: receipt(3)) as server:
        _send(
            server.url, itertools.chain(_parcels(1), _parcels(1, tenant="other")), keys={"acme": "a", "other": "o"}.get
        )
    assert {r.path.split("/")[3]: r.headers["authorization"] for r in server.requests} == {
        "acme": "Bearer a",
        "other": "Bearer o",
    }


def test_refusals_for_now_are_repeated_with_the_same_key_after_the_time_asked_for() -> None:
    answers = iter(
        [
            refusal(429, **{"retry-after": "3"}),
            refusal(503, **{"retry-after": "nonsense"}),
            refusal(500),
            Answer(breaks_off=True),
            refusal(429, **{"retry-after": "1000"}),
            receipt(3),
        ]
    )
    clock = QuickClock()
    with serving(lambda _: next(answers)) as server:
        receipts = _send(server.url, _parcels(1), clock, connections=1, patience_seconds=1e9)
    assert {r.headers["idempotency-key"] for r in server.requests} == {"key-0"}
    assert receipts.repeats == 5
    assert receipts.unaccounted == 0
    assert clock.slept == [3.0, 1.0, 0.5, 1.0, 30.0]


def test_patience_ends() -> None:
    clock = QuickClock()
    with (
        serving(lambda _: refusal(429, "full", **{"retry-after": "4"})) as server,
        pytest.raises(Overloaded, match="full"),
    ):
        _send(server.url, _parcels(9), clock, connections=3, patience_seconds=10)
    assert len(server.requests) <= 12


def test_a_server_that_is_not_there_is_told() -> None:
    with serving(lambda _: receipt(3)) as server:
        pass
    with pytest.raises(SourceUnavailable, match=f"no answer from {server.url}"):
        _send(server.url, _parcels(3), patience_seconds=1)


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, BadInput), (401, Unauthenticated), (403, Forbidden), (404, UnknownName), (413, TooLarge)],
)
def test_refusals_for_good_end_it_with_the_server_s_words(status: int, error: type[Exception]) -> None:
    with serving(lambda _: refusal(status, "because")) as server, pytest.raises(error, match="because"):
        _send(server.url, _parcels(50), connections=2)
    assert len(server.requests) <= 4


def test_bodies_that_are_too_large_come_with_the_option_to_change() -> None:
    with serving(lambda _: refusal(413, "too large")) as server, pytest.raises(TooLarge, match="--batch-rows"):
        _send(server.url, _parcels(1))


def test_trouble_in_the_source_comes_through() -> None:
    def broken() -> Iterator[Parcel]:
        yield from _parcels(2)
        raise BadInput("the file ends early")

    with serving(lambda _: receipt(3)) as server, pytest.raises(BadInput, match="ends early"):
        _send(server.url, broken())
    with serving(lambda _: receipt(3)) as server, pytest.raises(BaseExceptionGroup) as caught:
        _send(server.url, (1 / 0 for _ in range(1)))  # type: ignore[misc]
    assert caught.group_contains(ZeroDivisionError)


def test_reasons_name_rows_of_the_file_and_dead_letters_their_positions() -> None:
    def respond(request: Request) -> Answer:
        answer = receipt(3, rejected=1)
        number = int(request.headers["idempotency-key"].removeprefix("key-"))
        reasons = [{"row": 1, "reason": "missing", "detail": "track_id is required"}]
        answer.body |= {"reasons": reasons, "dead_letter": 100 + number}  # type: ignore[operator]
        return answer

    with serving(respond) as server:
        receipts = _send(server.url, _parcels(30), connections=1)
    assert receipts.reasons == Counter({("missing", "track_id is required"): 30})
    assert receipts.examples == [(i * 3 + 2, "track_id is required") for i in range(20)]
    assert receipts.dead_letters == list(range(100, 130))
    told = receipts.to_dict()
    assert told["reasons"] == [{"reason": "missing", "detail": "track_id is required", "seen": 30}]
    assert (told["offered"], told["rejected"], told["unaccounted"]) == (90, 30, 0)


def test_events_no_receipt_speaks_of_are_found() -> None:
    with serving(lambda _: receipt(2)) as server:
        assert _send(server.url, _parcels(4)).unaccounted == 4


def test_the_pace_is_asked_in_order_and_kept() -> None:
    asked: list[int] = []

    async def run(url: str) -> None:
        def pace(rows: int) -> float:
            asked.append(rows)
            return 0.001

        seen: list[int] = []
        await Sender(Target(url, "k")).run(_parcels(5), pace=pace, on_answer=lambda r: seen.append(r.offered))
        assert seen == [3, 6, 9, 12, 15]

    with serving(lambda _: receipt(3)) as server:
        asyncio.run(run(server.url))
    assert asked == [3] * 5


def test_stopping_takes_nothing_more_but_answers_what_was_taken() -> None:
    taken: list[Parcel] = []

    def endless() -> Iterator[Parcel]:
        for parcel in _parcels(10**9):
            taken.append(parcel)
            yield parcel

    async def run(url: str) -> Receipts:
        sender = Sender(Target(url, "k"), connections=3)

        def answered(receipts: Receipts) -> None:
            if receipts.requests == 5:
                sender.stop()

        # Without the stop each would wait for an hour.
        found = await sender.run(endless(), pace=lambda _: 3600.0 if len(taken) > 5 else 0.0, on_answer=answered)
        assert sender.stopped
        return found

    with serving(lambda _: receipt(3)) as server:
        receipts = asyncio.run(run(server.url))
    assert receipts.offered == 3 * len(taken) == 3 * len(server.requests)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_and_a_second_one_is_no_longer_ours(number: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGTERM)
    sent = threading.Event()

    def respond(_: Request) -> Answer:
        if not sent.is_set():
            sent.set()
            os.kill(os.getpid(), number)
        return receipt(3)

    try:
        with serving(respond) as server:
            receipts, stopped = send_all(lambda: Sender(Target(server.url, "k"), connections=1), _parcels(10**9))
        assert stopped
        assert receipts.offered == 3 * len(server.requests)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_running_to_the_end_is_not_being_stopped() -> None:
    with serving(lambda _: receipt(3)) as server:
        receipts, stopped = send_all(lambda: Sender(Target(server.url, "k")), _parcels(2))
    assert (receipts.offered, stopped) == (6, False)
