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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collectors.catalog.security.auth.events import NO_ROWS, Flags, KeyedEvents, Rows, Times
from collectors.catalog.security.auth.keys import Keys

_PANES = 3


@dataclass(frozen=True, slots=True)
class Onsets:
    """Where episodes began: the time, and an event of the call's input that has the key."""

    source: Rows
    time: Times


class SlidingWindows:
    """The recent events of up to ``max_keys`` keys, and the episodes in which they reached ``threshold``.

    ``keep`` is k above. An episode begins with an event that completes a window and ends when none did for
    ``quiet_us``. Every key has ``rules`` kinds of episodes: 0 is the threshold's, others are the caller's.
    """

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
        self._events = KeyedEvents(depth=2 * _PANES * self._keep, max_keys=max_keys, distinct=distinct, rules=rules)

    @property
    def size_bytes(self) -> int:
        """Memory as it is."""
        return self._events.size_bytes

    @property
    def limit_bytes(self) -> int:
        """The most memory there ever is."""
        return self._events.limit_bytes

    @property
    def evicted(self) -> int:
        """Keys that were forgotten while they still mattered."""
        return self._events.evicted

    def add(self, keys: Keys, times: Times, members: Keys | None, pane: int) -> Onsets:
        """Take in events, none later than the end of ``pane``, and tell which episodes of rule 0 they begin."""
        floor = (pane - _PANES + 1) * self._window
        order = np.argsort(keys)
        keys, times = keys[order], times[order]
        starts = _starts(keys)
        rows = self._events.admit(
            keys[starts], np.maximum.reduceat(times, starts), floor_us=floor, marked_since_us=floor - self._quiet
        )
        added = np.diff(starts, append=len(keys))
        total = np.where(rows >= 0, self._events.count[rows] + added, 0)
        # Of a key with less than the threshold's events nothing can be decided yet.
        light = (rows >= 0) & self._events.has_room(rows, total, below=self._threshold)
        group = np.repeat(np.arange(len(rows)), added)
        which = np.flatnonzero(light[group])
        at = (total - added)[group[which]] + which - starts[group[which]]
        self._events.append(rows[group[which]], at, times[which], _pick(members, order[which]))
        self._events.count[rows[light]] = total[light]

        heavy = (rows >= 0) & ~light
        if not heavy.any():
            return Onsets(NO_ROWS, NO_ROWS)
        which = np.flatnonzero(heavy[group])
        number = np.cumsum(heavy) - 1  # of each group among the heavy ones
        rows, source = rows[heavy], order[starts[heavy]]
        at, hits = self._merge(rows, number[group[which]], times[which], _pick(members, order[which]), floor)
        begins = self.note(0, rows[at], hits)
        return Onsets(source[at[begins]], hits[begins])

    def find(self, keys: Keys, at_least: int) -> tuple[Rows, Rows]:
        """Return which of ``keys`` have at least so many events kept, and their rows."""
        return self._events.find(keys, at_least)

    def within(self, rows: Rows, ends: Times) -> NDArray[np.intp]:
        """Count the kept events of ``rows`` in the windows that end at ``ends``; exact up to ``keep``."""
        group, times, _ = self._events.load(rows)
        end = ends[group]
        inside = (times > end - self._window) & (times <= end)
        return np.bincount(group[inside], minlength=len(rows))

    def note(self, rule: int, rows: Rows, times: Times) -> Flags:
        """Continue episodes of ``rule`` at times sorted by row and time; tell which of them begin one."""
        marks = self._events.marks[:, rule]
        previous = marks[rows]
        same = np.flatnonzero(rows[1:] == rows[:-1]) + 1
        previous[same] = np.maximum(previous[same], times[same - 1])
        np.maximum.at(marks, rows, times)
        begins: Flags = times - previous > self._quiet
        return begins

    def active(self, rule: int, now_us: int) -> int:
        """Count the keys that have an episode of ``rule`` at ``now_us``."""
        return int(np.count_nonzero(self._events.marks[:, rule] > now_us - self._quiet))

    def live(self, now_us: int) -> int:
        """Count the keys with an event in the window that ends at ``now_us``."""
        return int(np.count_nonzero(self._events.newest > now_us - self._window))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all there is to know as arrays."""
        return self._events.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Become what gave ``state``."""
        self._events.restore(state)

    def _merge(self, rows: Rows, group: Rows, times: Times, members: Keys | None, floor: int) -> tuple[Rows, Times]:
        """Merge events into ``rows``, ``group`` telling which, and return where and when windows were full."""
        held_group, held_times, held_members = self._events.load(rows)
        group, times = np.concatenate((held_group, group)), np.concatenate((held_times, times))
        if members is not None and held_members is not None:
            members = np.concatenate((held_members, members))
        recent = np.flatnonzero(times >= floor)
        order = recent[np.lexsort((times[recent], group[recent]))]
        group, times, members = group[order], times[order], _pick(members, order)
        kept = np.flatnonzero(_extremes(group, times // self._window, times, members, self._keep))
        group, times, members = group[kept], times[kept], _pick(members, kept)
        self._events.store(rows, group, _rank(group), times, members)
        full = _occupancy(group, times, members, self._window) >= self._threshold
        return group[full], times[full]


def _pick(members: Keys | None, at: Rows) -> Keys | None:
    return None if members is None else members[at]


def _starts(values: NDArray[Any]) -> Rows:
    """Return where each run of equal values begins."""
    if len(values) == 0:
        return NO_ROWS
    return np.concatenate(([0], np.flatnonzero(values[1:] != values[:-1]) + 1))


def _rank(group: NDArray[Any]) -> Rows:
    """Number the elements of each run of equal values from 0."""
    starts = _starts(group)
    return np.arange(len(group)) - np.repeat(starts, np.diff(starts, append=len(group)))


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
