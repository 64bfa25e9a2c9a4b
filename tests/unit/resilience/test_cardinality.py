"""Sketches err as their theory says; the series limiter keeps what it knows, folds the rest and names the cause."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.errors import BadInput
from collectors.model.metric import Kind, MetricSpec, Sample, Unit
from collectors.resilience.cardinality import OVERFLOW, Series, SeriesLimiter, fold
from collectors.resilience.hyperloglog import HyperLogLog, hash64


def sketch_of(members: range | set[int], precision: int = 12, salt: str = "") -> HyperLogLog:
    sketch = HyperLogLog(precision)
    sketch.update(hash64(salt, str(m)) for m in members)
    return sketch


# The sketch.


@pytest.mark.parametrize("precision", [7, 10])
def test_the_errors_are_those_of_theory_at_every_size(precision: int) -> None:
    """Over 60 independent sketches a size: no bias beyond three standard errors of the mean, spread as stated."""
    for size in (2**precision // 32, 2**precision // 2, 2**precision * 2, 2**precision * 6):
        errors = [sketch_of(range(size), precision, str(salt)).estimate() / size - 1 for salt in range(60)]
        sigma = HyperLogLog(precision).standard_error
        mean = sum(errors) / len(errors)
        rms = math.sqrt(sum(e * e for e in errors) / len(errors))
        assert abs(mean) < 3 * sigma / math.sqrt(60), (size, mean)
        assert rms < 1.3 * sigma, (size, rms)


@given(st.sets(st.integers(0, 10**6), max_size=60))
def test_small_sets_are_counted_exactly(members: set[int]) -> None:
    assert sketch_of(members).estimate() == len(members)


@given(
    st.sets(st.integers(0, 3000), max_size=1500), st.sets(st.integers(0, 3000), max_size=1500), st.integers(0, 2**32)
)
@settings(max_examples=25)
def test_a_sketch_depends_on_the_set_alone(left: set[int], right: set[int], seed: int) -> None:
    union = sketch_of(left | right, 8)
    shuffled = [*left, *right, *left]
    random.Random(seed).shuffle(shuffled)
    other = HyperLogLog(8)
    other.update(hash64("", str(m)) for m in shuffled)
    merged = sketch_of(left, 8)
    merged.merge(sketch_of(right, 8))
    assert union.to_bytes() == other.to_bytes() == merged.to_bytes()
    exact = len(left | right)
    # Four standard errors and a half: 1 in 150,000.
    assert abs(union.estimate() - exact) <= max(4.5 * union.standard_error * exact, 0.5)


@pytest.mark.parametrize("size", [0, 5, 5000])
def test_a_sketch_survives_being_written(size: int) -> None:
    sketch = sketch_of(range(size))
    again = HyperLogLog.from_bytes(sketch.to_bytes())
    assert again.estimate() == sketch.estimate()
    again.update(hash64("", str(m)) for m in range(size))
    assert again.to_bytes() == sketch.to_bytes()


def test_an_overfull_sketch_still_answers() -> None:
    sketch = HyperLogLog(7)
    sketch.update((index << 57) for index in range(128))
    assert sketch.estimate() == 2.0**64
    # Two of 128 registers hold the longest run of zeros there is, the others what about 2**54 members each would leave.
    nearly = HyperLogLog.from_bytes(b"\x07r" + bytes([58] * 2 + [54] * 126))
    assert 2.0**60 < nearly.estimate() < 2.0**62
    assert HyperLogLog.from_bytes(b"\x07r" + bytes(128)).estimate() == 0
    again = HyperLogLog.from_bytes(sketch.to_bytes())
    small = HyperLogLog(7)
    small.add(3)
    small.merge(again)
    assert small.to_bytes() == sketch.to_bytes()
    with pytest.raises(ValueError, match="precision"):
        sketch.merge(HyperLogLog(8))


@pytest.mark.parametrize("data", [b"", b"\x02r", b"\x0cr123", b"\x07e1234567", b"\x07r" + b"\xff" * 128, b"\x07x"])
def test_damaged_sketches_are_refused(data: bytes) -> None:
    with pytest.raises(BadInput, match="begin with an empty one"):
        HyperLogLog.from_bytes(data)


def test_a_precision_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="7 to 16"):
        HyperLogLog(6)


@given(st.lists(st.text(max_size=4), min_size=1, max_size=4), st.lists(st.text(max_size=4), min_size=1, max_size=4))
def test_different_tuples_have_different_hashes(left: list[str], right: list[str]) -> None:
    assert (hash64(*left) == hash64(*right)) == (left == right)


# The limiter.


def series(metric: str, *numbers: int) -> list[Series]:
    return [(metric, ("host", str(n))) for n in numbers]


@given(
    st.lists(
        st.tuples(st.floats(0, 40), st.sampled_from("abc"), st.lists(st.integers(0, 40), max_size=12)), max_size=40
    )
)
def test_the_limits_hold_and_a_live_series_is_never_dropped(steps: list[tuple[float, str, list[int]]]) -> None:
    limiter = SeriesLimiter(20, per_metric=9, idle_seconds=100)
    now = 0.0
    last_kept: dict[Series, float] = {}
    for wait, metric, numbers in steps:
        now += wait
        asked = series(metric, *numbers)
        for one, kept in zip(asked, limiter.admit(asked, now), strict=True):
            if one in last_kept and now - last_kept[one] < 100:
                assert kept, "a series that was seen within the idle time stays"
            if kept:
                last_kept[one] = now
            else:
                last_kept.pop(one, None)
        live = [one for one, seen in last_kept.items() if now - seen < 100]
        assert len(live) <= limiter.known <= 20
        assert sum(1 for one in live if one[0] == metric) <= 9


def test_an_idle_series_makes_room() -> None:
    limiter = SeriesLimiter(4, per_metric=4, idle_seconds=10)
    assert limiter.admit(series("m", 1, 2, 3, 4, 5), 0.0) == [True] * 4 + [False]
    assert limiter.admit(series("m", 1, 5), 9.0) == [True, False]
    assert limiter.admit(series("m", 1, 5), 19.0) == [True, False], "2 to 4 were seen in the period before"
    assert limiter.admit(series("m", 1, 5, 6), 29.5) == [True, True, True]
    assert limiter.known == 3
    assert limiter.admit(series("m", 9), 1000.0) == [True]
    assert limiter.known == 1


def test_a_metric_without_labels_is_always_kept() -> None:
    limiter = SeriesLimiter(1)
    assert limiter.admit([("a", ("x",)), ("b", ()), ("c", ())], 0.0) == [True, True, True]
    assert limiter.known == 1


def test_a_flood_of_one_metric_leaves_room_for_another() -> None:
    limiter = SeriesLimiter(100)
    limiter.admit(series("flood", *range(1000)), 0.0)
    assert limiter.known == 50
    assert all(limiter.admit(series("calm", *range(50)), 0.0))


def test_the_cause_is_named_with_its_size_and_label() -> None:
    limiter = SeriesLimiter(20, idle_seconds=100)
    limiter.admit([("http", (f"/user/{n}", "GET" if n % 2 else "PUT")) for n in range(20_000)], 0.0)
    limiter.admit([("cache", ("a", str(n))) for n in range(500)], 0.0)
    worst, second = limiter.offenders()
    assert (worst.metric, worst.label, second.metric, second.label) == ("http", 0, "cache", 1)
    # Three standard errors of 1.6 %; ten series of each metric are known, so not folded.
    assert worst.folded == pytest.approx(19_990, rel=0.05)
    assert worst.values == pytest.approx(19_990, rel=0.05)
    assert second.folded == pytest.approx(490, rel=0.05)
    assert (worst.known, second.known) == (10, 10)
    assert limiter.offenders(1) == [worst]
    limiter.admit([("http", (f"/user/{n}", "GET")) for n in range(25_000, 30_000)], 150.0)
    assert limiter.offenders(1)[0].folded == pytest.approx(24_990, rel=0.05), "two periods are told together"
    limiter.admit([], 260.0)
    assert limiter.offenders(1)[0].folded == pytest.approx(5000, rel=0.05)
    limiter.admit([], 400.0)
    assert limiter.offenders() == []


def test_what_is_known_survives_a_restart_without_telling_label_values() -> None:
    before = SeriesLimiter(8, per_metric=8, idle_seconds=100)
    before.admit(series("m", *range(5)), 0.0)
    before.admit(series("n", 7), 0.0)
    state = before.snapshot()
    assert b"host" not in state
    after = SeriesLimiter(8, per_metric=8, idle_seconds=100)
    after.restore(state)
    assert after.known == 6
    assert after.snapshot() == state
    # The new ones take the two places left; the known ones come in although they come last.
    assert after.admit(series("m", 100, 101, 102, 0, 1, 2, 3), 50.0) == [True, True, False, True, True, True, True]
    assert after.known == 8
    mixed = after.snapshot()
    third = SeriesLimiter(8, per_metric=8, idle_seconds=100)
    third.restore(mixed)
    assert third.admit(series("m", 100, 4, 102), 0.0) == [True, True, False]
    third.admit([], 101.0)
    assert third.known == 8
    third.admit(series("m", 100), 102.0)
    third.admit([], 201.5)
    assert third.known == 1, "what does not come again after a restart is forgotten"


@pytest.mark.parametrize("cut", [0, 5, 9, 15, -1])
def test_a_damaged_memory_is_refused_and_changes_nothing(cut: int) -> None:
    limiter = SeriesLimiter(8)
    limiter.admit(series("m", 1, 2), 0.0)
    state = limiter.snapshot()
    with pytest.raises(BadInput, match="begin without"):
        limiter.restore(state[:cut])
    assert limiter.admit(series("m", 1, 2), 0.0) == [True, True]


def test_a_smaller_limit_lets_the_known_stay_until_they_are_idle() -> None:
    limiter = SeriesLimiter(10, per_metric=10, idle_seconds=10)
    limiter.admit(series("m", *range(10)), 0.0)
    limiter.reconfigure(2)
    assert limiter.admit(series("m", 0, 1, 50), 1.0) == [True, True, False]
    limiter.admit(series("m", 0), 11.0)
    limiter.admit(series("m", 0), 22.0)
    assert limiter.known == 1
    with pytest.raises(ValueError, match="1 or more"):
        limiter.reconfigure(0)
    with pytest.raises(ValueError, match="idle"):
        SeriesLimiter(1, idle_seconds=0)


# Folding.

SPECS = {
    spec.name: spec
    for spec in (
        MetricSpec("t.requests", Kind.COUNTER, Unit.OPERATIONS, "Requests.", ("path",)),
        MetricSpec("t.memory", Kind.GAUGE, Unit.BYTES, "Memory.", ("host",), nullable=True),
        MetricSpec("t.load", Kind.GAUGE, Unit.RATIO, "Load.", ("host",)),
    )
}


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1000)), max_size=60, unique_by=lambda p: p[0]))
def test_folding_keeps_the_total_of_a_counter(values: list[tuple[int, int]]) -> None:
    samples = tuple(Sample("t.requests", float(v), (str(n),), n) for n, v in values)
    result = fold(samples, SeriesLimiter(10, per_metric=10), SPECS, 0.0)
    assert sum(s.value or 0 for s in result) == sum(v for _, v in values)
    assert len(result) <= 11
    assert len({s.labels for s in result}) == len(result)
    if len(samples) <= 10:
        assert result is samples


def test_amounts_are_added_and_the_rest_is_averaged() -> None:
    limiter = SeriesLimiter(2, per_metric=1)
    samples = (
        Sample("t.memory", 1.0, ("a",), 1),
        Sample("t.load", 0.9, ("a",), 1),
        Sample("t.memory", 2.0, ("b",), 5),
        Sample("t.memory", 3.0, ("c",), 4),
        Sample("t.memory", None, ("d",), 3, "down"),
        Sample("t.load", 0.2, ("b",), 1),
        Sample("t.load", 0.4, ("c",), 1),
    )
    kept = fold(samples, limiter, SPECS, 0.0)
    assert kept[:2] == samples[:2]
    memory, load = kept[2:]
    assert (memory.value, memory.labels, memory.time_us) == (5.0, (OVERFLOW,), 5)
    assert load.value == pytest.approx(0.3)
    (_, nothing) = fold((samples[0], samples[4]), limiter, SPECS, 0.0)
    assert (nothing.value, nothing.reason) == (None, "down")
