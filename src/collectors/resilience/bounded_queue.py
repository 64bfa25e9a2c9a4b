"""A queue bounded in bytes, because a bound in items bounds no memory."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class WhenFull(StrEnum):
    """What gives way when there is no room."""

    REJECT = "reject"
    DROP_OLDEST = "drop_oldest"


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """An account in items: ``offered = taken + dropped + rejected + held``, always."""

    offered: int
    taken: int
    dropped: int
    rejected: int
    held: int


class BoundedQueue(Generic[T]):
    """First in, first out, holding at most ``max_bytes`` by the sizes that its users state.

    An item larger than the whole queue is always rejected: making room for it could not help.
    """

    __slots__ = ("_bytes", "_dropped", "_items", "_max_bytes", "_offered", "_rejected", "_taken", "_when_full")

    def __init__(self, max_bytes: int, when_full: WhenFull = WhenFull.REJECT) -> None:
        if max_bytes < 1:
            raise ValueError("a queue needs room for a byte")
        self._max_bytes = max_bytes
        self._when_full = when_full
        self._items: deque[tuple[int, T]] = deque()
        self._bytes = 0
        self._offered = self._taken = self._dropped = self._rejected = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def bytes(self) -> int:
        """Size of all that is held."""
        return self._bytes

    @property
    def counts(self) -> QueueCounts:
        """What became of all that was offered."""
        return QueueCounts(self._offered, self._taken, self._dropped, self._rejected, len(self._items))

    def put(self, item: T, size: int) -> bool:
        """Append ``item`` of ``size`` bytes; False if it was rejected."""
        if size < 0:
            raise ValueError("a size is 0 bytes or more")
        self._offered += 1
        if size > self._max_bytes or (self._bytes + size > self._max_bytes and self._when_full is WhenFull.REJECT):
            self._rejected += 1
            return False
        while self._bytes + size > self._max_bytes:
            self._bytes -= self._items.popleft()[0]
            self._dropped += 1
        self._items.append((size, item))
        self._bytes += size
        return True

    def peek(self) -> T | None:
        """Return the oldest item without taking it: take it once it is safe elsewhere."""
        return self._items[0][1] if self._items else None

    def take(self, max_bytes: int | None = None) -> list[T]:
        """Take the oldest items, up to ``max_bytes`` of them but at least one; all of them if no bound is given."""
        taken: list[T] = []
        room = self._bytes if max_bytes is None else max_bytes
        while self._items and (not taken or self._items[0][0] <= room):
            size, item = self._items.popleft()
            taken.append(item)
            self._bytes -= size
            room -= size
        self._taken += len(taken)
        return taken

    def resize(self, max_bytes: int) -> None:
        """Change the bound; a smaller one drops the oldest items at once."""
        if max_bytes < 1:
            raise ValueError("a queue needs room for a byte")
        self._max_bytes = max_bytes
        while self._bytes > max_bytes:
            self._bytes -= self._items.popleft()[0]
            self._dropped += 1
