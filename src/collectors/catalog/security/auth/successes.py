"""The most recent successful sign-ins, for failures that arrive after a success they preceded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collectors.catalog.security.auth.events import Times
from collectors.catalog.security.auth.keys import Keys

_SMALLEST = 1024


class RecentSuccesses:
    """A ring of the last ``capacity`` successes, in the order they arrived; it grows to that as it fills."""

    BYTES_EACH = 16

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._keys: Keys = np.zeros(min(_SMALLEST, capacity), np.uint64)
        self._times: Times = np.zeros(len(self._keys), np.int64)
        self._used = 0
        self._next = 0

    @property
    def size_bytes(self) -> int:
        """Memory of the ring as it is, in bytes."""
        return len(self._keys) * self.BYTES_EACH

    def add(self, keys: Keys, times: Times) -> None:
        """Remember successes."""
        keys, times = keys[-self._capacity :], times[-self._capacity :]
        while self._used + len(keys) > len(self._keys) and len(self._keys) < self._capacity:
            # The ring does not wrap before it is at full size, so growing is appending.
            room = min(len(self._keys), self._capacity - len(self._keys))
            self._keys = np.concatenate((self._keys, np.zeros(room, np.uint64)))
            self._times = np.concatenate((self._times, np.zeros(room, np.int64)))
            self._next = self._used
        straight = len(self._keys) - self._next
        for ring, new in ((self._keys, keys), (self._times, times)):
            ring[self._next : self._next + len(new)] = new[:straight]
            ring[: len(new[straight:])] = new[straight:]
        self._next = (self._next + len(keys)) % len(self._keys)
        self._used = min(self._used + len(keys), len(self._keys))

    def of(self, keys: Keys, since_us: int) -> tuple[Keys, Times]:
        """Return the remembered successes of ``keys`` at or after ``since_us``."""
        late = np.flatnonzero(self._times[: self._used] >= since_us)
        mine = late[np.isin(self._keys[late], keys)]
        return self._keys[mine], self._times[mine]

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all there is to know as arrays."""
        position = np.array([self._next, len(self._keys)])
        return {"key": self._keys[: self._used], "time": self._times[: self._used], "position": position}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Become the ring that gave ``state``."""
        self._next, size = (int(n) for n in state["position"])
        self._used = len(state["key"])
        self._keys = np.zeros(size, np.uint64)
        self._times = np.zeros(size, np.int64)
        self._keys[: self._used] = state["key"]
        self._times[: self._used] = state["time"]
