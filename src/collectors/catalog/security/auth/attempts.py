"""A batch of sign-in attempts as arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from collectors.catalog.security.auth.keys import Keys, Rows, key64
from collectors.catalog.security.auth.windows import Flags, Times
from collectors.model.batch import Batch

FAILED = frozenset({"failure", "locked"})
SUCCEEDED = frozenset({"success"})
OUTCOMES = frozenset({*FAILED, *SUCCEEDED, "challenge"})
METHODS = frozenset({"password", "token", "sso", "mfa", "passkey"})

Codes = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class _Words:
    """A column of few distinct words: a code for each row, and what the codes stand for."""

    codes: Codes
    meaning: Sequence[str | None]

    @classmethod
    def of(cls, column: pa.Array) -> _Words:
        encoded = column.dictionary_encode(null_encoding="encode")
        return cls(encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist())

    def among(self, words: frozenset[str]) -> Flags:
        """Tell which rows have one of ``words``."""
        flags: Flags = np.array([word in words for word in self.meaning], np.bool_)[self.codes]
        return flags


@dataclass(frozen=True)
class Attempts:
    """Attempts in the order of their rows.

    ``time`` is when each happened, or arrived if its clock ran ahead; ``on_time`` whether that was less than a
    window before it arrived. Times are UTC microseconds.
    """

    table: pa.RecordBatch
    time: Times
    received: Times
    on_time: Flags
    outcome: _Words
    method: _Words

    @classmethod
    def of(cls, batch: Batch, window_us: int) -> Attempts:
        """Take the columns of a batch of at least one row apart."""
        table = batch.table
        received = _microseconds(table.column("received_time"), np.int64(batch.acked_us))
        time = np.minimum(_microseconds(table.column("event_time"), received), received)
        return cls(
            table=table,
            time=time,
            received=received,
            on_time=time > received - window_us,
            outcome=_Words.of(table.column("outcome")),
            method=_Words.of(table.column("method")),
        )

    def tally(self) -> Counter[tuple[str, str]]:
        """Count the attempts by outcome and method, in vocabularies that no sender can widen."""
        width = len(self.method.meaning)
        pairs = np.bincount(self.outcome.codes * width + self.method.codes)
        counts: Counter[tuple[str, str]] = Counter()
        for pair in np.flatnonzero(pairs).tolist():
            outcome, method = self.outcome.meaning[pair // width], self.method.meaning[pair % width]
            counts[bounded(outcome, OUTCOMES), bounded(method, METHODS)] += int(pairs[pair])
        return counts

    @cached_property
    def failed(self) -> Flags:
        """Attempts on time that failed."""
        return self.outcome.among(FAILED) & self.on_time

    @cached_property
    def succeeded(self) -> Flags:
        """Attempts on time that succeeded."""
        return self.outcome.among(SUCCEEDED) & self.on_time

    @cached_property
    def principal(self) -> Keys:
        """Key of each principal; 0 where there is none."""
        return _keys(self.table.column("principal"))

    def networks(self, rows: Rows) -> Keys:
        """Key of the network of each of ``rows``; 0 where there is none."""
        return _keys(self.table.column("ip").take(pa.array(rows)))

    def panes(self, window_us: int) -> Iterator[tuple[int, Rows, Rows]]:
        """Yield, by the pane of time they arrived in, the rows with a principal that failed and that succeeded."""
        named = self.principal != 0
        failed, succeeded = np.flatnonzero(self.failed & named), np.flatnonzero(self.succeeded & named)
        first, last = int(self.received.min()) // window_us, int(self.received.max()) // window_us
        if first == last:
            yield first, failed, succeeded
            return
        arrived = self.received // window_us
        for pane in np.unique(arrived).tolist():
            yield pane, failed[arrived[failed] == pane], succeeded[arrived[succeeded] == pane]


def bounded(word: str | None, vocabulary: frozenset[str]) -> str:
    """Return a label value: the word if it is known, else ``other``, or ``unknown`` if there is none."""
    if word is None:
        return "unknown"
    return word if word in vocabulary else "other"


def _microseconds(column: pa.Array, otherwise: Times | np.int64) -> Times:
    times = column.view(pa.int64())
    if column.null_count == 0:
        known: Times = times.to_numpy()
        return known
    absent = column.is_null().to_numpy(zero_copy_only=False)
    return np.where(absent, otherwise, times.fill_null(0).to_numpy())


def _keys(column: pa.Array) -> Keys:
    if column.null_count == 0:
        return key64(column)
    keys: Keys = np.zeros(len(column), np.uint64)
    keys[pc.is_valid(column).to_numpy(zero_copy_only=False)] = key64(column.drop_null())
    return keys
