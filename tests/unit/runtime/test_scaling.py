"""How many workers: bounds, monotonicity, calm under constant load, and a day that is followed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from benchmarks import scaling as simulation
from hypothesis import given
from hypothesis import strategies as st

from collectors.runtime.scaling import Load, Scaler, ScalingPolicy, Wish, decide, demand, wish

POLICY = ScalingPolicy(minimum=2, maximum=40)

policies = st.builds(
    ScalingPolicy,
    minimum=st.integers(1, 5),
    maximum=st.integers(5, 100),
    target=st.floats(0.3, 0.88),
    shrink_after_seconds=st.floats(0, 600),
    growth=st.floats(1.1, 4),
)
loads = st.builds(
    Load,
    time=st.floats(0, 1e6),
    workers=st.integers(0, 120),
    utilisation=st.floats(0, 1.2),
    lag_seconds=st.floats(0, 1e5),
    lateness_seconds=st.floats(0, 100),
    starting=st.integers(0, 10),
)


@given(policies, loads, st.lists(st.builds(Wish, st.floats(0, 1e6), st.integers(1, 200)), max_size=5))
def test_the_size_is_within_the_bounds_whatever_is_measured(
    policy: ScalingPolicy, load: Load, past: list[Wish]
) -> None:
    size = decide(policy, load, past).size
    assert policy.minimum <= size <= policy.maximum


@given(policies, loads, st.floats(0, 1), st.floats(0, 1000), st.floats(0, 10))
def test_more_load_never_asks_for_less(
    policy: ScalingPolicy, load: Load, busier: float, lag: float, lateness: float
) -> None:
    more = replace(
        load,
        utilisation=load.utilisation + busier,
        lag_seconds=load.lag_seconds + lag,
        lateness_seconds=load.lateness_seconds + lateness,
    )
    assert wish(policy, more).size >= wish(policy, load).size


@given(st.floats(0.05, 35.0), st.integers(2, 40))
def test_a_constant_load_is_settled_soon_and_then_nothing_changes(work: float, size: int) -> None:
    scaler = Scaler(POLICY)
    sizes = []
    for step in range(80):
        size = scaler.observe(Load(step * 15.0, size, min(1.0, work / size))).size
        sizes.append(size)
    assert len(set(sizes[40:])) == 1, "flapping"
    assert work / sizes[-1] <= POLICY.ceiling + 1e-9
    if sizes[-1] > POLICY.minimum:
        # No size fewer than two away would come nearer to the target.
        assert abs(work / POLICY.target - sizes[-1]) <= max(1.0, POLICY.tolerance * sizes[-1] + 0.5)


@given(st.floats(2.0, 30.0), st.integers(0, 1000))
def test_noise_within_the_tolerance_moves_nothing(work: float, seed: int) -> None:
    size = round(work / POLICY.target)
    work = size * POLICY.target
    rng = np.random.default_rng(seed)
    scaler = Scaler(POLICY)
    for step in range(40):
        used = work / size * rng.uniform(1 - 0.99 * POLICY.tolerance, 1 + 0.99 * POLICY.tolerance)
        assert scaler.observe(Load(step * 15.0, size, used)).size == size


def test_it_grows_at_once_and_shrinks_when_it_has_lasted() -> None:
    scaler = Scaler(POLICY)
    assert scaler.observe(Load(0.0, 10, 0.95)).size == 11
    assert scaler.observe(Load(15.0, 11, 0.3)).size == 11
    held = scaler.observe(Load(180.0 - 1, 11, 0.3))
    assert (held.size, held.reason) == (11, "held: more was asked for lately")
    gone = scaler.observe(Load(196.0, 11, 0.3))
    assert (gone.size, gone.reason) == (4, "utilisation")


def test_one_who_has_just_begun_takes_nothing_away() -> None:
    assert Scaler(POLICY).observe(Load(0.0, 20, 0.1)).size == 20


def test_a_clock_that_goes_back_does_not_hold_a_size_for_ever() -> None:
    scaler = Scaler(POLICY)
    scaler.observe(Load(1e6, 30, 0.85))
    assert scaler.observe(Load(0.0, 30, 0.1)).size == 4


def test_lag_asks_for_more_although_utilisation_is_full_either_way() -> None:
    full = Load(0.0, 10, 1.0)
    late = replace(full, lag_seconds=35.0)
    assert demand(POLICY, full) == 10.0
    assert demand(POLICY, late) == 15.0, "what waits is half a minute's work beyond what is normal"
    assert wish(POLICY, full).size == 12
    assert wish(POLICY, late).size == 18
    assert wish(POLICY, late).reason == "lag"


def test_lateness_asks_for_one_more_when_nothing_else_does() -> None:
    late = Load(0.0, 10, 0.85, lateness_seconds=3.0)
    assert (wish(POLICY, late).size, wish(POLICY, late).reason) == (11, "lateness")
    assert wish(POLICY, replace(late, lateness_seconds=0.5)).reason == "on target"


def test_one_decision_at_most_doubles() -> None:
    assert wish(POLICY, Load(0.0, 4, 1.0, lag_seconds=10_000.0)).size == 8


def test_with_nothing_ready_what_is_starting_is_waited_for() -> None:
    assert wish(POLICY, Load(0.0, 0, 0.0)).size == POLICY.minimum
    assert wish(POLICY, Load(0.0, 0, 0.0, starting=7)).size == 7


@pytest.mark.parametrize(
    "wrong",
    [
        {"minimum": 0},
        {"minimum": 3, "maximum": 2},
        {"target": 0.0},
        {"target": 0.99},
        {"tolerance": 0.5},
        {"growth": 1.0},
        {"drain_seconds": 0.0},
        {"shrink_after_seconds": -1.0},
    ],
)
def test_an_impossible_policy_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        ScalingPolicy(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [{"utilisation": float("nan")}, {"lag_seconds": -1.0}, {"workers": -1}, {"lateness_seconds": float("inf")}]
)
def test_an_impossible_measurement_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"finite|fewer"):
        Load(**{"time": 0.0, "workers": 1, "utilisation": 0.5, **wrong})  # type: ignore[arg-type]


def test_two_simulated_days_are_held_near_the_target_and_every_event_is_fresh() -> None:
    load = simulation.week(seed=7)[: 2 * 86_400]
    run = simulation.simulate(load, Scaler(simulation.POLICY), 8)
    assert 0.80 <= run.utilisation <= 0.88
    assert run.age.max() <= simulation.FRESH_SECONDS
    done = run.busy.sum() * simulation.RATE
    assert done == pytest.approx(load.sum(), rel=1e-9), "the simulation serves what arrives, no more and no less"
    fixed = np.ceil(load.reshape(-1, 60).mean(axis=1).max() / simulation.RATE / simulation.POLICY.target)
    assert run.size.mean() <= 0.6 * fixed


def test_a_flood_beyond_what_is_there_is_caught_up_with() -> None:
    load = np.concatenate([np.full(600, 40_000.0), np.full(1800, 160_000.0)])
    run = simulation.simulate(load, Scaler(simulation.POLICY), 5)
    assert run.age.max() > 0, "four times as much at once can't be served at once"
    assert run.age[-300:].max() == 0
    assert run.size[-1] <= 20
