"""Sliding windows over event time for many keys at once, in bounded memory, whatever order the events come in.

The question for each key is whether some window of length W holds at least N events (or events of at least N
distinct members). Windows slide: every half-open interval (t - W, t] counts, not only aligned ones.

What is kept of a key. Time is cut into panes of length W. Of each pane only the k >= N earliest and the k latest
events are kept; when members are to be told apart, the first and the last event of each member, of the k members
that came first and the k that came last. A window of length W covers the end of one pane and the beginning of the
next, so what was dropped never decides whether it holds N: either k kept events of the covered part remain, or
nothing of it was dropped. "The k earliest" of a union is that of the parts' k earliest, so neither the order of
events nor the way they are cut into batches matters. Three panes are kept, the present and two before, hence at
most 6 k events a key: enough for events that are up to W late, and the windows that end with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from collectors.catalog.security.auth.keys import KeyIndex, Keys, Rows

Times = NDArray[np.int64]
Flags = NDArray[np.bool_]

NEVER = -(1 << 62)
_PANES = 3
_SMALLEST = 16
_MARKS = 1 << 16
_MARKS_MASK = np.uint64(_MARKS - 1)
_NONE = np.empty(0, np.intp)


@dataclass(frozen=True, slots=True)
class Onsets:
    """Where episodes began: the time, and an event of the call's input that has the key."""

    source: Rows
    time: Times


class SlidingWindows:
    """The recent events of up to ``max_keys`` keys, and the episodes in which they reached ``threshold``.

    An episode begins with an event that completes a window and ends when none did for ``quiet_us``. Every key has
    ``rules`` kinds of episodes: 0 is the threshold's, others are the caller's. When there are too many keys, those
    whose newest event is oldest are dropped, and counted in ``evicted`` if they still mattered.
    """

    _COLUMNS: ClassVar[tuple[str, ...]] = ("_key", "_count", "_newest", "_marks", "_time", "_member")

    def __init__(
        self,
        *,
        window_us: int,
        threshold: int,
        keep: int,
        quiet_us: int,
        max_keys: int,
        distinct: bool = False,
        rules: int = 1,
    ) -> None:
        self._window = window_us
        self._threshold = threshold
        self._keep = max(keep, threshold)
        self._quiet = quiet_us
        self._max_keys = max_keys
        self._distinct = distinct
        self._depth = 2 * _PANES * self._keep
        self._rules = rules
        self._used = 0
        self.evicted = 0
        self._allocate(min(_SMALLEST, max_keys))

    @property
    def bytes_per_key(self) -> int:
        """Memory of one key, in bytes; times ``max_keys`` it is the most that the table ever has."""
        return 8 + 4 + 8 + 8 * self._rules + (16 if self._distinct else 8) * self._depth + KeyIndex.BYTES_PER_KEY

    @property
    def size_bytes(self) -> int:
        """Memory of the table as it is, in bytes."""
        return len(self._key) * self.bytes_per_key

    def add(self, keys: Keys, times: Times, members: Keys | None, pane: int) -> Onsets:
        """Take in events, none later than the end of ``pane``, and tell which episodes of rule 0 they begin."""
        order = np.argsort(keys)
        keys, times = keys[order], times[order]
        starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
        rows = self._admit(keys[starts], np.maximum.reduceat(times, starts), pane)
        group = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(keys)))
        members = members[order] if members is not None else None
        if (rows < 0).any():
            stays = rows[group] >= 0
            order, times, group = order[stays], times[stays], group[stays]
            members = members[stays] if members is not None else None
        added = np.bincount(group, minlength=len(rows))
        total = np.where(rows >= 0, self._count[rows] + added, 0)
        full = total >= self._threshold
        light = ~full[group]
        if light.any():
            self._append(rows, group[light], times[light], members[light] if members is not None else None)
            fits = (rows >= 0) & ~full
            self._count[rows[fits]] = total[fits]
        if not full.any():
            return Onsets(_NONE, _NONE)
        number = np.cumsum(full) - 1  # of each group among the full ones
        heavy = ~light
        at, hits = self._merge(
            rows[full], number[group[heavy]], times[heavy], members[heavy] if members is not None else None, pane
        )
        begins = self.note(0, rows[full][at], hits)
        source = order[np.searchsorted(group, np.flatnonzero(full))]
        return Onsets(source[at[begins]], hits[begins])

    def find(self, keys: Keys, at_least: int) -> tuple[Rows, Rows]:
        """Return which of ``keys`` have at least so many events kept, and their rows.

        Few do, if any, so a bit table of the candidates' low bits turns nearly all others away at once.
        """
        candidates = self._key[: self._used][self._count[: self._used] >= at_least]
        if candidates.size == 0:
            return _NONE, _NONE
        marked = np.zeros(_MARKS, np.bool_)
        marked[candidates & _MARKS_MASK] = True
        at = np.flatnonzero(marked[keys & _MARKS_MASK])
        rows = self._index.find(keys[at])
        enough = (rows >= 0) & (self._count[rows] >= at_least)
        return at[enough], rows[enough]

    def within(self, rows: Rows, ends: Times) -> NDArray[np.intp]:
        """Count the kept events of ``rows`` in the windows that end at ``ends``; exact up to ``keep``."""
        times, end = self._time[rows], ends[:, None]
        held = np.arange(self._depth) < self._count[rows][:, None]
        counts: NDArray[np.intp] = np.count_nonzero(held & (times > end - self._window) & (times <= end), axis=1)
        return counts

    def note(self, rule: int, rows: Rows, times: Times) -> Flags:
        """Continue episodes of ``rule`` at times sorted by row and time; tell which of them begin one."""
        marks = self._marks[:, rule]
        previous = marks[rows]
        same = np.flatnonzero(rows[1:] == rows[:-1]) + 1
        previous[same] = np.maximum(previous[same], times[same - 1])
        np.maximum.at(marks, rows, times)
        begins: Flags = times - previous > self._quiet
        return begins

    def active(self, rule: int, now_us: int) -> int:
        """Count the keys that have an episode of ``rule`` at ``now_us``."""
        return int(np.count_nonzero(self._marks[: self._used, rule] > now_us - self._quiet))

    def live(self, now_us: int) -> int:
        """Count the keys with an event in the window that ends at ``now_us``."""
        return int(np.count_nonzero(self._newest[: self._used] > now_us - self._window))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all there is to know as arrays."""
        columns = {name.lstrip("_"): getattr(self, name)[: self._used] for name in self._COLUMNS}
        return {**columns, "capacity": np.array([len(self._key), self.evicted])}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Become the table that gave ``state``."""
        capacity, self.evicted = (int(n) for n in state["capacity"])
        self._used = len(state["key"])
        self._allocate(capacity)
        for name in self._COLUMNS:
            getattr(self, name)[: self._used] = state[name.lstrip("_")]
        self._index.insert(self._key[: self._used], np.arange(self._used))

    def _allocate(self, capacity: int) -> None:
        self._key = np.zeros(capacity, np.uint64)
        self._count = np.zeros(capacity, np.int32)
        self._newest = np.full(capacity, NEVER, np.int64)
        self._marks = np.full((capacity, self._rules), NEVER, np.int64)
        self._time = np.zeros((capacity, self._depth), np.int64)
        self._member = np.zeros((capacity, self._depth if self._distinct else 0), np.uint64)
        self._index = KeyIndex(capacity)

    def _admit(self, keys: Keys, newest: Times, pane: int) -> Rows:
        """Return the rows of distinct keys, new ones if need be; -1 for those there is no room for."""
        rows = self._index.find(keys)
        absent = np.flatnonzero(rows < 0)
        if absent.size and self._used + absent.size > len(self._key):
            self._make_room(absent.size, pane)
            rows = self._index.find(keys)
            absent = np.flatnonzero(rows < 0)
            room = len(self._key) - self._used
            if absent.size > room:
                self.evicted += absent.size - room
                absent = absent[np.argsort(newest[absent])[absent.size - room :]]
        fresh = np.arange(self._used, self._used + absent.size)
        rows[absent] = fresh
        self._key[fresh] = keys[absent]
        self._index.insert(keys[absent], fresh)
        self._used += absent.size
        known = rows >= 0
        self._newest[rows[known]] = np.maximum(self._newest[rows[known]], newest[known])
        return rows

    def _make_room(self, needed: int, pane: int) -> None:
        """Forget keys that no longer matter; then grow; then drop the oldest."""
        floor = (pane - _PANES + 1) * self._window
        ongoing = self._marks[: self._used].max(axis=1) > floor - self._quiet
        stays = np.flatnonzero(ongoing | (self._newest[: self._used] >= floor))
        capacity = len(self._key)
        while 4 * (stays.size + needed) > 3 * capacity and capacity < self._max_keys:
            capacity = min(2 * capacity, self._max_keys)
        # Dropping an eighth at once keeps the cost of making room small for each key that comes.
        room = max(needed, capacity // 8)
        if stays.size + room > capacity:
            target = max(0, capacity - room)
            self.evicted += stays.size - target
            stays = np.sort(stays[np.argsort(self._newest[stays])[stays.size - target :]])
        former = {name: getattr(self, name)[stays] for name in self._COLUMNS}
        self._allocate(capacity)
        self._used = stays.size
        for name, column in former.items():
            getattr(self, name)[: self._used] = column
        self._index.insert(self._key[: self._used], np.arange(self._used))

    def _append(self, rows: Rows, group: Rows, times: Times, members: Keys | None) -> None:
        """Add events, sorted by group, to keys that stay below the threshold: nothing can be decided yet."""
        row = rows[group]
        at = self._count[row] + _rank(group)
        self._time[row, at] = times
        if members is not None:
            self._member[row, at] = members

    def _merge(self, rows: Rows, group: Rows, times: Times, members: Keys | None, pane: int) -> tuple[Rows, Times]:
        """Merge events into ``rows``, ``group`` telling which, and return where and when windows were full."""
        held = np.arange(self._depth) < self._count[rows][:, None]
        group = np.concatenate((np.nonzero(held)[0], group))
        times = np.concatenate((self._time[rows][held], times))
        if members is not None:
            members = np.concatenate((self._member[rows][held], members))
        recent = times >= (pane - _PANES + 1) * self._window
        order = np.flatnonzero(recent)[np.lexsort((times[recent], group[recent]))]
        group, times = group[order], times[order]
        members = members[order] if members is not None else None
        kept = _extremes(group, times // self._window, times, members, self._keep)
        group, times = group[kept], times[kept]
        members = members[kept] if members is not None else None

        rank = _rank(group)
        self._time[rows[group], rank] = times
        if members is not None:
            self._member[rows[group], rank] = members
        self._count[rows] = np.bincount(group, minlength=len(rows))
        full = _occupancy(group, times, members, self._window) >= self._threshold
        return group[full], times[full]


def _rank(group: NDArray[Any]) -> Rows:
    """Number the elements of each run of equal values from 0."""
    index = np.arange(len(group))
    begins = np.concatenate(([True], group[1:] != group[:-1])) if len(group) else np.empty(0, np.bool_)
    return index - np.maximum.accumulate(np.where(begins, index, 0))


def _extremes(group: Rows, pane: Times, times: Times, members: Keys | None, keep: int) -> Flags:
    """Tell which events, sorted by group and time, belong to the first or last ``keep`` of their group and pane."""
    n = len(group)
    run = np.cumsum(np.concatenate(([0], (group[1:] != group[:-1]) | (pane[1:] != pane[:-1])))) if n else group
    if members is None:
        backwards = _rank(run[::-1])[::-1]
        return (_rank(run) < keep) | (backwards < keep)
    order = np.lexsort((times, members, run))
    differs = (run[order][1:] != run[order][:-1]) | (members[order][1:] != members[order][:-1])
    first, last = np.empty(n, np.bool_), np.empty(n, np.bool_)
    first[order] = np.concatenate((np.ones(min(n, 1), np.bool_), differs))
    last[order] = np.concatenate((differs, np.ones(min(n, 1), np.bool_)))
    early = np.flatnonzero(first)
    late = np.flatnonzero(last)[::-1]
    kept = np.zeros(n, np.bool_)
    kept[early[_rank(run[early]) < keep]] = True
    kept[late[_rank(run[late]) < keep]] = True
    return kept


def _occupancy(group: Rows, times: Times, members: Keys | None, window: int) -> NDArray[np.intp]:
    """Count, for each event sorted by group and time, the events (or members) in the window that ends with it.

    An event counts until the window has passed it, or until its member's next event, which then counts instead.
    """
    n = len(times)
    if n == 0:
        return np.empty(0, np.intp)
    # Groups are laid out one after another on one axis, too far apart for a window to reach over.
    axis = times - times.min()
    axis += group * (int(axis.max()) + window)
    leaves = np.searchsorted(axis, axis + window)
    if members is not None:
        order = np.lexsort((axis, members, group))
        again = np.flatnonzero((group[order][1:] == group[order][:-1]) & (members[order][1:] == members[order][:-1]))
        leaves[order[again]] = np.minimum(leaves[order[again]], order[again + 1])
    return np.arange(1, n + 1) - np.cumsum(np.bincount(leaves, minlength=n + 1)[:n])
