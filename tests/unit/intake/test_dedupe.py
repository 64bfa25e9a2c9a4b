"""The dedupe window is a set: exact, bounded, and honest about how far back it reaches."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from collectors.intake.dedupe import DedupeWindow


def ids(numbers: list[int]) -> np.ndarray:
    return np.array([list(n.to_bytes(16, "big")) for n in numbers], dtype=np.uint8).reshape(-1, 16)


def window(**options: int) -> DedupeWindow:
    return DedupeWindow(memory_bytes=options.get("memory_bytes", 2**20), secret=b"fixed")


@given(calls=st.lists(st.lists(st.integers(0, 60), max_size=40), max_size=12))
def test_it_agrees_with_a_set(calls: list[list[int]]) -> None:
    w, seen = window(), set()
    for numbers in calls:
        expected = []
        for n in numbers:
            expected.append(n in seen)
            seen.add(n)
        assert w.add(w.keys("t", "p", ids(numbers)), 1).tolist() == expected


def test_it_agrees_with_a_set_on_many_random_ids_with_repeats() -> None:
    rng = np.random.default_rng(5)
    w, seen = window(memory_bytes=40 * 2**17), set()
    for _ in range(40):
        numbers = rng.integers(0, 40_000, 2_000).tolist()
        expected = []
        for n in numbers:
            expected.append(n in seen)
            seen.add(n)
        assert w.add(w.keys("t", "p", ids(numbers)), 1).tolist() == expected
    assert w.size == len(seen)


def test_the_same_id_of_another_tenant_or_type_is_another_event() -> None:
    w = window()
    for tenant, type_ in (("a", "p"), ("b", "p"), ("a", "q")):
        assert not w.add(w.keys(tenant, type_, ids([1, 2])), 1).any()


def test_ids_that_look_like_the_tables_marks_are_ordinary() -> None:
    w = window()
    keys = np.array([[0, 5], [1, 5], [0, 0], [1, 0], [2, 7]], dtype=np.uint64)
    plain = w.keys("t", "p", ids([0]))  # fixes the salt
    raw = (keys ^ plain[0]).view(np.uint8).reshape(-1, 16)
    assert w.add(w.keys("t", "p", raw), 1).tolist() == [False] * 5
    assert w.add(w.keys("t", "p", raw), 1).tolist() == [True] * 5


def test_forgotten_ids_are_new_again_and_others_stay() -> None:
    w = window()
    numbers = list(range(300))
    w.add(w.keys("t", "p", ids(numbers)), 1)
    w.forget(w.keys("t", "p", ids(numbers[:150])))
    again = w.add(w.keys("t", "p", ids(numbers)), 1)
    assert again.tolist() == [False] * 150 + [True] * 150


def test_it_remembers_at_least_since_covered_since_and_stays_within_memory() -> None:
    w = window(memory_bytes=36 * 2**10)  # 1,024 slots a generation, filled to half
    taken: list[tuple[int, int]] = []
    for step in range(60):
        number = step * 100
        batch = list(range(number, number + 100))
        w.add(w.keys("t", "p", ids(batch)), now_us=1_000 + step)
        taken += [(n, 1_000 + step) for n in batch]
    assert w.size <= 2 * 512 + 200
    covered = w.covered_since_us
    assert covered > 1_000
    since = [n for n, time in taken if time >= covered]
    assert since
    assert w._previous.contains(w.keys("t", "p", ids(since))).sum() + w._current.contains(
        w.keys("t", "p", ids(since))
    ).sum() == len(since)


def test_a_generation_ends_with_its_time() -> None:
    w = DedupeWindow(memory_bytes=2**20, generation_us=100, secret=b"")
    w.assume_covered_since(1_000)
    w.add(w.keys("t", "p", ids([1])), 1_050)
    w.add(w.keys("t", "p", ids([2])), 1_200)
    assert w.covered_since_us == 1_000
    w.add(w.keys("t", "p", ids([3])), 1_400)
    assert w.covered_since_us == 1_200
    assert not w.add(w.keys("t", "p", ids([1])), 1_401).any(), "older than the window reaches"


def test_a_batch_larger_than_a_generation_is_taken_in() -> None:
    w = window(memory_bytes=36 * 2**10)
    many = list(range(900))
    assert not w.add(w.keys("t", "p", ids(many)), 1).any()
    assert w.add(w.keys("t", "p", ids(many)), 1).all()
