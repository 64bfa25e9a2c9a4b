"""Notifications arrive at least once, in order, whatever becomes of other handlers; each attempt is on record."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from alert_cases import T0, notification
from hypothesis import given
from hypothesis import strategies as st
from tests.support.clock import ManualClock, until

from collectors.alerting.delivery import BASE_SECONDS, CAP_SECONDS, Dispatcher, Receiver
from collectors.alerting.notification import AlertHandler, Notification
from collectors.drivers.alert_store import AlertStore
from collectors.errors import Overloaded, PermanentError, RetryableError, StorageUnavailable


class Handler:
    """Does what a function says, and remembers what it was told."""

    def __init__(self, behave: Callable[[Notification], Awaitable[None]] | None = None) -> None:
        self.told: list[str] = []
        self._behave = behave

    async def send(self, notification: Notification) -> None:
        self.told.append(notification.id)
        if self._behave is not None:
            await self._behave(notification)


def failing(*errors: Exception) -> Callable[[Notification], Awaitable[None]]:
    waiting = list(errors)

    async def behave(_: Notification) -> None:
        if waiting:
            raise waiting.pop(0)

    return behave


async def hang(_: Notification) -> None:
    await asyncio.Event().wait()


@pytest.fixture
def store(tmp_path: Path) -> AlertStore:
    return AlertStore(tmp_path / "alerts.db")


@asynccontextmanager
async def delivering(
    store: AlertStore, clock: ManualClock, receivers: dict[str, AlertHandler | Receiver]
) -> AsyncIterator[Dispatcher]:
    made = {name: r if isinstance(r, Receiver) else Receiver(r) for name, r in receivers.items()}
    dispatcher = Dispatcher(store, made, clock, random.Random(7))
    task = asyncio.create_task(dispatcher.run())
    yield dispatcher
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def put(store: AlertStore, handler: str, id_: str, group: str = "g", at: int = T0) -> None:
    store.commit({}, [replace(notification(id_=id_), handler=handler, group=group, created_us=at)])


def states(store: AlertStore) -> dict[str, tuple[str, int]]:
    return {d.id: (d.state, d.attempts) for d in store.deliveries()}


async def breathe() -> None:
    """Let threads that the store is called in get on."""
    await asyncio.to_thread(lambda: None)


async def pass_time(clock: ManualClock, done: Callable[[], bool], seconds: float = 1.0) -> None:
    """Let time pass in steps until something is so; store calls run in threads meanwhile."""
    while not done():
        await clock.advance(seconds)
        await breathe()


async def test_a_failing_a_hanging_and_a_refusing_handler_do_not_hold_up_the_good_one(store: AlertStore) -> None:
    clock = ManualClock(T0)
    good = Handler()
    bad = Handler(failing(*[RuntimeError("secret-token") for _ in range(1000)]))
    refusing = Handler(failing(PermanentError("no")))
    for name in ("good", "bad", "hanging", "refusing"):
        put(store, name, f"{name}-1", at=clock.now_us())
    handlers = {"good": good, "bad": bad, "hanging": Handler(hang), "refusing": refusing}
    async with delivering(store, clock, handlers):
        await until(lambda: states(store)["good-1"][0] == "delivered")
        assert clock.now_us() == T0, "not a second had to pass"
        await until(lambda: states(store)["refusing-1"] == ("given_up", 1))
        await pass_time(clock, lambda: states(store)["hanging-1"][1] >= 1)
        await pass_time(clock, lambda: states(store)["bad-1"][1] >= 3)
    errors = {d.id: [a.error for a in store.attempts(d.number)] for d in store.deliveries()}
    assert errors["hanging-1"][0] == "no answer within 10 s"
    assert errors["bad-1"][0] == "it raised RuntimeError", "the text of foreign errors may hold a secret"
    assert good.told == ["good-1"]


async def test_order_is_kept_within_a_group_and_groups_do_not_wait_for_each_other(store: AlertStore) -> None:
    clock = ManualClock(T0)
    failed_once: set[str] = set()

    async def first_time(given: Notification) -> None:
        if given.id == "a1" and not failed_once:
            failed_once.add(given.id)
            raise RetryableError("not now")

    handler = Handler(first_time)
    for id_, group in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        put(store, "ops", id_, group)
    async with delivering(store, clock, {"ops": handler}):
        await until(lambda: states(store)["b1"][0] == "delivered")
        assert states(store)["a2"][0] == "waiting", "a resolve must not overtake its trigger"
        await pass_time(clock, lambda: all(s == "delivered" for s, _ in states(store).values()))
    assert [t for t in handler.told if t.startswith("a")] == ["a1", "a1", "a2"]


async def test_a_busy_receiver_is_left_alone_for_as_long_as_it_asks(store: AlertStore) -> None:
    clock = ManualClock(T0)
    handler = Handler(failing(Overloaded("busy", retry_after=42)))
    put(store, "ops", "n1")
    async with delivering(store, clock, {"ops": handler}):
        await until(lambda: states(store)["n1"][1] == 1)
        (head,) = store.heads("ops", 1)
        assert head.next_us - T0 >= 42 * 10**6
        await pass_time(clock, lambda: states(store)["n1"][0] == "delivered")
    assert clock.now_us() - T0 >= 42 * 10**6


async def test_what_can_not_be_delivered_in_time_is_given_up_on_record(store: AlertStore) -> None:
    clock = ManualClock(T0)
    handler = Handler(failing(*[RetryableError("down") for _ in range(100)]))
    put(store, "ops", "n1")
    async with delivering(store, clock, {"ops": Receiver(handler, give_up=60)}):
        await pass_time(clock, lambda: states(store)["n1"][0] == "given_up")
    (delivery,) = store.deliveries(state="given_up")
    attempts = store.attempts(delivery.number)
    assert [a.outcome for a in attempts[:-1]] == ["failed"] * (len(attempts) - 1)
    assert (attempts[-1].outcome, attempts[-1].error) == ("given_up", "down")
    assert attempts[-1].at_us - T0 >= 60 * 10**6


async def test_a_restart_goes_on_where_it_stopped(store: AlertStore) -> None:
    clock = ManualClock(T0)
    put(store, "ops", "n1")
    hanging = Handler(hang)
    async with delivering(store, clock, {"ops": hanging}):
        await until(lambda: hanging.told == ["n1"])
    handler = Handler()
    async with delivering(store, clock, {"ops": handler}):
        await until(lambda: states(store)["n1"][0] == "delivered")
    assert handler.told == ["n1"], "an attempt that was cut off is made again"


async def test_who_wakes_it_need_not_wait(store: AlertStore) -> None:
    clock = ManualClock(T0)
    handler = Handler()
    async with delivering(store, clock, {"ops": handler}) as dispatcher:
        await clock.settle()
        put(store, "ops", "n1")
        while not handler.told:
            dispatcher.wake()
            await breathe()
        await until(lambda: states(store)["n1"][0] == "delivered")
    assert clock.now_us() == T0


async def test_a_handler_that_ignores_being_cancelled_is_left_behind(store: AlertStore) -> None:
    clock = ManualClock(T0)
    release = asyncio.Event()

    async def stubborn(_: Notification) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        raise ValueError("too late to matter")

    put(store, "ops", "n1")
    async with delivering(store, clock, {"ops": Handler(stubborn)}):
        await pass_time(clock, lambda: states(store)["n1"][1] >= 1)
        release.set()
        await clock.settle()


@pytest.mark.parametrize("error", [StorageUnavailable("full"), ZeroDivisionError()])
async def test_a_store_that_fails_delays_and_loses_nothing(store: AlertStore, error: Exception) -> None:
    class Faulty:
        heads = store.heads
        faults = 2

        def record(self, *given: object) -> None:
            if self.faults:
                self.faults -= 1
                raise error
            store.record(*given)  # type: ignore[arg-type]

    clock = ManualClock(T0)
    handler = Handler()
    put(store, "ops", "n1")
    dispatcher = Dispatcher(Faulty(), {"ops": Receiver(handler)}, clock, random.Random(1))
    task = asyncio.create_task(dispatcher.run())
    await pass_time(clock, lambda: states(store)["n1"][0] == "delivered")
    task.cancel()
    assert handler.told == ["n1"] * 3, "at least once: what is not on record is sent again"


async def test_a_clock_set_back_does_not_hold_deliveries(store: AlertStore) -> None:
    put(store, "ops", "n1", at=T0 + 3600 * 10**6)
    handler = Handler()
    async with delivering(store, ManualClock(T0), {"ops": handler}):
        await until(lambda: states(store)["n1"][0] == "delivered")


@given(st.integers(0, 200), st.integers(0, 2**32))
def test_backoff_is_a_random_part_of_a_doubled_and_capped_wait(attempts: int, seed: int) -> None:
    class Nothing:
        def heads(self, *_: object) -> list[object]:
            return []

        def record(self, *_: object) -> None:
            return

    dispatcher = Dispatcher(Nothing(), {}, ManualClock(), random.Random(seed))  # type: ignore[arg-type]
    longest = min(CAP_SECONDS, BASE_SECONDS * 2**attempts)
    assert 0 <= dispatcher._backoff(attempts) <= longest
