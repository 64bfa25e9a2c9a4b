"""AES-256-CMAC of whole columns: NIST SP 800-38B, https://doi.org/10.6028/NIST.SP.800-38B."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC
from numpy.typing import NDArray

from collectors.privacy.columns import Bytes, Integers, Rows, binary_array, is_all_null, map_values

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import CipherContext

Words = NDArray[np.uint64]

BLOCK = 16
KEY_BYTES = 32
LONG = 1024
"""Values over this many bytes go one by one: the cipher is then the cost, not the call of it."""


def _byte_masks() -> Words:
    """Return rows 0 to 16, of two words, whose first so many bytes are ones."""
    ones = np.tri(BLOCK + 1, BLOCK, -1, dtype=np.uint8) * np.uint8(0xFF)
    return ones.view(np.uint64)


MASKS = _byte_masks()


class Cmac:
    """AES-256-CMAC under one key.

    CMAC is CBC encryption of which only the last block is kept. One value's blocks depend on each other, but
    different values do not: the i-th blocks of all rows are encrypted by one AES-ECB call. Safe to share
    between threads.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"AES-256 needs a key of {KEY_BYTES} bytes, not {len(key)}")
        self._aes = algorithms.AES256(key)
        self._idle: list[CipherContext] = []
        zero = self._encrypt(np.zeros((1, 2), np.uint64)).tobytes()
        whole = _doubled(int.from_bytes(zero, "big"))
        partial = _doubled(whole)
        # What the last block is XORed with, by its number of bytes: the padding bit 1 and the subkey.
        finish = [partial ^ (0x80 << 8 * (BLOCK - 1 - n)) for n in range(BLOCK)] + [whole]
        joined = b"".join(block.to_bytes(BLOCK, "big") for block in finish)
        self._finish: Words = np.frombuffer(joined, np.uint64).reshape(-1, 2)

    def digest(self, data: bytes) -> bytes:
        """Return the 16-byte CMAC of one value."""
        mac = CMAC(self._aes)
        mac.update(data)
        return mac.finalize()

    def column(self, column: pa.Array | pa.ChunkedArray) -> pa.Array:
        """Return a ``binary`` column with each value's 16-byte CMAC; nulls stay null.

        ``column`` holds text or bytes: plain, chunked, sliced or dictionary-encoded.
        """
        return map_values(column, self._plain)

    def _plain(self, column: pa.Array) -> pa.Array:
        if is_all_null(column):
            return pa.nulls(len(column), pa.binary())
        rows = Rows.of(column)
        return binary_array(self.rows(rows), BLOCK, rows.valid)

    def rows(self, rows: Rows) -> Bytes:
        """Return the CMACs of at least one value, of shape (rows, 16)."""
        longest = int(rows.lengths.max())
        if longest <= BLOCK:
            only = self._last_block(rows.windows(BLOCK, rows.starts).view(np.uint64), rows.lengths)
            return self._encrypt(only).view(np.uint8)
        macs = np.empty((len(rows), 2), np.uint64)
        if longest > LONG:
            at = np.flatnonzero(rows.lengths <= LONG)
            for i in np.flatnonzero(rows.lengths > LONG):
                value = rows.data[rows.starts[i] : rows.starts[i] + rows.lengths[i]]
                macs[i] = np.frombuffer(self.digest(value.tobytes()), np.uint64)
            if len(at):
                macs[at] = self.rows(rows.take(at)).view(np.uint64)
        else:
            self._chain(rows, macs)
        return macs.view(np.uint8)

    def _chain(self, rows: Rows, macs: Words) -> None:
        """Encrypt block by block, all rows at once, the rows that end first at the end."""
        blocks = np.maximum((rows.lengths + BLOCK - 1) // BLOCK, 1)
        order = np.argsort(-blocks, kind="stable")
        starts, lengths = rows.starts[order], rows.lengths[order]
        # more[i]: how many rows have more than i blocks; these are the first ones.
        more = (len(rows) - np.cumsum(np.bincount(blocks))).tolist()
        state: Words = np.zeros((len(rows), 2), np.uint64)
        for i, (live, going) in enumerate(pairwise(more)):
            words = rows.windows(BLOCK, starts[:live] + BLOCK * i).view(np.uint64)
            words[going:] = self._last_block(words[going:], lengths[going:live] - BLOCK * i)
            words ^= state
            encrypted = self._encrypt(words)
            macs[order[going:live]] = encrypted[going:]
            state = encrypted[:going]

    def _last_block(self, words: Words, lengths: Integers) -> Words:
        """Clear what follows the ``lengths`` (0 to 16) bytes of each block, then pad and add the subkey."""
        words &= MASKS[lengths]
        words ^= self._finish[lengths]
        return words

    def _encrypt(self, words: Words) -> Words:
        """Encrypt blocks, of shape (blocks, 2), each by itself."""
        # An encryptor must not serve two threads at once, as it lets go of the interpreter lock on large input.
        # Taking it from the list and putting it back are atomic, so no lock is needed.
        try:
            cipher = self._idle.pop()
        except IndexError:
            # ECB as the bare block cipher, which the chaining above turns into CMAC.
            cipher = Cipher(self._aes, modes.ECB()).encryptor()  # noqa: S305 - see the line before
        out = np.empty(words.nbytes + BLOCK - 1, np.uint8)  # update_into wants room for one more block, less a byte
        cipher.update_into(words.view(np.uint8).data, out.data)
        self._idle.append(cipher)
        return out[: words.nbytes].view(np.uint64).reshape(-1, 2)


def _doubled(block: int) -> int:
    """Multiply by x in GF(2^128) with the polynomial of SP 800-38B, section 5.3."""
    return (block << 1) & (2**128 - 1) ^ (0x87 if block >> 127 else 0)


_shared = lru_cache(maxsize=64)(Cmac)


def cmac_column(key: bytes, column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a ``binary`` column with each value's AES-256-CMAC under ``key``; nulls stay null.

    The key's schedule is remembered for the life of the process; a key that may be destroyed belongs in a
    ``Cmac`` of its own.
    """
    return _shared(key).column(column)


def cmac(key: bytes, data: bytes) -> bytes:
    """Return the 16-byte AES-256-CMAC of ``data`` under ``key``, as ``cmac_column`` does."""
    return _shared(key).digest(data)
