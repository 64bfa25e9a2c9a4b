"""Due times lie on a grid that nothing moves; the timetable keeps their order and forgets what is void."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.runtime.histogram import Histogram
from collectors.runtime.schedule import Grid, Overlap, Timetable, next_due, spread

intervals = st.floats(0.01, 86_400)
fractions = st.floats(0, 0.999999)


@given(intervals, fractions, st.floats(0, 1e8))
def test_the_next_point_is_the_first_one_later(interval: float, fraction: float, moment: float) -> None:
    grid = Grid(interval, fraction * interval)
    point = grid.after(moment)
    assert point > moment
    assert point - moment <= interval * (1 + 1e-6) + 1e-6
    steps = (point - grid.phase) / interval
    assert steps == pytest.approx(round(steps), abs=1e-4)


@given(intervals, fractions, st.lists(st.floats(0, 5), min_size=1, max_size=60), st.sampled_from(list(Overlap)))
def test_slow_runs_do_not_make_the_schedule_drift(
    interval: float, fraction: float, takes: list[float], overlap: Overlap
) -> None:
    """However long each run takes, each due time is an exact point of the grid, and all are accounted for."""
    grid = Grid(interval, fraction * interval)
    due = first = grid.after(0.0)
    counted = 0
    for take in takes:
        started = max(due, grid.after(0.0))
        now = started + take * interval
        due, left_out = next_due(grid, due, now, overlap)
        counted += 1 + left_out
        exact = Fraction(first) + counted * Fraction(interval)
        assert float(exact) == pytest.approx(due, rel=1e-9, abs=1e-6)
        if overlap is Overlap.SKIP:
            assert due > now
        else:
            assert due > now - interval * (1 + 1e-9) - 1e-6


def test_an_early_first_run_is_followed_by_the_grid() -> None:
    grid = Grid(10.0, 4.0)
    assert next_due(grid, 1.0, 1.2, Overlap.SKIP) == (14.0, 0)
    assert next_due(grid, 7.0, 7.2, Overlap.SKIP) == (14.0, 0)
    assert next_due(grid, 14.0, 37.0, Overlap.SKIP) == (44.0, 2)
    assert next_due(grid, 14.0, 37.0, Overlap.CATCH_UP) == (34.0, 1)
    assert next_due(grid, 14.0, 23.0, Overlap.CATCH_UP) == (24.0, 0)


def test_jitter_is_even_and_the_same_in_another_process() -> None:
    keys = [f"tenant-{t}/collector_{c}" for t in range(100) for c in range(20)]
    parts = [spread(key) for key in keys]
    for tenth in range(10):
        assert 150 <= sum(tenth <= 10 * part < tenth + 1 for part in parts) <= 250
    code = f"from collectors.runtime.schedule import spread; print(spread({keys[7]!r}))"
    assert float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout) == parts[7]


class Thing:
    def __init__(self) -> None:
        self.mark = 0


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=60), st.integers(0, 50))
def test_the_timetable_does_what_is_due_in_order_unless_it_became_void(
    entries: list[tuple[int, bool]], now: int
) -> None:
    table: Timetable[Thing] = Timetable()
    done: list[int] = []
    things = [Thing() for _ in entries]
    for number, ((when, _), thing) in enumerate(zip(entries, things, strict=True)):
        table.put(when, lambda _thing, _now, n=number: done.append(n), thing)
    for (_, void), thing in zip(entries, things, strict=True):
        thing.mark += void
    assert table.next == min((when for when, _ in entries), default=math.inf)
    table.run(now)
    wanted = sorted((when, number) for number, (when, void) in enumerate(entries) if when <= now and not void)
    assert done == [number for _, number in wanted]
    assert len(table) == sum(when > now for when, _ in entries)


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=200), st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
def test_quantiles_are_rounded_up_by_no_more_than_stated(durations: list[float], share: float) -> None:
    histogram = Histogram()
    for seconds in durations:
        histogram.add(seconds)
    exact = sorted(durations)[max(0, math.ceil(share * len(durations)) - 1)]
    found = histogram.quantile(share)
    assert found is not None
    assert exact <= found * (1 + 1e-9)
    assert found <= max(exact, 1e-6) * 2 ** (1 / 8) * (1 + 1e-9)


def test_without_durations_there_is_no_quantile() -> None:
    assert Histogram().quantile(0.5) is None
