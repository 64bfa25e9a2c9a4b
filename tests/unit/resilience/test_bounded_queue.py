"""The queue holds no byte beyond its bound and accounts for every item."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.resilience.bounded_queue import BoundedQueue, WhenFull

actions = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 40)),
        st.tuples(st.just("take"), st.integers(0, 60)),
        st.tuples(st.just("resize"), st.integers(1, 120)),
    ),
    max_size=120,
)


@pytest.mark.parametrize("when_full", list(WhenFull))
@given(actions=actions)
def test_bytes_are_bounded_order_is_kept_and_nothing_is_lost(
    when_full: WhenFull, actions: list[tuple[str, int]]
) -> None:
    queue: BoundedQueue[tuple[int, int]] = BoundedQueue(45, when_full)
    bound, number = 45, 0
    held: list[tuple[int, int]] = []
    for action, amount in actions:
        if action == "put":
            number += 1
            fits = sum(size for _, size in held) + amount <= bound
            accepted = queue.put((number, amount), amount)
            assert accepted == (fits or (when_full is WhenFull.DROP_OLDEST and amount <= bound))
            if accepted:
                held.append((number, amount))
                while sum(size for _, size in held) > bound:
                    held.pop(0)
        elif action == "take":
            taken = queue.take(amount)
            assert taken == held[: len(taken)]
            assert len(taken) <= 1 or sum(size for _, size in taken) <= amount
            assert bool(taken) == bool(held)
            held = held[len(taken) :]
        else:
            bound = amount
            queue.resize(bound)
            while sum(size for _, size in held) > bound:
                held.pop(0)
        assert queue.bytes == sum(size for _, size in held) <= bound
        assert len(queue) == len(held)
        assert queue.peek() == (held[0] if held else None)
        counts = queue.counts
        assert counts.offered == counts.taken + counts.dropped + counts.rejected + counts.held == number
    assert queue.take() == held


def test_an_item_larger_than_the_queue_pushes_nothing_out() -> None:
    queue: BoundedQueue[str] = BoundedQueue(10, WhenFull.DROP_OLDEST)
    assert queue.put("a", 10)
    assert not queue.put("b", 11)
    assert queue.take() == ["a"]
    assert queue.take() == []


def test_sizes_and_bounds_without_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="room"):
        BoundedQueue(0)
    queue: BoundedQueue[str] = BoundedQueue(1)
    assert queue.put("x", 1)
    with pytest.raises(ValueError, match="bytes"):
        queue.put("a", -1)
    with pytest.raises(ValueError, match="room"):
        queue.resize(0)
