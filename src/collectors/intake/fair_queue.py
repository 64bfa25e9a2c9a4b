"""A bounded queue that serves tenants in turn, so that one tenant's flood can't delay another's request."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Deficit round robin over tenants (Shreedhar & Varghese 1996), by weight in bytes. Thread-safe."""

    def __init__(self, *, total: int, per_tenant: int) -> None:
        self._total = total
        self._per_tenant = per_tenant
        self._lanes: dict[str, deque[tuple[int, T]]] = {}
        self._lane_weight: dict[str, int] = {}
        self._turn: deque[str] = deque()
        self._weight = 0
        self._closed = False
        self._changed = threading.Condition()

    @property
    def weight(self) -> int:
        """Weight of everything that waits."""
        return self._weight

    def peek(self) -> T | None:
        """Return the item at the head of the tenant whose turn is next, None if nothing waits."""
        with self._changed:
            return self._lanes[self._turn[0]][0][1] if self._turn else None

    def put(self, tenant: str, weight: int, item: T) -> bool:
        """Add ``item``; False if the queue, or the tenant's share of it, is full. An empty lane takes any weight."""
        with self._changed:
            held = self._lane_weight.get(tenant, 0)
            if self._closed or (held and held + weight > self._per_tenant) or self._weight > self._total:
                return False
            lane = self._lanes.get(tenant)
            if lane is None:
                lane = self._lanes[tenant] = deque()
                self._turn.append(tenant)
            lane.append((weight, item))
            self._lane_weight[tenant] = held + weight
            self._weight += weight
            self._changed.notify()
            return True

    def take(self, max_weight: int, max_items: int) -> list[T]:
        """Wait for items and return up to ``max_weight`` of them, an equal share of each tenant; empty once closed."""
        with self._changed:
            while not self._turn:
                if self._closed:
                    return []
                self._changed.wait()
            taken: list[T] = []
            room = max_weight
            while self._turn and room > 0 and len(taken) < max_items:
                share = max(1, room // len(self._turn))
                for _ in range(len(self._turn)):
                    tenant = self._turn.popleft()
                    room -= self._serve(tenant, share, max_items - len(taken), taken)
                    if tenant in self._lanes:
                        self._turn.append(tenant)
                    if room <= 0 or len(taken) >= max_items:
                        break
            return taken

    def _serve(self, tenant: str, share: int, items: int, taken: list[T]) -> int:
        """Move items of one tenant to ``taken`` until ``share`` is used up, and return their weight."""
        lane = self._lanes[tenant]
        used = 0
        while lane and used < share and items > 0:
            weight, item = lane.popleft()
            taken.append(item)
            used += weight
            items -= 1
        self._weight -= used
        if lane:
            self._lane_weight[tenant] -= used
        else:
            del self._lanes[tenant], self._lane_weight[tenant]
        return used

    def close(self) -> None:
        """Refuse new items; ``take`` still returns the old ones, then nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
