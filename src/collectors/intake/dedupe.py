"""Recognise event ids that were seen a moment ago: an exact, bounded, vectorised window.

The window is two open-addressing hash tables of 128-bit keys, the current and the previous one. When the current
one is full or old enough it becomes the previous one, so memory is fixed and nothing is ever deleted. Every id taken
in since ``covered_since_us`` is there; what is older is looked up in the lake when events are loaded.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

U64 = np.uint64
_MIX = U64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: Fibonacci hashing (Knuth, TAOCP vol. 3, 6.4)
_FILL = 0.5
_EMPTY = U64(0)
_FORGOTTEN = U64(1)

Keys = npt.NDArray[np.uint64]
Elements = npt.NDArray[np.complex128]
Slots = npt.NDArray[np.int64]


class _Table:
    """An insert-only set of 128-bit keys by double hashing (Knuth, algorithm D).

    The first word of a slot is 0 if it is empty and 1 if its key was forgotten. Slots are moved about as 16-byte
    elements, which NumPy gathers several times faster than rows of two words.
    """

    def __init__(self, bits: int) -> None:
        self.slots = np.zeros(1 << bits, dtype=np.complex128)
        self._shift = U64(64 - bits)
        self._mask = (1 << bits) - 1
        self.room = int((1 << bits) * _FILL)
        self.used = 0

    def _start(self, keys: Keys) -> tuple[Slots, Slots]:
        """Return each key's first slot and its odd stride."""
        mixed = (keys[:, 0] ^ keys[:, 1]) * _MIX
        return (mixed >> self._shift).astype(np.int64), ((keys[:, 1].astype(np.int64) & self._mask) | 1)

    def contains(self, keys: Keys) -> npt.NDArray[np.bool_]:
        found = np.zeros(len(keys), dtype=bool)
        if self.used == 0:
            return found
        at, stride = self._start(keys)
        rows = np.arange(len(keys))
        wanted = _elements(keys)
        while rows.size:
            held = self.slots.take(at)
            hit = _equal(held, wanted)
            found[rows.compress(hit)] = True
            rest = np.flatnonzero((_words(held)[:, 0] != _EMPTY) & ~hit)
            rows, wanted, stride = rows.take(rest), wanted.take(rest), stride.take(rest)
            at = (at.take(rest) + stride) & self._mask
        return found

    def insert(self, keys: Keys, owner: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Add ``keys`` and return which of them were already there or repeat an earlier one of the same call.

        ``owner`` is scratch space, one int32 a slot: of several rows that reach an empty slot, the first one gets it.
        """
        repeated = np.zeros(len(keys), dtype=bool)
        rows = np.arange(len(keys), dtype=np.int32)
        at, stride = self._start(keys)
        wanted = _elements(keys)
        while rows.size:
            held = self.slots.take(at)
            free = np.flatnonzero(_words(held)[:, 0] == _EMPTY)
            same = _equal(held, wanted)
            if free.size:
                # Later assignments win, so the rows are written backwards for the first one to keep the slot.
                spots, claimants = at.take(free), rows.take(free)
                owner[spots[::-1]] = claimants[::-1]
                won = owner.take(spots) == claimants
                taken = free.compress(won)
                self.slots[at.take(taken)] = wanted.take(taken)
                self.used += taken.size
                # Who lost the slot either repeats its new owner or moves on.
                lost = free.compress(~won)
                same[lost] = _equal(self.slots.take(at.take(lost)), wanted.take(lost))
                moving = ~same
                moving[taken] = False
            else:
                moving = ~same
            repeated[rows.compress(same)] = True
            rest = np.flatnonzero(moving)
            rows, wanted, stride = rows.take(rest), wanted.take(rest), stride.take(rest)
            at = (at.take(rest) + stride) & self._mask
        return repeated

    def forget(self, keys: Keys) -> None:
        """Take ``keys`` out again."""
        at, stride = self._start(keys)
        wanted = _elements(keys)
        while wanted.size:
            held = self.slots.take(at)
            hit = _equal(held, wanted)
            self.slots[at.compress(hit)] = _FORGOTTEN_ELEMENT
            rest = np.flatnonzero((_words(held)[:, 0] != _EMPTY) & ~hit)
            wanted, stride = wanted.take(rest), stride.take(rest)
            at = (at.take(rest) + stride) & self._mask


def _words(elements: Elements) -> Keys:
    return elements.view(U64).reshape(-1, 2)


def _elements(words: Keys) -> Elements:
    return np.ascontiguousarray(words).view(np.complex128).reshape(-1)


def _equal(held: Elements, wanted: Elements) -> npt.NDArray[np.bool_]:
    a, b = _words(held), _words(wanted)
    equal: npt.NDArray[np.bool_] = (a[:, 0] == b[:, 0]) & (a[:, 1] == b[:, 1])
    return equal


_FORGOTTEN_ELEMENT = _elements(np.array([[_FORGOTTEN, 0]], dtype=U64))[0]


class DedupeWindow:
    """The ids taken in lately, over all tenants and types. Not thread-safe."""

    def __init__(
        self, *, memory_bytes: int = 256 * 2**20, generation_us: int = 300 * 10**6, secret: bytes = b""
    ) -> None:
        bits = max(10, (memory_bytes // 36).bit_length() - 1)  # two tables of 16 bytes a slot and 4 of scratch
        self._bits = bits
        self._generation_us = generation_us
        self._secret = secret
        self._current = _Table(bits)
        self._previous = _Table(bits)
        self._owner = np.zeros(1 << bits, dtype=np.int32)
        self._current_since = 0
        self._previous_since = 0
        self._salts: dict[tuple[str, str], Keys] = {}

    @property
    def covered_since_us(self) -> int:
        """Every id taken in since then is in the window; 0 if there never was an older one."""
        return self._previous_since

    @property
    def size(self) -> int:
        """Ids in the window."""
        return self._current.used + self._previous.used

    def assume_covered_since(self, time_us: int) -> None:
        """State since when the ids are known, once they were read back after a restart."""
        self._previous_since = self._current_since = time_us

    def keys(self, tenant: str, event_type: str, ids: npt.NDArray[np.uint8]) -> Keys:
        """Turn event ids, shape (n, 16), into keys that differ by tenant and type; the salts can't be guessed."""
        salt = self._salts.get((tenant, event_type))
        if salt is None:
            text = f"{tenant}\0{event_type}".encode()
            digest = hashlib.blake2b(text, digest_size=16, key=self._secret[:64]).digest()
            salt = self._salts[tenant, event_type] = np.frombuffer(digest, dtype=U64)
        keys: Keys = np.ascontiguousarray(ids).view(U64).reshape(-1, 2) ^ salt
        reserved = keys[:, 0] <= _FORGOTTEN
        if reserved.any():
            keys[reserved, 0] += _MIX  # keep clear of the two marks
        return keys

    def add(self, keys: Keys, now_us: int) -> npt.NDArray[np.bool_]:
        """Take ``keys`` in and return which of them are repeats, of earlier ones or within the call."""
        if self._current.used and (
            self._current.used + len(keys) > self._current.room or now_us - self._current_since > self._generation_us
        ):
            self._rotate(now_us)
        known = self._previous.contains(keys)
        repeated = self._current.insert(keys if not known.any() else keys[~known], self._owner)
        if not known.any():
            return repeated
        known[~known] = repeated
        return known

    def forget(self, keys: Keys) -> None:
        """Take ``keys`` out again, because what they stand for could not be stored."""
        self._current.forget(keys)
        self._previous.forget(keys)

    def _rotate(self, now_us: int) -> None:
        old, self._previous = self._previous, self._current
        self._previous_since = self._current_since
        old.slots[:] = 0
        old.used = 0
        self._current, self._current_since = old, now_us
