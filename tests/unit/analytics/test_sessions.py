"""Sessions against a plain walk through each person's time."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from collectors.analytics.sessions import Sessions, sessions

GAP = 30
SPANS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 500), st.integers(0, 200)), max_size=40)


def walked(spans: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    found: list[list[int]] = []
    for person, start, length in sorted(spans):
        if found and found[-1][0] == person and start - found[-1][2] <= GAP:
            found[-1][2] = max(found[-1][2], start + length)
        else:
            found.append([person, start, start + length])
    return [tuple(session) for session in found]


def run(spans: list[tuple[int, int, int]]) -> Sessions:
    person, start, length = (np.array([s[n] for s in spans], dtype=np.int64) for n in range(3))
    return sessions(person, start, start + length, GAP)


@given(SPANS, st.randoms(use_true_random=False))
def test_sessions_are_those_of_a_walk_in_any_order(spans, rng) -> None:
    found = run(rng.sample(spans, len(spans)))
    assert list(zip(found.person.tolist(), found.start.tolist(), found.end.tolist(), strict=True)) == walked(spans)
    assert found.people == len({person for person, *_ in spans})


@given(SPANS, st.integers(0, 500))
def test_recent_sessions_are_those_that_began_since(spans, since: int) -> None:
    recent = [session for session in walked(spans) if session[1] >= since]
    found = run(spans).since(since)
    assert found.start.tolist() == [start for _, start, _ in recent]
    assert found.people == len({person for person, *_ in recent})


def test_the_gap_counts_from_the_latest_end() -> None:
    """The long one bridges what follows the short one it overlaps; a pause of exactly the gap ends nothing."""
    found = run([(0, 0, 100), (0, 10, 5), (0, 130, 1), (0, 162, 1)])
    assert (found.start.tolist(), found.end.tolist()) == ([0, 162], [131, 163])


def test_times_of_today_in_microseconds_do_not_overflow() -> None:
    now = 1_770_000_000_000_000
    day = 86_400_000_000
    person = np.arange(1_000_000, dtype=np.int64) // 2
    start = now + (np.arange(1_000_000, dtype=np.int64) % 2) * day
    assert len(sessions(person, start, start + 1, 1_800_000_000).start) == 1_000_000


def test_codes_and_times_too_large_for_one_sort_key_give_the_same_sessions() -> None:
    person = np.array([2**40, 0, 2**40, 0], dtype=np.int64)
    start = np.array([10**12, 5, 0, 0], dtype=np.int64)
    found = sessions(person, start, start + 1, GAP)
    assert found.person.tolist() == [0, 2**40, 2**40]
    assert found.start.tolist() == [0, 0, 10**12]
