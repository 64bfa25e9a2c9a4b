"""Retries within deadline and budget, breakers, costs, and how little a waiting collector takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, MutableMapping
from typing import Any

import pytest
from tests.support.clock import ManualClock
from tests.support.runners import GOOD, VALUE, Actor, Stage, fine, hangs, raises, takes

from collectors.config.collector import CollectorConfig
from collectors.contract.collector import CollectorContext
from collectors.errors import Overloaded, SourceRefused, SourceUnavailable
from collectors.model.metric import Collection, Sample
from collectors.model.status import BreakerState, State, TenantInfo
from collectors.resilience.backoff import Backoff
from collectors.resilience.breaker import BreakerPolicy
from collectors.resilience.cardinality import OVERFLOW, SeriesLimiter
from collectors.runtime.cost import charge
from collectors.runtime.runner import Runner
from collectors.runtime.schedule import Overlap
from collectors.runtime.self_metrics import SELF_METRICS, self_samples


@pytest.fixture
async def stage() -> AsyncIterator[Callable[..., Stage]]:
    stages: list[Stage] = []

    def build(**policy: Any) -> Stage:
        stages.append(Stage(**policy))
        return stages[-1]

    yield build
    for one in stages:
        await one.stop()


def fails_first(times: int, error: Exception) -> Callable[[Actor], Any]:
    left = times

    async def behave(_: Actor) -> Collection:
        nonlocal left
        if left:
            left -= 1
            raise error
        return GOOD

    return behave


# Retries.


async def test_a_failure_that_passes_is_made_up_for_within_the_same_run(stage: Callable[..., Stage]) -> None:
    one = stage()
    actor, runner = one.add("shaky", fails_first(2, SourceUnavailable("no answer")))
    await one.clock.advance(5)
    status = runner.status()
    assert (status.runs, status.retries, status.failures, status.samples) == (1, 2, 0, 1)
    assert status.state is State.RUNNING
    assert actor.began[1] - actor.began[0] <= 0.5 + 0.003
    assert actor.began[2] - actor.began[1] <= 1.0 + 0.003


async def test_a_source_says_when_to_come_back(stage: Callable[..., Stage]) -> None:
    one = stage()
    actor, _ = one.add("busy", fails_first(1, Overloaded("full", retry_after=3.0)))
    await one.clock.advance(6)
    assert actor.began[1] - actor.began[0] >= 3.0


async def test_nothing_is_tried_again_that_would_fail_again_or_come_too_late(stage: Callable[..., Stage]) -> None:
    one = stage()
    refused, _ = one.add("refused", raises(SourceRefused("no")))
    late, runner = one.add("late", raises(Overloaded("full", retry_after=9.0)), timeout_seconds=8)
    await one.clock.advance(3)
    assert len(refused.began) == len(late.began) == 1
    assert (runner.status().retries, runner.status().failures) == (0, 1)


async def test_the_tenants_retry_budget_is_never_exceeded(stage: Callable[..., Stage]) -> None:
    one = stage(breaker=BreakerPolicy(failures=10**6), retry_ratio=0.2, retry_reserve=4)
    down = [one.add(f"down{n}", raises(SourceUnavailable("no"))) for n in range(5)]
    _, other = one.add("shaky", fails_first(1, SourceUnavailable("no")), tenant="other")
    for _ in range(10):
        await one.clock.advance(20)
        runs = sum(runner.status().runs for _, runner in down)
        retries = sum(runner.status().retries for _, runner in down)
        assert retries <= 4 + 0.2 * runs
    assert retries >= 0.19 * runs
    assert other.status().retries == 1


async def test_a_run_that_waits_for_its_next_attempt_holds_no_place(stage: Callable[..., Stage]) -> None:
    one = stage(concurrent_runs=1, backoff=Backoff(5.0, 5.0))
    one.add("down", raises(Overloaded("no", retry_after=4)))
    await one.clock.advance(1.5)
    good, runner = one.add("good")
    await one.clock.advance(1.5)
    assert len(good.began) == 1
    assert runner.status().lateness_s < 0.003


async def test_the_waits_repeat_with_the_seed() -> None:
    async def starts() -> list[float]:
        one = Stage()
        actor, _ = one.add("down", raises(SourceUnavailable("no")))
        await one.clock.advance(50)
        await one.stop()
        return actor.began

    assert await starts() == await starts()


# Breakers.


async def test_a_dead_source_is_left_alone_and_found_again(stage: Callable[..., Stage]) -> None:
    one = stage(breaker=BreakerPolicy(failures=3, wait_seconds=45, longest_seconds=45), attempts=1)
    actor, runner = one.add("down", raises(SourceUnavailable("no answer")))
    await one.clock.advance(30)
    status = runner.status()
    assert (status.breaker, status.breaker_opened, status.state) == (BreakerState.OPEN, 1, State.FAILING)
    assert status.last_error == "no answer"
    await one.clock.advance(40)
    assert len(actor.began) == 3
    assert runner.status().skipped >= 3
    actor.behave = fine
    await one.clock.advance(20)
    assert (runner.status().breaker, runner.status().state) == (BreakerState.CLOSED, State.RUNNING)
    assert runner.status().skipped in (4, 5)


async def test_collectors_of_one_source_share_its_breaker_but_tenants_do_not(stage: Callable[..., Stage]) -> None:
    one = stage(breaker=BreakerPolicy(failures=4, wait_seconds=300), attempts=1)
    share = {"source": "db"}
    first, _ = one.add("first", raises(SourceUnavailable("no")), options=share)
    second, runner = one.add("second", raises(SourceUnavailable("no")), options=share)
    elsewhere, _ = one.add("third", options=share, tenant="other")
    own, _ = one.add("fourth")
    await one.clock.advance(100)
    assert len(first.began) + len(second.began) == 4
    assert runner.status().breaker is BreakerState.OPEN
    assert len(elsewhere.began) >= 9
    assert len(own.began) >= 9


async def test_a_probe_that_is_stopped_does_not_hold_the_breaker(stage: Callable[..., Stage]) -> None:
    one = stage(breaker=BreakerPolicy(failures=1, wait_seconds=5), attempts=1)
    actor, runner = one.add("down", raises(SourceUnavailable("no")))
    await one.clock.advance(2)
    actor.behave = hangs
    await one.clock.advance(13)
    assert runner.status().breaker is BreakerState.HALF_OPEN
    stopping = asyncio.create_task(runner.stop())
    await one.clock.settle()
    await stopping
    actor.behave = fine
    runner.start()
    await one.clock.advance(2)
    assert runner.status().breaker is BreakerState.CLOSED


# Overlap.


async def test_a_slow_run_can_be_followed_at_once(stage: Callable[..., Stage]) -> None:
    one = stage()
    skip, _ = one.add("skip", takes(14), timeout_seconds=30)
    catch_up, runner = one.add("catch_up", takes(14), timeout_seconds=30, options={"overlap": Overlap.CATCH_UP})
    await one.clock.advance(200)
    assert len(skip.began) in (10, 11)
    assert len(catch_up.began) in (14, 15)
    assert catch_up.most_under_way == 1
    assert runner.status().lateness_s > 0


# Life.


async def test_waiting_collectors_take_no_tasks(stage: Callable[..., Stage]) -> None:
    one = stage()
    before = len(asyncio.all_tasks())
    for n in range(500):
        one.add(f"c{n}", tenant=f"t{n % 7}")
    await one.clock.advance(25)
    assert len(asyncio.all_tasks()) - before <= 2
    assert one.scheduler.figures().jobs == 500
    assert one.scheduler.figures().runs >= 1000
    await one.stop()
    assert len(asyncio.all_tasks()) == before


async def test_first_runs_come_soon_but_not_all_at_once(stage: Callable[..., Stage]) -> None:
    one = stage(starts_per_second=100)
    actors = [one.add(f"c{n}", interval_seconds=60)[0] for n in range(1000)]
    await one.clock.advance(11)
    starts = sorted(actor.began[0] for actor in actors)
    assert all(len(actor.began) == 1 for actor in actors)
    assert starts[150] < 1.2
    assert sum(5 <= s < 6 for s in starts) < 150


async def test_a_scheduler_whose_clock_fails_is_known_to_be_dead(stage: Callable[..., Stage]) -> None:
    one = stage()
    assert one.scheduler.is_alive
    one.add("good")
    await one.clock.settle()
    assert one.scheduler.is_alive
    one.scheduler._staff = lambda: 1 / 0
    await one.clock.advance(2)
    assert not one.scheduler.is_alive
    keeper, one.scheduler._timekeeper = one.scheduler._timekeeper, None
    assert isinstance(keeper.exception(), ZeroDivisionError)


async def test_stopping_ends_the_run_and_leaves_nothing(stage: Callable[..., Stage]) -> None:
    one = stage()
    actor, runner = one.add("hanging", hangs, timeout_seconds=5)
    await one.clock.advance(2)
    assert actor.under_way == 1
    stopping = asyncio.create_task(runner.stop())
    await one.clock.settle()
    assert stopping.done()
    assert (actor.under_way, actor.closed) == (0, 1)
    assert runner.status().state is State.STOPPED
    assert runner.status().failures == 0, "being stopped is no failure"
    await runner.stop()
    runner.start()
    await one.clock.advance(2)
    assert len(actor.began) == 2


async def test_stopping_one_that_does_not_end_takes_no_longer_than_the_grace(stage: Callable[..., Stage]) -> None:
    one = stage(grace_seconds=4)

    async def stubborn(actor: Actor) -> Collection:
        while not hasattr(actor, "let_go"):
            try:
                await actor.context.clock.sleep(50)
            except asyncio.CancelledError:
                continue
        return GOOD

    actor, runner = one.add("stubborn", stubborn, timeout_seconds=100)
    one.add("other")
    await one.clock.advance(2)
    stopping = asyncio.create_task(runner.stop())
    await one.clock.advance(3.9)
    assert not stopping.done()
    await one.clock.advance(0.2)
    assert stopping.done()
    actor.let_go = True  # type: ignore[attr-defined]
    await one.clock.advance(101)
    assert one.scheduler.figures().stuck == 0


async def test_a_collector_may_stop_itself(stage: Callable[..., Stage]) -> None:
    one = stage()

    async def stop_self(_: Actor) -> Collection:
        await runner.stop()
        return GOOD

    actor, runner = one.add("brief", stop_self)
    await one.clock.advance(30)
    assert len(actor.began) == 1
    assert runner.status().state is not State.STARTING
    assert len(asyncio.all_tasks()) == 1


async def test_alone_a_runner_schedules_itself() -> None:
    clock = ManualClock()
    emitted: list[Collection] = []
    context = CollectorContext(tenant=TenantInfo("acme"), clock=clock)
    actor = Actor(CollectorConfig(interval_seconds=5), context, fine)
    runner = Runner(actor, lambda _, collection: emitted.append(collection), clock)
    runner.start()
    await clock.advance(21)
    assert len(emitted) in (4, 5)
    await runner.stop()
    assert len(asyncio.all_tasks()) == 1


# Accounts.


async def test_costs_are_told_by_collector_and_by_tenant_also_after_it_is_gone(stage: Callable[..., Stage]) -> None:
    one = stage()

    async def work(_: Actor) -> Collection:
        one.cpu += 0.25
        charge(queries=2, seconds=1.5, size=100)
        return GOOD

    _, first = one.add("first", work)
    _, second = one.add("second", work)
    one.add("third", work, tenant="other")
    await one.clock.advance(1.5)
    status = first.status()
    assert (status.cpu_seconds, status.queries, status.query_seconds, status.bytes_read) == (0.25, 2, 1.5, 100)
    await second.stop()
    acme = one.scheduler.costs()["acme"]
    assert (acme.cpu_seconds, acme.queries, acme.query_seconds, acme.bytes_read) == (0.5, 4, 3.0, 200)
    assert one.scheduler.cost("other").queries == 2


async def test_series_beyond_the_tenants_limit_are_folded(stage: Callable[..., Stage]) -> None:
    one = stage()

    async def explode(actor: Actor) -> Collection:
        return Collection(tuple(Sample("test.value", 1.0, (f"user{n}",)) for n in range(100)))

    limiter = SeriesLimiter(20, per_metric=10)
    _, runner = one.add("exploding", explode, options={"series": limiter})
    await one.clock.advance(1.5)
    ((_, collection),) = one.emitted
    assert len(collection.samples) == 11
    assert (collection.samples[-1].labels, collection.samples[-1].value) == ((OVERFLOW,), 90.0)
    assert "folded" in runner.status().last_error
    assert limiter.offenders()[0].metric == VALUE.name


async def test_a_crash_is_traced_once_and_told_each_time(
    stage: Callable[..., Stage], logged: list[MutableMapping[str, Any]]
) -> None:
    one = stage(breaker=BreakerPolicy(failures=100))
    one.add("crashing", raises(ZeroDivisionError("a secret")))
    await one.clock.advance(60)
    events = [entry["event"] for entry in logged]
    assert events.count("collector.crashed") == 1
    assert events.count("collector.failed") >= 6
    assert "a secret" not in str([entry for entry in logged if entry["event"] != "collector.crashed"])


async def test_the_self_metrics_tell_all_of_a_status(stage: Callable[..., Stage]) -> None:
    one = stage(breaker=BreakerPolicy(failures=1), attempts=1)
    _, runner = one.add("down", raises(SourceUnavailable("no")))
    await one.clock.advance(15)
    samples = {s.metric: s for s in self_samples(runner.status(), 42)}
    assert set(samples) == {spec.name for spec in SELF_METRICS}
    assert samples["collectors.runner.breaker_state"].value == 2.0
    assert samples["collectors.runner.runs"].value == 1.0
    assert {(s.labels, s.time_us) for s in samples.values()} == {(("down",), 42)}
