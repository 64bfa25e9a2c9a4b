"""Whatever one collector does, the others run on time, and no task, place or permit is lost."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.runners import GOOD, Actor, Behaviour, Stage, fine, hangs, raises, takes

from collectors.errors import Overloaded, SourceRefused, SourceUnavailable
from collectors.model.metric import Collection, Sample
from collectors.model.status import BreakerState, State
from collectors.resilience.adaptive import AdaptivePolicy
from collectors.resilience.breaker import BreakerPolicy
from collectors.resilience.quota import Rate, TenantLimits


@pytest.fixture
async def stage() -> AsyncIterator[Callable[..., Stage]]:
    stages: list[Stage] = []

    def build(**policy: Any) -> Stage:
        stages.append(Stage(**policy))
        return stages[-1]

    yield build
    for one in stages:
        await one.stop()


async def ignores_cancellation(actor: Actor) -> Collection:
    while not hasattr(actor, "let_go"):
        try:
            await actor.context.clock.sleep(3600)
        except asyncio.CancelledError:
            continue
    return GOOD


async def cancels_itself(_: Actor) -> Collection:
    raise asyncio.CancelledError


async def cancels_its_task(actor: Actor) -> Collection:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await actor.context.clock.sleep(1)
    return GOOD


FLOOD = Collection(tuple(Sample(f"other.value{n % 100}", 1.0) for n in range(30_000)))


async def floods(_: Actor) -> Collection:
    return FLOOD


async def lies(_: Actor) -> Any:
    return {"test.value": 1.0}


async def opens_endlessly(actor: Actor) -> Collection:
    await actor.context.clock.sleep(0)
    raise SourceRefused("closed and opened anew each time")


BAD: dict[str, Behaviour] = {
    "hangs": hangs,
    "ignores cancellation": ignores_cancellation,
    "cancels itself": cancels_itself,
    "cancels its task": cancels_its_task,
    "floods": floods,
    "lies": lies,
    "dies": raises(SystemExit(3)),
    "crashes": raises(ZeroDivisionError()),
    "is refused": raises(SourceRefused("no right")),
    "is down": raises(SourceUnavailable("no answer")),
    "is overloaded": raises(Overloaded("full", retry_after=2.0)),
    "is slow": takes(9.9),
    "times out by itself": raises(TimeoutError()),
    "is closed each time": opens_endlessly,
}


@pytest.mark.parametrize("bad", list(BAD))
async def test_no_bad_collector_moves_anybody_elses_run(stage: Callable[..., Stage], bad: str) -> None:
    """The same collectors with and without bad neighbours: every run of every good one starts at the same moment."""

    async def starts(with_bad: bool) -> list[list[float]]:
        one = stage(concurrent_runs=8)
        good = [one.add(f"good{n}", takes(0.5), tenant=f"t{n % 3}")[0] for n in range(6)]
        if with_bad:
            for n in range(3):
                one.add(f"bad{n}", BAD[bad], tenant="t0", timeout_seconds=10)
        await one.clock.advance(200)
        for runner in one.runners:
            runner.collector.let_go = True
        assert one.scheduler.figures().lateness_p99 < 0.003  # type: ignore[operator]
        return [actor.began for actor in good]

    calm, beside = await starts(False), await starts(True)
    assert min(len(runs) for runs in calm) >= 19
    for alone, together in zip(calm, beside, strict=True):
        assert together == pytest.approx(alone, abs=0.0021), "later than the resolution of the schedule"


@pytest.mark.parametrize("bad", list(BAD))
async def test_the_bad_one_is_told_and_runs_again_once_it_is_good(stage: Callable[..., Stage], bad: str) -> None:
    one = stage(breaker=BreakerPolicy(wait_seconds=20, longest_seconds=20))
    actor, runner = one.add("bad", BAD[bad], timeout_seconds=10)
    await one.clock.advance(100)
    status = runner.status()
    if bad != "is slow":
        assert status.last_error or status.stuck
        assert "secret" not in status.last_error
    actor.let_go = True
    actor.behave = fine
    await one.clock.advance(60)
    assert runner.status().state is State.RUNNING
    assert runner.status().breaker is BreakerState.CLOSED
    assert not runner.status().stuck
    figures = one.scheduler.figures()
    assert (figures.running, figures.stuck, figures.ready) == (0, 0, 0)


async def test_a_run_is_cut_at_its_deadline_and_the_place_is_free_again(stage: Callable[..., Stage]) -> None:
    one = stage(concurrent_runs=1)
    actor, runner = one.add("hanging", hangs, timeout_seconds=3)
    await one.clock.advance(2)
    assert actor.under_way == 1
    await one.clock.advance(3)
    assert actor.under_way == 0
    assert runner.status().last_error == "it took longer than 3 s; raise timeout_seconds or its interval"
    assert runner.status().last_duration_s == pytest.approx(3)


async def test_a_run_that_does_not_end_costs_nobody_its_place(stage: Callable[..., Stage]) -> None:
    one = stage(concurrent_runs=1, grace_seconds=2)
    stubborn, runner = one.add("stubborn", ignores_cancellation, timeout_seconds=3)
    await one.clock.advance(1)
    good, _ = one.add("good", tenant="other")
    await one.clock.advance(4.9)
    assert stubborn.under_way == 1
    await one.clock.advance(2)
    assert runner.status().stuck
    await one.clock.advance(40)
    assert len(good.began) >= 4
    assert len(stubborn.began) == 1, "only its own collector waits for it"
    stubborn.let_go = True  # type: ignore[attr-defined]
    await one.clock.advance(20)
    assert not runner.status().stuck
    assert len(stubborn.began) > 1


async def test_a_close_that_hangs_is_cut_too(stage: Callable[..., Stage]) -> None:
    one = stage(concurrent_runs=1, grace_seconds=1)
    actor, runner = one.add("refused", raises(SourceRefused("no")), timeout_seconds=4)
    hanging = actor.close

    async def hang() -> None:
        await asyncio.Event().wait()

    actor.close = hang  # type: ignore[method-assign]
    good, _ = one.add("good", tenant="other")
    await one.clock.advance(35)
    assert len(good.began) >= 3
    assert runner.status().runs >= 2
    actor.close = hanging  # type: ignore[method-assign]


async def test_a_collector_that_blocks_everybody_is_left_alone_after_a_while(stage: Callable[..., Stage]) -> None:
    one = stage(breaker=BreakerPolicy(failures=3, wait_seconds=40))

    async def block(actor: Actor) -> Collection:
        one.clock._monotonic += 1.5  # as a computation or a blocking call does
        return GOOD

    actor, runner = one.add("blocking", block)
    await one.clock.advance(60)
    assert runner.status().breaker is BreakerState.OPEN
    assert runner.status().last_error.startswith("it kept all others waiting for 1.5 s")
    assert len(actor.began) == 3
    assert runner.status().samples == 3, "what it brought is good all the same"


async def test_a_place_for_samples_that_fails_does_not_end_the_runs(stage: Callable[..., Stage]) -> None:
    one = stage()
    _, runner = one.add("good")
    runner._emit = lambda *_: 1 / 0
    await one.clock.advance(35)
    assert runner.status().runs >= 3
    assert runner.status().state is State.RUNNING


async def test_a_cancelled_worker_leaves_its_job_and_places_in_order(stage: Callable[..., Stage]) -> None:
    one = stage(concurrent_runs=1)
    actor, runner = one.add("good", takes(5))
    await one.clock.advance(2)
    (worker,) = one.scheduler._workers
    worker.cancel()
    await one.clock.settle()
    assert worker.cancelled()
    assert one.scheduler.figures().running == 0
    await one.clock.advance(30)
    assert len(actor.began) >= 3
    assert runner.status().state is State.RUNNING


# Who may run.


async def test_priorities_decide_who_waits_under_pressure(stage: Callable[..., Stage]) -> None:
    """Twelve seconds of work every ten, one at a time: the important ones run each time, the others take turns."""
    one = stage(concurrent_runs=1)
    first = [one.add(f"first{n}", takes(1), priority=1, tenant=f"a{n}") for n in range(4)]
    last = [one.add(f"last{n}", takes(1), priority=10, tenant=f"b{n}", timeout_seconds=5) for n in range(8)]
    await one.clock.advance(400)
    assert all(len(actor.began) >= 38 for actor, _ in first)
    runs = [len(actor.began) for actor, _ in last]
    assert 15 <= min(runs) <= max(runs) <= 35, "nobody starves, but it is they who wait"


async def test_a_tenant_has_its_own_places_and_no_more(stage: Callable[..., Stage]) -> None:
    one = stage(tenant=TenantLimits(concurrent_runs=2))
    under_way = {"big": 0, "small": 0}
    most = dict(under_way)

    async def behave(actor: Actor) -> Collection:
        tenant = actor.context.tenant.id
        under_way[tenant] += 1
        most[tenant] = max(most[tenant], under_way[tenant])
        try:
            await actor.context.clock.sleep(4)
        finally:
            under_way[tenant] -= 1
        return GOOD

    for n in range(20):
        one.add(f"c{n}", behave, tenant="big")
    small, runner = one.add("c", behave, tenant="small")
    await one.clock.advance(100)
    assert most == {"big": 2, "small": 1}
    assert len(small.began) >= 10
    assert runner.status().lateness_s < 0.003
    one.scheduler.limit_tenant("big", TenantLimits(concurrent_runs=5))
    await one.clock.advance(30)
    assert most["big"] == 5


async def test_the_rate_of_a_tenant_and_of_a_source_are_kept_and_can_change(stage: Callable[..., Stage]) -> None:
    one = stage()
    actors = [one.add(f"c{n}", tenant="fast", interval_seconds=1)[0] for n in range(10)]
    other, _ = one.add("c", interval_seconds=1)
    one.scheduler.limit_tenant("fast", TenantLimits(runs=Rate(2, 5)))
    asking = [one.add(f"s{n}", tenant=f"t{n}", interval_seconds=1, options={"source": "db"})[0] for n in range(10)]
    one.scheduler.limit_source("db", Rate(3, 3))
    await one.clock.advance(50)
    assert sum(len(a.began) for a in actors) in range(95, 107)
    assert sum(len(a.began) for a in asking) in range(145, 155)
    assert len(other.began) >= 49
    for key, group in itertools.groupby(sorted(t for a in actors for t in a.began), key=int):
        assert len(list(group)) <= (7 if key <= 1 else 3)
    one.scheduler.limit_tenant("fast", TenantLimits())
    one.scheduler.limit_source("db", None)
    await one.clock.advance(10)
    await one.clock.advance(10)
    assert sum(len(a.began) for a in actors) > 200


async def test_a_tenant_whose_queries_took_too_long_waits_until_it_is_even(stage: Callable[..., Stage]) -> None:
    from collectors.runtime.cost import charge

    one = stage()
    one.scheduler.limit_tenant("acme", TenantLimits(query_seconds=Rate(0.1, 1.0)))

    async def query(_: Actor) -> Collection:
        charge(queries=1, seconds=4.0)
        return GOOD

    actor, _ = one.add("asking", query)
    other, _ = one.add("other", tenant="zeta")
    await one.clock.advance(200)
    # 0.1 s of query time a second for 200 s and a burst of 1 s, at 4 s a run.
    assert len(actor.began) in (5, 6, 7)
    assert len(other.began) >= 20
    assert one.scheduler.cost("acme").query_seconds == 4.0 * len(actor.began)


async def test_a_source_under_pressure_is_asked_by_fewer_at_once_and_by_more_once_it_is_well(
    stage: Callable[..., Stage],
) -> None:
    one = stage(adaptive=AdaptivePolicy(initial=16, highest=32), tenant=TenantLimits(concurrent_runs=100))
    capacity, under_way, peak = 16, 0, 0

    async def ask(actor: Actor) -> Collection:
        nonlocal under_way, peak
        under_way += 1
        peak = max(peak, under_way)
        try:
            await actor.context.clock.sleep(0.2 * max(1.0, under_way / capacity))
        finally:
            under_way -= 1
        return GOOD

    for n in range(40):
        one.add(f"c{n}", ask, interval_seconds=0.5, timeout_seconds=20, options={"source": "db"})
    bystander, runner = one.add("bystander", takes(0.1), interval_seconds=1)
    source = one.scheduler.source("db")
    await one.clock.advance(10)
    capacity = 2
    await one.clock.advance(20)
    peak = 0
    await one.clock.advance(5)
    assert peak <= 6
    assert source.adaptive.limit <= 6
    capacity = 16
    await one.clock.advance(40)
    assert source.adaptive.limit >= 10
    assert len(bystander.began) >= 74
    assert runner.status().lateness_s < 0.003


@given(data=st.data())
@settings(max_examples=15)
def test_places_are_conserved_whatever_comes(data: st.DataObject) -> None:
    """Random collectors of all kinds come and go at random times: bounds hold, and at the end nothing is held."""

    async def scenario() -> None:
        one = Stage(concurrent_runs=3, grace_seconds=1, tenant=TenantLimits(concurrent_runs=2))
        try:
            kinds = [
                fine,
                takes(0.7),
                takes(25),
                hangs,
                ignores_cancellation,
                *map(BAD.__getitem__, ("dies", "is down")),
            ]
            for step in range(data.draw(st.integers(1, 12))):
                behave = data.draw(st.sampled_from(kinds))
                tenant = data.draw(st.sampled_from(["a", "b"]))
                source = data.draw(st.sampled_from(["", "db"]))
                one.add(
                    f"c{step}",
                    behave,
                    tenant=tenant,
                    interval_seconds=data.draw(st.sampled_from([1, 3])),
                    timeout_seconds=data.draw(st.sampled_from([0.5, 2, 5])),
                    options={"source": source},
                )
                await one.clock.advance(data.draw(st.floats(0, 6)))
                if data.draw(st.booleans()):
                    victim = data.draw(st.sampled_from(one.runners))
                    stopping = asyncio.create_task(victim.stop())
                    await one.clock.advance(2)
                    await stopping
                for share in one.scheduler._tenants.values():
                    assert 0 <= share.gate.used <= 2
                assert len(one.scheduler._workers) <= 3
            for runner in one.runners:
                runner.collector.let_go = True
            stopping = asyncio.create_task(one.stop())
            await one.clock.advance(60)
            await stopping
            await one.clock.advance(4000)
            assert all(share.gate.used == 0 for share in one.scheduler._tenants.values())
            assert all(share.gate.used == 0 for share in one.scheduler._sources.values())
            assert one.scheduler.figures().stuck == 0
            assert asyncio.all_tasks() == {asyncio.current_task()}
            for runner in one.runners:
                assert runner.collector.most_under_way <= 1
        finally:
            for runner in one.runners:
                runner.collector.let_go = True  # a loop can't be closed on a task that never ends

    asyncio.run(scenario())
