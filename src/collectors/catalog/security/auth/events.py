"""Which events are kept of which key: a table that grows as it fills, up to a known number of bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from collectors.catalog.security.auth.keys import Keys

Rows = NDArray[np.intp]
Times = NDArray[np.int64]
Flags = NDArray[np.bool_]

NEVER = -(1 << 62)
NO_ROWS: Rows = np.empty(0, np.intp)

_FEW = 4
"""Events that stand beside their key. Most keys never have more, and then the table stays small and quick."""
_SMALLEST = 16
_INDEX_BYTES = 24
"""For each key, its place in the sorted index, its row, and the row's place among the vacant ones."""
_MARKS = 1 << 16
_MARKS_MASK = np.uint64(_MARKS - 1)


class KeyedEvents:
    """Up to ``depth`` events for each of up to ``max_keys`` keys, an event being a time and perhaps a member.

    A key has a row. The events of a row stand beside it as long as they are few, else in a slot of their own.
    ``marks`` are times that the caller keeps for each key, ``rules`` of them. When there are too many keys, those
    whose newest event is oldest are dropped, and counted in ``evicted`` if they still mattered.
    """

    _vacant: Rows
    _COLUMNS: ClassVar[tuple[str, ...]] = ("key", "count", "newest", "marks", "slot", "time", "member")

    def __init__(self, *, depth: int, max_keys: int, distinct: bool, rules: int) -> None:
        self.depth = depth
        self.few = min(_FEW, depth)
        self.evicted = 0
        self._max_keys = max_keys
        self._distinct = distinct
        self._rules = rules
        self._sorted: Keys = np.empty(0, np.uint64)
        self._sorted_rows = NO_ROWS
        self._allocate(min(_SMALLEST, max_keys))
        self._allocate_slots(0)

    @property
    def size_bytes(self) -> int:
        """Memory of the table as it is."""
        return len(self.key) * self._row_bytes + len(self._slot_time) * self._slot_bytes

    @property
    def limit_bytes(self) -> int:
        """The most memory the table ever takes."""
        return self._max_keys * (self._row_bytes + self._slot_bytes)

    @property
    def _row_bytes(self) -> int:
        return 8 + 4 + 8 + 8 * self._rules + 4 + self.few * self._event_bytes + _INDEX_BYTES

    @property
    def _slot_bytes(self) -> int:
        return self.depth * self._event_bytes

    @property
    def _event_bytes(self) -> int:
        return 16 if self._distinct else 8

    def admit(self, keys: Keys, newest: Times, *, floor_us: int, marked_since_us: int) -> Rows:
        """Return the rows of distinct, sorted keys, making new ones; -1 for those there is no room for.

        Keys whose newest event is before ``floor_us`` and whose marks are all before ``marked_since_us`` make room.
        """
        rows = self._rows_of(keys)
        absent = np.flatnonzero(rows < 0)
        if absent.size > len(self._vacant):
            self._make_room(absent.size, floor_us, marked_since_us)
            rows = self._rows_of(keys)  # the oldest keys may have been among these
            absent = np.flatnonzero(rows < 0)
            if absent.size > len(self._vacant):
                self.evicted += absent.size - len(self._vacant)
                absent = np.sort(absent[_newest(newest[absent], len(self._vacant))])
        if absent.size:
            fresh, self._vacant = self._vacant[: absent.size], self._vacant[absent.size :]
            rows[absent] = fresh
            self.key[fresh] = keys[absent]
            at = np.searchsorted(self._sorted, keys[absent])
            self._sorted = np.insert(self._sorted, at, keys[absent])
            self._sorted_rows = np.insert(self._sorted_rows, at, fresh)
        known = rows >= 0
        self.newest[rows[known]] = np.maximum(self.newest[rows[known]], newest[known])
        return rows

    def find(self, keys: Keys, at_least: int) -> tuple[Rows, Rows]:
        """Return which of ``keys`` have at least so many events, and their rows.

        Few do, if any, so a bit table of the candidates' low bits turns nearly all others away at once.
        """
        candidates = self.key[self.count >= at_least]
        if candidates.size == 0:
            return NO_ROWS, NO_ROWS
        marked = np.zeros(_MARKS, np.bool_)
        marked[candidates & _MARKS_MASK] = True
        at = np.flatnonzero(marked[keys & _MARKS_MASK])
        rows = self._rows_of(keys[at])
        enough = (rows >= 0) & (self.count[rows] >= at_least)
        return at[enough], rows[enough]

    def has_room(self, rows: Rows, total: NDArray[Any], below: int) -> Flags:
        """Tell which rows may be appended to until they have ``total`` events, if that is less than ``below``."""
        return (total < below) & ((total <= self.few) | (self.slot[rows] >= 0))

    def append(self, rows: Rows, at: Rows, times: Times, members: Keys | None) -> None:
        """Write events into rows that have room, at positions after their last; the caller sets ``count``."""
        slots = self.slot[rows]
        into = np.flatnonzero(slots >= 0)
        if into.size:
            self._slot_time[slots[into], at[into]] = times[into]
            if members is not None:
                self._slot_member[slots[into], at[into]] = members[into]
            beside = np.flatnonzero(slots < 0)
            rows, at, times = rows[beside], at[beside], times[beside]
            members = members[beside] if members is not None else None
        self.time[rows, at] = times
        if members is not None:
            self.member[rows, at] = members

    def load(self, rows: Rows) -> tuple[Rows, Times, Keys | None]:
        """Return the events of ``rows``, in no order, and for each the position of its row in ``rows``."""
        slots, count = self.slot[rows], self.count[rows]
        shallow, deep = np.flatnonzero(slots < 0), np.flatnonzero(slots >= 0)
        held = np.arange(self.few) < count[shallow][:, None]
        held_deep = np.arange(self.depth) < count[deep][:, None]
        group = np.concatenate((shallow[np.nonzero(held)[0]], deep[np.nonzero(held_deep)[0]]))
        times = np.concatenate((self.time[rows[shallow]][held], self._slot_time[slots[deep]][held_deep]))
        if not self._distinct:
            return group, times, None
        members = np.concatenate((self.member[rows[shallow]][held], self._slot_member[slots[deep]][held_deep]))
        return group, times, members

    def store(self, rows: Rows, group: Rows, rank: Rows, times: Times, members: Keys | None) -> None:
        """Replace the events of ``rows``; ``group`` tells each event's row, ``rank`` numbers a row's events."""
        count = np.bincount(group, minlength=len(rows))
        deep, slots = count > self.few, self.slot[rows]
        self._free.extend(slots[~deep & (slots >= 0)].tolist())
        slots[~deep] = -1
        wanting = np.flatnonzero(deep & (slots < 0))
        slots[wanting] = self._take_slots(wanting.size)
        self.slot[rows], self.count[rows] = slots, count
        self.append(rows[group], rank, times, members)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all there is to know as arrays; slots are numbered anew in the order of rows."""
        rows = np.flatnonzero(self.key)
        columns = {name: getattr(self, name)[rows] for name in self._COLUMNS}
        deep = np.flatnonzero(columns["slot"] >= 0)
        slots = columns["slot"][deep]
        columns["slot"][deep] = np.arange(deep.size)
        return {
            **columns,
            "slot_time": self._slot_time[slots],
            "slot_member": self._slot_member[slots],
            "sizes": np.array([len(self.key), len(self._slot_time), self.evicted]),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Become the table that gave ``state``; rows and slots are numbered anew."""
        rows, slots, self.evicted = (int(n) for n in state["sizes"])
        self._allocate(rows)
        self._allocate_slots(slots)
        used, taken = len(state["key"]), len(state["slot_time"])
        for name in self._COLUMNS:
            getattr(self, name)[:used] = state[name]
        self._slot_time[:taken], self._slot_member[:taken] = state["slot_time"], state["slot_member"]
        self._vacant = np.arange(used, rows)
        self._free = list(range(slots - 1, taken - 1, -1))
        self._sorted_rows = np.argsort(self.key[:used])
        self._sorted = self.key[self._sorted_rows]

    def _rows_of(self, keys: Keys) -> Rows:
        # A search in a sorted array, for sorted keys, is quicker here than a dictionary or a hash table of arrays.
        if len(self._sorted) == 0:
            return np.full(len(keys), -1, np.intp)
        at = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        return np.where(self._sorted[at] == keys, self._sorted_rows[at], -1)

    def _allocate(self, capacity: int) -> None:
        self.key: Keys = np.zeros(capacity, np.uint64)
        self.count = np.zeros(capacity, np.int32)
        self.newest: Times = np.full(capacity, NEVER, np.int64)
        self.marks: Times = np.full((capacity, self._rules), NEVER, np.int64)
        self.slot = np.full(capacity, -1, np.int32)
        self.time: Times = np.zeros((capacity, self.few), np.int64)
        self.member: Keys = np.zeros((capacity, self.few if self._distinct else 0), np.uint64)
        self._vacant = np.arange(capacity)

    def _allocate_slots(self, capacity: int) -> None:
        self._slot_time: Times = np.zeros((capacity, self.depth), np.int64)
        self._slot_member: Keys = np.zeros((capacity, self.depth if self._distinct else 0), np.uint64)
        self._free = list(range(capacity - 1, -1, -1))

    def _take_slots(self, needed: int) -> NDArray[np.int32]:
        capacity = len(self._slot_time)
        grown = capacity
        while len(self._free) + grown - capacity < needed:  # no key has two, so max_keys of them suffice
            grown = min(max(2 * grown, _SMALLEST), self._max_keys)
        if grown > capacity:
            times, members, free = self._slot_time, self._slot_member, self._free
            self._allocate_slots(grown)
            self._slot_time[:capacity], self._slot_member[:capacity] = times, members
            self._free = list(range(grown - 1, capacity - 1, -1)) + free
        return np.array([self._free.pop() for _ in range(needed)], np.int32)

    def _make_room(self, needed: int, floor_us: int, marked_since_us: int) -> None:
        """Forget keys that no longer matter; then grow; then drop the oldest."""
        used = self.key != 0
        matters = (self.newest >= floor_us) | (self.marks.max(axis=1) >= marked_since_us)
        self._leave(np.flatnonzero(used & ~matters))
        kept, former = len(self.key) - len(self._vacant), len(self.key)
        capacity = former
        while 4 * (kept + needed) > 3 * capacity and capacity < self._max_keys:
            capacity = min(2 * capacity, self._max_keys)
        if capacity > former:
            columns = {name: getattr(self, name) for name in self._COLUMNS}
            vacant = self._vacant
            self._allocate(capacity)
            for name, column in columns.items():
                getattr(self, name)[:former] = column
            self._vacant = np.concatenate((vacant, np.arange(former, capacity)))
        if len(self._vacant) < needed:
            # At least an eighth gets free at once, so that making room costs each new key little.
            leaving = min(max(needed, capacity // 8) - len(self._vacant), kept)
            rows = np.flatnonzero(self.key)
            stays = np.zeros(len(rows), np.bool_)
            stays[_newest(self.newest[rows], kept - leaving)] = True
            self._leave(rows[~stays])
            self.evicted += leaving

    def _leave(self, rows: Rows) -> None:
        """Empty rows for other keys."""
        slots = self.slot[rows]
        self._free.extend(slots[slots >= 0].tolist())
        self.key[rows], self.count[rows], self.slot[rows] = 0, 0, -1
        self.newest[rows], self.marks[rows] = NEVER, NEVER
        self._vacant = np.concatenate((self._vacant, rows))
        stays = self.key[self._sorted_rows] != 0
        self._sorted, self._sorted_rows = self._sorted[stays], self._sorted_rows[stays]


def _newest(times: Times, count: int) -> Rows:
    """Return the positions of the ``count`` latest times."""
    if count == 0:
        return NO_ROWS
    return np.argpartition(times, len(times) - count)[len(times) - count :]
