"""Bounded sliding windows beside a plain reckoning over all events ever seen."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.catalog.security.auth.keys import key64
from collectors.catalog.security.auth.successes import RecentSuccesses
from collectors.catalog.security.auth.windows import SlidingWindows

W = 100
QUIET = 250


def windows(*, threshold: int = 3, distinct: bool = False, max_keys: int = 64, keep: int = 0) -> SlidingWindows:
    return SlidingWindows(
        window_us=W,
        threshold=threshold,
        keep=keep or threshold,
        quiet_us=QUIET,
        max_keys=max_keys,
        distinct=distinct,
        rules=2,
    )


def feed(table: SlidingWindows, events: list[tuple[int, int, int, int]]) -> list[tuple[int, int]]:
    """Add (arrived, time, key, member) in groups of one pane of arrival; return keys and times of onsets."""
    found = []
    for pane in sorted({arrived // W for arrived, *_ in events}):
        part = [event for event in events if event[0] // W == pane]
        keys = np.array([key for _, _, key, _ in part], np.uint64)
        members = np.array([member for *_, member in part], np.uint64)
        times = np.array([time for _, time, *_ in part], np.int64)
        onsets = table.add(keys, times, members if table._events._distinct else None, pane)
        found += [(int(keys[at]), time) for at, time in zip(onsets.source, onsets.time.tolist(), strict=True)]
    return found


def full_windows(events: list[tuple[int, int, int, int]], threshold: int, *, distinct: bool) -> dict[int, list[int]]:
    """The times at which a window that ends there is full, by key, from all events at once."""
    by_key = defaultdict(list)
    for _, time, key, member in events:
        by_key[key].append((time, member))
    full = {}
    for key, all_of_key in by_key.items():
        times = []
        for end, _ in all_of_key:
            inside = [(t, m) for t, m in all_of_key if end - W < t <= end]
            if len({m for _, m in inside} if distinct else inside) >= threshold:
                times.append(end)
        if times:
            full[key] = sorted(times)
    return full


def episodes(times: list[int]) -> int:
    return 1 + sum(later - earlier > QUIET for earlier, later in pairwise(times))


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, int, int, int]]:
    """Events in order of arrival, each less than a window late."""
    arrivals = sorted(draw(st.lists(st.integers(300, 1500), min_size=1, max_size=60)))
    return [
        (arrived, arrived - draw(st.integers(0, W - 1)), draw(st.integers(1, 3)), draw(st.integers(1, 5)))
        for arrived in arrivals
    ]


@given(histories(), st.data(), st.booleans(), st.integers(2, 6))
def test_any_batches_of_any_order_find_what_all_events_at_once_would(history, data, distinct, threshold):
    expected = full_windows(history, threshold, distinct=distinct)
    table = windows(threshold=threshold, distinct=distinct)
    found, rest = [], history
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        batch, rest = rest[:size], rest[size:]
        found += feed(table, data.draw(st.permutations(batch)))

    assert {key for key, _ in found} == set(expected)
    for now in (500, 1000, 1500, 1600, 2000):
        assert table.active(0, now) == sum(times[-1] > now - QUIET for times in expected.values())
        assert table.live(now) == len({key for _, time, key, _ in history if _newest(history, key) > now - W})
    whole = feed(windows(threshold=threshold, distinct=distinct), history)
    for key, times in expected.items():
        assert sum(k == key for k, _ in whole) >= episodes(times)


def _newest(history, key):
    return max(time for _, time, k, _ in history if k == key)


@given(histories(), st.integers(2, 5), st.data())
def test_counts_before_a_time_are_exact_up_to_what_is_kept(history, keep, data):
    table = windows(threshold=2, keep=keep)
    feed(table, history)
    last = history[-1][0]
    keys = np.array([1, 2, 3], np.uint64)
    at, rows = table.find(keys, 1)
    ends = np.array([last - data.draw(st.integers(0, W - 1)) for _ in at], np.int64)
    counts = table.within(rows, ends)
    for position, end, count in zip(at.tolist(), ends.tolist(), counts.tolist(), strict=True):
        truth = sum(key == position + 1 and end - W < time <= end for _, time, key, _ in history)
        assert min(count, keep) == min(truth, keep)


@given(histories(), st.booleans(), st.data())
def test_a_restored_table_continues_as_if_never_interrupted(history, distinct, data):
    cut = data.draw(st.integers(0, len(history)))
    one, other = windows(distinct=distinct), windows(distinct=distinct)
    feed(one, history[:cut])
    other.restore(one.state())
    assert feed(one, history[cut:]) == feed(other, history[cut:])
    assert one.active(0, 1500) == other.active(0, 1500)
    assert (one.size_bytes, one.evicted) == (other.size_bytes, other.evicted)


def test_thousands_of_failures_of_one_key_stay_within_its_share_of_memory():
    table = windows(threshold=10, max_keys=16)
    for arrived in range(1000, 3000, 10):
        feed(table, [(arrived, arrived - at % W, 7, 0) for at in range(100)])
    assert table.size_bytes <= table.limit_bytes
    assert int(table._events.count.max()) <= table._events.depth
    assert table.active(0, 3000) == 1


def test_an_attack_is_one_episode_until_it_was_quiet_long_enough():
    table = windows(threshold=3)
    burst = [(1000, 1000, 7, 0), (1001, 1001, 7, 0), (1002, 1002, 7, 0)]
    later = lambda by: [(a + by, t + by, k, m) for a, t, k, m in burst]  # noqa: E731
    assert feed(table, burst) == [(7, 1002)]
    assert feed(table, later(200)) == []  # the mark moves on to 1202
    assert feed(table, later(200 + QUIET - 10)) == []
    assert feed(table, later(700 + QUIET)) == [(7, 1702 + QUIET)]


def test_two_bursts_far_apart_in_one_call_are_two_episodes():
    table = SlidingWindows(window_us=W, threshold=2, keep=2, quiet_us=W, max_keys=16)
    keys, times = np.full(4, 7, np.uint64), np.array([801, 802, 990, 991], np.int64)
    assert table.add(keys, times, None, 9).time.tolist() == [802, 991]


def test_events_from_before_the_panes_that_are_kept_are_dropped():
    table = windows(threshold=3)
    old = np.array([310, 320, 330], np.int64)
    assert table.add(np.full(3, 7, np.uint64), old, None, 20).time.tolist() == []
    assert table.find(np.array([7], np.uint64), 1)[0].tolist() == []


def test_when_full_the_keys_longest_silent_make_room():
    table = windows(threshold=3, max_keys=16)
    feed(table, [(1000 + key, 1000 + key, key, 0) for key in range(1, 17)])
    feed(table, [(1050, 1050, 100, 0), (1051, 1051, 101, 0)])
    at, _ = table.find(np.array([1, 2, 3, 4, 16, 100, 101], np.uint64), 1)
    assert at.tolist() == [2, 3, 4, 5, 6]
    assert table.evicted == 2


def test_more_new_keys_than_there_is_room_for_keep_the_newest():
    table = windows(threshold=3, max_keys=16)
    feed(table, [(1090, 1090, 500, 0)])
    feed(table, [(1000 + key % 90, 1000 + key % 90, key, 0) for key in range(1, 41)])
    at, _ = table.find(np.arange(1, 41, dtype=np.uint64), 1)
    assert at.tolist() == list(range(24, 40))
    assert table.evicted == 25
    assert table.live(1090) == 16


def test_keys_that_no_longer_matter_make_room_without_being_counted():
    table = windows(threshold=3, max_keys=16)
    feed(table, [(1000, 1000, key, 0) for key in range(1, 17)])
    feed(table, [(9000, 9000, key, 0) for key in range(101, 117)])
    assert table.evicted == 0
    assert table.live(9000) == 16


def test_the_table_grows_from_small_to_its_limit():
    table = windows(threshold=5, max_keys=1000)
    small = table.size_bytes
    for key in range(1, 1001):
        feed(table, [(1000, 1000 - at, key, 0) for at in range(10)])
    assert small < 10_000
    assert small < table.size_bytes <= table.limit_bytes
    assert table.active(0, 1000) == 1000


def test_slots_of_forgotten_keys_are_used_again():
    table = windows(threshold=5, max_keys=16)
    for round_ in range(10):
        start = 1000 + 2000 * round_
        feed(table, [(start, start, 100 * round_ + key, at) for key in range(1, 17) for at in range(10)])
    assert len(table._events._slot_time) == 16
    assert table.evicted == 0


def reference_key64(value: bytes) -> int:
    """The hash spelt out for one value in Python integers."""
    mask = (1 << 64) - 1
    state, multipliers = 0, []
    for _ in range(257):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        multipliers.append((z ^ (z >> 31)) | 1)
    total = len(value) * multipliers[256]
    for at in range(0, len(value), 8):
        total += int.from_bytes(value[at : at + 8].ljust(8, b"\0"), "little") * multipliers[at // 8 % 256]
    total &= mask
    for multiplier in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        total = ((total ^ (total >> 33)) * multiplier) & mask
    return max(total ^ (total >> 33), 1)


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(0, 5))
def test_keys_are_the_documented_hash_of_each_value_wherever_it_stands(values, skip):
    column = pa.array([b"x" * skip, *values], pa.binary()).slice(1)
    assert key64(column).tolist() == [reference_key64(value) for value in values]


def test_pseudonyms_and_very_long_values_have_keys_too():
    values = [bytes(range(16)), bytes(16), b"z" * 16]
    assert key64(pa.array(values, pa.binary())).tolist() == [reference_key64(v) for v in values]
    assert key64(pa.array([b"y" * 5000], pa.binary())).tolist() == [reference_key64(b"y" * 5000)]
    assert key64(pa.array([b"", b""], pa.binary())).tolist() == [reference_key64(b"")] * 2


@pytest.mark.parametrize("sizes", [[3, 4, 5, 1, 1], [10, 10], [25], [1] * 30])
def test_the_ring_remembers_the_last_successes(sizes):
    ring = RecentSuccesses(10)
    arrived = 0
    for size in sizes:
        numbers = np.arange(arrived + 1, arrived + size + 1)
        ring.add(numbers.astype(np.uint64), numbers)
        arrived += size
    everyone = np.arange(1, 100, dtype=np.uint64)
    keys, times = ring.of(everyone, 0)
    assert sorted(times.tolist()) == list(range(max(1, arrived - 9), arrived + 1))
    assert keys.astype(np.int64).tolist() == times.tolist()
    keys, times = ring.of(np.array([arrived], np.uint64), arrived)
    assert times.tolist() == [arrived]
    again = RecentSuccesses(10)
    again.restore(ring.state())
    again.add(np.array([77], np.uint64), np.array([1000]))
    ring.add(np.array([77], np.uint64), np.array([1000]))
    assert again.of(everyone, 0)[1].tolist() == ring.of(everyone, 0)[1].tolist()


def test_the_ring_grows_before_it_wraps():
    ring = RecentSuccesses(5000)
    for start in range(0, 6000, 600):
        numbers = np.arange(start, start + 600)
        ring.add(numbers.astype(np.uint64) + np.uint64(1), numbers)
    _, times = ring.of(np.arange(1, 7000, dtype=np.uint64), 0)
    assert sorted(times.tolist()) == list(range(1000, 6000))
    assert ring.size_bytes == 5000 * RecentSuccesses.BYTES_EACH
